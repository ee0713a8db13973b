/** Random arrivals, sizes, shapes, priorities, cancels, time-outs, failures and deaths: each request is answered once, with its own data. */
import t from 'tap';
import { Tensor } from '../../src/protocol/tensor.ts';
import { DataPlane, type RecordedCall } from '../support/data-plane.ts';
import type { FakeReplica, ReceivedBatch } from '../support/fake-replica.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

const SEEDS = 24;
const STEPS = 60;
const REPLICAS = 40;

interface Asked {
  readonly recorded: RecordedCall;
  readonly number: number;
  readonly rows: number;
  readonly width: number;
  readonly poison: boolean;
  cancelled: boolean;
}

const randomFrom = (seed: number) => {
  let state = seed;
  return (below: number) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
};

/** A replica that answers in its own time: what it has been given and not answered. */
class Worker {
  readonly replica: FakeReplica;
  #answered = 0;

  constructor(replica: FakeReplica) {
    this.replica = replica;
  }

  next(): ReceivedBatch | undefined {
    return this.replica.batches[this.#answered];
  }

  /** Each value plus a half; an error where the batch holds a poison. */
  answer(wrongRows: boolean): void {
    const batch = this.next();
    if (batch === undefined) return;
    this.#answered += 1;
    const [x] = batch.segments;
    if (x === undefined) throw new Error('a call without a tensor');
    const bytes = Buffer.from(x.bytes);
    const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    if (values.includes(-1)) return this.replica.error('poison', batch.ids);
    const [rows = 0, width = 0] = x.shape ?? [];
    // Alone, what comes is nobody else's, however much it is.
    const more = wrongRows && batch.ids.length > 1 ? 1 : 0;
    const data = new Float32Array((rows + more) * width);
    data.set(values.map((each) => each + 0.5));
    this.replica.result({ y: new Tensor('float32', [rows + more, width], data) }, batch.ids, { workMs: rows });
  }
}

for (let seed = 1; seed <= SEEDS; seed++) {
  t.test(`each request is answered once, with its own data (seed ${seed})`, async (t) => {
    const random = randomFrom(seed * 7919);
    const ids = Array.from({ length: REPLICAS }, (_, index) => `a${index}`);
    const deployment = deploymentRouting({
      kind: 'model',
      maxOngoingRequests: 16,
      batching: {
        maxBatchSize: 1 + random(8),
        waitMs: random(3) === 0 ? 20 : 0,
        targetMs: random(3) === 0 ? 50 : null,
        maxConcurrentBatches: 1 + random(2),
        method: 'call',
      },
      retry: { maxAttempts: 3, backoffMs: random(2) * 10, idempotent: random(4) > 0 },
    });
    const plane = await DataPlane.start(
      t,
      routingSnapshot([applicationRouting({ deployments: [deployment] })], Object.fromEntries(ids.map((id) => [id, 'app/A@v1']))),
    );
    let workers: Worker[] = [];
    let born = 0;
    const join = async () => workers.push(new Worker(await plane.replica(ids[born++] as string)));
    const kill = async (worker: Worker) => {
      workers = workers.filter((each) => each !== worker);
      const batch = worker.next();
      if (batch !== undefined && random(2) === 0) worker.replica.begun(batch.ids);
      await worker.replica.settled();
      await worker.replica.die();
    };
    await join();
    await join();
    const asked: Asked[] = [];
    const ask = () => {
      const number = asked.length;
      const [rows, width] = [1 + random(3), 1 + random(2)];
      const poison = random(25) === 0;
      const x = new Tensor('float32', [rows, width], new Float32Array(rows * width).fill(poison ? -1 : number));
      const recorded = plane.call({ x }, { ...(random(4) === 0 ? { timeoutMs: 1 + random(200) } : {}), priority: random(8) });
      asked.push({ recorded, number, rows, width, poison, cancelled: false });
    };
    const settled = () => Promise.all(workers.map(({ replica }) => replica.settled()));
    for (let step = 0; step < STEPS; step++) {
      const what = random(10);
      if (what < 4) for (let count = random(6); count >= 0; count--) ask();
      else if (what === 4) {
        const some = asked[random(Math.max(1, asked.length))];
        if (some?.recorded.events.length === 0) {
          some.cancelled = true;
          some.recorded.call?.abandon(undefined);
        }
      } else if (what === 5) plane.clock.advance(random(30));
      else if (what === 6 && born < REPLICAS - 2) {
        await kill(workers[random(workers.length)] as Worker);
        await join();
      } else for (const worker of workers) if (random(3) > 0) worker.answer(random(12) === 0);
      await settled();
    }
    const open = () => asked.filter(({ cancelled, recorded }) => !cancelled && recorded.events.length === 0);
    for (let turn = 0; turn < 400 && open().length > 0; turn++) {
      for (const worker of workers) while (worker.next() !== undefined) worker.answer(false);
      await settled();
      plane.clock.advance(20);
      await settled();
    }
    t.same(
      open().map(({ number }) => number),
      [],
      'nothing is forgotten',
    );
    for (const { recorded, number, rows, width, cancelled, poison } of asked) {
      const { events, value } = recorded;
      if (cancelled) t.same(events, [], `${number} was cancelled`);
      else if (events[0] !== 'result') t.ok(events.length === 1 && /^error/.test(events[0] ?? ''), `${number}: ${events}`);
      else {
        t.same(events, ['result']);
        t.notOk(poison);
        const { y } = value as { y: Tensor };
        t.same([y.shape, [...(y.data as Float32Array)]], [[rows, width], new Array(rows * width).fill(number + 0.5)]);
      }
    }
    t.equal(plane.dispatcher.load().deployments['app/A']?.queued, 0, 'nothing waits');
    const results = asked.filter(({ recorded }) => recorded.events[0] === 'result').length;
    t.ok(results > asked.length / 4, `${results} of ${asked.length} were answered well`);
  });
}

/** A replica in another language, written from docs/replica-protocol.md, against the daemon's real ends of its two sockets. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Dispatcher } from '../../src/dispatch/dispatcher.ts';
import { ServeError } from '../../src/domain/errors.ts';
import type { Json } from '../../src/domain/json.ts';
import type { DeploymentRouting } from '../../src/domain/snapshot.ts';
import { listenForReplicas } from '../../src/protocol/accept.ts';
import { encodeValue } from '../../src/protocol/codec.ts';
import { encodeFrame, FRAME, type Frame, type FrameType } from '../../src/protocol/frame.ts';
import type { HttpHead } from '../../src/protocol/messages.ts';
import { FrameReader } from '../../src/protocol/reader.ts';
import { Tensor } from '../../src/protocol/tensor.ts';
import { makeToken } from '../../src/protocol/token.ts';
import { RecordedCall } from '../support/data-plane.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

const PROGRAM = fileURLToPath(new URL('./foreign_replica.py', import.meta.url));
const KEY = 'the key of this test';
const ID = 'app/A/000001';

/** Frames of one link as they came, and a promise for the one that is waited for. */
class Heard {
  readonly frames: Frame[] = [];
  #wake: (() => void)[] = [];

  readonly add = (frame: Frame): void => {
    this.frames.push(frame);
    for (const wake of this.#wake.splice(0)) wake();
  };

  /** The frame number `count` of a type. */
  async nth(type: FrameType, count = 1): Promise<Frame> {
    while (true) {
      const found = this.frames.filter((frame) => frame.type === type)[count - 1];
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  /** Names of the frames, heartbeats left out. */
  get names(): string[] {
    return this.frames
      .filter(({ type }) => type !== FRAME.PONG)
      .map(({ type }) => Object.entries(FRAME).find(([, number]) => number === type)?.[0] ?? '');
  }
}

interface Options {
  readonly deployment?: Partial<DeploymentRouting>;
  readonly initArgs?: Readonly<Record<string, Json>>;
}

class Rig {
  readonly dispatcher: Dispatcher;
  readonly process: ChildProcess;
  readonly control = new Heard();
  readonly data = new Heard();
  readonly exit: Promise<number | null>;
  output = '';
  #controlSocket!: Socket;
  #dataSocket!: Socket;

  private constructor(dispatcher: Dispatcher, folder: string) {
    this.dispatcher = dispatcher;
    this.process = spawn('python3', [PROGRAM], {
      env: {
        PATH: process.env['PATH'],
        SERVE_CONTROL_SOCKET: join(folder, 'control'),
        SERVE_DATA_SOCKET: join(folder, 'data'),
        SERVE_REPLICA_TOKEN: makeToken(KEY, { replica: ID, deployment: 'app/A', version: 'v1' }),
        SERVE_REPLICA_ID: ID,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.process.stdout?.on('data', (chunk: Buffer) => {
      this.output += chunk.toString();
    });
    this.exit = once(this.process, 'close').then(([code]) => code as number | null);
  }

  static async start(t: Test, { deployment, initArgs = {} }: Options = {}): Promise<Rig> {
    const folder = await mkdtemp(join(tmpdir(), 'foreign-'));
    const dispatcher = new Dispatcher(
      () => performance.now(),
      () => {},
    );
    const routing = applicationRouting({
      calls: { A: { self: { application: 'app', deployment: 'A', method: 'call' } } },
      deployments: [deploymentRouting({ maxOngoingRequests: 8, ...deployment })],
    });
    dispatcher.apply(routingSnapshot([routing], { [ID]: 'app/A@v1' }));
    let rig!: Rig;
    const refused = (reason: string) => t.fail(`a connection was refused: ${reason}`);
    const servers = [
      await listenForReplicas(
        join(folder, 'control'),
        KEY,
        (identity, socket, reader) => {
          t.equal(identity.replica, ID, 'the token says who it is');
          socket.on('data', (chunk: Buffer) => reader.push(chunk, rig.control.add));
          rig.#controlSocket = socket;
          rig.tell(FRAME.START, {
            application: 'app',
            deployment: 'A',
            runs: { kind: 'module', entry: '/a.mjs', source: '/a.ts', export: 'A' },
            initArgs,
            handles: ['self'],
            numCpus: null,
          });
        },
        refused,
      ),
      await listenForReplicas(
        join(folder, 'data'),
        KEY,
        (identity, socket, reader) => {
          const ear = new FrameReader(2 ** 30);
          socket.on('data', (chunk: Buffer) => ear.push(Buffer.from(chunk), rig.data.add));
          rig.#dataSocket = socket;
          dispatcher.connect(identity, socket, reader);
        },
        refused,
      ),
    ];
    rig = new Rig(dispatcher, folder);
    t.teardown(async () => {
      rig.process.kill('SIGKILL');
      await rig.exit;
      dispatcher.destroy(new ServeError('UNAVAILABLE', 'the test is over'));
      rig.#controlSocket?.destroy();
      for (const server of servers) server.close();
      await rm(folder, { recursive: true });
    });
    return rig;
  }

  static async ready(t: Test, options?: Options): Promise<Rig> {
    const rig = await Rig.start(t, options);
    await rig.control.nth(FRAME.READY);
    return rig;
  }

  tell(type: FrameType, meta: object): void {
    for (const buffer of encodeFrame(type, meta)) this.#controlSocket.write(buffer);
  }

  call(value: unknown, method = 'call', http?: HttpHead): RecordedCall {
    const recorded = new RecordedCall();
    const generation = this.dispatcher.generation('app');
    if (generation === undefined) throw new Error('there is no application');
    recorded.underWay = this.dispatcher.call({
      generation,
      target: { application: 'app', deployment: 'A', method },
      requestId: 'r',
      value: encodeValue(value),
      http,
      deadlineAt: Number.POSITIVE_INFINITY,
      sink: recorded.sink,
    });
    return recorded;
  }

  get ongoing(): number {
    return this.dispatcher.load().replicas[ID]?.ongoing ?? 0;
  }

  loseData(): void {
    this.#dataSocket.destroy();
  }
}

const BATCHING = { maxBatchSize: 4, waitMs: 0, targetMs: null, maxConcurrentBatches: 1, method: 'call' };

t.test('it says hello on both links and is ready', async (t) => {
  const rig = await Rig.ready(t);
  t.strictSame(rig.control.names, ['READY']);
  t.strictSame(rig.control.frames[0]?.meta['methods'], {
    call: { input: 'whole', output: 'whole' },
    wait: { input: 'whole', output: 'whole' },
    ask: { input: 'whole', output: 'whole' },
    count: { input: 'whole', output: 'stream' },
  });
});

t.test('a value comes back as it was, behind its BEGUN', async (t) => {
  const rig = await Rig.ready(t);
  const value = {
    text: 'Zürich',
    tensor: new Tensor('float32', [1, 3], Float32Array.of(1, -2, Number.NaN)),
    bytes: Buffer.of(1, 2, 3),
    at: new Date(0),
    $seg: 7,
    numbers: [Number.POSITIVE_INFINITY, 10n],
  };
  const call = await rig.call(value).over;
  t.strictSame(call.value, value);
  t.strictSame(rig.data.names, ['BEGUN', 'RESULT']);
  t.equal(call.call?.begun, true);
});

t.test('an HTTP call is answered with a head and a body', async (t) => {
  const rig = await Rig.ready(t);
  const http = { method: 'POST', path: '/a%20b', query: 'x=1', headers: ['content-type', 'text/plain'] };
  const call = await rig.call(Buffer.from('the body'), 'call', http).over;
  t.strictSame(call.http, { status: 200, headers: ['content-type', 'application/json'] });
  t.strictSame(JSON.parse(Buffer.from(call.value as Uint8Array).toString()), {
    method: 'POST',
    path: '/a%20b',
    body: 'the body',
  });
});

t.test('items have values of their own', async (t) => {
  const rig = await Rig.ready(t, { deployment: { batching: BATCHING } });
  const values = [{ a: Buffer.of(1) }, 'two', [Buffer.of(3), Buffer.of(3, 3)]];
  const calls = await Promise.all(values.map((value) => rig.call(value).over));
  t.strictSame(
    calls.map((call) => call.value),
    values,
  );
  t.equal(calls[0]?.call?.batchSize, 3);
});

t.test('rows come stacked and go back stacked', async (t) => {
  const rig = await Rig.ready(t, { deployment: { kind: 'model', batching: BATCHING } });
  const values = [new Tensor('int16', [2, 2], Int16Array.of(1, 2, 3, 4)), new Tensor('int16', [1, 2], Int16Array.of(5, 6))];
  const calls = await Promise.all(values.map((value) => rig.call(value).over));
  t.strictSame(
    calls.map((call) => call.value),
    values,
  );
  t.equal(calls[0]?.call?.batchSize, 3);
});

t.test('a stream goes as far as its credit', async (t) => {
  const rig = await Rig.ready(t);
  const call = rig.call({ end: 6, padding: 65_536 }, 'count');
  await rig.data.nth(FRAME.CHUNK, 4);
  // Its answer comes behind all that it sent before.
  await rig.call('fence').over;
  t.equal(call.chunks.length, 4, '262,144 bytes are used up by four chunks');
  call.call?.link?.credit(call.call, 1000);
  await rig.data.nth(FRAME.CHUNK, 5);
  await rig.call('fence').over;
  t.equal(call.chunks.length, 5);
  call.call?.link?.credit(call.call, 200_000);
  await call.over;
  t.strictSame(call.events, ['open', ...Array(6).fill('chunk'), 'end']);
  t.strictSame(
    call.chunks.map((chunk) => (chunk as { n: number }).n),
    [0, 1, 2, 3, 4, 5],
  );
});

t.test('a cancelled call holds its place until it was answered', async (t) => {
  const rig = await Rig.ready(t);
  const call = rig.call(null, 'wait');
  await rig.data.nth(FRAME.BEGUN);
  call.call?.abandon(undefined);
  t.equal(rig.ongoing, 1);
  t.match((await rig.data.nth(FRAME.ERROR)).meta['error'], { code: 'CLIENT_CLOSED' });
  t.equal(rig.ongoing, 0);
});

t.test('it calls a deployment through its handle', async (t) => {
  const rig = await Rig.ready(t);
  const [one, two] = [rig.call({ n: 1 }, 'ask'), rig.call(Buffer.of(2), 'ask')];
  t.strictSame((await one.over).value, { n: 1 });
  t.strictSame((await two.over).value, Buffer.of(2));
});

t.test('it answers heartbeats', async (t) => {
  const rig = await Rig.ready(t);
  await rig.data.nth(FRAME.PONG, 2);
});

t.test('an unknown method is an error of the call alone', async (t) => {
  const rig = await Rig.ready(t);
  const call = await rig.call(null, 'nothing').over;
  t.match(call.error, { code: 'CALL_REFUSED', message: /no method `nothing`/, source: 'app/A' });
  t.equal((await rig.call(1).over).value, 1);
});

t.test('it is reconfigured and checked', async (t) => {
  const rig = await Rig.ready(t);
  rig.tell(FRAME.RECONFIGURE, { id: 1, userConfig: { a: 1 } });
  rig.tell(FRAME.RECONFIGURE, { id: 2, userConfig: 'bad' });
  rig.tell(FRAME.CHECK, { id: 3 });
  await rig.control.nth(FRAME.CHECKED);
  t.match(
    rig.control.frames.slice(1).map(({ meta }) => meta),
    [
      { id: 1, error: undefined },
      { id: 2, error: { message: /good user_config/ } },
      { id: 3, error: undefined },
    ],
  );
});

t.test('it says why it cannot be built, and ends', async (t) => {
  const rig = await Rig.start(t, { initArgs: { fail: true } });
  t.match((await rig.control.nth(FRAME.FAILED)).meta['error'], { code: 'USER_ERROR', message: 'told to fail' });
  t.equal(await rig.exit, 1);
});

t.test('it ends when it is told to', async (t) => {
  const rig = await Rig.ready(t);
  rig.tell(FRAME.STOP, {});
  t.equal(await rig.exit, 0);
  t.equal(rig.output, 'stopping\n');
});

t.test('it ends when a link has gone', async (t) => {
  const rig = await Rig.ready(t);
  rig.loseData();
  t.equal(await rig.exit, 3);
});

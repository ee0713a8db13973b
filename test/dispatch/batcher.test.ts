import t from 'tap';
import { Batcher } from '../../src/dispatch/batcher.ts';
import { Lane } from '../../src/dispatch/lane.ts';
import type { PendingCall } from '../../src/dispatch/pending.ts';
import { DataPlane } from '../support/data-plane.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

const NEVER = Number.POSITIVE_INFINITY;
const HTTP = { method: 'POST', path: '/', query: '', headers: [] };

/** All that is read of a call. */
const call = (given: Partial<Pick<PendingCall, 'http' | 'rows' | 'arrivedAt' | 'deadlineAt'>> = {}) =>
  ({ rows: 1, arrivedAt: 0, deadlineAt: NEVER, maxCompany: NEVER, state: 'queued', ...given }) as PendingCall;
const setUp = (maxBatchSize: number, targetMs: number | null = null) => {
  const batching = { method: 'call', maxBatchSize, waitMs: 0, targetMs, maxConcurrentBatches: 1 };
  const routing = deploymentRouting({ batching, kind: 'model' });
  const batcher = new Batcher();
  const lane = new Lane('lane', 'v1', 'rows', false);
  const { cost } = batcher.learnedOf(lane, batching);
  return {
    batcher,
    lane,
    cost,
    ran: (rows: number, ms: number, times = 3) => {
      for (let time = 0; time < times; time++) cost.observe(rows, ms);
    },
    late: (free = 1) => batcher.late(lane, routing, batching, 0, () => free),
    decide: (room: number, now = 0) => batcher.decide(lane, lane, routing, batching, { room, idle: 1 }, now),
  };
};
/** Keeps a lane filled, and says what each of so many batches took. `ran` learns what it says. */
const serve = (rig: ReturnType<typeof setUp>, batches: number, room: number, make: () => PendingCall) => {
  const taken: { readonly rows: number; readonly reason: string }[] = [];
  for (let batch = 0; batch < batches; batch++) {
    while (rig.lane.size < 100) rig.lane.push(make());
    const decision = rig.decide(room);
    if (!('take' in decision)) throw new Error('held although enough waits');
    const calls = rig.lane.take(decision.take);
    for (const each of calls) each.state = 'sent';
    const rows = calls.reduce((sum, each) => sum + each.rows, 0);
    rig.cost.observe(rows, 10 + rows / 10);
    taken.push({ rows, reason: decision.reason });
  }
  return taken;
};

t.test('a light body from HTTP is not given up for what heavy ones took', async (t) => {
  const rig = setUp(8);
  rig.ran(1, 2000);
  rig.ran(2, 300, 1);
  rig.lane.push(call({ http: HTTP, deadlineAt: 1000 }));
  rig.lane.push(call({ http: HTTP }));
  t.same(rig.late(), [], 'two bodies together took less: one may');
  rig.lane.push(call({ http: HTTP, deadlineAt: 299 }));
  t.match(rig.late(), [{ deadlineAt: 299 }]);
  t.same(rig.late(2), [], 'a replica is free for it');
});

t.test('a request of one row is not given up for what thirty-two took', async (t) => {
  const rig = setUp(32);
  rig.ran(32, 100);
  rig.lane.push(call({ deadlineAt: 60 }));
  rig.lane.push(call());
  t.same(rig.late(), []);
  rig.ran(1, 70);
  t.match(rig.late(), [{ deadlineAt: 60 }]);
});

t.test('a straggler is held for twice the usual pause, not again at each look', async (t) => {
  const rig = setUp(32, 1000);
  for (const rows of [1, 8]) rig.ran(rows, 50 + rows);
  for (let at = 0; at <= 40; at += 2) rig.lane.push(call({ arrivedAt: at }));
  for (const each of rig.lane.take(20)) each.state = 'sent';
  let now = 40;
  for (let look = 0; look < 50; look++) {
    const decision = rig.decide(64, now);
    if ('take' in decision) break;
    now = decision.until;
  }
  t.ok(now > 42 && now <= 44, `until ${now - 40} ms after it came`);
});

t.test('no size is tried for which the replica has no room: all others are learned', async (t) => {
  const rig = setUp(64);
  const taken = serve(rig, 2000, 32, () => call());
  t.notOk(rig.cost.isKnown(64));
  t.same(
    rig.cost.known.map(({ size }) => size),
    [1, 2, 4, 8, 16, 32],
  );
  const trials = taken.filter(({ reason }) => reason === 'trial').map(({ rows }) => rows);
  t.ok(trials.slice(-12).filter((rows) => rows === 32).length <= 4, `${trials.slice(-12)}: tried in turn`);
});

t.test('no size is tried that requests of several rows cannot make up', async (t) => {
  const rig = setUp(64);
  const taken = serve(rig, 3000, 100, () => call({ rows: 5 }));
  const trials = taken.filter(({ reason }) => reason === 'trial').map(({ rows }) => rows);
  t.notOk(rig.cost.isKnown(8), 'five are nearer to four, ten are more than eight');
  t.same(
    rig.cost.known.map(({ size }) => size),
    [4, 16, 32, 64],
  );
  t.ok(new Set(trials.slice(-12)).size >= 2, `${trials.slice(-12)}: tried in turn`);
});

t.test('what would be late runs where a second replica has nothing else', async (t) => {
  const batching = { method: 'call', maxBatchSize: 2, waitMs: 0, targetMs: null, maxConcurrentBatches: 1 };
  const deployments = [deploymentRouting({ batching, maxOngoingRequests: 8 })];
  const both = { a1: 'app/A@v1', a2: 'app/A@v1' };
  const plane = await DataPlane.start(t, routingSnapshot([applicationRouting({ deployments })], both));
  const first = await plane.replica('a1');
  for (let run = 1; run <= 3; run++) {
    plane.call();
    await first.until(() => first.batches.length === run);
    first.result(null, first.last.ids, { workMs: 100 });
    await first.settled();
  }
  const second = await plane.replica('a2');
  const late = plane.call(null, { timeoutMs: 50 });
  const patient = plane.call();
  await Promise.all([first.until(() => first.batches.length === 4), second.until(() => second.batches.length === 1)]);
  for (const replica of [first, second]) replica.result(null, replica.last.ids, { workMs: 1 });
  await Promise.all([late.over, patient.over]);
  t.same([late.events, patient.events], [['result'], ['result']]);
});

/** Calls of all replicas of a deployment, as replicas make them through a handle. */
import t from 'tap';
import type { RoutingSnapshot } from '../../src/domain/snapshot.ts';
import { FRAME } from '../../src/protocol/frame.ts';
import { DataPlane } from '../support/data-plane.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

type Owner = Parameters<typeof DataPlane.start>[0];
type Limits = Parameters<typeof deploymentRouting>[0];

const RANKS: Readonly<Record<string, number>> = { b1: 2, b2: 0, b3: 1 };

/** `A` calls `B`, which has three replicas; the first to connect is the last in rank. */
const snapshot = (limits: Limits = {}): RoutingSnapshot => {
  const made = routingSnapshot(
    [
      applicationRouting({
        calls: { A: { b: { application: 'app', deployment: 'B', method: 'call' } } },
        deployments: [
          deploymentRouting({ maxOngoingRequests: 4 }),
          deploymentRouting({ name: 'B', maxOngoingRequests: 4, ...limits }),
        ],
      }),
    ],
    { a1: 'app/A@v1', b1: 'app/B@v1', b2: 'app/B@v1', b3: 'app/B@v1' },
  );
  return { ...made, replicas: made.replicas.map((each) => ({ ...each, rank: RANKS[each.id] ?? 0 })) };
};

const start = async (t: Owner, limits: Limits = {}) => {
  const plane = await DataPlane.start(t, snapshot(limits));
  const a = await plane.replica('a1');
  const b = [await plane.replica('b1', 'app/B'), await plane.replica('b2', 'app/B'), await plane.replica('b3', 'app/B')] as const;
  const call = plane.call('question');
  await a.until(() => a.batches.length === 1);
  const broadcast = (id = 7, more: object = {}) => a.call(id, 'b', { n: 1 }, { parent: a.lastId, broadcast: true, ...more });
  const begun = (count = 1) => Promise.all(b.map((each) => each.until(() => each.batches.length === count)));
  const answered = async (count = 5) => {
    await a.until(() => a.answers.length >= count);
    return a.answers.map((each) => each.replace(/^CHUNK 7 /, ''));
  };
  return { plane, a, b, call, broadcast, begun, answered };
};
const fulfilled = (replica: string, value: unknown) =>
  `{"replica":"${replica}","status":"fulfilled","value":${JSON.stringify(value)}}`;

t.test('each replica gets the call once, and their results come in the order of their ranks', async (t) => {
  const { a, b, broadcast, begun, answered } = await start(t);
  broadcast();
  await begun();
  t.same(
    b.map(({ last }) => last.text),
    ['{"n":1}', '{"n":1}', '{"n":1}'],
  );
  for (const each of b) {
    t.same(a.answers, [], 'nothing before all have answered');
    each.result({ of: each.id });
  }
  t.same(await answered(), [
    'OPEN 7',
    fulfilled('b2', { of: 'b2' }),
    fulfilled('b3', { of: 'b3' }),
    fulfilled('b1', { of: 'b1' }),
    'END 7',
  ]);
});

t.test('one that fails, dies or streams is one that is rejected', async (t) => {
  const { b, broadcast, begun, answered } = await start(t);
  broadcast();
  await begun();
  b[0].error('no');
  b[1].open();
  await b[2].die();
  const [, streams, died, failed] = await answered();
  t.match(JSON.parse(streams ?? ''), {
    replica: 'b2',
    status: 'rejected',
    reason: { $error: { code: 'CALL_REFUSED', message: /streams/ } },
  });
  t.match(JSON.parse(died ?? ''), { replica: 'b3', status: 'rejected', reason: { $error: { code: 'REPLICA_DIED' } } });
  t.match(JSON.parse(failed ?? ''), {
    replica: 'b1',
    status: 'rejected',
    reason: { $error: { code: 'USER_ERROR', message: 'no' } },
  });
  await b[1].until(() => b[1].cancelled.length === 1);
});

t.test('it waits for a replica that is full, and for no other; one that dies meanwhile is rejected', async (t) => {
  const { plane, b, broadcast, begun, answered } = await start(t, {
    maxOngoingRequests: 1,
    retry: { maxAttempts: 3, backoffMs: 0, idempotent: true },
  });
  for (let count = 0; count < 3; count++) plane.call(count, { deployment: 'B' });
  await begun();
  broadcast();
  b[0].result(0);
  await b[0].until(() => b[0].batches.length === 2);
  t.equal(b[0].last.text, '{"n":1}');
  t.same([b[1].batches.length, b[2].batches.length], [1, 1]);
  b[0].result('done');
  await b[1].die();
  b[2].result(2);
  // What the dead one had begun runs again somewhere; what was for it alone does not.
  await b[2].until(() => b[2].batches.some(({ text }) => text === '{"n":1}'));
  const index = b[2].batches.findIndex(({ text }) => text === '{"n":1}');
  b[2].result('done', b[2].batches[index]?.ids);
  const [, dead, last, first] = await answered();
  t.match(JSON.parse(dead ?? ''), { replica: 'b2', status: 'rejected', reason: { $error: { code: 'REPLICA_DIED' } } });
  t.same([last, first], [fulfilled('b3', 'done'), fulfilled('b1', 'done')]);
});

t.test('a caller that gives it up takes it from all', async (t) => {
  const { a, b, broadcast, begun } = await start(t);
  broadcast();
  await begun();
  a.send(FRAME.CANCEL, { ids: [7] });
  await Promise.all(b.map((each) => each.until(() => each.cancelled.length === 1)));
});

t.test('batched methods get it as an item; models cannot be named', async (t) => {
  const batching = { maxBatchSize: 4, waitMs: 0, targetMs: null, maxConcurrentBatches: 1, method: 'call' };
  const { a, b, broadcast, begun, answered } = await start(t, { batching });
  broadcast(8, { modelId: 'm' });
  t.match(await answered(1), ['ERROR 8 CALL_REFUSED']);
  a.answers.length = 0;
  broadcast();
  await begun();
  t.same(
    b.map(({ last }) => last.form),
    ['items', 'items', 'items'],
  );
  for (const each of b) each.result(1);
  t.equal((await answered()).length, 5);
});

t.test('where there is no replica there is nobody to tell', async (t) => {
  const { b, broadcast, answered } = await start(t);
  for (const each of b) await each.die();
  broadcast();
  t.same(await answered(2), ['OPEN 7', 'END 7']);
});

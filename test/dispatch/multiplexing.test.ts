/** Requests for multiplexed models and of sessions, from the queue to scripted replicas. */
import t from 'tap';
import { FRAME } from '../../src/protocol/frame.ts';
import { DataPlane, type RecordedCall } from '../support/data-plane.ts';
import type { FakeReplica } from '../support/fake-replica.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

type Deployment = NonNullable<Parameters<typeof deploymentRouting>[0]>;
type Owner = Parameters<typeof DataPlane.start>[0];

const REPLICAS = { a1: 'app/A@v1', a2: 'app/A@v1', a3: 'app/A@v1' };
const snapshot = (deployment: Deployment, replicas: Readonly<Record<string, string>> = REPLICAS) =>
  routingSnapshot([applicationRouting({ deployments: [deploymentRouting(deployment)] })], replicas);
const multiplexing = (most = 2, target = 1) => ({ maxNumModelsPerReplica: most, targetReplicasPerModel: target });
const outcomes = (calls: readonly RecordedCall[]) => calls.map(({ events }) => events.join(' '));
const batching = (maxBatchSize: number, waitMs = 0) => ({
  maxBatchSize,
  waitMs,
  targetMs: null,
  maxConcurrentBatches: 1,
  method: 'call',
});

const start = async (t: Owner, deployment: Deployment, count = 2) => {
  const plane = await DataPlane.start(t, snapshot(deployment));
  const replicas: FakeReplica[] = [];
  for (let index = 1; index <= count; index++) replicas.push(await plane.replica(`a${index}`));
  const settled = async () => {
    for (const replica of replicas) await replica.settled();
  };
  return { plane, replicas: replicas as [FakeReplica, FakeReplica, FakeReplica], settled };
};

t.test(
  'a replica is told its limit before its first call, and when it changes; one that is not multiplexed is told nothing',
  async (t) => {
    const { plane, replicas, settled } = await start(t, { multiplexing: multiplexing(2) });
    await settled();
    t.same(replicas[0].modelLimits, [2]);
    plane.dispatcher.apply(snapshot({ multiplexing: multiplexing(2, 5) }));
    plane.dispatcher.apply(snapshot({ multiplexing: multiplexing(4) }));
    plane.dispatcher.apply(snapshot({}));
    await settled();
    t.same(replicas[0].modelLimits, [2, 4, 0]);
    const plain = await start(t, {});
    await plain.settled();
    t.same(plain.replicas[0].modelLimits, []);
  },
);

t.test('a model is followed to where it is being loaded, and found where it was told', async (t) => {
  const { plane, replicas, settled } = await start(t, { multiplexing: multiplexing(), maxOngoingRequests: 5 });
  for (let time = 0; time < 3; time++) plane.call(null, { modelId: 'm' });
  await settled();
  const [loader, other] = replicas[0].batches.length > 0 ? replicas : [replicas[1], replicas[0]];
  t.same([loader.batches.length, other.batches.length], [3, 0]);
  t.equal(loader.last.members[0]?.modelId, 'm');
  loader.models({ added: ['m'] });
  for (const { ids } of loader.batches) loader.result(null, ids);
  await settled();
  plane.call(null, {});
  plane.call(null, { modelId: 'm' });
  await settled();
  t.equal(loader.batches.at(-1)?.members[0]?.modelId, 'm');
  t.same(plane.dispatcher.load().replicas[loader.id], { ongoing: loader.batches.length - 3, models: ['m'] });
});

t.test('requests for one model more than a replica holds wait, and those for others do not', async (t) => {
  const { plane, replicas, settled } = await start(t, { multiplexing: multiplexing(2), maxOngoingRequests: 9 }, 1);
  const [only] = replicas;
  for (const modelId of ['a', 'b', 'c', 'a', 'b']) plane.call(null, { modelId, id: modelId });
  await settled();
  t.same(only.requests, ['a', 'b', 'a', 'b']);
  only.result(null, only.batches[0]?.ids);
  await settled();
  t.equal(only.requests.length, 4, 'a is in use by another still');
  only.result(null, only.batches[2]?.ids);
  await settled();
  t.same(only.requests.slice(4), ['c']);
});

t.test('the queue is as long as it says, also where free slots are of no use to a model', async (t) => {
  const { plane } = await start(t, { multiplexing: multiplexing(1), maxOngoingRequests: 9, maxQueuedRequests: 1 }, 1);
  const calls = ['a', 'b', 'b', 'a'].map((modelId) => plane.call(null, { modelId }));
  t.same(outcomes(calls), ['', '', 'error QUEUE_FULL', '']);
});

t.test('requests for a thousand models wait at once, and for no more', async (t) => {
  const { plane, replicas, settled } = await start(t, { multiplexing: multiplexing(1), maxOngoingRequests: 9 }, 1);
  const calls = Array.from({ length: 1001 }, (_, index) => plane.call(null, { modelId: `m${index}` }));
  t.same(new Set(outcomes(calls)), new Set(['']));
  t.match(plane.call(null, { modelId: 'new' }).error, { code: 'QUEUE_FULL', message: /requests for 1000 models wait already/ });
  t.same(outcomes([plane.call(null, { modelId: 'm5' }), plane.call(null)]), ['', ''], 'others wait, or run');
  calls[7]?.call?.abandon(undefined);
  t.same(outcomes([plane.call(null, { modelId: 'new' })]), [''], 'one that leaves makes room');
  await settled();
  replicas[0].result(null, replicas[0].batches[0]?.ids);
  await settled();
  t.same(
    replicas[0].batches.map(({ members }) => members[0]?.modelId),
    ['m0', undefined, 'm1'],
    'and the oldest is next',
  );
});

t.test('what a replica held is forgotten when it dies', async (t) => {
  const { plane, replicas, settled } = await start(t, { multiplexing: multiplexing(), maxOngoingRequests: 5 });
  const [one, two] = replicas;
  one.models({ added: ['m'] });
  await settled();
  await one.die();
  plane.call(null, { modelId: 'm' });
  await two.until(() => two.batches.length === 1);
  const again = await plane.replica('a1');
  t.same(plane.dispatcher.load().replicas['a1'], { ongoing: 0, models: [] });
  two.result(null);
  await two.settled();
  plane.call(null, { modelId: 'm' });
  await again.settled();
  t.equal(again.batches.length, 1, 'nobody has said that he holds it, so the turn counts');
});

t.test('a batch is for one model', async (t) => {
  const { plane, replicas, settled } = await start(
    t,
    { multiplexing: multiplexing(), batching: batching(8), maxOngoingRequests: 8 },
    1,
  );
  const [only] = replicas;
  for (const modelId of ['a', 'b', 'a', 'b', 'a']) plane.call(null, { modelId, id: modelId });
  await only.until(() => only.batches.length === 1);
  only.result(null, [only.batches[0]?.ids[0] as number]);
  for (const id of only.batches[0]?.ids.slice(1) ?? []) only.result(null, [id]);
  await only.until(() => only.batches.length === 2);
  await settled();
  t.same(
    only.batches.map(({ requests }) => requests.join('')),
    ['aaa', 'bb'],
  );
});

t.test('an id that is too long is refused', async (t) => {
  const { plane } = await start(t, { multiplexing: multiplexing() }, 1);
  const call = plane.call(null, { modelId: 'x'.repeat(257) });
  t.match(call.error, { code: 'INVALID_INPUT', message: /at most 256 characters, got 257/ });
});

t.test('a replica that says more than it may is cut off, and its requests go elsewhere', async (t) => {
  for (const change of [{ added: ['a', 'b', 'c'] }, { added: [7] }, { removed: 'all' }]) {
    const { plane, replicas } = await start(t, { multiplexing: multiplexing(2) }, 1);
    const call = plane.call('work');
    await replicas[0].until(() => replicas[0].batches.length === 1);
    replicas[0].send(FRAME.MODELS, change);
    await replicas[0].until(() => replicas[0].closed).catch(() => {});
    t.ok(replicas[0].closed, JSON.stringify(change));
    const heir = await plane.replica('a2');
    await heir.until(() => heir.batches.length === 1);
    heir.result('done');
    t.equal((await call.over).value, 'done');
  }
  const { replicas } = await start(t, {}, 1);
  replicas[0].models({ added: ['a'] });
  await replicas[0].until(() => replicas[0].closed).catch(() => {});
  t.ok(replicas[0].closed, 'nor anything where nothing was asked');
});

t.test('a child call names model and session; what is no text is refused', async (t) => {
  const routing = routingSnapshot(
    [
      applicationRouting({
        calls: { A: { b: { application: 'app', deployment: 'B', method: 'call' } } },
        deployments: [deploymentRouting({}), deploymentRouting({ name: 'B', multiplexing: multiplexing() })],
      }),
    ],
    { a1: 'app/A@v1', b1: 'app/B@v1' },
  );
  const plane = await DataPlane.start(t, routing);
  const [caller, callee] = [await plane.replica('a1'), await plane.replica('b1', 'app/B')];
  caller.call(1, 'b', null, { modelId: 'm', sessionId: 's' });
  await callee.until(() => callee.batches.length === 1);
  t.match(callee.last.members, [{ modelId: 'm', sessionId: 's' }]);
  for (const more of [{ modelId: 5 }, { modelId: '' }, { sessionId: {} }]) caller.call(2, 'b', null, more);
  await caller.until(() => caller.answers.length === 3);
  t.same(
    caller.answers,
    Array.from({ length: 3 }, () => 'ERROR 2 CALL_REFUSED'),
  );
});

const sticky = (more: Deployment = {}): Deployment => ({ router: { policy: 'session' }, maxOngoingRequests: 100, ...more });
const whoHas = (replicas: readonly FakeReplica[], request: string) =>
  replicas.findIndex(({ requests }) => requests.includes(request));

t.test('requests of a session go to one replica; without the policy, or a session, they go round', async (t) => {
  const { plane, replicas, settled } = await start(t, sticky(), 3);
  for (let time = 0; time < 8; time++)
    for (const session of ['s1', 's2', 's3', 's4']) plane.call(null, { sessionId: session, id: `${session}-${time}` });
  await settled();
  for (const session of ['s1', 's2', 's3', 's4'])
    t.equal(new Set(Array.from({ length: 8 }, (_, time) => whoHas(replicas, `${session}-${time}`))).size, 1, session);

  const bare = await start(t, { maxOngoingRequests: 10 }, 3);
  for (let time = 0; time < 6; time++) bare.plane.call(null, { sessionId: 's1' });
  await bare.settled();
  t.same(
    bare.replicas.map(({ requests }) => requests.length),
    [2, 2, 2],
  );
});

t.test('the header is what counts over HTTP', async (t) => {
  const { plane, replicas, settled } = await start(t, sticky(), 3);
  const http = (session: string) => ({ method: 'POST', path: '/', query: '', headers: ['x-session-id', session] });
  for (let time = 0; time < 5; time++) plane.call(null, { http: http('s'), id: `s-${time}` });
  await settled();
  t.equal(replicas.filter(({ requests }) => requests.length > 0).length, 1);
});

t.test('a session whose replica is full goes on at the next, and comes back', async (t) => {
  const { plane, replicas, settled } = await start(t, sticky({ maxOngoingRequests: 1 }), 3);
  plane.call(null, { sessionId: 's', id: 'one' });
  plane.call(null, { sessionId: 's', id: 'two' });
  await settled();
  const [home, next] = [whoHas(replicas, 'one'), whoHas(replicas, 'two')];
  t.not(home, next);
  for (const replica of replicas) for (const { ids } of replica.batches) replica.result(null, ids);
  await settled();
  plane.call(null, { sessionId: 's', id: 'three' });
  await settled();
  t.equal(whoHas(replicas, 'three'), home);
});

t.test('when its replica goes a session moves, and the others stay', async (t) => {
  const { plane, replicas, settled } = await start(t, sticky(), 3);
  const sessions = Array.from({ length: 12 }, (_, index) => `s${index}`);
  for (const session of sessions) plane.call(null, { sessionId: session, id: `${session}-a` });
  await settled();
  const homes = new Map(sessions.map((session) => [session, whoHas(replicas, `${session}-a`)]));
  for (const replica of replicas) for (const { ids } of replica.batches) replica.result(null, ids);
  await settled();
  await replicas[0].die();
  const left = [replicas[1], replicas[2]];
  for (const session of sessions) plane.call(null, { sessionId: session, id: `${session}-b` });
  for (const replica of left) await replica.settled();
  for (const [session, home] of homes) {
    const now = 1 + whoHas(left, `${session}-b`);
    if (home === 0) t.ok(now > 0, `${session} found another`);
    else t.equal(now, home, `${session} stayed`);
  }
  t.ok([...homes.values()].includes(0), 'some were of the one that went');
});

t.test('where sessions stick a batch holds those of one replica', async (t) => {
  const { plane, replicas, settled } = await start(t, sticky({ batching: batching(8), maxOngoingRequests: 8 }), 2);
  const sessions = Array.from({ length: 10 }, (_, index) => `s${index}`);
  for (const session of sessions) plane.call(null, { sessionId: session, id: session });
  await replicas[0].until(() => replicas[0].batches.length > 0);
  await replicas[1].until(() => replicas[1].batches.length > 0);
  await settled();
  const first = sessions.map((session) => whoHas(replicas, session));
  for (const replica of [replicas[0], replicas[1]])
    for (const { ids } of replica.batches) for (const id of ids) replica.result(null, [id]);
  await settled();
  for (const session of sessions.toReversed()) plane.call(null, { sessionId: session, id: `${session}!` });
  await replicas[0].until(() => replicas[0].batches.length > 1);
  await replicas[1].until(() => replicas[1].batches.length > 1);
  await settled();
  const second = sessions.map((session) => whoHas(replicas, `${session}!`));
  t.same(second, first);
  t.same(new Set(first).size, 2);
});

t.test('load is counted in rows', async (t) => {
  const { Tensor } = await import('../../src/protocol/tensor.ts');
  const rows = (count: number) => new Tensor('float32', [count, 1], new Float32Array(count));
  const { plane, replicas, settled } = await start(t, {
    kind: 'model',
    batching: { ...batching(8), maxConcurrentBatches: 4 },
    maxOngoingRequests: 8,
  });
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  // One of eight rows for the one, and two of one row each for the other, though it has more requests then.
  for (const count of [8, 1, 1]) {
    plane.call(rows(count), { id: `${count} rows` });
    await turn();
  }
  await settled();
  const counts = replicas.map(({ requests }) => requests.join(', ')).sort();
  t.same(counts, ['1 rows, 1 rows', '8 rows']);
});

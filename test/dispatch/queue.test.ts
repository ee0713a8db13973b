import t from 'tap';
import { Tensor } from '../../src/protocol/tensor.ts';
import { DataPlane, type RecordedCall } from '../support/data-plane.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

type Deployment = NonNullable<Parameters<typeof deploymentRouting>[0]>;
type Owner = Parameters<typeof DataPlane.start>[0];

/** One application with the deployment `A`, and the replicas that the snapshot lists for it. */
const snapshot = (deployment: Deployment, replicas: readonly string[] = ['a1', 'a2'], generation = 1) =>
  routingSnapshot(
    [applicationRouting({ generation, deployments: [deploymentRouting(deployment)] })],
    Object.fromEntries(replicas.map((id) => [id, `app/A@${deployment.version ?? 'v1'}`])),
  );
const start = (t: Owner, deployment: Deployment = {}) => DataPlane.start(t, snapshot(deployment));

const batching = (maxBatchSize: number, waitMs = 0) => ({
  maxBatchSize,
  waitMs,
  targetMs: null,
  maxConcurrentBatches: 1,
  method: 'call',
});
const outcomes = (calls: readonly RecordedCall[]) => calls.map(({ events }) => events.join(' '));
const row = (...values: number[]) => new Tensor('float32', [1, values.length], Float32Array.from(values));
const times = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index));

t.test('one slot and a queue of two: of six requests at once three are answered and three refused', async (t) => {
  const plane = await start(t, { maxQueuedRequests: 2, backpressure: { statusCode: 429, retryAfterS: 7 } });
  const replica = await plane.replica('a1');
  const calls = times(6, (index) => plane.call(index));
  t.same(outcomes(calls), ['', '', '', 'error QUEUE_FULL', 'error QUEUE_FULL', 'error QUEUE_FULL']);
  t.match(calls[3]?.error, { status: 429, details: { retryAfterS: 7 } });
  for (let answered = 1; answered <= 3; answered++) {
    await replica.until(() => replica.batches.length === answered);
    replica.begun();
    replica.result(`answer ${answered}`);
  }
  await Promise.all(calls.map(({ over }) => over));
  t.same(
    calls.slice(0, 3).map(({ value }) => value),
    ['answer 1', 'answer 2', 'answer 3'],
  );
});

t.test('with max_queued_requests 0 a request is served where a slot is free, and refused where none is', async (t) => {
  const plane = await start(t, { maxQueuedRequests: 0, maxOngoingRequests: 2 });
  const replica = await plane.replica('a1');
  const calls = times(3, () => plane.call());
  t.same(outcomes(calls), ['', '', 'error QUEUE_FULL']);
  await replica.until(() => replica.batches.length === 2);
  replica.result('one', replica.batches[0]?.ids);
  await calls[0]?.over;
  t.same(outcomes([plane.call()]), [''], 'a free slot takes the next');
});

t.test('without a replica nothing but the queue takes requests', async (t) => {
  const plane = await start(t, { maxQueuedRequests: 1 });
  t.same(outcomes([plane.call(), plane.call()]), ['', 'error QUEUE_FULL']);
});

t.test('a batched deployment admits what leaves in a batch and what its queue takes, and no more', async (t) => {
  const plane = await start(t, { batching: batching(4), maxOngoingRequests: 8, maxQueuedRequests: 2 });
  const replica = await plane.replica('a1');
  const calls = times(12, () => plane.call());
  await replica.settled();
  const admitted = calls.filter(({ events }) => events.length === 0).length;
  t.ok(admitted - replica.requests.length <= 2, `${admitted - replica.requests.length} wait where 2 may`);
});

t.test('where the size is learned the queue admits what leaves in a batch of that size', async (t) => {
  const plane = await start(t, { kind: 'model', batching: batching(64), maxOngoingRequests: 128, maxQueuedRequests: 2 });
  const replica = await plane.replica('a1');
  const calls = times(12, () => plane.call({ x: row(1, 2) }));
  await replica.until(() => replica.batches.length === 1);
  t.equal(replica.last.ids.length, 4, 'nothing is known yet');
  t.equal(calls.filter(({ events }) => events.length === 0).length, 6);
});

t.test('fewer ongoing requests than are under way: the queue is still as long as it was', async (t) => {
  const plane = await start(t, { maxOngoingRequests: 5, maxQueuedRequests: 2 });
  await plane.replica('a1');
  times(5, () => plane.call());
  plane.dispatcher.apply(snapshot({ maxOngoingRequests: 1, maxQueuedRequests: 2 }));
  t.same(outcomes(times(3, () => plane.call())), ['', '', 'error QUEUE_FULL']);
});

t.test('two replicas are given work in turns, and the one with less gets the next', async (t) => {
  const plane = await start(t, { maxOngoingRequests: 3 });
  const [one, two] = [await plane.replica('a1'), await plane.replica('a2')];
  times(4, () => plane.call());
  await one.settled();
  await two.settled();
  t.same([one.batches.length, two.batches.length], [2, 2]);
  two.result(null, two.batches[0]?.ids);
  await two.settled();
  plane.call();
  await two.until(() => two.batches.length === 3);
  t.equal(one.batches.length, 2);
});

t.test('requests are begun in the order in which they came', async (t) => {
  const plane = await start(t);
  const replica = await plane.replica('a1');
  const calls = times(5, (index) => plane.call(null, { id: `r${index}` }));
  for (let count = 1; count <= 5; count++) {
    await replica.until(() => replica.batches.length === count);
    replica.result(null);
  }
  await Promise.all(calls.map(({ over }) => over));
  t.same(replica.requests, ['r0', 'r1', 'r2', 'r3', 'r4']);
});

t.test('a lone request to an idle replica does not wait for company', async (t) => {
  const plane = await start(t, { batching: batching(8), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  plane.call();
  await replica.until(() => replica.batches.length === 1);
  t.same(replica.last.requests, ['r1']);
  t.equal(plane.clock.pending, 0, 'no timer was needed');
});

t.test('what comes while a batch is under way leaves as one batch when it is answered', async (t) => {
  const plane = await start(t, { batching: batching(4), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  const calls = [plane.call(0)];
  await replica.until(() => replica.batches.length === 1);
  calls.push(...times(6, (index) => plane.call(index + 1)));
  await replica.settled();
  t.equal(replica.batches.length, 1, 'one batch at a time');
  replica.result(null);
  await replica.until(() => replica.batches.length === 2);
  for (const id of replica.last.ids) replica.result(null, [id]);
  await replica.until(() => replica.batches.length === 3);
  for (const id of replica.last.ids) replica.result(null, [id]);
  await Promise.all(calls.map(({ over }) => over));
  t.same(
    replica.batches.map(({ requests }) => requests.length),
    [1, 4, 2],
  );
  t.same(replica.requests, ['r1', 'r2', 'r3', 'r4', 'r5', 'r6', 'r7'], 'in order');
});

t.test('items of a batch carry their own values', async (t) => {
  const plane = await start(t, { batching: batching(4), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  plane.call('ä');
  plane.call({ bytes: Buffer.from('abc') });
  await replica.until(() => replica.batches.length === 1);
  t.equal(replica.last.form, 'items');
  t.equal(replica.last.text, '"ä"{"bytes":{"$seg":0}}');
  t.match(replica.last.members, [{ sk: 4, n: 0 }, { n: 1 }]);
});

t.test('tensors of one shape are stacked, tensors of two shapes never meet', async (t) => {
  const plane = await start(t, { kind: 'model', batching: batching(8), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  const calls = [row(1, 2), row(3, 4, 5), row(6, 7), row(8, 9, 10)].map((x) => plane.call({ x }));
  await replica.until(() => replica.batches.length === 1);
  replica.result({ y: new Tensor('float32', [2, 1], Float32Array.of(10, 20)) }, replica.last.ids, { rows: [1, 1] });
  await replica.until(() => replica.batches.length === 2);
  replica.result({ y: new Tensor('float32', [2, 1], Float32Array.of(30, 40)) }, replica.last.ids, { rows: [1, 1] });
  await Promise.all(calls.map(({ over }) => over));
  t.same(
    replica.batches.map(({ segments }) => segments.map(({ shape }) => shape)),
    [[[2, 2]], [[2, 3]]],
  );
  t.same(
    calls.map(({ value }) => (value as { y: Tensor }).y.data[0]),
    [10, 30, 20, 40],
    'each gets its own rows',
  );
});

t.test('a batch is held for company until the window of its oldest is over', async (t) => {
  const plane = await start(t, { batching: batching(8, 100), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  plane.call();
  await replica.settled();
  plane.clock.advance(60);
  plane.call();
  await replica.settled();
  plane.clock.advance(39);
  await replica.settled();
  t.equal(replica.batches.length, 0);
  plane.clock.advance(1);
  await replica.until(() => replica.batches.length === 1);
  t.same(replica.requests, ['r1', 'r2']);
});

t.test('a request with a near deadline that joins a batch which is held cuts the wait', async (t) => {
  const plane = await start(t, { batching: batching(8, 10_000), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  plane.call();
  await replica.settled();
  plane.call(null, { timeoutMs: 1000 });
  await replica.settled();
  plane.clock.advance(900);
  await replica.settled();
  t.same(replica.requests, ['r1', 'r2']);
});

t.test('a cancelled request leaves the queue before it runs', async (t) => {
  const plane = await start(t);
  const replica = await plane.replica('a1');
  const [first, second, third] = times(3, () => plane.call());
  second?.call?.abandon(undefined);
  await replica.until(() => replica.batches.length === 1);
  replica.result('one');
  await replica.until(() => replica.batches.length === 2);
  replica.result('three');
  await Promise.all([first?.over, third?.over]);
  t.same(replica.requests, ['r1', 'r3']);
  t.same(outcomes([first, second, third] as RecordedCall[]), ['result', '', 'result']);
});

t.test('a request whose time is over in the queue is told so and never sent', async (t) => {
  const plane = await start(t);
  const replica = await plane.replica('a1');
  plane.call();
  const late = plane.call(null, { timeoutMs: 50 });
  plane.clock.advance(50);
  t.same(late.events, ['error DEADLINE_EXCEEDED']);
  await replica.until(() => replica.batches.length === 1);
  replica.result(null);
  await replica.settled();
  t.same(replica.requests, ['r1']);
  t.equal(plane.dispatcher.load().ongoing, 0);
});

t.test('the deadline of a deployment counts where it is sooner than the one of the request', async (t) => {
  const plane = await start(t, { requestTimeoutMs: 30 });
  const call = plane.call(null, { timeoutMs: 1000 });
  plane.clock.advance(30);
  t.same(call.events, ['error DEADLINE_EXCEEDED']);
});

t.test('a request whose time was over before it came is refused at the door', async (t) => {
  const plane = await start(t);
  const replica = await plane.replica('a1');
  t.same(plane.call(null, { timeoutMs: 0 }).events, ['error DEADLINE_EXCEEDED']);
  await replica.settled();
  t.same(replica.requests, []);
});

t.test(
  'a request whose time is over at a replica is cancelled there, and holds its slot until the replica answers',
  async (t) => {
    const plane = await start(t);
    const replica = await plane.replica('a1');
    const late = plane.call(null, { timeoutMs: 50 });
    const next = plane.call();
    await replica.until(() => replica.batches.length === 1);
    t.equal(replica.last.members[0]?.leftMs, 50);
    plane.clock.advance(50);
    t.same(late.events, ['error DEADLINE_EXCEEDED']);
    await replica.until(() => replica.cancelled.length === 1);
    await replica.settled();
    t.same(replica.requests, ['r1'], 'the slot is not free yet');
    replica.error('cancelled', [replica.lastId], 'CLIENT_CLOSED');
    await replica.until(() => replica.batches.length === 2);
    replica.result('next');
    await next.over;
    t.same(late.events, ['error DEADLINE_EXCEEDED'], 'nothing came behind it');
  },
);

t.test('a cancelled member of a stacked batch costs the others nothing, and nobody gets its rows', async (t) => {
  const plane = await start(t, { kind: 'model', batching: batching(8), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  const calls = times(3, (index) => plane.call({ x: row(index) }));
  await replica.until(() => replica.batches.length === 1);
  calls[1]?.call?.abandon(undefined);
  replica.result({ y: new Tensor('float32', [3, 1], Float32Array.of(10, 20, 30)) }, replica.last.ids, { rows: [1, 1, 1] });
  await replica.settled();
  t.same(outcomes(calls), ['result', '', 'result']);
  t.same([calls[0]?.value, calls[2]?.value], [{ y: row(10) }, { y: row(30) }]);
});

t.test('the last member of a stacked batch that is still waited for gets its own row only', async (t) => {
  const plane = await start(t, { kind: 'model', batching: batching(8), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  const [gone, waits] = times(2, (index) => plane.call({ x: row(index) }));
  await replica.until(() => replica.batches.length === 1);
  gone?.call?.abandon(undefined);
  replica.result({ y: new Tensor('float32', [2, 1], Float32Array.of(10, 20)) }, replica.last.ids, { rows: [1, 1] });
  await replica.settled();
  t.same(waits?.value, { y: row(20) });
});

t.test('a wrong number of rows is an error for that batch alone', async (t) => {
  const plane = await start(t, { kind: 'model', batching: batching(2), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  const calls = times(4, (index) => plane.call({ x: row(index) }));
  await replica.until(() => replica.batches.length === 1);
  replica.result({ y: new Tensor('float32', [3, 1], new Float32Array(3)) }, replica.last.ids, { rows: [1, 1] });
  await replica.until(() => replica.batches.length === 2);
  replica.result({ y: new Tensor('float32', [2, 1], new Float32Array(2)) }, replica.last.ids, { rows: [1, 1] });
  await Promise.all(calls.map(({ over }) => over));
  t.same(outcomes(calls), ['error USER_ERROR', 'error USER_ERROR', 'result', 'result']);
});

t.test('a replica that shares out rows in another way than it got them is not believed', async (t) => {
  const plane = await start(t, { kind: 'model', batching: batching(8), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  const calls = times(2, (index) => plane.call({ x: row(index) }));
  await replica.until(() => replica.batches.length === 1);
  replica.result({ y: new Tensor('float32', [2, 1], Float32Array.of(10, 20)) }, replica.last.ids, { rows: [2, 0] });
  await replica.settled();
  for (const [index, call] of calls.entries()) {
    t.ok(
      call.error !== undefined || (call.value as { y: Tensor }).y.shape[0] === 1,
      `request ${index} has its own row, or an error`,
    );
  }
});

t.test('a failed batch of an idempotent deployment is run in halves until the poisonous request stands alone', async (t) => {
  const plane = await start(t, {
    batching: batching(8),
    maxOngoingRequests: 16,
    retry: { maxAttempts: 2, backoffMs: 0, idempotent: true },
  });
  const replica = await plane.replica('a1');
  const calls = times(8, (index) => plane.call(index));
  let runs = 0;
  while (calls.some(({ events }) => events.length === 0)) {
    await replica.until(() => replica.batches.length > runs);
    runs += 1;
    const batch = replica.batches[runs - 1];
    if (batch === undefined) break;
    replica.begun(batch.ids);
    if (batch.requests.includes('r6')) replica.error('poison', batch.ids);
    else for (const id of batch.ids) replica.result('well', [id]);
    await replica.settled();
  }
  t.same(outcomes(calls), ['result', 'result', 'result', 'result', 'result', 'error USER_ERROR', 'result', 'result']);
  t.ok(runs <= 1 + 2 * Math.log2(8), `${runs} runs`);
});

t.test('a failed batch of what is not idempotent fails as a whole', async (t) => {
  const plane = await start(t, { batching: batching(8), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  const calls = times(2, () => plane.call());
  await replica.until(() => replica.batches.length === 1);
  replica.error('no');
  await Promise.all(calls.map(({ over }) => over));
  t.same(outcomes(calls), ['error USER_ERROR', 'error USER_ERROR']);
});

t.test('the more urgent of those that wait is sent first, by its header or by what a caller says', async (t) => {
  const plane = await start(t);
  const replica = await plane.replica('a1');
  const http = (priority: string) => ({ method: 'POST', path: '/', query: '', headers: ['x-priority', priority] });
  plane.call(null, { id: 'first' });
  plane.call(null, { id: 'usual' });
  plane.call(null, { id: 'nonsense', http: http('now') });
  plane.call(null, { id: 'last', http: http('7') });
  plane.call(null, { id: 'soon', http: http('1') });
  plane.call(null, { id: 'urgent', priority: 0 });
  for (let count = 1; count <= 6; count++) {
    await replica.until(() => replica.batches.length === count);
    replica.result(null);
  }
  t.same(replica.requests, ['first', 'urgent', 'soon', 'usual', 'nonsense', 'last']);
});

t.test('a stream of urgent requests does not keep the least urgent from its turn', async (t) => {
  const plane = await start(t);
  const replica = await plane.replica('a1');
  plane.call(null, { priority: 0 });
  plane.call(null, { id: 'patient', priority: 7 });
  await replica.until(() => replica.batches.length === 1);
  let served = 0;
  while (!replica.requests.includes('patient')) {
    served += 1;
    plane.call(null, { priority: 0 });
    plane.clock.advance(100);
    replica.result(null);
    await replica.until(() => replica.batches.length > served);
  }
  t.ok(served > 60 && served <= 72, `${served} of 100 ms each before it`);
});

/** A replica of which three runs were seen: each took 100 ms. */
const knownToTake100Ms = async (t: Owner) => {
  const plane = await start(t, { batching: batching(2), maxOngoingRequests: 8 });
  const replica = await plane.replica('a1');
  for (let run = 1; run <= 3; run++) {
    plane.call();
    await replica.until(() => replica.batches.length === run);
    plane.clock.advance(100);
    replica.result(null, replica.last.ids, { workMs: 100 });
    await replica.settled();
  }
  return { plane, replica };
};

t.test('what cannot be answered in time any more is told so and not run, for the good of what can', async (t) => {
  const { plane, replica } = await knownToTake100Ms(t);
  plane.call(null, { id: 'running' });
  await replica.until(() => replica.batches.length === 4);
  const late = plane.call(null, { id: 'late', timeoutMs: 150 });
  const patient = plane.call(null, { id: 'patient', timeoutMs: 10_000 });
  plane.clock.advance(100);
  replica.result(null, replica.last.ids, { workMs: 100 });
  await replica.until(() => replica.batches.length === 5);
  t.same(late.events, ['error DEADLINE_EXCEEDED']);
  t.match(late.error?.message, /not run/);
  t.same(replica.last.requests, ['patient']);
  replica.result(null, replica.last.ids, { workMs: 100 });
  await patient.over;
  t.match(plane.dispatcher.metrics(), [{ dropped: 1, results: { DEADLINE_EXCEEDED: 1, OK: 5 } }]);
});

t.test('an error that takes its siblings along is counted once for each, and the queue goes on', async (t) => {
  const { plane, replica } = await knownToTake100Ms(t);
  plane.call(null, { id: 'running' });
  await replica.until(() => replica.batches.length === 4);
  // Items of one request: the first that fails ends it, and with it the others.
  const items = times(4, () => plane.call(null, { id: 'item', timeoutMs: 150 }));
  const abandonAll = () => {
    for (const each of items) each.call?.abandon(undefined);
  };
  for (const item of items) item.onError = abandonAll;
  plane.call(null, { id: 'patient' });
  plane.clock.advance(100);
  replica.result(null, replica.last.ids, { workMs: 100 });
  await replica.until(() => replica.batches.length === 5);
  t.same(replica.last.requests, ['patient']);
  t.match(plane.dispatcher.metrics(), [{ queued: 0 }]);
  plane.call(null, { id: 'next' });
  replica.result(null, replica.last.ids, { workMs: 100 });
  await replica.until(() => replica.batches.length === 6);
  t.same(replica.last.requests, ['next']);
});

t.test('an idle replica with nothing else to do runs also what will be late', async (t) => {
  const { plane, replica } = await knownToTake100Ms(t);
  const call = plane.call(null, { timeoutMs: 50 });
  await replica.until(() => replica.batches.length === 4);
  replica.result('faster than it was', replica.last.ids, { workMs: 1 });
  await call.over;
  t.same(call.events, ['result']);
});

t.test('an item that fails alone fails alone', async (t) => {
  const plane = await start(t, { batching: batching(8), maxOngoingRequests: 16 });
  const replica = await plane.replica('a1');
  const calls = times(2, () => plane.call());
  await replica.until(() => replica.batches.length === 1);
  replica.error('no', replica.last.ids.slice(0, 1));
  replica.result('well', replica.last.ids.slice(1));
  await Promise.all(calls.map(({ over }) => over));
  t.same(outcomes(calls), ['error USER_ERROR', 'result']);
  t.equal(calls[0]?.error?.source, 'app/A');
});

t.test('when requests hold as many bytes as may wait, the next is refused until some have left', async (t) => {
  const plane = await DataPlane.start(t, routingSnapshot([applicationRouting()], { a1: 'app/A@v1' }, { maxBufferedBytes: 1000 }));
  const first = plane.call(Buffer.alloc(2000));
  t.same(plane.call().events, ['error QUEUE_FULL']);
  first.call?.abandon(undefined);
  t.same(plane.call().events, []);
});

t.test('a deployment that was given up refuses what waits and what comes, with the reason', async (t) => {
  const plane = await start(t);
  const waits = plane.call();
  plane.dispatcher.apply(snapshot({ refuse: 'it is broken' }));
  const comes = plane.call();
  t.same(outcomes([waits, comes]), ['error UNAVAILABLE', 'error UNAVAILABLE']);
  t.equal(waits.error?.message, 'it is broken');
  t.equal(plane.dispatcher.load().ongoing, 0);
});

t.test('back to a version whose requests had moved on: each is sent once, and the lane counts right', async (t) => {
  const HTTP = { method: 'POST', path: '/', query: '', headers: [] };
  const batching = { method: 'call', maxBatchSize: 8, waitMs: 0, targetMs: null, maxConcurrentBatches: 8 };
  const of = (generation: number, version: string) => {
    const deployments = [deploymentRouting({ version, maxOngoingRequests: 8, batching })];
    return routingSnapshot([applicationRouting({ generation, deployments })], { a1: 'app/A@v1' });
  };
  const plane = await DataPlane.start(t, of(1, 'v1'));
  // As a step makes it: it stays with its generation, and keeps the lane of v1 alive.
  plane.call(Buffer.from('stays'), { http: HTTP, id: 'stays' });
  plane.call(Buffer.from('moves'), { http: HTTP, id: 'moves', movable: true });
  plane.dispatcher.apply(of(2, 'v2'));
  plane.dispatcher.apply(of(3, 'v1'));
  const one = await plane.replica('a1');
  await one.until(() => one.batches.length > 0);
  t.same(one.requests, ['stays', 'moves']);
  for (const id of one.last.ids) one.result(null, [id], { http: { status: 200, headers: [] } });
  await one.settled();
  plane.call(Buffer.from('next'), { http: HTTP, id: 'next' });
  await one.until(() => one.requests.includes('next'));
});

t.test('of replicas that could take up more CPUs than there are so many work at a time, and the same ones', async (t) => {
  const plane = await start(t, { kind: 'model', maxOngoingRequests: 2, maxQueuedRequests: 1, mostAtWork: 1 });
  const [one, two] = [await plane.replica('a1'), await plane.replica('a2')];
  const calls = times(6, () => plane.call());
  await one.until(() => one.requests.length === 2);
  t.equal(calls.filter(({ events }) => events.length === 0).length, 5, 'as many are taken as both have slots for, and one waits');
  for (let answered = 1; answered <= 5; answered++) {
    await one.until(() => one.batches.length >= answered);
    one.result('answer', one.batches[answered - 1]?.ids);
  }
  await Promise.all(calls.map(({ over }) => over));
  t.same([one.requests.length, two.requests.length], [5, 0]);
});

t.test('a replica that is not at work takes over from one that is gone', async (t) => {
  const plane = await start(t, { kind: 'model', maxOngoingRequests: 1, mostAtWork: 1 });
  const [one, two] = [await plane.replica('a1'), await plane.replica('a2')];
  const calls = times(2, () => plane.call());
  await one.until(() => one.requests.length === 1);
  t.equal(two.requests.length, 0);
  await one.die();
  await two.until(() => two.requests.length === 1);
  two.result('answer');
  await two.until(() => two.requests.length === 2);
  two.result('answer');
  await Promise.all(calls.map(({ over }) => over));
});

t.test('where sessions stick, a replica works for its own whoever else works', async (t) => {
  const plane = await start(t, { kind: 'model', maxOngoingRequests: 4, mostAtWork: 1, router: { policy: 'session' } });
  const [one, two] = [await plane.replica('a1'), await plane.replica('a2')];
  for (let session = 0; session < 16; session++) plane.call('', { sessionId: `s${session}` });
  await one.until(() => one.requests.length > 0);
  await two.until(() => two.requests.length > 0);
});

import t from 'tap';
import { FRAME } from '../../src/protocol/frame.ts';
import { DataPlane } from '../support/data-plane.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

type Deployment = NonNullable<Parameters<typeof deploymentRouting>[0]>;
type Owner = Parameters<typeof DataPlane.start>[0];

const start = (t: Owner, deployment: Deployment = {}) =>
  DataPlane.start(
    t,
    routingSnapshot([applicationRouting({ deployments: [deploymentRouting(deployment)] })], {
      a1: 'app/A@v1',
      a2: 'app/A@v1',
      a3: 'app/A@v1',
    }),
  );
const idempotent = { maxAttempts: 2, backoffMs: 0, idempotent: true };
const batching = (maxBatchSize: number, waitMs = 0) => ({
  maxBatchSize,
  waitMs,
  targetMs: null,
  maxConcurrentBatches: 1,
  method: 'call',
});

/** A replica that works on one request, and another that stands by. */
const atWork = async (t: Owner, deployment: Deployment = {}) => {
  const plane = await start(t, deployment);
  const one = await plane.replica('a1');
  const call = plane.call('work', { id: 'first' });
  await one.until(() => one.batches.length === 1);
  const two = await plane.replica('a2');
  return { plane, one, two, call };
};

t.test('a request that a dead replica had not begun goes to another one', async (t) => {
  const { one, two, call } = await atWork(t);
  await one.die();
  await two.until(() => two.batches.length === 1);
  two.result('from the other');
  await call.over;
  t.equal(call.value, 'from the other');
});

t.test('a request that a dead replica had begun fails', async (t) => {
  const { one, two, call } = await atWork(t);
  one.begun();
  await one.settled();
  await one.die();
  await call.over;
  t.same(call.events, ['error REPLICA_DIED']);
  await two.settled();
  t.same(two.requests, []);
});

t.test('a request that a dead replica had begun runs again where it is idempotent', async (t) => {
  const { one, two, call } = await atWork(t, { retry: idempotent });
  one.begun();
  await one.settled();
  await one.die();
  await two.until(() => two.batches.length === 1);
  two.result('again');
  await call.over;
  t.equal(call.value, 'again');
});

t.test('a request that was alone in work at two deaths is refused', async (t) => {
  const { plane, one, two, call } = await atWork(t, { retry: { ...idempotent, maxAttempts: 100 } });
  one.begun();
  await one.settled();
  await one.die();
  await two.until(() => two.batches.length === 1);
  two.begun();
  await two.settled();
  const three = await plane.replica('a3');
  await two.die();
  await call.over;
  t.same(call.events, ['error REPLICA_DIED']);
  await three.settled();
  t.same(three.requests, []);
});

t.test('a request that no replica had begun outlives any number of their deaths', async (t) => {
  const { plane, one, two, call } = await atWork(t);
  await one.die();
  await two.until(() => two.batches.length === 1);
  const three = await plane.replica('a3');
  await two.die();
  await three.until(() => three.batches.length === 1);
  three.result('at last');
  await call.over;
  t.equal(call.value, 'at last');
});

t.test('requests that a dead replica leaves stand before those that came later, in their order', async (t) => {
  const plane = await start(t, { maxOngoingRequests: 3 });
  const one = await plane.replica('a1');
  const calls = Array.from({ length: 5 }, (_, index) => plane.call(null, { id: `r${index}` }));
  await one.until(() => one.batches.length === 3);
  await one.die();
  const two = await plane.replica('a2');
  await two.until(() => two.batches.length === 3);
  for (const { ids } of [...two.batches]) two.result(null, ids);
  await two.until(() => two.batches.length === 5);
  for (const { ids } of two.batches.slice(3)) two.result(null, ids);
  await Promise.all(calls.map(({ over }) => over));
  t.same(two.requests, ['r0', 'r1', 'r2', 'r3', 'r4']);
});

t.test('the members of a batch that killed its replica run alone', async (t) => {
  const plane = await start(t, { batching: batching(4), maxOngoingRequests: 16, retry: idempotent });
  const one = await plane.replica('a1');
  const calls = Array.from({ length: 3 }, () => plane.call());
  await one.until(() => one.batches.length === 1);
  one.begun();
  await one.settled();
  const two = await plane.replica('a2');
  await one.die();
  for (let runs = 1; runs <= 3; runs++) {
    await two.until(() => two.batches.length === runs);
    two.result(null);
  }
  await Promise.all(calls.map(({ over }) => over));
  t.same(
    two.batches.map(({ requests }) => requests),
    [['r1'], ['r2'], ['r3']],
  );
});

t.test('a batch that a dead replica had not begun is not held for company a second time', async (t) => {
  const plane = await start(t, { batching: batching(8, 1000), maxOngoingRequests: 16 });
  const one = await plane.replica('a1');
  plane.call();
  await one.settled();
  plane.clock.advance(1000);
  await one.until(() => one.batches.length === 1);
  const two = await plane.replica('a2');
  await one.die();
  await two.until(() => two.batches.length === 1);
  t.same(two.requests, ['r1']);
});

t.test('a cancelled request does not run again when its replica dies', async (t) => {
  const { one, two, call } = await atWork(t);
  call.call?.abandon(undefined);
  await one.die();
  await two.settled();
  t.same(two.requests, []);
  t.same(call.events, []);
});

t.test('a streamed answer comes in pieces and ends', async (t) => {
  const { one, call } = await atWork(t);
  one.open({ status: 200, headers: ['content-type', 'text/plain'] });
  one.chunk('a');
  one.chunk('b');
  one.end();
  await call.over;
  t.same(call.events, ['open', 'chunk', 'chunk', 'end']);
  t.same(call.chunks, ['a', 'b']);
  t.equal(call.http?.status, 200);
});

t.test('credit that the consumer gives reaches the replica', async (t) => {
  const { one, call } = await atWork(t);
  one.open();
  await one.settled();
  call.call?.link?.credit(call.call, 1234);
  await one.until(() => one.credits.length === 1);
  t.same(one.credits, [{ id: one.lastId, bytes: 1234 }]);
});

t.test('a stream that fails midway ends with the error', async (t) => {
  const { one, call } = await atWork(t);
  one.open();
  one.chunk('a');
  one.error('no more');
  await call.over;
  t.same(call.events, ['open', 'chunk', 'error USER_ERROR']);
});

t.test('a stream whose replica dies is not begun again, idempotent or not', async (t) => {
  const { one, two, call } = await atWork(t, { retry: idempotent });
  one.open();
  one.chunk('a');
  await one.settled();
  await one.die();
  await call.over;
  t.same(call.events, ['open', 'chunk', 'error REPLICA_DIED']);
  await two.settled();
  t.same(two.requests, []);
});

t.test('a cancelled stream gives its consumer nothing more', async (t) => {
  const { one, call } = await atWork(t);
  one.open();
  one.chunk('a');
  await one.settled();
  call.call?.abandon(undefined);
  one.chunk('b');
  one.end();
  await one.settled();
  t.same(call.events, ['open', 'chunk']);
  t.same(one.cancelled, [one.lastId]);
});

t.test('a replica whose loop is late is out of choice until it answers', async (t) => {
  const plane = await start(t, { maxOngoingRequests: 8 });
  const [late, quick] = [await plane.replica('a1'), await plane.replica('a2')];
  late.answersPings = false;
  plane.clock.advance(500);
  await quick.settled();
  await late.settled();
  plane.clock.advance(1001);
  // The heartbeat of this moment: the quick one answers it.
  await quick.settled();
  await quick.settled();
  for (let count = 0; count < 3; count++) plane.call();
  await late.settled();
  t.same(late.requests, []);
  late.send(FRAME.PONG, {});
  await late.settled();
  plane.call();
  await late.until(() => late.batches.length === 1);
});

t.test('a replica that never answers its heartbeat is told to the control plane', async (t) => {
  const plane = await start(t, { unresponsiveTimeoutMs: 3000 });
  const late = await plane.replica('a1');
  late.answersPings = false;
  plane.clock.advance(500);
  plane.clock.advance(2999);
  plane.dispatcher.checkLinks();
  t.notMatch(plane.posted, [{ type: 'link-up' }, { type: 'unresponsive' }]);
  plane.clock.advance(2);
  plane.dispatcher.checkLinks();
  t.match(plane.posted.at(-1), { type: 'unresponsive', replica: 'a1' });
});

t.test('a daemon that was held up itself blames nobody before it has heard again', async (t) => {
  const plane = await start(t, { unresponsiveTimeoutMs: 1000 });
  const one = await plane.replica('a1');
  one.answersPings = false;
  plane.clock.advance(500);
  plane.dispatcher.checkLinks();
  // Stopped for a minute: the answer waits in the socket, and the look comes first.
  plane.clock.advance(60_000);
  plane.dispatcher.checkLinks();
  t.notMatch(plane.posted, [{ type: 'link-up' }, { type: 'unresponsive' }]);
  plane.clock.advance(500);
  plane.dispatcher.checkLinks();
  t.match(plane.posted.at(-1), { type: 'unresponsive', replica: 'a1' }, 'one that has still not answered is told');
});

t.test('the work on a request that ran out of time counts until then, and what its late answer says does not', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1');
  const call = plane.call('work', { timeoutMs: 400 });
  await one.until(() => one.batches.length === 1);
  plane.clock.advance(400);
  await call.over;
  t.same(call.events, ['error DEADLINE_EXCEEDED']);
  one.result('late', one.last.ids, { workMs: 1000 });
  await one.settled();
  t.match(plane.dispatcher.metrics(), [{ results: { DEADLINE_EXCEEDED: 1 }, processing: { sum: 0.4 } }]);
  t.equal(call.call?.workMs, 400);
});

t.test('a replica whose clock says sooner that the time is over does not make it a client that left', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1');
  const late = plane.call('late', { timeoutMs: 1000 });
  await one.until(() => one.batches.length === 1);
  plane.clock.advance(960);
  one.error('gone', undefined, 'CLIENT_CLOSED');
  await late.over;
  t.same(late.events, ['error DEADLINE_EXCEEDED']);
  const early = plane.call('early', { timeoutMs: 1000 });
  await one.until(() => one.batches.length === 2);
  one.error('its own', undefined, 'CLIENT_CLOSED');
  await early.over;
  t.same(early.events, ['error CLIENT_CLOSED']);
});

const POST = { method: 'POST', path: '/', query: '', headers: [] };
const OK = { http: { status: 200, headers: [] } };

t.test('the memory of a large body is free when the one replica that it went to has answered', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1', 'app/A', 'v1', { brief: true });
  const call = plane.call(Buffer.alloc(100_000), { http: POST });
  await one.until(() => one.batches.length === 1);
  t.notOk(call.call?.isValueFree);
  one.result('read', one.last.ids, OK);
  await call.over;
  t.ok(call.call?.isValueFree);
});

t.test('the memory of a body that went to two replicas is not', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1', 'app/A', 'v1', { brief: true });
  const call = plane.call(Buffer.alloc(100_000), { http: POST });
  await one.until(() => one.batches.length === 1);
  const two = await plane.replica('a2', 'app/A', 'v1', { brief: true });
  await one.die();
  await two.until(() => two.batches.length === 1);
  two.result('read', two.last.ids, OK);
  await call.over;
  t.same(call.events, ['result']);
  t.notOk(call.call?.isValueFree);
});

t.test('nor is that of a body whose replica has answered before all of it had left', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1', 'app/A', 'v1', { brief: true });
  one.stopReading();
  const call = plane.call(Buffer.alloc(8_000_000), { http: POST });
  one.result('not read', [call.call?.id ?? 0], OK);
  await call.over;
  t.same(call.events, ['result']);
  t.notOk(call.call?.isValueFree);
});

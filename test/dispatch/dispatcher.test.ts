import t from 'tap';
import type { CallTarget } from '../../src/domain/graph.ts';
import { DataPlane } from '../support/data-plane.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

type Owner = Parameters<typeof DataPlane.start>[0];

const target = (deployment: string, application = 'app'): CallTarget => ({ application, deployment, method: 'call' });

/** `A` calls `B` through its handle `b`, which `generation` 2 no longer declares. */
const wired = (generation = 1, versions: { a?: string; b?: string } = {}, more: Parameters<typeof deploymentRouting>[0] = {}) => {
  const { a = 'v1', b = 'v1' } = versions;
  return routingSnapshot(
    [
      applicationRouting({
        generation,
        calls: { A: { b: target('B'), lost: target('B', 'elsewhere') } },
        deployments: [
          deploymentRouting({ version: a, maxOngoingRequests: 4, ...more }),
          deploymentRouting({ name: 'B', version: b, maxOngoingRequests: 4 }),
        ],
      }),
    ],
    { a1: 'app/A@v1', b1: 'app/B@v1', a2: 'app/A@v2', b2: 'app/B@v2' },
  );
};

/** A request at `A` in whose work a call of `B` is under way. */
const calling = async (t: Owner, options: { timeoutMs?: number; childTimeoutMs?: number } = {}) => {
  const plane = await DataPlane.start(t, wired());
  const [a, b] = [await plane.replica('a1'), await plane.replica('b1', 'app/B')];
  const call = plane.call('question', { id: 'the request', timeoutMs: options.timeoutMs });
  await a.until(() => a.batches.length === 1);
  a.call(7, 'b', 'inner', { parent: a.lastId, timeoutMs: options.childTimeoutMs });
  await b.until(() => b.batches.length === 1);
  return { plane, a, b, call };
};

t.test('a call through a handle reaches the other deployment, and its answer comes back', async (t) => {
  const { a, b, call } = await calling(t);
  t.same(b.requests, ['the request'], 'under the id of the request');
  t.equal(b.last.text, '"inner"');
  b.result('inner answer');
  await a.until(() => a.answers.length === 1);
  t.same(a.answers, ['RESULT 7 "inner answer"']);
  a.result('answer');
  await call.over;
  t.equal(call.value, 'answer');
});

t.test('an error of the called comes back with its code', async (t) => {
  const { a, b } = await calling(t);
  b.error('no', b.last.ids, 'INVALID_INPUT');
  await a.until(() => a.answers.length === 1);
  t.same(a.answers, ['ERROR 7 INVALID_INPUT']);
});

t.test('a stream of the called comes back in pieces, with credit for its producer', async (t) => {
  const { a, b } = await calling(t);
  b.open();
  b.chunk('x');
  await a.until(() => a.answers.length === 2);
  a.send(40, { id: 7, bytes: 99 });
  await b.until(() => b.credits.length === 1);
  b.end();
  await a.until(() => a.answers.length === 3);
  t.same(a.answers, ['OPEN 7', 'CHUNK 7 "x"', 'END 7']);
  t.match(b.credits, [{ bytes: 99 }]);
});

t.test('a call that the graph does not declare is refused by name', async (t) => {
  const { a } = await calling(t);
  a.call(8, 'nobody', null, { parent: a.lastId });
  a.call(9, 'constructor', null, { parent: a.lastId });
  a.call(10, 'lost', null, { parent: a.lastId });
  await a.until(() => a.answers.length === 3);
  t.same(a.answers, ['ERROR 8 CALL_REFUSED', 'ERROR 9 CALL_REFUSED', 'ERROR 10 CALL_REFUSED']);
  t.match(a.refusals, [
    /app\/A calls `nobody`, which the graph of application app does not declare/,
    /`constructor`/,
    /elsewhere/,
  ]);
});

t.test('a priority that is none is refused by name', async (t) => {
  const { a } = await calling(t);
  for (const [at, priority] of [8, -1, 0.5, '1', null].entries()) a.call(20 + at, 'b', null, { parent: a.lastId, priority });
  await a.until(() => a.refusals.length === 5);
  t.equal(a.refusals[0], 'expected `priority` to be a whole number from 0 to 7, got 8');
});

t.test('the cancel of a request cancels what was called in its work', async (t) => {
  const { a, b, call } = await calling(t);
  call.call?.abandon(undefined);
  await b.until(() => b.cancelled.length === 1);
  t.same(b.cancelled, [b.lastId]);
  await a.until(() => a.cancelled.length === 1);
});

t.test('code that waits for a call is told when that call was cancelled with its request', async (t) => {
  const { a, call } = await calling(t);
  call.call?.abandon(undefined);
  await a.until(() => a.cancelled.length === 1);
  await a.settled();
  t.match(a.answers, [/^ERROR 7 /], 'else it would wait for ever, and hold its slot');
});

t.test('code that waits for a call is told when the time of its request is over', async (t) => {
  const { plane, a, call } = await calling(t, { timeoutMs: 100 });
  plane.clock.advance(100);
  t.same(call.events, ['error DEADLINE_EXCEEDED']);
  await a.until(() => a.cancelled.length === 1);
  await a.settled();
  t.match(a.answers, [/^ERROR 7 /]);
});

t.test('a call in the work of a request has its deadline, or its own where that is sooner', async (t) => {
  const { b } = await calling(t, { timeoutMs: 500 });
  t.equal(b.last.members[0]?.leftMs, 500);
  const { b: other } = await calling(t, { timeoutMs: 500, childTimeoutMs: 200 });
  t.equal(other.last.members[0]?.leftMs, 200);
});

/** Two requests that `A` has in one batch, and what it called in the work of the first. */
const inCompany = async (t: Owner, more: Parameters<typeof deploymentRouting>[0] = {}) => {
  const batching = { maxBatchSize: 4, waitMs: 0, targetMs: null, maxConcurrentBatches: 1, method: 'call' };
  const plane = await DataPlane.start(t, wired(1, {}, { maxOngoingRequests: 16, batching, ...more }));
  const [first, second] = [plane.call(1, { id: 'first', timeoutMs: 100 }), plane.call(2, { id: 'second', timeoutMs: 500 })];
  const [a, b] = [await plane.replica('a1'), await plane.replica('b1', 'app/B')];
  await a.until(() => a.batches.length === 1);
  const [parent, mate] = a.last.ids as [number, number];
  a.call(7, 'b', 'inner', { parent });
  await b.until(() => b.batches.length === 1);
  return { plane, a, b, first, second, parent, mate };
};

t.test('what is called in the work of a batch has the latest deadline, and goes on while somebody waits', async (t) => {
  const { plane, a, b, first, second, parent } = await inCompany(t);
  t.equal(b.last.members[0]?.leftMs, 500);
  plane.clock.advance(100);
  t.same(first.events, ['error DEADLINE_EXCEEDED']);
  a.call(8, 'b', 'in the name of the first', { parent });
  await b.until(() => b.batches.length === 2);
  t.same(b.requests, ['first', 'second']);
  t.same(b.cancelled, []);
  second.call?.abandon(undefined);
  await b.until(() => b.cancelled.length === 2);
  a.call(9, 'b', null, { parent });
  await a.until(() => a.answers.includes('ERROR 9 CALL_REFUSED'));
});

t.test('a batch that fails takes what it called with it', async (t) => {
  const { a, b, parent, mate } = await inCompany(t);
  a.error('gave up', [parent, mate]);
  await b.until(() => b.cancelled.length === 1);
});

t.test('requests of a failed batch that run again have nothing in common any more', async (t) => {
  const { a, b, second, parent, mate } = await inCompany(t, { retry: { idempotent: true, maxAttempts: 2, backoffMs: 0 } });
  a.error('together they fail', [parent, mate]);
  await b.until(() => b.cancelled.length === 1);
  await a.until(() => a.requests.filter((id) => id === 'first').length === 2);
  a.call(8, 'b', 'again', { parent: a.lastId });
  await b.until(() => b.batches.length === 2);
  second.call?.abandon(undefined);
  await b.settled();
  t.equal(b.cancelled.length, 1);
});

t.test('a request that failed takes what was called in its work with it', async (t) => {
  const { a, b } = await calling(t);
  a.error('gave up');
  await b.until(() => b.cancelled.length === 1);
  t.same(b.cancelled, [b.lastId]);
});

t.test('a call in the work of a request that is over is refused', async (t) => {
  const { a, call } = await calling(t);
  const parent = a.lastId;
  a.result(null);
  await call.over;
  a.call(8, 'b', null, { parent });
  await a.until(() => a.answers.some((answer) => answer.startsWith('ERROR 8')));
  t.ok(a.answers.includes('ERROR 8 CALL_REFUSED'));
});

t.test('the calls of a replica that died are cancelled', async (t) => {
  const { a, b } = await calling(t);
  await a.die();
  await b.until(() => b.cancelled.length === 1);
  t.same(b.cancelled, [b.lastId]);
});

t.test('a call that its caller cancels is cancelled where it runs', async (t) => {
  const { a, b } = await calling(t);
  a.send(39, { ids: [7] });
  await b.until(() => b.cancelled.length === 1);
  b.result('too late');
  await b.settled();
  await a.settled();
  t.same(a.answers, []);
});

t.test('ingress requests that wait move to the new generation, those at a replica stay with theirs', async (t) => {
  const plane = await DataPlane.start(t, wired(1, {}, { maxOngoingRequests: 1 }));
  const old = await plane.replica('a1');
  const begun = plane.call('begun', { movable: true });
  const waits = plane.call('waits', { movable: true });
  await old.until(() => old.batches.length === 1);
  const next = await plane.replica('a2', 'app/A', 'v2');
  plane.dispatcher.apply(wired(2, { a: 'v2' }, { maxOngoingRequests: 1 }));
  await next.until(() => next.batches.length === 1);
  t.same(next.requests, ['r2']);
  t.notMatch(plane.posted, [{ type: 'link-up' }, { type: 'link-up' }, { type: 'generation-idle' }]);
  old.result('old');
  next.result('new');
  await Promise.all([begun.over, waits.over]);
  t.same([begun.value, waits.value], ['old', 'new']);
  t.match(plane.posted.at(-1), { type: 'generation-idle', application: 'app', generation: 1 });
});

t.test('calls in the work of a request never move to another generation', async (t) => {
  const { plane, a } = await calling(t);
  const b2 = await plane.replica('b2', 'app/B', 'v2');
  plane.dispatcher.apply(wired(2, { b: 'v2' }));
  a.call(8, 'b', 'late child', { parent: a.lastId });
  const b1 = await plane.replica('b1', 'app/B');
  await b1.until(() => b1.requests.length >= 1);
  await b2.settled();
  t.same(b2.requests, []);
});

t.test(
  'what the last replica of a replaced version gives back goes on with the new one, or is told that it cannot',
  async (t) => {
    const plane = await DataPlane.start(t, wired());
    const [a1, b1] = [await plane.replica('a1'), await plane.replica('b1', 'app/B')];
    const parent = plane.call('parent', { movable: true });
    await a1.until(() => a1.batches.length === 1);
    a1.begun();
    a1.call(7, 'b', 'inner', { parent: a1.lastId });
    await b1.until(() => b1.batches.length === 1);
    const waits = plane.call('not begun', { movable: true, deployment: 'B' });
    await b1.until(() => b1.batches.length === 2);
    const [a2, b2] = [await plane.replica('a2', 'app/A', 'v2'), await plane.replica('b2', 'app/B', 'v2')];
    plane.dispatcher.apply(wired(2, { a: 'v2', b: 'v2' }));
    await b1.die();
    while (!plane.posted.some(({ type }) => type === 'link-down')) await new Promise(setImmediate);
    plane.dispatcher.checkLinks();
    await b2.until(() => b2.batches.length === 1);
    t.equal(b2.last.text, '"not begun"', 'a request of its own moves');
    await a1.until(() => a1.answers.length === 1);
    t.same(a1.answers, ['ERROR 7 UNAVAILABLE'], 'one in the work of a request of the old generation cannot');
    b2.result('new');
    t.equal((await waits.over).value, 'new');
    a1.result('old');
    t.equal((await parent.over).value, 'old');
    await a2.settled();
    t.same(a2.requests, []);
  },
);

t.test('a generation is idle when its last request is answered, and only then', async (t) => {
  const { plane, a, b, call } = await calling(t);
  plane.dispatcher.apply(wired(2));
  const idle = () => plane.posted.filter(({ type }) => type === 'generation-idle').length;
  a.result('answer');
  await call.over;
  t.equal(idle(), 0, 'what it called still runs');
  b.result(null);
  await b.settled();
  t.equal(idle(), 1);
});

t.test('an edit that leaves the version as it is sends no request that waits twice', async (t) => {
  const batching = { maxBatchSize: 4, waitMs: 0, targetMs: null, maxConcurrentBatches: 1, method: 'call' };
  const limits = { maxOngoingRequests: 16, batching };
  const plane = await DataPlane.start(t, wired(1, {}, limits));
  const calls = Array.from({ length: 3 }, () => plane.call(null, { movable: true }));
  plane.dispatcher.apply(wired(2, {}, { ...limits, maxQueuedRequests: 100 }));
  const a = await plane.replica('a1');
  await a.until(() => a.batches.length === 1);
  await a.settled();
  t.same(a.requests, ['r1', 'r2', 'r3']);
  for (const id of a.last.ids) a.result(null, [id]);
  await Promise.all(calls.map(({ over }) => over));
  await a.settled();
  t.match(plane.dispatcher.load(), { ongoing: 0, deployments: { 'app/A': { queued: 0, ongoing: 0 } } });
});

t.test('a replica that is no longer listed finishes what it has, gets nothing more, and is then told to be idle', async (t) => {
  const plane = await DataPlane.start(t, wired());
  const a = await plane.replica('a1');
  const call = plane.call();
  await a.until(() => a.batches.length === 1);
  const { applications } = wired();
  plane.dispatcher.apply(routingSnapshot(applications, {}));
  plane.call();
  await a.settled();
  t.equal(a.batches.length, 1);
  t.notOk(plane.posted.some(({ type }) => type === 'replica-idle'));
  a.result(null);
  await call.over;
  await a.settled();
  t.match(plane.posted.at(-1), { type: 'replica-idle', replica: 'a1' });
});

t.test('a replica that connects before it is listed takes work as soon as it is', async (t) => {
  const { applications } = wired();
  const plane = await DataPlane.start(t, routingSnapshot(applications, {}));
  const a = await plane.replica('a1');
  plane.call();
  await a.settled();
  t.equal(a.batches.length, 0);
  plane.dispatcher.apply(wired());
  await a.until(() => a.batches.length === 1);
});

t.test('a deployment that the application does not have is refused by name', async (t) => {
  const plane = await DataPlane.start(t, wired());
  const call = plane.call(null, { deployment: 'C' });
  t.same(call.events, ['error CALL_REFUSED']);
  t.equal(call.error?.message, 'Application app has no deployment C.');
});

t.test('when the daemon stops, what waits and what is under way is told so', async (t) => {
  const plane = await DataPlane.start(t, wired(1, {}, { maxOngoingRequests: 1 }));
  const a = await plane.replica('a1');
  const calls = [plane.call(), plane.call()];
  await a.until(() => a.batches.length === 1);
  const { ServeError } = await import('../../src/domain/errors.ts');
  plane.dispatcher.destroy(new ServeError('UNAVAILABLE', 'stopping'));
  await Promise.all(calls.map(({ over }) => over));
  t.ok(calls.every(({ events }) => events.length === 1 && /^error /.test(events[0] ?? '')));
});

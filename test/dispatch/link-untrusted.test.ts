import t from 'tap';
import type { Link } from '../../src/dispatch/link.ts';
import { RequestBody } from '../../src/dispatch/request-body.ts';
import { encodeFrame, FRAME } from '../../src/protocol/frame.ts';
import type { CallMeta } from '../../src/protocol/messages.ts';
import { DataPlane, type RecordedCall } from '../support/data-plane.ts';
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
const outcomes = (calls: readonly RecordedCall[]) => calls.map(({ events }) => events.join(' '));

/** A replica that works on one request, and another that stands by. */
const atWork = async (t: Owner, deployment: Deployment = {}) => {
  const plane = await start(t, deployment);
  const one = await plane.replica('a1');
  const call = plane.call('work', { id: 'first' });
  await one.until(() => one.batches.length === 1);
  const two = await plane.replica('a2');
  return { plane, one, two, call };
};

// A replica is an untrusted peer: whatever it says, it hurts nobody but itself.

const head = (length: number, type: number, metaBytes: number, skeletonBytes: number, rest = 0) => {
  const bytes = Buffer.alloc(16 + rest);
  bytes.writeUInt32LE(length, 0);
  bytes.writeUInt32LE(type, 4);
  bytes.writeUInt32LE(metaBytes, 8);
  bytes.writeUInt32LE(skeletonBytes, 12);
  return bytes;
};
const frame = (type: number, meta: object, skeletons: readonly string[] = []) =>
  Buffer.concat(encodeFrame(type as 1, meta as Record<string, unknown>, skeletons));

const garbage: Readonly<Record<string, (id: number) => Uint8Array>> = {
  'bytes at random': () => Buffer.from('GET / HTTP/1.1\r\nhost: me\r\n\r\n'),
  'a frame of 4 GB': () => head(0xffff_fff8, FRAME.RESULT, 2, 0),
  'a frame of no known type': () => frame(99, {}),
  'a frame that has no place here': () => frame(FRAME.START, {}),
  'a meta that is longer than its frame': () => head(16, FRAME.RESULT, 100, 0),
  'a meta that is a list': () => frame(FRAME.RESULT, []),
  'a result without ids': () => frame(FRAME.RESULT, {}),
  'an error without an error': (id) => frame(FRAME.ERROR, { ids: [id] }),
  'an error that is a text': (id) => frame(FRAME.ERROR, { ids: [id], error: 'no' }),
  'a stream that was not begun': (id) => frame(FRAME.END, { id }),
  'an HTTP status of 1000': (id) => frame(FRAME.RESULT, { ids: [id], http: { status: 1000, headers: [] } }, ['null']),
  'an HTTP status of 101': (id) => frame(FRAME.RESULT, { ids: [id], http: { status: 101, headers: [] } }, ['null']),
  'HTTP headers that are numbers': (id) => frame(FRAME.RESULT, { ids: [id], http: { status: 200, headers: ['a', 1] } }, ['null']),
  'an HTTP head that is a number': (id) => frame(FRAME.RESULT, { ids: [id], http: 5 }, ['null']),
  'a stream with an absurd head': (id) => frame(FRAME.OPEN, { id, http: { status: 0, headers: 'no' } }),
  'a call without a method': () => frame(FRAME.CALL, { calls: [{ id: 1 }] }, ['null']),
  'a call of nothing': () => frame(FRAME.CALL, { calls: [null], method: 'call' }, ['null']),
  'a segment that is not there': (id) => frame(FRAME.RESULT, { ids: [id], segs: [['float32', [1e6], 4e6]] }, ['null']),
};

for (const [what, bytes] of Object.entries(garbage)) {
  t.test(`a replica that sends ${what} hurts only itself`, async (t) => {
    const { plane, one, two, call } = await atWork(t);
    one.begun();
    one.raw(bytes(one.lastId));
    await one.settled();
    if (!one.closed) await one.die();
    await two.settled();
    t.equal(call.events.length, 1, `its request has an end: ${call.events}`);
    const other = plane.call('other');
    await two.until(() => two.batches.length === 1);
    two.result('well');
    await other.over;
    t.same(other.events, ['result']);
  });
}

t.test('answers to ids that were never given, or were answered, are not listened to', async (t) => {
  const { one, call, plane } = await atWork(t);
  one.result('nobody asked', [99]);
  one.send(FRAME.CHUNK, { id: 99 }, ['1']);
  one.send(FRAME.OPEN, { id: 99 });
  one.send(FRAME.END, { id: 99 });
  one.send(FRAME.BEGUN, { ids: [99] });
  one.send(FRAME.CANCEL, { ids: [99] });
  one.send(FRAME.CREDIT, { id: 99, bytes: 5 });
  one.result('first');
  one.result('second');
  await one.settled();
  t.equal(one.closed, false);
  t.same(call.events, ['result']);
  t.equal(call.value, 'first');
  t.equal(plane.dispatcher.load().ongoing, 0);
});

t.test('a second answer to one request is not taken for the answer to the next', async (t) => {
  const { plane, one, call } = await atWork(t, { maxOngoingRequests: 1 });
  await plane.dispatcher.apply(routingSnapshot([applicationRouting()], { a1: 'app/A@v1' }));
  const next = plane.call('next', { id: 'second' });
  const { ids } = one.last;
  one.result('first');
  await one.until(() => one.batches.length === 2);
  one.result('first, again', ids);
  await one.settled();
  t.same(outcomes([call, next]), ['result', '']);
});

t.test('a whole answer behind the beginning of a stream is not let through as both', async (t) => {
  const { one, call } = await atWork(t);
  one.open({ status: 200, headers: [] });
  one.result('whole');
  await one.settled();
  if (!one.closed) await one.die();
  t.same(call.events.slice(0, 1), ['open']);
  t.match(call.events[1], /^error /);
});

t.test('a stream that is begun twice is begun once for its consumer', async (t) => {
  const { one, call } = await atWork(t);
  one.open({ status: 200, headers: [] });
  one.open({ status: 201, headers: [] });
  await one.settled();
  t.equal(call.events.filter((event) => event === 'open').length, 1);
});

t.test('whoever has no token of this daemon is not let in', async (t) => {
  const plane = await start(t);
  const { FakeReplica } = await import('../support/fake-replica.ts');
  await t.rejects(FakeReplica.connect(plane.path, 'a1', 'made.up'));
  const token = plane.token('a1', 'app/A', 'v1');
  await t.rejects(FakeReplica.connect(plane.path, 'a1', `x${token}`));
  t.match(plane.refused, ['its token is not one of this daemon', 'its token is not one of this daemon']);
});

t.test('a replica that connects a second time takes the place of its first connection', async (t) => {
  const { plane, one, call } = await atWork(t);
  const again = await plane.replica('a1');
  await one.until(() => one.closed).catch(() => {});
  t.equal(one.closed, true);
  const two = again.requests.length;
  t.ok(two <= 1);
  t.same(call.events, [], 'it was not begun: it is handed on');
});

t.test('a handle that is no text is refused, and nothing is thrown where all requests are served', async (t) => {
  const plane = await start(t);
  const refusals: string[] = [];
  const link = {
    deployment: 'app/A',
    replica: 'a1',
    call: () => undefined,
    answerError: (_id: number, error: Error) => refusals.push(error.message),
  } as unknown as Link;
  const meta = { calls: [], form: 'one', method: 'call', handle: { toString: null, valueOf: null } } as unknown as CallMeta;
  t.doesNotThrow(() => plane.dispatcher.childCall(link, 1, meta, { skeleton: 'null', segments: [] }));
  t.equal(refusals.length, 1);
});

t.test('an error for calls that were no batch ends them: they are not run again and again', async (t) => {
  const plane = await start(t, { maxOngoingRequests: 2, retry: { maxAttempts: 2, backoffMs: 0, idempotent: true } });
  const one = await plane.replica('a1');
  const calls = [plane.call('a'), plane.call('b')];
  for (let runs = 2; runs <= 4; runs += 2) {
    await one.until(() => one.batches.length === runs);
    one.error(
      'both',
      one.batches.slice(-2).flatMap(({ ids }) => ids),
    );
  }
  await Promise.all(calls.map(({ over }) => over));
  await one.settled();
  t.same(outcomes(calls), ['error USER_ERROR', 'error USER_ERROR']);
  t.equal(one.batches.length, 4);
});

t.test('an error for several calls runs none again whose answer has begun, or whose body is read', async (t) => {
  const plane = await start(t, { maxOngoingRequests: 3, retry: { maxAttempts: 2, backoffMs: 0, idempotent: true } });
  const one = await plane.replica('a1', 'app/A', 'v1', { bodies: true });
  const body = new RequestBody(() => {});
  const http = { method: 'POST', path: '/', query: '', headers: [] };
  const calls = [plane.call('a'), plane.call(null, { http, body }), plane.call('c', { id: 'again' })];
  await one.until(() => one.batches.length === 3);
  const ids = one.batches.flatMap(({ ids }) => ids);
  one.begun(ids);
  one.open(undefined, ids[0]);
  body.push(Buffer.from('read'));
  await one.until(() => one.bodies.length === 1);
  one.error('all', ids);
  await one.until(() => one.batches.length === 4);
  t.same(one.last.requests, ['again']);
  one.result('done');
  await Promise.all(calls.map(({ over }) => over));
  t.same(outcomes(calls), ['open error USER_ERROR', 'error USER_ERROR', 'result']);
});

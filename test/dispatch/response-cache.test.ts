import t from 'tap';
import { PASS_MS } from '../../src/dispatch/answer-store.ts';
import { DeploymentCounts } from '../../src/dispatch/counts.ts';
import type { CallRequest } from '../../src/dispatch/dispatcher.ts';
import type { CallTrace } from '../../src/dispatch/pending.ts';
import { ResponseCache } from '../../src/dispatch/response-cache.ts';
import { SharedCall } from '../../src/dispatch/shared-call.ts';
import type { ServeError } from '../../src/domain/errors.ts';
import type { DeploymentRouting, ResponseCacheRouting } from '../../src/domain/snapshot.ts';
import { listNode } from '../../src/graph/evaluate.ts';
import { FRAME } from '../../src/protocol/frame.ts';
import type { HttpHead } from '../../src/protocol/messages.ts';
import { nodeOf, type WireValue, wireOf } from '../../src/protocol/value.ts';
import { type CallOptions, DataPlane, type RecordedCall } from '../support/data-plane.ts';
import type { FakeReplica } from '../support/fake-replica.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

type Owner = Parameters<typeof DataPlane.start>[0];

const CACHE: ResponseCacheRouting = { maxBytes: 2 ** 20, ttlMs: null, vary: null, from: 'first' };

const cached = (cache: Partial<ResponseCacheRouting> | null = {}, more: Partial<DeploymentRouting> = {}, generation = 1) =>
  routingSnapshot(
    [
      applicationRouting({
        generation,
        calls: { B: { a: { application: 'app', deployment: 'A', method: 'call' } } },
        deployments: [
          deploymentRouting({
            maxOngoingRequests: 10,
            ...(cache === null ? {} : { responseCache: { ...CACHE, ...cache } }),
            ...more,
          }),
          deploymentRouting({ name: 'B', maxOngoingRequests: 10 }),
        ],
      }),
    ],
    { a1: 'app/A@v1', b1: 'app/B@v1' },
  );

interface Rig {
  readonly plane: DataPlane;
  readonly replica: FakeReplica;
  /** Until the replica has so many calls. */
  runs(count: number): Promise<void>;
}

const rig = async (t: Owner, snapshot = cached()): Promise<Rig> => {
  const plane = await DataPlane.start(t, snapshot);
  const replica = await plane.replica('a1');
  return { plane, replica, runs: (count) => replica.until(() => replica.batches.length === count) };
};

const post = (headers: readonly string[] = []): HttpHead => ({ method: 'POST', path: '/', query: '', headers });
const ok = (...headers: string[]) => ({ http: { status: 200, headers } });
const read = (plane: DataPlane) => plane.dispatcher.metrics()[0]?.cache;
const requests = (plane: DataPlane) => read(plane)?.requests;
const all = (calls: readonly RecordedCall[]) => Promise.all(calls.map(({ over }) => over));

t.test('what was answered once is answered from memory', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const traces: CallTrace[] = [];
  const first = plane.call('question', { traces });
  await runs(1);
  replica.result('answer', undefined, { workMs: 5 });
  await first.over;
  const second = plane.call('question', { traces });
  t.same(second.events, ['result'], 'there and then');
  t.equal(second.value, 'answer');
  t.equal(second.underWay, undefined);
  const other = plane.call('another', { traces });
  await runs(2);
  replica.result('another answer');
  await other.over;
  t.equal(other.value, 'another answer');
  t.same(
    traces.map(({ cache, replica: by, workMs }) => [cache, by, workMs > 0]),
    [
      ['miss', 'a1', true],
      ['hit', '', false],
      ['miss', 'a1', false],
    ],
  );
  t.same(requests(plane), { hit: 1, shared: 0, miss: 2, bypass: 0 });
  const [metrics] = plane.dispatcher.metrics();
  t.same(metrics?.results, { OK: 3 }, 'each who asked is counted once');
  t.equal(
    metrics?.processing.counts.reduce((sum, each) => sum + each),
    2,
    'and each run',
  );
});

t.test('a hundred who ask the same at once have it worked on once', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const calls = Array.from({ length: 100 }, () => plane.call('question', { http: post(), id: 'mine' }));
  await runs(1);
  replica.result('answer', undefined, ok('x-request-id', 'of the first', 'a', 'b'));
  await all(calls);
  await replica.settled();
  t.equal(replica.batches.length, 1);
  for (const call of calls) t.equal(call.value, 'answer');
  t.same(calls[0]?.http?.headers, ['x-request-id', 'of the first', 'a', 'b']);
  t.same(calls[1]?.http?.headers, ['a', 'b'], 'what is of the first is not handed on');
  t.same(plane.call('question', { http: post() }).http?.headers, ['a', 'b'], 'nor kept');
  t.same(requests(plane), { hit: 1, shared: 99, miss: 1, bypass: 0 });
  t.same(plane.dispatcher.metrics()[0]?.results, { OK: 101 });
});

t.test('the first may leave, and the work goes on for the others; the last who leaves ends it', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const [first, second, third] = [plane.call('q'), plane.call('q'), plane.call('q')];
  await runs(1);
  first.underWay?.abandon(undefined);
  second.underWay?.abandon(undefined);
  await replica.settled();
  t.same(replica.cancelled, []);
  replica.result('answer');
  await third.over;
  t.equal(third.value, 'answer');
  t.same([first.events, second.events], [[], []]);
  t.same(plane.call('q').events, ['result']);

  const [fourth, fifth] = [plane.call('other'), plane.call('other')];
  await runs(2);
  for (const call of [fourth, fifth]) call.underWay?.abandon(undefined);
  await replica.until(() => replica.cancelled.length === 1);
  t.same(replica.cancelled, [replica.lastId]);
  plane.call('other');
  await runs(3);
  t.same(plane.dispatcher.metrics()[0]?.results, { OK: 2, CLIENT_CLOSED: 4 });
});

t.test('an error is that of all who wait, and is not kept', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const calls = [plane.call('q'), plane.call('q'), plane.call('q')];
  await runs(1);
  replica.error('no', undefined, 'INVALID_INPUT');
  await all(calls);
  for (const call of calls) t.same(call.events, ['error INVALID_INPUT']);
  plane.call('q');
  await runs(2);
});

t.test('the death of a replica is told to all: what killed it is not tried for each of them', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const calls = [plane.call('q'), plane.call('q')];
  await runs(1);
  replica.begun();
  await replica.settled();
  await replica.die();
  await all(calls);
  for (const call of calls) t.same(call.events, ['error REPLICA_DIED']);
});

t.test('the time of the first is not that of the others: the work begins anew for those who have more', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const first = plane.call('q', { timeoutMs: 100 });
  await runs(1);
  const second = plane.call('q', { timeoutMs: 100 });
  const third = plane.call('q', { timeoutMs: 5000, id: 'third' });
  plane.clock.advance(100);
  t.same([first.events, second.events, third.events], [['error DEADLINE_EXCEEDED'], ['error DEADLINE_EXCEEDED'], []]);
  await runs(2);
  t.match(replica.last.members[0], { leftMs: 4900, requestId: 'third' });
  t.same(replica.cancelled.length, 1);
  replica.result('answer');
  await third.over;
  t.equal(third.value, 'answer');
});

t.test('what still waits for a replica gets the time of who joins it', async (t) => {
  const { plane, replica, runs } = await rig(t, cached({}, { maxOngoingRequests: 1 }));
  const busy = plane.call('busy');
  await runs(1);
  const first = plane.call('q', { timeoutMs: 100 });
  plane.call('came later');
  const second = plane.call('q', { timeoutMs: 5000 });
  plane.clock.advance(100);
  t.same([first.events, second.events], [['error DEADLINE_EXCEEDED'], []]);
  replica.result('done');
  await busy.over;
  await runs(2);
  t.equal(replica.last.text, '"q"', 'and keeps its place');
  replica.result('answer');
  await second.over;
  t.equal(second.value, 'answer');
});

t.test('what begins anew was let in before: a queue that is full by now does not refuse it', async (t) => {
  const { plane, runs } = await rig(t, cached({}, { maxOngoingRequests: 1, maxQueuedRequests: 1 }));
  plane.call('q', { timeoutMs: 100 });
  await runs(1);
  const second = plane.call('q', { timeoutMs: 5000 });
  plane.call('fills the queue');
  t.same(plane.call('another').events, ['error QUEUE_FULL']);
  plane.clock.advance(100);
  t.same(second.events, []);
  t.equal(plane.dispatcher.metrics()[0]?.queued, 2);
});

t.test('an answer that comes when its time is over is none, also where no timer has run yet', async (t) => {
  const events: string[] = [];
  const call = new SharedCall({
    deployment: 'app/A',
    cache: 'shared',
    cacheMs: 0,
    deadlineAt: 10,
    now: () => 0,
    request: {
      sink: {
        result: () => events.push('result'),
        error: ({ code }: ServeError) => events.push(code),
        open: () => {},
        chunk: () => {},
        end: () => {},
      },
    } as unknown as CallRequest,
    finished: (_, result) => events.push(`counted ${result}`),
  });
  call.complete({ skeleton: '1', segments: [] }, undefined, undefined, 10);
  t.same(events, ['counted DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED']);
});

t.test('the limit of the deployment counts for each who waits', async (t) => {
  const { plane, runs } = await rig(t, cached({}, { requestTimeoutMs: 1000 }));
  const first = plane.call('q');
  await runs(1);
  plane.clock.advance(400);
  const second = plane.call('q');
  plane.clock.advance(600);
  t.same([first.events, second.events], [['error DEADLINE_EXCEEDED'], []]);
  plane.clock.advance(400);
  t.same(second.events, ['error DEADLINE_EXCEEDED']);
});

t.test('an answer that is for one goes to one: the others are worked on for themselves', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const [first, second, third] = [0, 1, 2].map(() => plane.call('q', { http: post() })) as [
    RecordedCall,
    RecordedCall,
    RecordedCall,
  ];
  await runs(1);
  replica.result('mine', undefined, ok('set-cookie', 'id=1'));
  await first.over;
  await runs(3);
  const [, b, c] = replica.batches;
  replica.result('second', b?.ids, ok('set-cookie', 'id=2'));
  replica.result('third', c?.ids, ok('set-cookie', 'id=3'));
  await all([second, third]);
  t.same(
    [first, second, third].map(({ value, http }) => [value, http?.headers[1]]),
    [
      ['mine', 'id=1'],
      ['second', 'id=2'],
      ['third', 'id=3'],
    ],
  );
  plane.call('q', { http: post() });
  plane.call('q', { http: post() });
  await runs(5);
  t.match(requests(plane), { miss: 1, bypass: 4 }, 'for a while nobody waits for another’s answer in vain');
  plane.clock.advance(PASS_MS);
  plane.call('q', { http: post() });
  plane.call('q', { http: post() });
  await runs(6);
});

t.test('a run for one alone has his own request', async (t) => {
  const { plane, replica, runs } = await rig(t, cached({ vary: ['accept-language'] }));
  const alice = plane.call('q', { id: 'alice', http: post(['x-user', 'alice', 'if-none-match', '"e"']) });
  const bob = plane.call('q', { id: 'bob', http: post(['x-user', 'bob']) });
  await runs(1);
  replica.result('for alice', undefined, ok('cache-control', 'private'));
  await alice.over;
  await runs(2);
  t.match(replica.last.members[0], { requestId: 'bob', http: { headers: ['x-user', 'bob'] } });
  t.equal(replica.last.text, '"q"');
  replica.result('for bob', undefined, ok('cache-control', 'private'));
  await bob.over;
  t.same([alice.value, bob.value], ['for alice', 'for bob']);
});

t.test('those who wait hold one body, not one each', async (t) => {
  const begun: CallRequest[] = [];
  const routing = cached().applications[0]?.deployments[0] as DeploymentRouting;
  const cache = new ResponseCache(
    'app/A',
    new DeploymentCounts(),
    () => 0,
    (request) => {
      begun.push(request);
      return undefined;
    },
  );
  cache.follow(routing);
  const ask = (): CallRequest =>
    ({
      target: { application: 'app', deployment: 'A', method: 'call' },
      value: { skeleton: '"q"', segments: [] },
      http: post(),
      sink: { result: () => {} },
    }) as unknown as CallRequest;
  for (let count = 0; count < 3; count += 1) cache.take(ask(), routing, Number.POSITIVE_INFINITY);
  begun[0]?.sink.result({ skeleton: '"mine"', segments: [] }, ok('set-cookie', 'a=1').http);
  t.equal(begun.length, 3);
  for (const { value } of begun) t.equal(value, begun[0]?.value);
});

t.test('what was for one who has left is for nobody', async (t) => {
  const { plane, replica, runs } = await rig(t, cached({ vary: [] }));
  const ask = (text: string, id: string) => plane.call(text, { id, http: post(['x-user', id]) });
  const ways: readonly (readonly [string, (ids: readonly number[]) => void])[] = [
    ['an answer', (ids) => replica.result('secret', ids, ok('set-cookie', 'id=alice'))],
    ['a stream', () => replica.open({ status: 200, headers: ['x-user', 'alice'] })],
    [
      'an error with headers',
      (ids) => {
        const details = { status: 403, headers: { 'set-cookie': 'id=alice' } };
        replica.send(FRAME.ERROR, { ids, error: { code: 'HTTP_ERROR', message: 'alice may not', details } });
      },
    ],
  ];
  for (const [index, [what, say]] of ways.entries()) {
    const count = 3 * index;
    const [alice, bob, carol] = ['alice', 'bob', 'carol'].map((id) => ask(what, id)) as [
      RecordedCall,
      RecordedCall,
      RecordedCall,
    ];
    await runs(count + 1);
    alice.underWay?.abandon(undefined);
    say(replica.last.ids);
    await runs(count + 3);
    const own = replica.batches.slice(count + 1);
    t.same(
      own.map(({ members }) => members[0]?.http?.headers[1]),
      ['bob', 'carol'],
      what,
    );
    for (const { ids } of own) replica.result('own', ids, ok());
    await all([bob, carol]);
    t.same([alice.events, bob.events, carol.events], [[], ['result'], ['result']], what);
  }
  t.equal(replica.cancelled.length, 1, 'the stream, which nobody reads');
});

t.test('what code throws as an answer is for one; any other error of the work is for all', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const [first, second] = [plane.call('q', { http: post() }), plane.call('q', { http: post() })];
  await runs(1);
  replica.error('you may not', undefined, 'HTTP_ERROR');
  await first.over;
  await runs(2);
  replica.result('answer', undefined, ok());
  await second.over;
  t.same([first.events, second.events], [['error HTTP_ERROR'], ['result']]);
  for (const [index, code] of (['USER_ERROR', 'INTERNAL', 'DEADLINE_EXCEEDED'] as const).entries()) {
    const calls = [plane.call(code, { timeoutMs: 1000 }), plane.call(code, { timeoutMs: 2000 })];
    await runs(index + 3);
    replica.error('no', undefined, code);
    await all(calls);
    for (const call of calls) t.same(call.events, [`error ${code}`]);
  }
});

t.test('those who go apart pass the door as all others do', async (t) => {
  const { plane, replica, runs } = await rig(t, cached({}, { maxOngoingRequests: 1, maxQueuedRequests: 5 }));
  const calls = Array.from({ length: 200 }, () => plane.call('q', { http: post() }));
  await runs(1);
  replica.result('slow down', undefined, { http: { status: 503, headers: [] } });
  await calls[0]?.over;
  t.equal(calls.filter(({ events }) => events[0] === 'error QUEUE_FULL').length, 193, 'one was begun, five wait');
  t.equal(plane.dispatcher.metrics()[0]?.queued, 5);
});

t.test('of one answer each gets segments of his own, on the same bytes', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const values: WireValue[] = [];
  const ask = () => {
    const generation = plane.dispatcher.generation('app');
    if (generation === undefined) throw new Error('there is no generation');
    plane.dispatcher.call({
      generation,
      target: { application: 'app', deployment: 'A', method: 'call' },
      requestId: 'r',
      value: { skeleton: '"q"', segments: [] },
      deadlineAt: Number.POSITIVE_INFINITY,
      sink: { result: (value) => values.push(value), error: () => {}, open: () => {}, chunk: () => {}, end: () => {} },
    });
  };
  for (let count = 0; count < 3; count += 1) ask();
  await runs(1);
  replica.result(new Float32Array([1, 2]));
  await replica.settled();
  ask();
  ask();
  t.equal(values.length, 5);
  const joined = wireOf(listNode(values.map(nodeOf)));
  t.equal(joined.segments.length, 5, 'who joins them takes no two for one');
  t.equal(new Set(values.slice(1).map(({ segments }) => segments[0]?.bytes.buffer)).size, 2, 'nothing was copied for them');
});

t.test('an answer in very many pieces is given, and not kept', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const call = plane.call('q');
  await runs(1);
  replica.result(Array.from({ length: 257 }, () => new Uint8Array(1)));
  await call.over;
  t.match(read(plane), { entries: 0, bytes: 0 });
  plane.call('q');
  await runs(2);
});

t.test('another status than 200 is neither kept nor handed on', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const [first, second] = [plane.call('q', { http: post() }), plane.call('q', { http: post() })];
  await runs(1);
  replica.result('slow down', undefined, { http: { status: 429, headers: [] } });
  await first.over;
  await runs(2);
  replica.result('answer', undefined, ok());
  await second.over;
  t.same([first.http?.status, second.http?.status], [429, 200]);
  plane.call('q', { http: post() });
  await runs(3);
});

t.test('a stream is for one, with its credit, and the others have their own', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const [first, second] = [plane.call('q'), plane.call('q')];
  await runs(1);
  replica.open();
  replica.chunk('a');
  await runs(2);
  t.same([first.events, second.events], [['open', 'chunk'], []]);
  first.underWay?.credit(99);
  await replica.until(() => replica.credits.length === 1);
  t.same(replica.credits, [{ id: replica.batches[0]?.ids[0], bytes: 99 }]);
  replica.end(replica.batches[0]?.ids[0]);
  replica.result('whole');
  await all([first, second]);
  t.same([first.events, second.events], [['open', 'chunk', 'end'], ['result']]);
  plane.call('q');
  plane.call('q');
  await runs(4);
});

t.test('a stream that breaks off is not begun anew', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const first = plane.call('q', { timeoutMs: 100 });
  await runs(1);
  const second = plane.call('q', { timeoutMs: 5000 });
  replica.open();
  await runs(2);
  replica.open();
  await replica.settled();
  plane.clock.advance(100);
  t.same([first.events, second.events], [['open', 'error DEADLINE_EXCEEDED'], ['open']], 'each in his own time');
  plane.clock.advance(4900);
  t.same(second.events, ['open', 'error DEADLINE_EXCEEDED']);
  await replica.settled();
  t.equal(replica.batches.length, 2);
});

t.test('when its answers follow from something else, none from before is given', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const before = plane.call('known');
  await runs(1);
  replica.result('old');
  await before.over;
  const under = plane.call('under way');
  await runs(2);
  plane.dispatcher.apply(cached({ from: 'second' }));
  t.match(read(plane), { entries: 0, bytes: 0 });
  const anew = plane.call('known');
  const beside = plane.call('under way');
  await runs(4);
  replica.result('old', replica.batches[1]?.ids);
  replica.result('new', replica.batches[2]?.ids);
  replica.result('new', replica.batches[3]?.ids);
  await all([under, anew, beside]);
  t.same([under.value, anew.value, beside.value], ['old', 'new', 'new']);
  t.equal(plane.call('under way').value, 'new', 'what was begun before is not kept');
});

t.test('there and back again is another time', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const under = plane.call('q');
  await runs(1);
  plane.dispatcher.apply(cached({ from: null }));
  plane.dispatcher.apply(cached());
  replica.result('of the time between, perhaps');
  await under.over;
  plane.call('q');
  await runs(2);
});

t.test('while replicas differ, each request is worked on', async (t) => {
  const { plane, replica, runs } = await rig(t, cached({ from: null }));
  const calls = [plane.call('q'), plane.call('q')];
  await runs(2);
  for (const { ids } of replica.batches) replica.result('answer', ids);
  await all(calls);
  plane.call('q');
  await runs(3);
  t.same(requests(plane), { hit: 0, shared: 0, miss: 0, bypass: 3 });
});

t.test('a request of a generation that is going asks the old version, not the memory of the new one', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const old = plane.dispatcher.generation('app');
  const before = plane.call('q');
  await runs(1);
  plane.dispatcher.apply(cached({ from: 'second' }, {}, 2));
  const ask = (text: string, from = old) => {
    const events: string[] = [];
    if (from === undefined) throw new Error('there is no generation');
    plane.dispatcher.call({
      generation: from,
      target: { application: 'app', deployment: 'A', method: 'call' },
      requestId: text,
      value: { skeleton: '"q"', segments: [] },
      deadlineAt: Number.POSITIVE_INFINITY,
      sink: { result: () => events.push('result'), error: () => {}, open: () => {}, chunk: () => {}, end: () => {} },
    });
    return events;
  };
  ask('new', plane.dispatcher.generation('app'));
  await runs(2);
  replica.result('old', replica.batches[0]?.ids);
  replica.result('new', replica.batches[1]?.ids);
  await before.over;
  await replica.settled();
  t.same(ask('new again', plane.dispatcher.generation('app')), ['result']);
  t.same([ask('old again'), ask('old again')], [[], []], 'which replicas stand in for its version is not known any more');
  await runs(4);
});

t.test('turned off, it lets go of all and disturbs nobody who waits', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const known = plane.call('known');
  await runs(1);
  replica.result('answer');
  await known.over;
  const [first, second] = [plane.call('q'), plane.call('q')];
  await runs(2);
  plane.dispatcher.apply(cached(null));
  t.equal(read(plane), undefined);
  plane.call('known');
  plane.call('q');
  await runs(4);
  replica.result('answer', replica.batches[1]?.ids);
  await all([first, second]);
  plane.dispatcher.apply(cached());
  t.match(read(plane), { entries: 0, requests: { hit: 0 } });
});

t.test('a lower bound and a shorter time are in force at once', async (t) => {
  const { plane, replica, runs } = await rig(t);
  for (const [index, text] of ['a', 'b', 'c'].entries()) {
    const call = plane.call(text);
    await runs(index + 1);
    replica.result(new Uint8Array(20_000));
    await call.over;
  }
  t.ok((read(plane)?.bytes ?? 0) > 60_000);
  plane.dispatcher.apply(cached({ maxBytes: 65_536 }));
  t.match(read(plane), { entries: 3, evictions: { size: 0 } });
  plane.dispatcher.apply(cached({ maxBytes: 50_000 }));
  t.match(read(plane), { entries: 2, evictions: { size: 1 } });
  t.same(plane.call('c').events, ['result']);
  plane.clock.advance(10);
  plane.dispatcher.apply(cached({ maxBytes: 50_000, ttlMs: 10 }));
  plane.call('c');
  await runs(4);
});

t.test('a full queue refuses work, not what is known', async (t) => {
  const { plane, replica, runs } = await rig(t, cached({}, { maxOngoingRequests: 1, maxQueuedRequests: 0 }));
  const known = plane.call('known');
  await runs(1);
  replica.result('answer');
  await known.over;
  plane.call('slow');
  await runs(2);
  t.same(plane.call('slow').events, [], 'who waits for what is under way takes no place in the queue');
  t.same(plane.call('another').events, ['error QUEUE_FULL']);
  t.same(plane.call('known').events, ['result']);
});

t.test('so many may wait for one answer; who comes after them goes his own way', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const calls = Array.from({ length: 10_001 }, () => plane.call('q'));
  await runs(1);
  const further = plane.call('q');
  await runs(2);
  t.match(requests(plane), { bypass: 1 });
  replica.result('answer', replica.batches[0]?.ids);
  await all(calls);
  t.same(further.events, []);
  t.same(requests(plane), { hit: 0, shared: 10_000, miss: 1, bypass: 1 });
  plane.call('other');
  plane.call('other');
  await runs(3);
  t.match(requests(plane), { bypass: 1 }, 'who has his answer does not count');
});

t.test('calls of other deployments share too, and each ends with the work that it was made in', async (t) => {
  const { plane, replica, runs } = await rig(t);
  const b = await plane.replica('b1', 'app/B');
  const options: CallOptions = { deployment: 'B' };
  const [one, two] = [plane.call(1, options), plane.call(2, options)];
  await b.until(() => b.batches.length === 2);
  const [first, second] = b.batches.map(({ ids }) => ids[0] as number);
  b.call(7, 'a', 'inner', { parent: first });
  b.call(8, 'a', 'inner', { parent: second });
  await runs(1);
  await b.settled();
  one.underWay?.abandon(undefined);
  await b.until(() => b.cancelled.length === 1);
  replica.result('inner answer');
  await b.until(() => b.answers.some((answer) => answer.startsWith('RESULT')));
  t.ok(b.answers.includes('RESULT 8 "inner answer"'));
  t.match(
    b.answers.find((answer) => answer.includes(' 7 ')),
    /^ERROR 7 /,
    'with the call that it was made for',
  );
  t.equal(two.call?.children?.size, 0, 'nothing is left of it');
  b.call(9, 'a', 'inner', { parent: second });
  await b.until(() => b.answers.includes('RESULT 9 "inner answer"'));
  t.equal(replica.batches.length, 1);
  b.result('outer', [second as number]);
  await two.over;
});

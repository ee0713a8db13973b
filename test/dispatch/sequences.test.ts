/** Requests of sequences, from the queue to scripted replicas. */
import t from 'tap';
import { RequestBody } from '../../src/dispatch/request-body.ts';
import { ServeError } from '../../src/domain/errors.ts';
import { DataPlane, type RecordedCall } from '../support/data-plane.ts';
import type { FakeReplica } from '../support/fake-replica.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

type Deployment = NonNullable<Parameters<typeof deploymentRouting>[0]>;
type Owner = Parameters<typeof DataPlane.start>[0];

const HTTP = { status: 200, headers: [] };
const LIMITS = { idleTimeoutMs: 60_000, maxSequences: 10 };
const REPLICAS = { a1: 'app/A@v1', a2: 'app/A@v1', a3: 'app/A@v1' };
const snapshot = (deployment: Deployment = {}, replicas: Readonly<Record<string, string>> = REPLICAS, generation = 1) =>
  routingSnapshot(
    [
      applicationRouting({
        generation,
        deployments: [deploymentRouting({ kind: 'model', maxOngoingRequests: 2, sequence: LIMITS, ...deployment })],
      }),
    ],
    replicas,
  );

const start = async (t: Owner, deployment: Deployment = {}, count = 2) => {
  const plane = await DataPlane.start(t, snapshot(deployment));
  const replicas: FakeReplica[] = [];
  for (let index = 1; index <= count; index++) replicas.push(await plane.replica(`a${index}`));
  const settled = async () => {
    for (const replica of replicas) await replica.settled();
  };
  /** `a start`, `a`, `a end`: and the request has that for an id. */
  const ask = (what: string, more: Parameters<DataPlane['call']>[1] = {}): RecordedCall => {
    const [id = '', ...flags] = what.split(' ');
    const headers = ['x-sequence-id', id, ...flags.flatMap((flag) => [`x-sequence-${flag}`, 'true'])];
    return plane.call(null, { id: what, http: { method: 'POST', path: '/', query: '', headers }, movable: true, ...more });
  };
  /** Answers all that it has, but for what it has answered. */
  const answered = new Map<FakeReplica, number>();
  const answer = async (...those: readonly FakeReplica[]) => {
    await settled();
    for (const replica of those) {
      for (const { ids } of replica.batches.slice(answered.get(replica) ?? 0)) replica.result(null, ids, { http: HTTP });
      answered.set(replica, replica.batches.length);
    }
    await settled();
  };
  const holderOf = (what: string) => replicas.find(({ requests }) => requests.includes(what)) as FakeReplica;
  return { plane, replicas: replicas as [FakeReplica, FakeReplica, FakeReplica], settled, ask, answer, holderOf };
};
const outcomes = (calls: readonly RecordedCall[]) => calls.map(({ events }) => events.join(' '));
const UNKNOWN = 'error SEQUENCE_NOT_FOUND';

t.test('a sequence runs on one replica, one request at a time and in order, while others go on', async (t) => {
  const { ask, answer, settled, holderOf } = await start(t);
  ask('a start');
  for (let step = 0; step < 3; step++) ask('a', { id: `a${step}` });
  ask('b start');
  await settled();
  const [a, b] = [holderOf('a start'), holderOf('b start')];
  t.not(a, b, 'a new one goes to the replica with the fewest');
  t.same([a.requests, b.requests], [['a start'], ['b start']], 'one at a time');
  for (let step = 0; step < 3; step++) await answer(a);
  t.same(a.requests, ['a start', 'a0', 'a1', 'a2'], 'in the order in which they came');
  t.same(b.requests, ['b start'], 'though it has room');
  const members = a.batches.map(({ members: [first] }) => [first?.sequence, first?.start]);
  t.same(
    members.map(([, isStart]) => isStart),
    [true, undefined, undefined, undefined],
  );
  t.equal(new Set(members.map(([number]) => number)).size, 1, 'all on the state of that start');
  t.not(b.last.members[0]?.sequence, members[0]?.[0]);
});

t.test('a full replica does not hand a sequence on: its requests wait for it', async (t) => {
  const { ask, answer, settled, holderOf, replicas } = await start(t, { maxOngoingRequests: 1 });
  ask('a start');
  await answer(...replicas);
  const a = holderOf('a start');
  ask('b start');
  ask('c start');
  await settled();
  ask('a');
  await settled();
  const other = replicas.find((each) => each !== a) as FakeReplica;
  t.same([other.requests.length, a.requests.length], [1, 2], 'both are busy with new ones');
  await answer(other);
  t.notOk(other.requests.includes('a'), 'the other has room, and does not get it');
  await answer(a);
  t.ok(a.requests.includes('a'));
});

t.test('a sequence does not wait for CPUs that the replicas of others keep: nobody but its own can run it', async (t) => {
  const { ask, answer, settled, holderOf, replicas } = await start(t, { mostAtWork: 1 });
  for (const what of ['a start', 'b start']) ask(what);
  await answer(...replicas);
  ask('a', { id: 'long' });
  ask('b', { id: 'other' });
  await settled();
  t.same([holderOf('a start').last.requests, holderOf('b start').last.requests], [['long'], ['other']]);
});

t.test('what is not known is refused at once: never started, ended, or under a name that was not the one', async (t) => {
  const { ask, answer, replicas, plane } = await start(t);
  const never = ask('a');
  t.same(never.events, [UNKNOWN]);
  t.match(never.error?.message, /Sequence "a" is not known to app\/A: it was never started.*60 s.*Start it again/);
  t.equal(never.error?.status, 400);
  ask('a start');
  await answer(...replicas);
  t.same(outcomes([ask('b')]), [UNKNOWN]);
  ask('a end');
  await answer(...replicas);
  t.same(outcomes([ask('a')]), [UNKNOWN], 'its end was its last');
  t.same(replicas.flatMap(({ forgotten }) => forgotten).length, 1, 'and its replica may forget it');
  t.match(plane.dispatcher.metrics(), [{ sequences: { open: 0, started: 1, ended: { end: 1 } } }]);
});

t.test('one that comes behind an end, before that has run, is told when its turn comes', async (t) => {
  const { ask, answer, replicas } = await start(t);
  const calls = ['a start', 'a end', 'a', 'a start', 'a'].map((what) => ask(what));
  for (let turn = 0; turn < 4; turn++) await answer(...replicas);
  t.same(outcomes(calls), ['result', 'result', UNKNOWN, 'result', 'result']);
});

t.test('a start of one that is open begins anew, wherever there is a place, and the old state is forgotten', async (t) => {
  const { ask, answer, replicas, holderOf, plane } = await start(t);
  ask('a start');
  await answer(...replicas);
  const first = holderOf('a start');
  const number = first.last.members[0]?.sequence;
  ask('b start');
  await answer(...replicas);
  ask('a start', { id: 'again' });
  ask('a', { id: 'behind' });
  await answer(...replicas);
  await answer(...replicas);
  t.same(first.forgotten, [number]);
  const again = holderOf('again');
  t.ok(again.requests.includes('behind'));
  t.not(again.last.members[0]?.sequence, number);
  t.match(plane.dispatcher.metrics(), [{ sequences: { open: 2, started: 3, ended: { restart: 1 } } }]);
});

t.test('a start that fails starts nothing, and one that is cancelled before it runs neither', async (t) => {
  const { ask, answer, settled, replicas, plane, holderOf } = await start(t);
  ask('a start');
  await answer(...replicas);
  const failing = ask('a start', { id: 'wrong' });
  const behind = ask('a', { id: 'behind' });
  await settled();
  const holder = holderOf('wrong');
  holder.error('expected something else', holder.last.ids, 'INVALID_INPUT');
  await behind.over;
  t.same(outcomes([failing, behind, ask('a')]), ['error INVALID_INPUT', UNKNOWN, UNKNOWN], 'not on the old state either');
  ask('b start');
  await settled();
  const [second, third] = [ask('b start', { id: 'second' }), ask('b', { id: 'third' })];
  second.call?.abandon(undefined);
  const b = holderOf('b start');
  b.result(null, b.last.ids, { http: HTTP });
  await third.over;
  t.same(outcomes([third, ask('b')]), [UNKNOWN, UNKNOWN], 'what came behind it is not answered from the state before it');
  t.match(plane.dispatcher.metrics(), [{ sequences: { open: 0 } }], 'and nothing is kept for nobody');
});

t.test('a request that fails, or is cancelled before it runs, leaves the sequence as it was', async (t) => {
  const { ask, answer, settled, replicas, holderOf } = await start(t);
  ask('a start');
  await answer(...replicas);
  const a = holderOf('a start');
  ask('a', { id: 'wrong' });
  await settled();
  a.error('no', a.last.ids, 'INVALID_INPUT');
  await settled();
  ask('a', { id: 'right' });
  const waits = ask('a', { id: 'waits' });
  const last = ask('a', { id: 'last' });
  waits.call?.abandon(undefined);
  await settled();
  a.result(null, a.last.ids, { http: HTTP });
  await settled();
  t.same(a.requests, ['a start', 'wrong', 'right', 'last']);
  a.result(null, a.last.ids, { http: HTTP });
  await last.over;
  t.same(last.events, ['result']);
});

t.test('one whose client leaves while it runs holds up the next until its replica has answered', async (t) => {
  const { ask, answer, settled, replicas, holderOf } = await start(t);
  ask('a start');
  await answer(...replicas);
  const a = holderOf('a start');
  const left = ask('a', { id: 'left' });
  const next = ask('a', { id: 'next' });
  await settled();
  left.call?.abandon(undefined);
  await settled();
  t.same(a.requests, ['a start', 'left']);
  a.result(null, a.last.ids, { http: HTTP });
  await settled();
  t.same(a.requests, ['a start', 'left', 'next']);
  a.result(null, a.last.ids, { http: HTTP });
  await next.over;
});

t.test('a time that is over in the queue takes one request out, and the others go on', async (t) => {
  const { ask, answer, settled, replicas, plane, holderOf } = await start(t);
  ask('a start');
  await settled();
  const late = ask('a', { id: 'late', timeoutMs: 50 });
  const next = ask('a', { id: 'next' });
  plane.clock.advance(50);
  t.same(late.events, ['error DEADLINE_EXCEEDED']);
  await answer(...replicas);
  await answer(...replicas);
  t.same([holderOf('next').requests, next.events], [['a start', 'next'], ['result']]);
});

t.test('what a dead replica held is gone: its requests are told so, and others are untouched', async (t) => {
  const { ask, answer, settled, replicas, holderOf } = await start(t);
  ask('a start');
  ask('b start');
  await answer(...replicas);
  const [a, b] = [holderOf('a start'), holderOf('b start')];
  const working = ask('a', { id: 'working' });
  const waiting = ask('a', { id: 'waiting' });
  const anew = ask('a start', { id: 'anew' });
  const behind = ask('a', { id: 'behind' });
  await settled();
  a.begun(a.last.ids);
  await settled();
  await a.die();
  await working.over;
  t.same(outcomes([working, waiting]), ['error REPLICA_DIED', UNKNOWN], 'what had begun is not repeated');
  ask('b', { id: 'b again' });
  await answer(b);
  await answer(b);
  t.same(b.requests.slice(1).sort(), ['anew', 'b again', 'behind']);
  await behind.over;
  t.same(outcomes([anew, behind]), ['result', 'result'], 'who starts again goes on elsewhere');
});

for (const idempotent of [false, true]) {
  const title = 'of what a dead replica had not begun a start goes elsewhere, and a step is told that its state has gone';
  t.test(`${title}${idempotent ? ', where requests may run again too' : ''}`, async (t) => {
    const { ask, answer, settled, plane, replicas } = await start(t, { retry: { maxAttempts: 3, backoffMs: 0, idempotent } }, 1);
    const [dead] = replicas;
    ask('a start');
    ask('b start');
    await answer(dead);
    const [step, begun] = [ask('a', { id: 'step' }), ask('b start', { id: 'begun' })];
    const [waiting, ofBegun] = [ask('a', { id: 'waiting' }), ask('b', { id: 'of begun' })];
    await settled();
    dead.begun(dead.batches.find(({ requests }) => requests[0] === 'begun')?.ids);
    await settled();
    await dead.die();
    await Promise.all([step.over, waiting.over, begun.over, ofBegun.over]);
    t.same(outcomes([step, waiting, begun, ofBegun]), [UNKNOWN, UNKNOWN, 'error REPLICA_DIED', UNKNOWN]);

    const next = await plane.replica('a2');
    const [started, behind] = [ask('c start'), ask('c', { id: 'behind' })];
    await next.until(() => next.batches.length === 1);
    await next.die();
    const last = await plane.replica('a3');
    for (let turn = 1; turn <= 2; turn++) {
      await last.until(() => last.batches.length === turn);
      last.result(null, last.last.ids, { http: HTTP });
    }
    await behind.over;
    t.same(
      [outcomes([started, behind]), last.requests],
      [
        ['result', 'result'],
        ['c start', 'behind'],
      ],
    );
  });
}

t.test('a replica that dies at work for a client that has left takes no sequence along in silence', async (t) => {
  const { ask, answer, settled, replicas, plane } = await start(t, {}, 1);
  ask('a start');
  await answer(...replicas);
  const left = ask('a', { id: 'left' });
  const [next, anew] = [ask('a', { id: 'next' }), ask('a start', { id: 'anew' })];
  await settled();
  left.call?.abandon(undefined);
  await replicas[0].die();
  await next.over;
  t.same(next.events, [UNKNOWN]);
  const other = await plane.replica('a2');
  await other.until(() => other.batches.length === 1);
  other.result(null, other.last.ids, { http: HTTP });
  await anew.over;
  t.same(other.requests, ['anew']);
});

t.test('what is not used for its time is forgotten, and each use counts', async (t) => {
  const { ask, answer, settled, replicas, plane, holderOf } = await start(t);
  for (const what of ['a start', 'b start']) ask(what);
  await answer(...replicas);
  plane.clock.advance(59_999);
  ask('a');
  await answer(...replicas);
  plane.clock.advance(1);
  await settled();
  t.same(holderOf('b start').forgotten.length, 1);
  t.same(outcomes([ask('b')]), [UNKNOWN]);
  const working = ask('a', { id: 'long' });
  await settled();
  plane.clock.advance(200_000);
  t.same(holderOf('a start').forgotten, [], 'one with a request in work is not idle');
  await answer(holderOf('a start'));
  await working.over;
  plane.clock.advance(59_999);
  t.match(plane.dispatcher.metrics(), [{ sequences: { open: 1 } }]);
  plane.clock.advance(1);
  t.match(plane.dispatcher.metrics(), [{ sequences: { open: 0, ended: { idle: 2 } } }]);
  t.equal(plane.clock.pending, 0, 'nothing is looked for any more');
});

t.test('both limits change while it serves', async (t) => {
  const { ask, answer, settled, replicas, plane } = await start(t);
  ask('a start');
  await answer(...replicas);
  plane.clock.advance(10_000);
  await settled();
  plane.dispatcher.apply(snapshot({ sequence: { idleTimeoutMs: 20_000, maxSequences: 1 } }));
  t.match(plane.dispatcher.metrics(), [{ sequences: { open: 1 } }]);
  const calls = ['b start', 'c start'].map((what) => ask(what));
  t.same(outcomes(calls), ['', 'error QUEUE_FULL']);
  plane.clock.advance(10_000);
  t.match(plane.dispatcher.metrics(), [{ sequences: { open: 0, ended: { idle: 1 } } }]);
});

t.test('no more than allowed are open on a replica: a new one is refused, and no old one is dropped for it', async (t) => {
  const { ask, answer, replicas } = await start(t, { sequence: { ...LIMITS, maxSequences: 2 }, maxOngoingRequests: 9 });
  for (const id of ['a', 'b', 'c', 'd']) ask(`${id} start`);
  await answer(...replicas);
  const refused = ask('e start');
  t.same(refused.events, ['error QUEUE_FULL']);
  t.match(refused.error, {
    status: 503,
    details: { retryAfterS: 1 },
    message: /as many sequences as model.sequence.max_sequences/,
  });
  const again = ask('a start', { id: 'again' });
  const old = ask('b');
  await answer(...replicas);
  t.same(outcomes([again, old]), ['result', 'result'], 'who starts again takes its own place');
  ask('b end');
  await answer(...replicas);
  const taken = ask('e start', { id: 'taken' });
  await answer(...replicas);
  t.same(taken.events, ['result']);
});

t.test('max_queued_requests counts those that wait behind their own', async (t) => {
  const { ask, answer, settled, replicas } = await start(t, { maxQueuedRequests: 1, maxOngoingRequests: 1 });
  ask('a start');
  await answer(...replicas);
  const calls = ['1', '2', '3'].map((id) => ask('a', { id }));
  await settled();
  t.same(outcomes(calls), ['', '', 'error QUEUE_FULL'], 'one in work and one that waits, though the other replica is idle');
  const other = ask('b start');
  t.same(other.events, [], 'it is sent at once');
});

t.test('a replica that has to go finishes what it holds: its sequences come to it, and no new ones', async (t) => {
  const { ask, answer, replicas, plane, holderOf } = await start(t);
  ask('a start');
  await answer(...replicas);
  const old = holderOf('a start');
  const left = Object.fromEntries(Object.entries(REPLICAS).filter(([id]) => id !== old.id));
  plane.dispatcher.apply(snapshot({}, left));
  const idle = () => plane.posted.filter((message) => message.type === 'replica-idle').length;
  t.equal(idle(), 0, 'it holds a sequence');
  ask('a', { id: 'goes on' });
  ask('b start');
  await answer(...replicas);
  t.ok(old.requests.includes('goes on'));
  t.notOk(old.requests.includes('b start'));
  ask('a end');
  await answer(...replicas);
  t.ok(idle() > 0, 'and goes when that has ended');
});

t.test('a new version takes the new ones, and the old one those that it has', async (t) => {
  const { ask, answer, replicas, plane, holderOf } = await start(t);
  for (const what of ['a start', 'b start']) ask(what);
  await answer(...replicas);
  const next = await plane.replica('n1', 'app/A', 'v2');
  plane.dispatcher.apply(snapshot({ version: 'v2' }, { n1: 'app/A@v2' }, 2));
  const goesOn = ask('a', { id: 'goes on' });
  const anew = ask('b start', { id: 'anew' });
  const fresh = ask('c start');
  await next.settled();
  await answer(...replicas);
  t.ok(holderOf('a start').requests.includes('goes on'));
  t.same(next.requests, ['anew', 'c start']);
  for (const { ids } of next.batches) next.result(null, ids, { http: HTTP });
  await fresh.over;
  t.same(outcomes([goesOn, anew, fresh]), ['result', 'result', 'result']);
});

t.test('requests that wait while their version changes go on as they should', async (t) => {
  const { ask, answer, settled, replicas, plane, holderOf } = await start(t, { maxOngoingRequests: 1 }, 1);
  ask('a start');
  await settled();
  const [step, anew, starts] = [ask('a', { id: 'step' }), ask('a start', { id: 'anew' }), ask('b start')];
  const next = await plane.replica('n1', 'app/A', 'v2');
  plane.dispatcher.apply(snapshot({ version: 'v2', maxOngoingRequests: 1 }, { n1: 'app/A@v2' }, 2));
  await answer(...replicas);
  await answer(...replicas);
  t.same(holderOf('a start').requests, ['a start', 'step'], 'the state is there');
  await next.until(() => next.batches.length === 1);
  next.result(null, next.last.ids, { http: HTTP });
  await next.until(() => next.batches.length === 2);
  next.result(null, next.last.ids, { http: HTTP });
  await Promise.all([anew.over, starts.over, step.over]);
  t.same(next.requests.toSorted(), ['anew', 'b start']);
});

t.test('a deployment that leaves the config, or keeps sequences no more, lets its replicas go', async (t) => {
  const { ask, answer, replicas, plane } = await start(t, {}, 1);
  ask('a start');
  await answer(...replicas);
  plane.dispatcher.apply(routingSnapshot([], {}));
  t.match(plane.posted.at(-1), { type: 'replica-idle', replica: 'a1' });
});

t.test('a start that is refused at the door takes the state along that it was to replace', async (t) => {
  const { ask, answer, replicas, settled, plane } = await start(t, { maxQueuedRequests: 0, maxOngoingRequests: 3 }, 1);
  for (const id of ['a', 'b', 'c']) ask(`${id} start`);
  await answer(...replicas);
  const late = ask('a start', { id: 'late', timeoutMs: 0 });
  t.match(plane.dispatcher.metrics(), [{ sequences: { open: 2 } }], 'at once');
  t.same(outcomes([late, ask('a')]), ['error DEADLINE_EXCEEDED', UNKNOWN]);
  const before = ask('b', { id: 'before' });
  await settled();
  const full = ask('b start', { id: 'full' });
  t.same(full.events, ['error QUEUE_FULL']);
  await answer(...replicas);
  t.same(outcomes([before, ask('b')]), ['result', UNKNOWN], 'but for what came before it');
  const bounded = snapshot({});
  plane.dispatcher.apply({ ...bounded, proxy: { ...bounded.proxy, maxBufferedBytes: -1 } });
  const heavy = ask('c start', { id: 'heavy' });
  plane.dispatcher.apply(snapshot({}));
  t.same(outcomes([heavy, ask('c')]), ['error QUEUE_FULL', UNKNOWN]);
  t.equal(replicas[0].forgotten.length, 2);
  await settled();
  t.equal(replicas[0].forgotten.length, 3);
  t.match(plane.dispatcher.metrics(), [{ sequences: { open: 0, ended: { restart: 3 } } }]);
});

t.test('a replica that makes room for another goes on with what it holds, while starts are refused', async (t) => {
  const { ask, answer, settled, replicas, plane } = await start(t, { maxOngoingRequests: 1 }, 1);
  for (const what of ['a start', 'b start']) {
    ask(what);
    await answer(...replicas);
  }
  const running = ask('a', { id: 'running' });
  await settled();
  const [waiting, anew, behind] = [ask('b', { id: 'waiting' }), ask('a start', { id: 'anew' }), ask('a', { id: 'behind' })];
  const waitsToStart = ask('c start');
  plane.dispatcher.apply(snapshot({ refuse: 'makes room', maxOngoingRequests: 1 }, {}));
  const UNAVAILABLE = 'error UNAVAILABLE';
  t.same(outcomes([waitsToStart, ask('d start'), waiting]), [UNAVAILABLE, UNAVAILABLE, '']);
  const last = ask('b end', { id: 'last' });
  for (let turn = 0; turn < 3; turn++) await answer(...replicas);
  t.same(outcomes([running, anew, behind, waiting, last]), ['result', UNAVAILABLE, UNKNOWN, 'result', 'result']);
  t.match(plane.posted.at(-1), { type: 'replica-idle', replica: 'a1' });
});

t.test('what is in work when its deployment leaves the config holds its replica no longer than that', async (t) => {
  const { ask, answer, settled, replicas, plane } = await start(t, {}, 1);
  const [a1] = replicas;
  ask('a start');
  await answer(a1);
  const [step, starting, behind] = [ask('a', { id: 'step' }), ask('b start'), ask('b')];
  await settled();
  plane.dispatcher.apply(routingSnapshot([], {}));
  await settled();
  t.same(a1.forgotten, [], 'not before the run that would keep it again');
  await answer(a1);
  t.same(outcomes([step, starting, behind]), ['result', 'result', UNKNOWN]);
  t.same(a1.forgotten.toSorted(), [a1.batches[0], a1.batches[2]].map((batch) => batch?.members[0]?.sequence).toSorted());
  t.match(plane.posted.at(-1), { type: 'replica-idle', replica: 'a1' });
});

t.test('a start whose replica cannot take it is over, and the next one begins', async (t) => {
  const { ask, answer, replicas, plane } = await start(t, { sequence: { ...LIMITS, maxSequences: 1 } }, 1);
  const pieces = ask('a start', { body: new RequestBody(() => {}) });
  const behind = ask('a', { id: 'behind' });
  t.same(outcomes([pieces, behind]), ['error UNAVAILABLE', UNKNOWN]);
  const again = ask('a start', { id: 'again' });
  await answer(...replicas);
  t.same(again.events, ['result']);
  t.match(plane.dispatcher.metrics(), [{ sequences: { open: 1 } }]);
});

t.test('what comes behind a request that leaves the queue goes where there is a place', async (t) => {
  const { ask, answer, settled, replicas, holderOf } = await start(t, { maxOngoingRequests: 1 });
  for (const id of ['a', 'b', 'c', 'd']) {
    ask(`${id} start`);
    await answer(...replicas);
  }
  const holder = holderOf('a start');
  const company = ['b', 'c', 'd'].find((id) => holderOf(`${id} start`) === holder) as string;
  ask(company, { id: 'busy' });
  const leaves = ask('a', { id: 'leaves' });
  const anew = ask('a start', { id: 'anew' });
  await settled();
  leaves.call?.abandon(undefined);
  await settled();
  t.not(holderOf('anew') ?? holder, holder, 'at once, on the other one');
  await answer(...replicas);
  t.same(anew.events, ['result']);
});

t.test('a replica is told of starts and ends what the daemon read', async (t) => {
  const { ask, answer, replicas } = await start(t, {}, 1);
  for (const what of ['a start', 'a', 'a end']) {
    ask(what);
    await answer(...replicas);
  }
  const flags = replicas[0].batches.map(({ members: [first] }) => [first?.start, first?.end]);
  t.same(flags, [
    [true, undefined],
    [undefined, undefined],
    [undefined, true],
  ]);
});

t.test('starts wait for a replica where none is there yet', async (t) => {
  const { ask, settled, plane } = await start(t, {}, 0);
  const calls = ['a start', 'a'].map((what) => ask(what));
  t.same(outcomes([...calls, ask('b')]), ['', '', UNKNOWN]);
  const late = await plane.replica('a1');
  await late.until(() => late.batches.length === 1);
  late.result(null, late.last.ids, { http: HTTP });
  await late.until(() => late.batches.length === 2);
  await settled();
  t.same(late.requests, ['a start', 'a']);
});

t.test('a daemon that stops fails all that waits, also behind its own', async (t) => {
  const { ask, settled, plane, replicas } = await start(t, {}, 1);
  const calls = ['a start', 'a', 'a start', 'a end'].map((what, index) => ask(what, { id: String(index) }));
  await settled();
  plane.dispatcher.destroy(new ServeError('UNAVAILABLE', 'over'));
  t.same(outcomes(calls), new Array(4).fill('error UNAVAILABLE'));
  t.same(replicas[0].requests.length, 1);
  t.equal(plane.clock.pending, 0, 'and nothing is looked for any more');
});

t.test('requests without a sequence, and those of a deployment that keeps none, pay and mean nothing', async (t) => {
  const { ask, plane, settled, replicas } = await start(t);
  plane.call(null, { id: 'plain', http: { method: 'POST', path: '/', query: '', headers: [] } });
  plane.call(null, { id: 'a value' });
  await settled();
  t.same(
    replicas.flatMap(({ batches }) => batches.map(({ members: [first] }) => first?.sequence)),
    [undefined, undefined],
  );
  plane.dispatcher.apply(snapshot({ sequence: undefined } as unknown as Deployment));
  const meaningless = ask('a');
  await settled();
  t.same(meaningless.events, [], 'it went to a replica');
  t.match(plane.dispatcher.metrics(), [{ sequences: undefined }]);
});

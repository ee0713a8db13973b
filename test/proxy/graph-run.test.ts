import t from 'tap';
import { compileGraph, type GraphSource } from '../../src/graph/compile.ts';
import { GraphRun } from '../../src/proxy/graph-run.ts';
import { requestScope } from '../../src/proxy/request-scope.ts';
import { RetryBudgets } from '../../src/proxy/retry-budget.ts';
import { Shadows } from '../../src/proxy/shadow.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeDispatcher } from '../support/fake-dispatcher.ts';
import { type GraphRigOptions, graphRig, splitsAt } from '../support/graph-rig.ts';
import { applicationRouting } from '../support/routing.ts';

const begin = (
  source: GraphSource,
  body: unknown = null,
  deadlineAt = Number.POSITIVE_INFINITY,
  slots = 1,
  more: Pick<GraphRigOptions, 'next' | 'headers' | 'retries' | 'refuses'> = {},
) => graphRig(source, { body, deadlineAt, slots, ...more });
const fan = (more: object = {}): GraphSource => ({ steps: { each: { call: 'A', for_each: '$request.json', ...more } } });

t.test('steps that do not refer to each other start together, the next when both are done', async (t) => {
  const { dispatcher, outcomes } = begin(
    {
      steps: { a: { call: 'A', input: '$request.json' }, b: { call: 'B', input: 1 }, c: { call: 'C', input: ['$a', '$b'] } },
    },
    'in',
  );
  t.same(
    dispatcher.calls.map(({ target, input }) => [target, input]),
    [
      ['A', 'in'],
      ['B', 1],
    ],
  );
  dispatcher.calls[1]?.answer('from b');
  t.equal(dispatcher.calls.length, 2);
  dispatcher.calls[0]?.answer('from a');
  t.same(dispatcher.of('C')[0]?.input, ['from a', 'from b']);
  dispatcher.calls[2]?.answer({ done: true });
  t.same(outcomes, [{ done: true }]);
  t.same(dispatcher.idle, [1], 'its generation may go');
});

t.test('a fan-out keeps the order of its list, whatever ends first', async (t) => {
  const { dispatcher, outcomes } = begin(fan({ max_concurrency: 3 }), [1, 2, 3]);
  for (const call of [...dispatcher.calls].reverse()) call.answer(`${call.input}!`);
  t.same(outcomes, [['1!', '2!', '3!']]);
});

t.test('a fan-out has no more calls under way than it may', async (t) => {
  const { dispatcher, outcomes } = begin(fan({ max_concurrency: 2 }), [1, 2, 3, 4, 5]);
  let most = 0;
  for (let ended = 0; ended < 5; ended++) {
    most = Math.max(most, dispatcher.calls.length - ended);
    dispatcher.calls[ended]?.answer(ended);
  }
  t.equal(most, 2);
  t.same(outcomes, [[0, 1, 2, 3, 4]]);
});

t.test('without a bound a fan-out has twice as many items out as may be worked on, of another application too', async (t) => {
  t.equal(begin(fan(), Array(100).fill(0), undefined, 4).dispatcher.calls.length, 8);
  t.equal(begin(fan({ call: 'other/Far' }), Array(100).fill(0), undefined, 4).dispatcher.calls.length, 8);
});

t.test('only the first item of a fan-out may be refused for a full queue', async (t) => {
  const { dispatcher } = begin(fan({ max_concurrency: 3 }), [1, 2, 3]);
  t.same(
    dispatcher.calls.map(({ request }) => request.exempt),
    [false, true, true],
  );
});

t.test('a fan-out over nothing is an empty list', async (t) => {
  t.same(begin(fan(), []).outcomes, [[]]);
});

t.test('a fan-out over no list is the client’s mistake', async (t) => {
  t.match(begin(fan(), { a: 1 }).outcomes, [{ code: 'INVALID_INPUT' }]);
});

t.test('the first failure ends the request and cancels the rest', async (t) => {
  const { dispatcher, outcomes } = begin({
    steps: { a: { call: 'A', input: 1 }, b: { call: 'B', input: 1 } },
    output: ['$a', '$b'],
  });
  dispatcher.calls[0]?.fail('USER_ERROR', 'no');
  t.equal(dispatcher.calls[1]?.cancelled, true);
  t.match(outcomes, [{ code: 'USER_ERROR', message: 'no' }]);
  t.same(dispatcher.idle, [1]);
});

t.test('a failed item cancels the others and begins no more', async (t) => {
  const { dispatcher, outcomes } = begin(fan({ max_concurrency: 2 }), [1, 2, 3, 4]);
  dispatcher.calls[1]?.fail();
  t.equal(dispatcher.calls[0]?.cancelled, true);
  t.equal(dispatcher.calls.length, 2);
  t.equal(outcomes.length, 1);
});

t.test('on_error gives its value in place of what failed, once', async (t) => {
  const { dispatcher, outcomes } = begin({
    steps: { a: { call: 'A', input: 1, on_error: { value: { $x: 'unknown' } } }, b: { call: 'B', input: '$a' } },
  });
  dispatcher.calls[0]?.fail();
  t.same(dispatcher.calls[1]?.input, { $x: 'unknown' });
  dispatcher.calls[1]?.answer('end');
  t.same(outcomes, ['end']);
});

t.test('on_error of a fan-out stands for the answer of the item that failed, the others go on', async (t) => {
  const { dispatcher } = begin(
    {
      steps: {
        each: { call: 'A', for_each: '$request.json', max_concurrency: 2, on_error: { value: null } },
        b: { call: 'B', input: '$each' },
      },
    },
    [1, 2, 3],
  );
  dispatcher.calls[0]?.fail();
  t.equal(dispatcher.of('A')[1]?.cancelled, false);
  dispatcher.of('A')[1]?.answer('two');
  dispatcher.of('A')[2]?.answer('three');
  t.same(dispatcher.of('B')[0]?.input, [null, 'two', 'three']);
});

t.test('calls of a split that is judged are counted, also those that end with their request', async (t) => {
  const targets = [
    { call: 'A', weight: 1 },
    { call: 'B', weight: 1 },
  ];
  const verdict = { abort_when: { error_rate_above: 0.1 } };
  const judged = (source: object, options: object = {}) => {
    const step = { split: { targets, verdict }, for_each: '$request.json', ...source };
    const rig = graphRig({ steps: { s: step } }, { body: [1, 2, 3], slots: 3, next: () => 0.9, judgedAs: 'app/s@1', ...options });
    t.teardown(() => rig.splits.close());
    return { ...rig, counted: () => rig.splits.read()['app/s@1']?.canary };
  };
  const left = judged({});
  left.dispatcher.calls[0]?.answer(1);
  left.run.cancel();
  t.match(left.counted(), { requests: 1, errors: 0, abandoned: 2 }, 'the client left');
  const failed = judged({});
  failed.dispatcher.calls[0]?.fail();
  t.match(failed.counted(), { requests: 1, errors: 1, abandoned: 2 }, 'one of them failed');
  const late = judged({}, { deadlineAt: 2000, clientDeadlineAt: 1500 });
  late.dispatcher.calls[0]?.fail('DEADLINE_EXCEEDED');
  t.match(late.counted(), { requests: 0, errors: 0, abandoned: 3 }, 'the time of the client was over');
  const slow = judged({ timeout_s: 0.2 }, { clientDeadlineAt: 1500 });
  slow.dispatcher.calls[0]?.fail('DEADLINE_EXCEEDED');
  t.match(slow.counted(), { requests: 1, errors: 1, abandoned: 2 }, 'that of the step');
});

t.test('a step that is refused at the door fails like any other', async (t) => {
  t.match(begin(fan(), [1, 2], undefined, 1, { refuses: 'A' }).outcomes, [{ code: 'QUEUE_FULL' }]);
});

t.test('the deadline of a call is the sooner of the request’s and the step’s', async (t) => {
  const deadlineOf = (timeout_s: number | undefined, deadlineAt: number) =>
    begin({ steps: { a: { call: 'A', input: 1, timeout_s } } }, null, deadlineAt).dispatcher.calls[0]?.request.deadlineAt;
  t.equal(deadlineOf(0.2, 5000), 1200);
  t.equal(deadlineOf(10, 5000), 5000);
  t.equal(deadlineOf(undefined, 5000), 5000);
});

t.test('what stands for a step that fails is no answer once the time of the request is over', async (t) => {
  const source = {
    steps: { a: { call: 'A', input: 1, timeout_s: 0.2, on_error: { value: 'instead' } }, b: { call: 'B', input: '$a' } },
  };
  const inTime = begin(source, null, 1001);
  inTime.dispatcher.calls[0]?.fail('DEADLINE_EXCEEDED');
  t.equal(inTime.dispatcher.calls[1]?.input, 'instead', 'the time of the step alone');
  const late = begin(source, null, 1000);
  late.dispatcher.calls[0]?.fail('DEADLINE_EXCEEDED');
  t.match(late.outcomes, [{ code: 'DEADLINE_EXCEEDED' }]);
  t.equal(late.dispatcher.calls.length, 1, 'nothing more begins');
});

t.test('when the client goes, every call is cancelled and nobody is told', async (t) => {
  const { run, dispatcher, outcomes } = begin(fan({ max_concurrency: 2 }), [1, 2, 3]);
  run.cancel();
  t.ok(dispatcher.calls.every(({ cancelled }) => cancelled));
  t.equal(dispatcher.calls.length, 2);
  t.same(outcomes, []);
  t.same(dispatcher.idle, [1]);
});

t.test('an answer that cannot be read ends this request with an error', async (t) => {
  for (const skeleton of ['{', '[1,', '']) {
    const { dispatcher, outcomes } = begin({ steps: { a: { call: 'A', input: 1 }, b: { call: 'B', input: { x: '$a' } } } });
    t.doesNotThrow(() => dispatcher.calls[0]?.raw(skeleton));
    t.equal(outcomes.length, 1);
    t.match(outcomes[0], { code: /ERROR|INTERNAL/ });
  }
});

t.test('a body that is no JSON is the client’s mistake', async (t) => {
  const scope = requestScope({ method: 'POST', path: '/', query: '', headers: [] }, Buffer.from('{'));
  t.throws(() => scope.json, { code: 'INVALID_INPUT' });
});

t.test('a step whose condition does not hold is not called, and its value is null', async (t) => {
  const source = {
    steps: {
      lang: { call: 'A', input: '$request.json' },
      french: { call: 'B', input: '$lang', when: { ref: '$lang', equals: 'en' } },
    },
    output: { lang: '$lang', french: '$french' },
  };
  const skipped = begin(source, 'Guten Tag');
  skipped.dispatcher.calls[0]?.answer('de');
  t.equal(skipped.dispatcher.of('B').length, 0);
  t.same(skipped.outcomes, [{ lang: 'de', french: null }]);
  const taken = begin(source, 'Good day');
  taken.dispatcher.calls[0]?.answer('en');
  taken.dispatcher.of('B')[0]?.answer('Bonjour');
  t.same(taken.outcomes, [{ lang: 'en', french: 'Bonjour' }]);
});

t.test('a long chain of steps that are left out does not overflow the stack', async (t) => {
  const names = Array.from({ length: 4000 }, (_, index) => `s${index}`);
  const steps = Object.fromEntries(
    names.map((name, index) => [
      name,
      { call: 'A', input: 1, when: { ref: index === 0 ? '$request.json' : `$s${index - 1}`, equals: 'never' } },
    ]),
  );
  const { dispatcher, outcomes } = begin({ steps, output: `$${names.at(-1)}` }, 'well');
  t.same(outcomes, [null]);
  t.equal(dispatcher.calls.length, 0);
});

t.test('with for_each a condition on the item leaves items out, which stay in their places as null', async (t) => {
  const { dispatcher, outcomes } = begin(fan({ when: { ref: '$item', gt: 1 } }), [1, 2, 3], undefined, 4);
  t.same(
    dispatcher.calls.map(({ input }) => input),
    [2, 3],
  );
  for (const call of dispatcher.calls) call.answer('taken');
  t.same(outcomes, [[null, 'taken', 'taken']]);
});

t.test('retry calls again until one succeeds, and no more often than it says', async (t) => {
  const clock = new FakeClock(t);
  const flaky = { steps: { a: { call: 'A', input: 1, retry: { max_attempts: 3, backoff_s: 0.5 } } } };
  const mended = begin(flaky);
  mended.dispatcher.calls[0]?.fail('REPLICA_DIED');
  t.equal(mended.dispatcher.calls.length, 1, 'it waits');
  clock.advance(500);
  t.equal(mended.dispatcher.calls.length, 2);
  mended.dispatcher.calls[1]?.answer('well');
  t.same(mended.outcomes, ['well']);
  const broken = begin(flaky);
  for (let call = 0; call < 3; call++) {
    broken.dispatcher.calls[call]?.fail('USER_ERROR');
    clock.advance(500);
  }
  t.equal(broken.dispatcher.calls.length, 3);
  t.match(broken.outcomes, [{ code: 'USER_ERROR' }]);
});

t.test('a deployment whose calls all fail is called a fifth more often, not three times', async (t) => {
  const clock = new FakeClock(t);
  const steps = { a: { call: 'A', input: 1, retry: { max_attempts: 3, backoff_s: 0.001 } } };
  const retries = new RetryBudgets();
  let calls = 0;
  for (let request = 0; request < 1000; request++) {
    const { dispatcher, outcomes } = begin({ steps }, null, undefined, 1, { retries });
    for (let call = 0; call < dispatcher.calls.length; call++) {
      dispatcher.calls[call]?.fail('USER_ERROR');
      clock.advance(1);
    }
    t.match(outcomes, [{ code: 'USER_ERROR' }]);
    calls += dispatcher.calls.length;
  }
  t.equal(calls, 1000 + 200 + 10);
});

t.test('what is the input’s fault, or has no time left, is not tried again', async (t) => {
  const clock = new FakeClock(t);
  const steps = { a: { call: 'A', input: 1, retry: { max_attempts: 3, backoff_s: 1 } } };
  for (const code of ['INVALID_INPUT', 'CALL_REFUSED', 'DEADLINE_EXCEEDED'] as const) {
    const { dispatcher, outcomes } = begin({ steps });
    dispatcher.calls[0]?.fail(code);
    clock.advance(5000);
    t.equal(dispatcher.calls.length, 1, code);
    t.match(outcomes, [{ code }]);
  }
  const late = begin({ steps }, null, 1900);
  late.dispatcher.calls[0]?.fail('UNAVAILABLE');
  t.match(late.outcomes, [{ code: 'UNAVAILABLE' }], 'the pause would end behind the deadline');
});

t.test('a client that leaves during the pause before a further try is not worked for', async (t) => {
  const clock = new FakeClock(t);
  const { run, dispatcher } = begin({ steps: { a: { call: 'A', input: 1, retry: { backoff_s: 1 } } } });
  dispatcher.calls[0]?.fail('UNAVAILABLE');
  run.cancel();
  clock.advance(5000);
  t.equal(dispatcher.calls.length, 1);
});

const canary = (more: object = {}): GraphSource => ({
  steps: {
    a: {
      split: {
        targets: [
          { call: 'A', weight: 90 },
          { call: 'B', weight: 10 },
        ],
        ...more,
      },
      input: 1,
    },
  },
});

t.test('a split sends each request to one of its targets, by weight', async (t) => {
  const taken = (random: number) => begin(canary(), null, undefined, 1, { next: () => random }).dispatcher.calls[0]?.target;
  t.same([0, 0.5, 0.899, 0.9, 0.999].map(taken), ['A', 'A', 'A', 'B', 'B']);
});

t.test('a sticky key never changes side, and keys spread by weight', async (t) => {
  const source = canary({ sticky_by: '$request.headers.x-user' });
  const taken = (user: string, random: number) =>
    begin(source, null, undefined, 1, { next: () => random, headers: ['x-user', user] }).dispatcher.calls[0]?.target;
  let canaries = 0;
  for (let user = 0; user < 2000; user++) {
    const side = taken(`user-${user}`, 0);
    if (side === 'B') canaries++;
    if (user % 100 === 0) t.equal(taken(`user-${user}`, 0.99), side);
  }
  t.ok(canaries > 140 && canaries < 260, `${canaries} of 2000`);
  const anonymous = (random: number) => begin(source, null, undefined, 1, { next: () => random }).dispatcher.calls[0]?.target;
  t.same([anonymous(0), anonymous(0.95)], ['A', 'B'], 'nothing to stick by: by weight alone');
});

const shadowed = (tolerance?: number): GraphSource => ({
  steps: { a: { call: 'A', input: 7, shadow: { call: 'B', tolerance } } },
});

t.test('a shadow gets a copy, and the client gets the answer of the call whatever the shadow does', async (t) => {
  const { dispatcher, outcomes, shadows } = begin(shadowed());
  t.same(dispatcher.of('B')[0]?.input, 7);
  dispatcher.of('A')[0]?.answer({ score: 1 });
  t.same(outcomes, [{ score: 1 }]);
  t.same(shadows.counts, {}, 'nothing is said before both have answered');
  dispatcher.of('B')[0]?.answer({ score: 2 });
  t.same(shadows.counts, { 'app/a': { same: 0, different: 1, failed: 0, skipped: 0 } });
});

t.test('what a split sends to the shadow itself is not copied: it would be compared with itself', async (t) => {
  const source: GraphSource = { steps: { a: { ...canary().steps?.['a'], shadow: { call: 'B' } } } };
  const stable = begin(source, null, undefined, 1, { next: () => 0 });
  t.same([stable.dispatcher.of('A').length, stable.dispatcher.of('B').length], [1, 1]);
  const itself = begin(source, null, undefined, 1, { next: () => 0.95 });
  t.same([itself.dispatcher.of('A').length, itself.dispatcher.of('B').length], [0, 1]);
  itself.dispatcher.of('B')[0]?.answer(1);
  t.same([itself.outcomes, itself.shadows.counts], [[1], {}]);
});

t.test('a copy that fails where the call fails too says nothing of the shadow, whichever is first', async (t) => {
  for (const order of [
    ['A', 'B'],
    ['B', 'A'],
  ]) {
    const { dispatcher, shadows } = begin(shadowed());
    for (const deployment of order) dispatcher.of(deployment)[0]?.fail('INVALID_INPUT');
    t.match(shadows.counts, { 'app/a': { failed: 0, skipped: 1 } }, order.join());
  }
});

t.test('each try of a call of a split that is judged counts, also where its application has gone', async (t) => {
  const { ingress } = compileGraph(
    {
      steps: {
        a: {
          split: {
            targets: [
              { call: 'A', weight: 1 },
              { call: 'gone/Far', weight: 1 },
            ],
          },
          input: 1,
          retry: {},
        },
      },
    },
    { name: 'app', deployments: ['A'] },
    [{ name: 'gone', deployments: ['Far'] }],
  );
  if (ingress?.kind !== 'graph') throw new Error('expected a graph');
  const steps = ingress.graph.steps.map((step) => ({ ...step, split: step.split && { ...step.split, judgedAs: 'app/a@1' } }));
  const graph = { ...ingress.graph, steps };
  const clock = new FakeClock(t);
  for (const [next, counts] of [
    [0, { stable: { requests: 2, errors: 1 }, canary: { requests: 0 } }],
    [0.9, { stable: { requests: 0 }, canary: { requests: 2, errors: 2 } }],
  ] as const) {
    const dispatcher = new FakeDispatcher();
    const routing = applicationRouting({ ingress: { kind: 'graph', graph } });
    const generation = dispatcher.add(routing);
    const shadows = new Shadows();
    const splits = splitsAt(shadows, () => next);
    splits.follow([routing]);
    t.teardown(() => splits.close());
    const scope = requestScope({ method: 'POST', path: '/', query: '', headers: [] }, Buffer.from('null'));
    const outcomes: unknown[] = [];
    const common = { scope, requestId: 'r', sessionId: undefined, priority: undefined, traces: [], shadows, splits };
    const done = (output: unknown) => outcomes.push(output);
    const stream = { item: () => {}, end: () => {} };
    const never = Number.POSITIVE_INFINITY;
    const limits = { ownDeadlineAt: never, clientDeadlineAt: never };
    const request = { ...common, ...stream, graph, generation, ...limits, retries: new RetryBudgets(), done };
    new GraphRun(dispatcher.itself, request, () => 1000).begin();
    dispatcher.calls[0]?.fail('UNAVAILABLE');
    clock.advance(0);
    dispatcher.calls[1]?.answer('well');
    t.equal(outcomes.length, 1);
    t.match(splits.read(), { 'app/a@1': counts });
  }
});

t.test('answers of a shadow are compared within the tolerance, in any order', async (t) => {
  const near = begin(shadowed(0.01));
  near.dispatcher.of('B')[0]?.answer({ y: Float32Array.of(1.005, 200), of: ['x'] });
  near.dispatcher.of('A')[0]?.answer({ of: ['x'], y: Float32Array.of(1, 201) });
  t.match(near.shadows.counts, { 'app/a': { same: 1, different: 0 } });
  const far = begin(shadowed(0.001));
  far.dispatcher.of('A')[0]?.answer({ y: Float32Array.of(1, 201) });
  far.dispatcher.of('B')[0]?.answer({ y: Float32Array.of(1.005, 200) });
  t.match(far.shadows.counts, { 'app/a': { same: 0, different: 1 } });
});

t.test('a shadow that has no idle slot is passed over; one that fails or streams is counted and hurts nobody', async (t) => {
  const busy = begin(shadowed(), null, undefined, 0);
  t.equal(busy.dispatcher.of('B').length, 0);
  t.match(busy.shadows.counts, { 'app/a': { skipped: 1 } });
  const failing = begin(shadowed());
  failing.dispatcher.of('B')[0]?.fail();
  failing.dispatcher.of('A')[0]?.answer('well');
  t.same(failing.outcomes, ['well']);
  t.match(failing.shadows.counts, { 'app/a': { failed: 1 } });
  const streaming = begin(shadowed());
  streaming.dispatcher.of('B')[0]?.request.sink.open(undefined);
  t.equal(streaming.dispatcher.of('B')[0]?.cancelled, true);
  t.match(streaming.shadows.counts, { 'app/a': { skipped: 1 } });
});

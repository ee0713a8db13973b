import t from 'tap';
import { ServeError } from '../../src/domain/errors.ts';
import { compileGraph, type GraphSource } from '../../src/graph/compile.ts';
import { decodeValue } from '../../src/protocol/codec.ts';
import { GraphRun } from '../../src/proxy/graph-run.ts';
import { requestScope } from '../../src/proxy/request-scope.ts';
import { FakeDispatcher } from '../support/fake-dispatcher.ts';
import { applicationRouting } from '../support/routing.ts';

const begin = (source: GraphSource, body: unknown = null, deadlineAt = Number.POSITIVE_INFINITY, slots = 1) => {
  const { ingress } = compileGraph(source, { name: 'app', deployments: ['A', 'B', 'C'] }, []);
  if (ingress?.kind !== 'graph') throw new Error('expected a graph');
  const dispatcher = new FakeDispatcher();
  dispatcher.freeSlots = slots;
  const generation = dispatcher.add(applicationRouting({ ingress }));
  const outcomes: unknown[] = [];
  const head = { method: 'POST', path: '/', query: '', headers: [] };
  const run = new GraphRun(
    dispatcher.itself,
    {
      graph: ingress.graph,
      generation,
      scope: requestScope(head, Buffer.from(JSON.stringify(body))),
      requestId: 'r',
      deadlineAt,
      traces: [],
      done: (output) => outcomes.push(output instanceof ServeError ? output : decodeValue(output)),
    },
    () => 1000,
  );
  run.begin();
  generation.retire();
  return { run, dispatcher, outcomes };
};
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

t.test('without a bound a fan-out takes twice the free slots', async (t) => {
  t.equal(begin(fan(), Array(100).fill(0), undefined, 4).dispatcher.calls.length, 8);
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

t.test('a step that is refused at the door fails like any other', async (t) => {
  const { ingress } = compileGraph(fan(), { name: 'app', deployments: ['A'] }, []);
  if (ingress?.kind !== 'graph') throw new Error('expected a graph');
  const dispatcher = new FakeDispatcher();
  dispatcher.refuses = 'A';
  const generation = dispatcher.add(applicationRouting({ ingress }));
  const outcomes: unknown[] = [];
  const scope = requestScope({ method: 'POST', path: '/', query: '', headers: [] }, Buffer.from('[1,2]'));
  new GraphRun(
    dispatcher.itself,
    {
      graph: ingress.graph,
      generation,
      scope,
      requestId: 'r',
      deadlineAt: 1,
      traces: [],
      done: (output) => outcomes.push(output),
    },
    () => 0,
  ).begin();
  t.match(outcomes, [{ code: 'QUEUE_FULL' }]);
});

t.test('the deadline of a call is the sooner of the request’s and the step’s', async (t) => {
  const deadlineOf = (timeout_s: number | undefined, deadlineAt: number) =>
    begin({ steps: { a: { call: 'A', input: 1, timeout_s } } }, null, deadlineAt).dispatcher.calls[0]?.request.deadlineAt;
  t.equal(deadlineOf(0.2, 5000), 1200);
  t.equal(deadlineOf(10, 5000), 5000);
  t.equal(deadlineOf(undefined, 5000), 5000);
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

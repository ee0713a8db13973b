import t from 'tap';
import { compileGraph, type GraphSource } from '../../src/graph/compile.ts';
import { jsonNode, listNode, type RequestScope } from '../../src/graph/evaluate.ts';
import { finish, inputsOf, isDone, items, MAX_ITEMS, modelOf, outputOf, ready, start } from '../../src/graph/step.ts';
import type { Segment } from '../../src/protocol/value.ts';

const segment = (byte: number): Segment => ({ dtype: 'bytes', shape: null, bytes: new Uint8Array([byte]) });
const segments = [segment(0), segment(1), segment(2)];

const request: RequestScope = {
  json: jsonNode({ list: [1, 'two'], text: 'x' }),
  body: { json: { $seg: 0 }, segments: [segment(9)] },
  path: jsonNode('/'),
  query: () => jsonNode(null),
  header: () => jsonNode(null),
};

const graphOf = (source: GraphSource) => {
  const { ingress, mistakes } = compileGraph(source, { name: 'app', deployments: ['A'] }, []);
  if (ingress?.kind !== 'graph') throw new Error(JSON.stringify(mistakes));
  return ingress.graph;
};

const only = (step: object) => {
  const graph = graphOf({ steps: { read: { call: 'A', ...step } } });
  const [read] = graph.steps;
  if (read === undefined) throw new Error('expected a step');
  return { run: start(graph), read };
};

t.test('a run goes from step to step to the output', async (t) => {
  const graph = graphOf({
    steps: {
      a: { call: 'A', input: '$request.json.text' },
      b: { call: 'A', input: null },
      c: { call: 'A', input: ['$a', '$b'] },
    },
    output: { answer: '$c', first: '$a' },
  });
  const begun = start(graph);
  t.same(ready(begun), ['a', 'b']);
  const one = finish(begun, 'b', jsonNode(2));
  t.same(ready(one), []);
  const two = finish(one, 'a', jsonNode(1));
  t.same(ready(two), ['c']);
  t.notOk(isDone(two));
  const [step] = graph.steps.filter(({ name }) => name === 'c');
  t.same(step && inputsOf(two, step, request), [{ json: [1, 2], segments: [] }]);
  const three = finish(two, 'c', jsonNode(3));
  t.ok(isDone(three));
  t.same(outputOf(three, request).json, { answer: 3, first: 1 });
  t.same([...begun.results.keys()], [], 'a state is never changed');
});

t.test('what an executor must not do throws', async (t) => {
  const graph = graphOf({ steps: { a: { call: 'A', input: 1 }, b: { call: 'A', input: '$a' } } });
  const run = start(graph);
  t.throws(() => finish(run, 'b', jsonNode(1)), /not ready/);
  t.throws(() => finish(run, 'x', jsonNode(1)), /no step x/);
  t.throws(() => finish(finish(run, 'a', jsonNode(1)), 'a', jsonNode(1)), /done already/);
  t.throws(() => outputOf(run, request), /not done/);
});

t.test('for_each gives one input for each item, in the order of the list, with $item and $index', async (t) => {
  const { run, read } = only({
    for_each: '$request.json.list',
    input: { at: '$index', value: '$item', all: '$request.json.list' },
  });
  t.same(
    inputsOf(run, read, request)?.map((input) => input?.json),
    [
      { at: 0, value: 1, all: [1, 'two'] },
      { at: 1, value: 'two', all: [1, 'two'] },
    ],
  );
  t.same(inputsOf(run, only({ for_each: [] }).read, request), []);
});

t.test('an item carries its own segments only', async (t) => {
  const { read } = only({ for_each: '$request.json.list' });
  const list = { json: [{ image: { $seg: 2 }, again: [{ $seg: 2 }], also: { $seg: 0 } }, { $seg: 1 }, 5], segments };
  t.same(items(read, list), [
    { json: { image: { $seg: 0 }, again: [{ $seg: 0 }], also: { $seg: 1 } }, segments: [segments[2], segments[0]] },
    { json: { $seg: 0 }, segments: [segments[1]] },
    { json: 5, segments: [] },
  ]);
  t.same(listNode(items(read, { json: [{ $seg: 2 }, { $seg: 0 }], segments })).json, [{ $seg: 0 }, { $seg: 1 }]);
});

t.test('for_each over something that is no list is an error that names the step', async (t) => {
  const text = only({ for_each: '$request.json.text' });
  const message = '`for_each` of the step `read`: expected a list, got a text';
  t.throws(() => inputsOf(text.run, text.read, request), { code: 'INVALID_INPUT', message });
  const graph = graphOf({ steps: { a: { call: 'A', input: 1 }, read: { call: 'A', for_each: '$a' } } });
  const read = graph.steps[1];
  const run = finish(start(graph), 'a', jsonNode(null));
  t.throws(() => read && inputsOf(run, read, request), { code: 'USER_ERROR', message: /expected a list, got null/ });
});

t.test('for_each over more items than one request may bring is told whose mistake it is', async (t) => {
  const { run, read } = only({ for_each: '$request.json.list' });
  const list = (length: number): RequestScope => ({ ...request, json: jsonNode({ list: Array(length).fill(0) }) });
  t.equal(inputsOf(run, read, list(MAX_ITEMS))?.length, MAX_ITEMS);
  const message = `\`for_each\` of the step \`read\`: expected at most ${MAX_ITEMS} items, got ${MAX_ITEMS + 1}: send them in several requests`;
  t.throws(() => inputsOf(run, read, list(MAX_ITEMS + 1)), { code: 'INVALID_INPUT', message });
});

t.test('an item of the wrong kind is the mistake of whoever gave the list', async (t) => {
  const client = only({ for_each: '$request.json.list', input: '$item.x' });
  t.throws(() => inputsOf(client.run, client.read, request), { code: 'INVALID_INPUT' });
  const graph = graphOf({ steps: { a: { call: 'A', input: 1 }, read: { call: 'A', for_each: '$a', input: '$item.x' } } });
  const run = finish(start(graph), 'a', jsonNode([1]));
  const read = graph.steps[1];
  t.throws(() => read && inputsOf(run, read, request), { code: 'USER_ERROR' });
});

t.test('the model of a step is an id or a reference to one; to nothing it is none', async (t) => {
  const modelIn = (model: unknown) => {
    const { run, read } = only({ input: null, model });
    return modelOf(run, read, request);
  };
  t.equal(modelIn('tenant-1'), 'tenant-1');
  t.equal(modelIn('$request.json.text'), 'x');
  t.equal(modelIn('$request.headers.x-none'), undefined);
  t.equal(modelIn(undefined), undefined);
  t.throws(() => modelIn('$request.json.list'), {
    code: 'INVALID_INPUT',
    message: '`model` of the step `read`: expected the id of a model, got a list',
  });
});

t.test('a step waits for the one that its model refers to', async (t) => {
  const graph = graphOf({
    steps: { which: { call: 'A', input: 1 }, read: { call: 'A', input: 2, model: '$which.id' } },
    output: '$read',
  });
  const run = start(graph);
  t.same(ready(run), ['which']);
  const next = finish(run, 'which', jsonNode({ id: 'm7' }));
  const read = graph.steps.find(({ name }) => name === 'read');
  t.equal(read && modelOf(next, read, request), 'm7');
});

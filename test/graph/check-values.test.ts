import t from 'tap';
import type { ModelPort, ModelPorts } from '../../src/domain/model.ts';
import { checkModelSteps, type ModelOf } from '../../src/graph/check-values.ts';
import { compileGraph, type GraphSource, type StepSource } from '../../src/graph/compile.ts';

const port = (name: string, dtype: string, shape: readonly number[] | null): ModelPort => ({ name, dtype, shape });

/** Of any number of rows where nothing else is said. */
const MODELS: Readonly<Record<string, ModelPorts>> = {
  Detector: {
    inputs: [port('image', 'uint8', [480, 640, 3])],
    outputs: [port('boxes', 'float32', [-1, 4]), port('scores', 'float32', [-1])],
  },
  Embedder: { inputs: [port('ids', 'int64', [-1, 16])], outputs: [port('vector', 'float32', [-1, 384])] },
  /** Exported with an example of 8 tokens, which is all that its output says of their number. */
  Tokens: {
    inputs: [port('ids', 'int64', [-1, -1])],
    outputs: [port('out', 'float32', [-1, 8, 768]), port('pooled', 'float32', [-1, 384])],
  },
  TwoTokens: { inputs: [port('x', 'float32', [-1, 2, 768])], outputs: [] },
  /** What it keeps of a sequence grows. */
  Grows: {
    inputs: [port('x', 'float32', [-1, 2])],
    outputs: [port('y', 'float32', [-1, 384])],
    states: [{ ...port('past', 'float32', [-1, -1, 2]), output: 'present' }],
  },
  Classifier: { inputs: [port('vector', 'float32', [-1, 512])], outputs: [port('label', 'int64', [-1])] },
  Ranker: { inputs: [port('boxes', 'float32', [-1, 4]), port('scores', 'float32', [-1])], outputs: [port('best', 'int64', [])] },
  /** Takes anything of one dtype. */
  Open: { inputs: [port('x', 'float32', null)], outputs: [port('y', 'float32', null)] },
  /** Exported with an example of 8 rows: its inputs say that they are free, its output does not. */
  Traced: { inputs: [port('x', 'float32', [-1, 384])], outputs: [port('y', 'float32', [8, 384])] },
  Fixed: { inputs: [port('x', 'float32', [8, 384])], outputs: [port('y', 'float32', [8, 10])] },
  Sixteen: { inputs: [port('x', 'float32', [16, 384])], outputs: [port('y', 'float32', [16, 10])] },
  Ten: { inputs: [port('x', 'float32', [8, 12])], outputs: [] },
  Scalar: { inputs: [port('x', 'float32', [])], outputs: [port('y', 'float32', [])] },
  Nothing: { inputs: [], outputs: [port('y', 'float32', [1])] },
};
const modelOf: ModelOf = ({ application, deployment }) => (application === 'app' ? MODELS[deployment] : undefined);

const deployments = [...Object.keys(MODELS), 'Code', 'Other'];
const DETECT: StepSource = { call: 'Detector', input: '$image' };
const IMAGE: StepSource = { call: 'Code', input: '$request.body' };

/** What is said, as `code place`, and the messages; the graph compiles without mistakes where models are not known. */
const said = (source: GraphSource, t_?: Pick<typeof t, 'same'>) => {
  const { ingress, mistakes } = compileGraph(source, { name: 'app', deployments }, []);
  if (ingress?.kind !== 'graph') throw new Error(JSON.stringify(mistakes));
  t_?.same(
    mistakes.filter(({ code }) => code !== 'STEP_UNUSED' && code !== 'DEPLOYMENT_UNUSED'),
    [],
  );
  return checkModelSteps(ingress.graph, modelOf);
};
const places = (source: GraphSource) => said(source).map(({ severity, code, path }) => `${severity} ${code} ${path.join('.')}`);
const graph = (steps: Record<string, StepSource>, output?: unknown): GraphSource => ({
  steps: { image: IMAGE, detect: DETECT, ...steps },
  output: output ?? Object.keys(steps).map((name) => `$${name}`),
});

t.test('what fits, and what nobody can know, is said nothing of', async (t) => {
  const good: Record<string, GraphSource> = {
    'tensors of another model, by name': graph({
      rank: { call: 'Ranker', input: { boxes: '$detect.boxes', scores: '$detect.scores' } },
    }),
    'all that a model gives': graph({ rank: { call: 'Ranker', input: '$detect' } }),
    'what code gives': graph({
      next: { call: 'Classifier', input: '$image.any[0].thing' },
      rank: { call: 'Ranker', input: { boxes: '$image', scores: '$image.x' } },
    }),
    'a bare tensor to a model of one input': graph({ next: { call: 'Open', input: '$detect.scores' } }),
    'any shape where the file leaves it open': graph({
      a: { call: 'Open', input: '$detect.boxes' },
      b: { call: 'Classifier', input: '$a.y' },
    }),
    'items of a list of code': graph({
      each: { call: 'Classifier', for_each: '$image.parts' },
      first: { call: 'Code', input: '$each[0].label' },
    }),
    'items of a fan-out over a model': graph({
      each: { call: 'Embedder', for_each: '$image.parts' },
      next: { call: 'Open', for_each: '$each', input: '$item.vector' },
    }),
    'items of lists in the file': graph({
      each: { call: 'Open', for_each: ['$detect.boxes', '$detect.scores'], input: { x: '$item' } },
    }),
    'a value of on_error that has what the model has not': graph({
      safe: { ...DETECT, on_error: { value: { failed: true } } },
      next: { call: 'Code', input: '$safe.failed' },
    }),
    'a model of which one target is code': graph({
      any: {
        split: {
          targets: [
            { call: 'Detector', weight: 1 },
            { call: 'Other', weight: 1 },
          ],
        },
        input: '$image',
      },
      next: { call: 'Code', input: '$any.whatever' },
      ranked: { call: 'Classifier', input: '$any.boxes' },
    }),
    'a target that gets nothing': graph({
      any: {
        split: {
          targets: [
            { call: 'Open', weight: 1 },
            { call: 'Classifier', weight: 0 },
          ],
        },
        input: '$detect.boxes',
      },
    }),
    'extents of an example': graph({ a: { call: 'Traced', input: '$image' }, b: { call: 'Sixteen', input: '$a.y' } }),
    'extents of an example behind the batch': graph({
      a: { call: 'Tokens', input: '$image' },
      b: { call: 'TwoTokens', input: '$a.out' },
      c: { call: 'Classifier', input: '$a.pooled' },
      d: { call: 'Grows', input: '$image' },
      e: { call: 'Classifier', input: '$d.y' },
    }),
    'fields that items of the file have not': graph({
      each: { call: 'Code', for_each: [{ a: 1 }, { a: '$image' }, [7]], input: '$item' },
      some: { call: 'Code', for_each: [{ a: 1 }, { a: 2 }], input: { c: '$item.c', d: '$item.c.d' } },
      computed: { call: 'Code', for_each: [{ a: '$image' }], input: '$item.c' },
      fewer: { call: 'Code', for_each: [[1], [2]], input: '$item[3]' },
      without: { call: 'Code', for_each: [{ a: 1 }], input: 1, when: { ref: '$item.c', exists: false } },
    }),
    'a condition on an output that a version to come has': graph({
      next: { call: 'Code', input: 1, when: { ref: '$detect.masks', exists: false } },
      other: { call: 'Code', input: 1, when: [{ not: { ref: '$detect.masks', exists: true } }] },
    }),
    'extents that agree': graph({ a: { call: 'Traced', input: '$image' }, b: { call: 'Fixed', input: '$a.y' } }),
    'a model without inputs': graph({ a: { call: 'Nothing', input: null } }),
    'a condition that may hold': graph({ next: { call: 'Code', input: 1, when: { ref: '$detect.boxes', exists: true } } }),
    'an answer that may be missing': graph({
      maybe: { ...DETECT, when: { ref: '$image.ok', equals: true } },
      next: { call: 'Code', input: '$maybe.boxes', when: { ref: '$maybe', exists: false } },
    }),
    'what one of two targets gives': graph({
      any: {
        split: {
          targets: [
            { call: 'Detector', weight: 1 },
            { call: 'Fixed', weight: 1 },
          ],
        },
        input: '$image',
      },
      next: { call: 'Open', input: '$any.boxes' },
    }),
    'a step that may be skipped': graph({
      maybe: { ...DETECT, when: { ref: '$image.ok', equals: true } },
      next: { call: 'Open', input: '$maybe.boxes' },
      other: { call: 'Code', input: 1, when: { ref: '$maybe.boxes', exists: false } },
    }),
    'a list that may be shorter': graph({
      each: { call: 'Detector', for_each: '$image' },
      next: { call: 'Code', input: 1, when: { ref: '$each[5].boxes', exists: false } },
    }),
    'a model of another application': {
      ...graph({}),
      steps: { image: IMAGE, detect: DETECT, far: { call: 'Code', input: 1 } },
      output: ['$detect', '$far'],
    },
  };
  for (const [title, source] of Object.entries(good)) t.same(said(source, t), [], title);
});

const cases: readonly (readonly [title: string, GraphSource, string, RegExp])[] = [
  [
    'an output that the model has not',
    graph({ next: { call: 'Code', input: { x: '$detect.boxs' } } }),
    'error UNKNOWN_FIELD steps.next.input.x',
    /^`\$detect\.boxs`: `\$detect` has no `boxs`; did you mean `boxes`\?$/,
  ],
  [
    'one in the output of the graph',
    graph({}, { x: ['$detect.labels'] }),
    'error UNKNOWN_FIELD output.x.0',
    /fields: `boxes`, `scores`/,
  ],
  [
    'one that a condition compares',
    graph({ next: { call: 'Code', input: 1, when: [{ not: { ref: '$detect.x', equals: 1 } }] } }),
    'warning UNKNOWN_FIELD steps.next.when.0.not.ref',
    /no `x`/,
  ],
  [
    'what waits for an output of a version to come, and uses it then',
    graph({ next: { call: 'Code', input: '$detect.masks', when: { ref: '$detect.masks', exists: true } } }),
    'warning STEP_UNREACHABLE steps.next.when',
    /`\$detect\.masks` is null/,
  ],
  [
    'an item that has no inside',
    graph({ next: { call: 'Code', input: 1, when: { ref: '$detect.boxes.x', exists: true } } }),
    'error UNKNOWN_FIELD steps.next.when.ref',
    /expected an object at `\$detect\.boxes`, got a tensor/,
  ],
  [
    'a missing field of the file that a model is to take',
    graph({ next: { call: 'Open', for_each: [{ a: 1 }], input: { x: '$item.c' } } }),
    'error INPUT_MISMATCH steps.next.input.x',
    /got null/,
  ],
  [
    'one that for_each goes over',
    graph({ next: { call: 'Code', for_each: '$detect.x' } }),
    'error UNKNOWN_FIELD steps.next.for_each',
    /no `x`/,
  ],
  [
    'one that names a model',
    graph({ next: { call: 'Code', input: 1, model: '$detect.x' } }),
    'error UNKNOWN_FIELD steps.next.model',
    /no `x`/,
  ],
  [
    'one by which requests stick',
    graph({ next: { split: { targets: [{ call: 'Code', weight: 1 }], sticky_by: '$detect.x' }, input: 1 } }),
    'error UNKNOWN_FIELD steps.next.split.sticky_by',
    /no `x`/,
  ],
  [
    'an item of a tensor',
    graph({ next: { call: 'Code', input: '$detect.boxes[0]' } }),
    'error UNKNOWN_FIELD steps.next.input',
    /expected a list at `\$detect\.boxes`, got a tensor float32 \[\?, 4\]/,
  ],
  [
    'a fan-out over a tensor',
    graph({ next: { call: 'Code', for_each: '$detect.boxes' } }),
    'error BAD_FOR_EACH steps.next.for_each',
    /expected a list, got a tensor float32 \[\?, 4\]/,
  ],
  [
    'a fan-out over all that a model gives',
    graph({ next: { call: 'Code', for_each: '$detect' } }),
    'error BAD_FOR_EACH steps.next.for_each',
    /got an object/,
  ],
  [
    'an input that the model has not',
    graph({ next: { call: 'Ranker', input: { boxes: '$detect.boxes', scores: '$detect.scores', score: '$detect.scores' } } }),
    'error INPUT_MISMATCH steps.next.input.score',
    /the model of `Ranker` has no input `score`; did you mean `scores`\?/,
  ],
  [
    'an input that is missing',
    graph({ next: { call: 'Ranker', input: { boxes: '$detect.boxes' } } }),
    'error INPUT_MISMATCH steps.next.input',
    /takes the inputs `boxes`, `scores`, got no `scores`/,
  ],
  [
    'an object of other names',
    graph({ next: { call: 'Classifier', input: '$detect' } }),
    'error INPUT_MISMATCH steps.next.input',
    /no input `boxes`/,
  ],
  [
    'another dtype',
    graph({ next: { call: 'Embedder', input: { ids: '$detect.boxes' } } }),
    'error INPUT_MISMATCH steps.next.input.ids',
    /^expected int64 \[\?, 16\] for the input `ids` of `Embedder`, got float32 \[\?, 4\]$/,
  ],
  [
    'another rank',
    graph({ next: { call: 'Classifier', input: '$detect.scores' } }),
    'error INPUT_MISMATCH steps.next.input',
    /expected float32 \[\?, 512\].*got float32 \[\?\]/,
  ],
  [
    'another extent',
    graph({ a: { call: 'Embedder', input: '$image' }, next: { call: 'Classifier', input: { vector: '$a.vector' } } }),
    'error INPUT_MISMATCH steps.next.input.vector',
    /expected float32 \[\?, 512\].*got float32 \[\?, 384\]/,
  ],
  [
    'another rank, also of an example',
    graph({ a: { call: 'Traced', input: '$image' }, next: { call: 'Scalar', input: '$a.y' } }),
    'error INPUT_MISMATCH steps.next.input',
    /got float32 \[\?, \?\]/,
  ],
  [
    'another extent where all is fixed',
    graph({ a: { call: 'Fixed', input: '$image' }, next: { call: 'Ten', input: '$a.y' } }),
    'error INPUT_MISMATCH steps.next.input',
    /got float32 \[8, 10\]/,
  ],
  [
    'an item of a fan-out',
    graph({
      each: { call: 'Embedder', for_each: '$image' },
      next: { call: 'Classifier', for_each: '$each', input: '$item.vector' },
    }),
    'error INPUT_MISMATCH steps.next.input',
    /got float32 \[\?, 384\]/,
  ],
  [
    'an item, where no input is said',
    graph({ each: { call: 'Embedder', for_each: '$image' }, next: { call: 'Classifier', for_each: '$each' } }),
    'error INPUT_MISMATCH steps.next.input',
    /no input `vector`|takes|expected/,
  ],
  [
    'a number',
    graph({ next: { call: 'Scalar', input: 3 } }),
    'error INPUT_MISMATCH steps.next.input',
    /`Scalar` is a model: expected an object with the input `x`, got a number; a step gives a model tensors/,
  ],
  [
    'a list in the file',
    graph({ next: { call: 'Open', input: { x: [[1, 2]] } } }),
    'error INPUT_MISMATCH steps.next.input.x',
    /expected float32 \[…\] for the input `x`.*got a list/,
  ],
  [
    'bytes of the request',
    graph({ next: { call: 'Open', input: '$request.body' } }),
    'error INPUT_MISMATCH steps.next.input',
    /got bytes/,
  ],
  [
    'JSON of the request',
    graph({ next: { call: 'Open', input: { x: '$request.json.x' } } }),
    'error INPUT_MISMATCH steps.next.input.x',
    /got JSON of the request/,
  ],
  [
    'a header',
    graph({ next: { call: 'Open', input: { x: '$request.headers.x' } } }),
    'error INPUT_MISMATCH steps.next.input.x',
    /got a text/,
  ],
  [
    'a target that cannot take it',
    graph({
      any: {
        split: {
          targets: [
            { call: 'Open', weight: 9 },
            { call: 'Classifier', weight: 1 },
          ],
        },
        input: '$detect.boxes',
      },
    }),
    'error INPUT_MISMATCH steps.any.input',
    /of `Classifier`, got float32 \[\?, 4\]/,
  ],
  [
    'a shadow that cannot take it',
    graph({ next: { call: 'Open', shadow: { call: 'Classifier' }, input: '$detect.boxes' } }),
    'warning INPUT_MISMATCH steps.next.input',
    /of `Classifier`/,
  ],
  [
    'what is wrong both ways: answered, and failed',
    graph({ safe: { ...DETECT, on_error: { value: { failed: true } } }, next: { call: 'Code', input: '$safe.done' } }),
    'error UNKNOWN_FIELD steps.next.input',
    /no `done`/,
  ],
  [
    'a condition on a tensor',
    graph({ next: { call: 'Code', input: 1, when: { ref: '$detect.scores', gt: 0.5 } } }),
    'warning STEP_UNREACHABLE steps.next.when',
    /the step `next` never runs, as its condition cannot hold: `\$detect\.scores` is a tensor float32 \[\?\]/,
  ],
];
for (const [title, source, place, message] of cases) {
  t.test(`told: ${title}`, async (t) => {
    const found = said(source, t);
    t.same(places(source), [place]);
    t.match(found[0]?.message, message);
  });
}

t.test('of a step that never runs, nothing is said of what it would give a model; what it leaves is null', async (t) => {
  const source = graph({
    never: { call: 'Classifier', input: '$detect.boxes', when: { ref: '$detect.boxes', exists: false } },
    next: { call: 'Code', input: '$never.label', when: { ref: '$never', exists: true } },
  });
  t.same(places(source), ['warning STEP_UNREACHABLE steps.never.when', 'warning STEP_UNREACHABLE steps.next.when']);
  t.match(said(source)[1]?.message, /`\$never` is null/);
});

t.test('what was told without the models is not told again', async (t) => {
  const source = graph({ next: { call: 'Code', input: '$detect.x', when: { ref: '$request.body', exists: false } } });
  const { mistakes } = compileGraph(source, { name: 'app', deployments }, []);
  t.match(mistakes, [{ code: 'STEP_UNREACHABLE' }]);
  t.same(places(source), []);
});

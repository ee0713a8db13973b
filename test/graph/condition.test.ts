import fc from 'fast-check';
import t from 'tap';
import { isAlike } from '../../src/graph/alike.ts';
import { compileGraph, type GraphMistake, type StepSource } from '../../src/graph/compile.ts';
import { jsonNode, type RequestScope } from '../../src/graph/evaluate.ts';
import { choose, pointOf } from '../../src/graph/split.ts';
import { inputsOf, start } from '../../src/graph/step.ts';
import { encodeValue } from '../../src/protocol/codec.ts';
import { nodeOf } from '../../src/protocol/value.ts';

const compile = (step: Partial<StepSource>) =>
  compileGraph({ steps: { a: { call: 'A', input: 1, ...step } } }, { name: 'app', deployments: ['A', 'B'] }, []);
const mistakes = (step: Partial<StepSource>) =>
  compile(step).mistakes.filter(({ severity }: GraphMistake) => severity === 'error');
const runs = (when: StepSource['when'], json: unknown): boolean => {
  const { ingress, mistakes } = compile({ when });
  if (ingress?.kind !== 'graph') throw new Error(mistakes.map(({ message }) => message).join());
  const [step] = ingress.graph.steps;
  const nothing = jsonNode(null);
  const request: RequestScope = {
    json: jsonNode(json as null),
    body: nothing,
    path: nothing,
    query: () => nothing,
    header: () => nothing,
  };
  return step !== undefined && inputsOf(start(ingress.graph), step, request) !== undefined;
};
const ref = '$request.json.x';

t.test('each operator', async (t) => {
  t.equal(runs({ ref, equals: 'en' }, { x: 'en' }), true);
  t.equal(runs({ ref, equals: { b: [1], a: null } }, { x: { a: null, b: [1] } }), true, 'the order of keys means nothing');
  t.equal(runs({ ref, equals: 1 }, { x: '1' }), false);
  t.equal(runs({ ref, equals: null }, {}), true, 'what is missing is null');
  t.equal(runs({ ref, in: ['a', 2] }, { x: 2 }), true);
  t.equal(runs({ ref, in: ['a', 2] }, { x: 3 }), false);
  t.equal(runs({ ref, exists: true }, { x: 0 }), true);
  t.equal(runs({ ref, exists: true }, { x: null }), false);
  t.equal(runs({ ref, exists: false }, {}), true);
  t.equal(runs({ ref, gt: 0.5 }, { x: 0.6 }), true);
  t.equal(runs({ ref, gt: 0.5 }, { x: 0.5 }), false);
  t.equal(runs({ ref, lt: 0.5 }, { x: '0' }), false, 'a text is no number');
  t.equal(runs({ ref, lt: 0.5 }, {}), false);
});

t.test('not, and a list of which all must hold', async (t) => {
  t.equal(runs({ not: { ref, exists: true } }, {}), true);
  t.equal(runs([{ ref, gt: 1 }, { not: { ref, gt: 3 } }], { x: 2 }), true);
  t.equal(runs([{ ref, gt: 1 }, { not: { ref, gt: 3 } }], { x: 4 }), false);
});

t.test('a condition on another step waits for it', async (t) => {
  const { ingress } = compileGraph(
    { steps: { a: { call: 'A', input: 1, when: { ref: '$b', exists: true } }, b: { call: 'B', input: 1 } }, output: '$a' },
    { name: 'app', deployments: ['A', 'B'] },
    [],
  );
  t.same(ingress?.kind === 'graph' && start(ingress.graph).ready, ['b']);
});

t.test('mistakes say where and what', async (t) => {
  const told: readonly [Partial<StepSource>, (string | number)[], RegExp][] = [
    [{ when: { ref } as never }, ['steps', 'a', 'when'], /one of `equals`, `in`, .*got `ref`/],
    [{ when: { ref, gt: 1, lt: 2 } }, ['steps', 'a', 'when'], /one of/],
    [{ when: [] }, ['steps', 'a', 'when'], /at least one/],
    [{ when: { ref: 'lang', equals: 1 } }, ['steps', 'a', 'when', 'ref'], /expected a reference, as in `\$step\.field`/],
    [{ when: [{ not: { ref: '$nobody', exists: true } }] }, ['steps', 'a', 'when', 0, 'not', 'ref'], /there is no step `nobody`/],
    [{ call: undefined as never }, ['steps', 'a'], /`call` .* or `split`/],
    [{ split: { targets: [{ call: 'A', weight: 1 }] } }, ['steps', 'a', 'split'], /in place of `call`/],
    [{ shadow: { call: 'C' } }, ['steps', 'a', 'shadow', 'call'], /there is no deployment `C`/],
  ];
  for (const [step, path, message] of told) t.match(mistakes(step)[0], { path, message });
  const { mistakes: split } = compileGraph(
    {
      steps: {
        a: {
          split: {
            targets: [
              { call: 'A', weight: 0 },
              { call: 'Bb', weight: 0 },
            ],
            sticky_by: 'user',
          },
          input: 1,
        },
      },
    },
    { name: 'app', deployments: ['A', 'B'] },
    [],
  );
  t.same(
    split.map(({ path, code }) => [code, path.slice(2).join('.')]),
    [
      ['UNKNOWN_DEPLOYMENT', 'split.targets.1.call'],
      ['SPLIT_EMPTY', 'split.targets'],
      ['BAD_REFERENCE', 'split.sticky_by'],
    ],
  );
});

t.test('a deployment that only a split or a shadow uses is used', async (t) => {
  const { mistakes } = compileGraph(
    {
      steps: {
        a: {
          split: {
            targets: [
              { call: 'A', weight: 1 },
              { call: 'B', weight: 1 },
            ],
          },
          input: 1,
          shadow: { call: 'C' },
        },
      },
    },
    { name: 'app', deployments: ['A', 'B', 'C'] },
    [],
  );
  t.same(mistakes, []);
});

const target = (deployment: string) => ({ application: 'app', deployment, method: 'call' });

t.test('a split keeps its weights over many points, and never takes one of weight 0', async (t) => {
  const weights = fc
    .array(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: 5 })
    .filter((all) => all.some((each) => each > 0));
  fc.assert(
    fc.property(weights, (all) => {
      const split = { targets: all.map((weight, index) => ({ target: target(`${index}`), weight })), stickyBy: undefined };
      const total = all.reduce((sum, weight) => sum + weight, 0);
      const counts = all.map(() => 0);
      for (let point = 0; point < 2000; point++) {
        const index = Number(choose(split, point / 2000).deployment);
        counts[index] = (counts[index] as number) + 1;
      }
      return all.every((weight, index) => Math.abs((counts[index] as number) - (2000 * weight) / total) <= 2);
    }),
  );
  t.pass();
});

t.test('keys spread evenly, and a change of weights moves no more keys than it must', async (t) => {
  const points = Array.from({ length: 20_000 }, (_, index) => pointOf(`step\n"user-${index}"`));
  for (let bin = 0; bin < 10; bin++) {
    const share = points.filter((point) => Math.floor(point * 10) === bin).length / points.length;
    t.ok(Math.abs(share - 0.1) < 0.01, `${share}`);
  }
  const of = (canary: number) => ({
    targets: [
      { target: target('A'), weight: 100 - canary },
      { target: target('B'), weight: canary },
    ],
    stickyBy: undefined,
  });
  const moved = points.filter((point) => choose(of(10), point).deployment === 'B' && choose(of(20), point).deployment === 'A');
  t.equal(moved.length, 0, 'who was on the growing side stays there');
});

t.test('values are alike when they say the same', async (t) => {
  const alike = (a: unknown, b: unknown, tolerance = 0) => isAlike(nodeOf(encodeValue(a)), nodeOf(encodeValue(b)), tolerance);
  fc.assert(fc.property(fc.jsonValue(), (value) => alike(value, structuredClone(value))));
  t.equal(alike({ a: 1 }, { a: 1, b: null }), false);
  t.equal(alike([1, 2], [1]), false);
  t.equal(alike(Number.NaN, Number.NaN), true);
  t.equal(alike(100, 100.5, 0.01), true);
  t.equal(alike(0.001, 0.011, 0.01), true, 'absolute below 1');
  t.equal(alike(Float32Array.of(1, 2), Float64Array.of(1, 2)), false, 'another dtype');
  t.equal(alike(BigInt64Array.of(5n), BigInt64Array.of(6n), 0.2), true);
  t.equal(alike(Buffer.from('a'), Buffer.from('b'), 1), false, 'bytes have no tolerance');
  t.equal(alike(Uint16Array.of(3), [3]), false);
});

/** What is said of a step and its model is what the replica would say: nothing is refused that it takes, and what is known to the last extent is taken. */
import fc from 'fast-check';
import t from 'tap';
import { ServeError } from '../../src/domain/errors.ts';
import type { ModelPort, ModelPorts } from '../../src/domain/model.ts';
import { checkModelSteps } from '../../src/graph/check-values.ts';
import { compileGraph } from '../../src/graph/compile.ts';
import { evaluate, jsonNode, type RequestScope } from '../../src/graph/evaluate.ts';
import { decodeValue, encodeValue } from '../../src/protocol/codec.ts';
import { Tensor, TYPED_ARRAYS } from '../../src/protocol/tensor.ts';
import { nodeOf, wireOf } from '../../src/protocol/value.ts';
import { feedsOf, type Signature } from '../../src/replica/engines/onnx-signature.ts';

const DTYPES = ['float32', 'int64', 'uint8'] as const;
const NAMES = ['x', 'y', 'z'] as const;

const shapeOf = (...extents: readonly number[]): fc.Arbitrary<ModelPort['shape']> => {
  const known = fc.array(fc.constantFrom(...extents), { maxLength: 3 });
  return extents.includes(-1) ? fc.option(known, { nil: null, freq: 8 }) : known;
};

const portsOf = (shape: fc.Arbitrary<ModelPort['shape']>): fc.Arbitrary<readonly ModelPort[]> =>
  fc.uniqueArray(fc.record({ name: fc.constantFrom(...NAMES), dtype: fc.constantFrom(...DTYPES), shape }), {
    minLength: 1,
    maxLength: 3,
    selector: ({ name }) => name,
  });

/** What an axis of an output really is: of one extent, like a free one of the inputs, or as the data will have it, which exporters see. */
interface Axis {
  readonly extent: number;
  readonly follows: 'nothing' | 'inputs' | 'data';
}

const FOLLOWS = ['nothing', 'nothing', 'inputs', 'inputs', 'data'] as const;
const axis: fc.Arbitrary<Axis> = fc.record({
  extent: fc.constantFrom(1, 2, 3),
  follows: fc.constantFrom(...FOLLOWS),
});

/** Which of the axes that follow the inputs were named at the export; the others say the extent of its example. */
const habit = fc.constantFrom('all' as const, 'batch' as const, 'none' as const);

/** A model as its file tells it, and of each output which axes may have any extent. */
interface Exported extends ModelPorts {
  readonly varies: ReadonlyMap<string, readonly boolean[] | null>;
}

interface Output {
  readonly name: string;
  readonly dtype: string;
  readonly axes: readonly Axis[] | null;
  readonly named: 'all' | 'batch' | 'none';
}

const truth: fc.Arbitrary<readonly Output[]> = fc.uniqueArray(
  fc.record({
    name: fc.constantFrom(...NAMES),
    dtype: fc.constantFrom(...DTYPES),
    axes: fc.option(fc.array(axis, { maxLength: 3 }), { nil: null, freq: 8 }),
    named: habit,
  }),
  { minLength: 1, maxLength: 3, selector: ({ name }) => name },
);

/** The batch is the first axis, where there is one; a length may be in any. */
const exported = (inputs: readonly ModelPort[], outputs: readonly Output[]): Exported => {
  const isFree = (from: number, to?: number) =>
    inputs.some(({ shape }) => shape === null || shape.slice(from, to).some((extent) => extent < 0));
  const [ofBatch, ofLength] = [isFree(0, 1), isFree(1)];
  const varies = (axes: readonly Axis[]) =>
    axes.map(({ follows }, at) => follows === 'data' || (follows === 'inputs' && (ofLength || (ofBatch && at === 0))));
  return {
    inputs,
    outputs: outputs.map(({ name, dtype, axes, named }) => {
      const isNamed = ({ follows }: Axis, at: number) => follows === 'data' || named === 'all' || (named === 'batch' && at === 0);
      const moves = axes === null ? [] : varies(axes);
      const shape = axes?.map((each, at) => (moves[at] === true && isNamed(each, at) ? -1 : each.extent)) ?? null;
      return { name, dtype, shape };
    }),
    varies: new Map(outputs.map(({ name, axes }) => [name, axes && varies(axes)])),
  };
};

const model: fc.Arbitrary<Exported> = fc.boolean().chain((isFixed) => {
  const own = isFixed ? shapeOf(1, 2, 3) : shapeOf(-1, 1, 2, 3);
  return fc.tuple(portsOf(own), truth).map(([inputs, outputs]) => exported(inputs, outputs));
});

/** The second takes what the first gives, or nearly so, or anything. */
const pair = fc
  .tuple(model, model, fc.nat(5), fc.nat(2))
  .map(([first, second, change, which]): readonly [Exported, ModelPorts] => {
    const inputs = first.outputs.map((port, index): ModelPort => {
      if (index !== which) return port;
      if (change === 0) return { ...port, dtype: 'int64' };
      if (change === 1) return { ...port, shape: port.shape?.map(() => -1) ?? null };
      if (change === 2) return { ...port, shape: port.shape?.map((extent) => (extent < 0 ? 2 : extent)) ?? null };
      return port;
    });
    return [first, change === 5 ? second : { ...second, inputs }];
  });

const part = fc.constantFrom('$p', '$p', '$p', '$p.x', '$p.y', '$p.z', '$code', '$request.body', '$request.json', 3, null);
const input = fc.oneof(fc.constant('$p'), part, fc.dictionary(fc.constantFrom(...NAMES), part, { minKeys: 1, maxKeys: 3 }));

const isFree = ({ shape: own }: ModelPort): boolean => own === null || own.some((extent) => extent < 0);

/** Outputs as a run gives them: any extent where the file says none, and where it says but that of its example. */
const outputsOf = (
  outputs: readonly ModelPort[],
  extents: Iterator<number>,
  varies: Exported['varies'] = new Map(),
): Record<string, Tensor> => {
  const extent = () => Number(extents.next().value);
  return Object.fromEntries(
    outputs.map(({ name, dtype: said, shape }) => {
      const declared = shape ?? Array.from({ length: extent() }, () => -1);
      const given = declared.map((each, at) => (each < 0 || varies.get(name)?.[at] === true ? extent() : each));
      const dtype = said as (typeof DTYPES)[number];
      return [name, new Tensor(dtype, given, new TYPED_ARRAYS[dtype](given.reduce((size, each) => size * each, 1)))];
    }),
  );
};

const signatureOf = ({ inputs, outputs }: ModelPorts): Signature => {
  const named = (all: readonly ModelPort[]) =>
    all.map((port) => ({ ...port, shape: port.shape?.map((extent) => (extent < 0 ? 'any' : extent)) ?? null }));
  return { inputs: named(inputs), outputs: named(outputs) } as Signature;
};

const bytes = { json: { $seg: 0 }, segments: [{ dtype: 'bytes' as const, shape: null, bytes: new Uint8Array(8) }] };
const request: RequestScope = {
  json: jsonNode({ x: [1], y: 2 }),
  body: bytes,
  path: jsonNode('/'),
  query: () => jsonNode(null),
  header: () => jsonNode(null),
};

t.test('what is refused the replica would refuse, and what is known in full is taken', async (t) => {
  const seen = { refused: 0, taken: 0 };
  fc.assert(
    fc.property(pair, input, fc.infiniteStream(fc.integer({ min: 0, max: 3 })), fc.boolean(), ([p, q], said, extents, gives) => {
      const { ingress, mistakes } = compileGraph(
        {
          steps: { code: { call: 'Code', input: 1 }, p: { call: 'P', input: '$code' }, q: { call: 'Q', input: said } },
          output: '$q',
        },
        { name: 'app', deployments: ['Code', 'P', 'Q'] },
        [],
      );
      if (ingress?.kind !== 'graph') throw new Error(JSON.stringify(mistakes));
      const step = ingress.graph.steps.find(({ name }) => name === 'q');
      const errors = checkModelSteps(ingress.graph, ({ deployment }) => ({ P: p, Q: q })[deployment]).filter(
        ({ severity, path }) => severity === 'error' && path[1] === 'q',
      );
      // Code may give just what is needed.
      const [wanted] = q.inputs as [ModelPort];
      const fitting = outputsOf(q.inputs, extents);
      const ofCode = gives ? fitting : (fitting[wanted.name] as Tensor);
      const steps = new Map([
        ['code', nodeOf(encodeValue(ofCode))],
        ['p', nodeOf(encodeValue(outputsOf(p.outputs, extents, p.varies)))],
      ]);
      let problem: unknown;
      try {
        if (step === undefined) throw new Error('no step');
        feedsOf(decodeValue(wireOf(evaluate(step.input, { request, steps }))), signatureOf(q));
      } catch (error) {
        if (!(error instanceof ServeError)) throw error;
        problem = error;
      }
      const told = errors.map(({ message }) => message).join('; ');
      if (errors.length > 0) {
        seen.refused++;
        if (problem === undefined) throw new Error(`${told}: the replica takes it`);
        return;
      }
      const isKnown = !JSON.stringify(said).includes('$code') && ![...p.inputs, ...p.outputs].some(isFree);
      if (!isKnown) return;
      seen.taken++;
      if (problem !== undefined) throw new Error(`nothing is said, and the replica says ${String(problem)}`);
    }),
    { numRuns: 5000 },
  );
  t.comment(JSON.stringify(seen));
  t.ok(seen.refused > 1000 && seen.taken > 300, JSON.stringify(seen));
});

t.test(
  'what a model gives in a run, and the next takes to the last extent, is refused for no example of its export',
  async (t) => {
    let beside = 0;
    fc.assert(
      fc.property(model, fc.infiniteStream(fc.integer({ min: 1, max: 4 })), (p, extents) => {
        const given = outputsOf(p.outputs, extents, p.varies);
        const inputs = p.outputs.map((port): ModelPort => ({ ...port, shape: (given[port.name] as Tensor).shape }));
        beside += Number(
          p.outputs.some(({ shape }, at) => shape?.some((each, axis) => each > 0 && each !== inputs[at]?.shape?.[axis])),
        );
        const { ingress } = compileGraph(
          { steps: { p: { call: 'P', input: 1 }, q: { call: 'Q', input: '$p' } }, output: '$q' },
          { name: 'app', deployments: ['P', 'Q'] },
          [],
        );
        if (ingress?.kind !== 'graph') throw new Error('expected a graph');
        const ports: Readonly<Record<string, ModelPorts>> = { P: p, Q: { inputs, outputs: [] } };
        const told = checkModelSteps(ingress.graph, ({ deployment }) => ports[deployment]).filter(({ path }) => path[1] === 'q');
        if (told.length > 0) throw new Error(told.map(({ message }) => message).join('; '));
      }),
      { numRuns: 3000 },
    );
    t.ok(beside > 100, `${beside} gave another extent than their file says`);
  },
);

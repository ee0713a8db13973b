import fc from 'fast-check';
import t from 'tap';
import { Tensor } from '../../src/protocol/tensor.ts';
import { type BatchRules, runBatch } from '../../src/replica/engines/onnx-batch.ts';
import type { Feeds, Signature } from '../../src/replica/engines/onnx-signature.ts';
import type { Outputs } from '../../src/replica/engines/onnx-stack.ts';

const signature: Signature = {
  inputs: [{ name: 'x', dtype: 'float32', shape: ['rows', 2] }],
  outputs: [{ name: 'y', dtype: 'float32', shape: ['rows', 2] }],
};
const rowsOf = (...firsts: readonly number[]): Feeds => ({
  x: new Tensor('float32', [firsts.length, 2], Float32Array.from(firsts.flatMap((each) => [each, each]))),
});
const firstsOf = (answer: Outputs | Error | undefined) =>
  answer instanceof Error || answer === undefined
    ? (answer?.message ?? 'none')
    : [...((answer['y'] as Tensor).data as Float32Array)].filter((_, index) => index % 2 === 0);

/** Adds one; fails where a row is a poison; notes the rows of each run. */
const rules = (given: Partial<BatchRules> = {}, poison: readonly number[] = []) => {
  const runs: number[] = [];
  const run = async ({ x }: Feeds): Promise<Outputs> => {
    const { data, shape, dtype } = x as Tensor;
    runs.push(shape[0] as number);
    if (poison.some((each) => (data as Float32Array).includes(each))) throw new Error('poison');
    return {
      y: new Tensor(
        dtype,
        shape,
        (data as Float32Array).map((each) => each + 1),
      ),
    };
  };
  return { runs, rules: { signature, run, maxRows: 64, pad: {}, ...given } satisfies BatchRules };
};

t.test('of 32 requests one is poison: one error and 31 answers, in at most 2·log2 n runs more', async (t) => {
  const { runs, rules: given } = rules({}, [13]);
  const answers = await runBatch(
    Array.from({ length: 32 }, (_, n) => rowsOf(n)),
    given,
  );
  t.same(
    answers.map(firstsOf),
    Array.from({ length: 32 }, (_, n) => (n === 13 ? 'poison' : [n + 1])),
  );
  t.equal(runs.length, 1 + 2 * Math.log2(32));
});

t.test('no run has more rows than allowed, whatever comes; each gets its own rows', async (t) => {
  const requests = fc.array(fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: 9 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(requests, fc.integer({ min: 1, max: 6 }), async (list, maxRows) => {
      const { runs, rules: given } = rules({ maxRows }, [7]);
      const answers = await runBatch(
        list.map((firsts) => rowsOf(...firsts)),
        given,
      );
      if (Math.max(0, ...runs) > maxRows) return false;
      return list.every((firsts, at) => {
        const expected = firsts.includes(7) ? 'poison' : firsts.map((each) => each + 1);
        return JSON.stringify(firstsOf(answers[at])) === JSON.stringify(expected);
      });
    }),
  );
  t.pass();
});

t.test('a large request runs in pieces, and its answer is joined', async (t) => {
  const { runs, rules: given } = rules({ maxRows: 4 });
  const [answer] = await runBatch([rowsOf(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)], given);
  t.same(firstsOf(answer), [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  t.same(runs, [4, 4, 2]);
});

t.test('a model that gives another number of rows: an error that says so to all, and nobody gets rows', async (t) => {
  for (const given of [0, 1, 3, 5]) {
    let runs = 0;
    const run = async (): Promise<Outputs> => {
      runs += 1;
      return { y: new Tensor('float32', [given, 2], new Float32Array(2 * given)) };
    };
    const answers = await runBatch([rowsOf(1), rowsOf(2), rowsOf(3, 4)], { signature, run, maxRows: 64, pad: {} });
    for (const answer of answers)
      t.equal(firstsOf(answer), `expected 4 rows in the output \`y\` of a batch, got shape [${given}, 2]`);
    t.equal(runs, 1, 'it is no matter of company');
  }
  const scalar = async (): Promise<Outputs> => ({ y: new Tensor('float32', [], Float32Array.of(1)) });
  const [answer] = await runBatch([rowsOf(1), rowsOf(2)], { signature, run: scalar, maxRows: 64, pad: {} });
  t.equal(firstsOf(answer), 'expected 2 rows in the output `y` of a batch, got shape []');
});

t.test('pieces of a large request are looked at as batches are', async (t) => {
  const run = async (): Promise<Outputs> => ({ y: new Tensor('float32', [1, 2], new Float32Array(2)) });
  const [answer] = await runBatch([rowsOf(1, 2, 3)], { signature, run, maxRows: 2, pad: {} });
  t.equal(firstsOf(answer), 'expected 2 rows in the output `y` of a batch, got shape [1, 2]');
});

t.test('requests of a model whose axis 0 is fixed run one by one', async (t) => {
  const fixed: Signature = { ...signature, inputs: [{ name: 'x', dtype: 'float32', shape: [1, 2] }] };
  const { runs, rules: given } = rules({ signature: fixed });
  const answers = await runBatch([rowsOf(1), rowsOf(2)], given);
  t.same(answers.map(firstsOf), [[2], [3]]);
  t.same(runs, [1, 1]);
});

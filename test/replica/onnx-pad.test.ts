import fc from 'fast-check';
import t from 'tap';
import { Tensor } from '../../src/protocol/tensor.ts';
import { runBatch } from '../../src/replica/engines/onnx-batch.ts';
import { checkPad, groupsOf, resized } from '../../src/replica/engines/onnx-pad.ts';
import type { Feeds, Port, Signature } from '../../src/replica/engines/onnx-signature.ts';
import type { Outputs } from '../../src/replica/engines/onnx-stack.ts';

const port = (name: string, dtype: Port['dtype'], ...shape: NonNullable<Port['shape']>): Port => ({ name, dtype, shape });
const text: Signature = {
  inputs: [port('ids', 'int64', 'batch', 'sequence'), port('mask', 'int64', 'batch', 'sequence')],
  outputs: [port('states', 'float32', 'batch', 'sequence', 2), port('pooled', 'float32', 'batch', 2)],
};
const PAD = { ids: 9, mask: 0 };

/** Ids 1, 2, 3 … of so many, all of them meant. */
const feedsOf = (length: number, rows = 1): Feeds => ({
  ids: new Tensor(
    'int64',
    [rows, length],
    BigInt64Array.from({ length: rows * length }, (_, n) => BigInt(n + 1)),
  ),
  mask: new Tensor('int64', [rows, length], new BigInt64Array(rows * length).fill(1n)),
});

/** States are the ids, pooled is their sum where the mask is 1. */
const model = () => {
  const shapes: (readonly number[])[] = [];
  const run = async (feeds: Feeds): Promise<Outputs> => {
    const [ids, mask] = [feeds['ids'] as Tensor, feeds['mask'] as Tensor];
    shapes.push(ids.shape);
    const [rows, length] = ids.shape as [number, number];
    const states = new Float32Array(rows * length * 2);
    const pooled = new Float32Array(rows * 2);
    for (let at = 0; at < rows * length; at++) {
      const id = Number((ids.data as BigInt64Array)[at]);
      states.fill(id, 2 * at, 2 * at + 2);
      if ((mask.data as BigInt64Array)[at] === 1n)
        for (const side of [0, 1])
          pooled[2 * Math.floor(at / length) + side] = (pooled[2 * Math.floor(at / length) + side] ?? 0) + id;
    }
    return { states: new Tensor('float32', [rows, length, 2], states), pooled: new Tensor('float32', [rows, 2], pooled) };
  };
  return { shapes, run };
};
const plain = (answer: Outputs | Error | undefined) =>
  answer instanceof Error || answer === undefined
    ? String(answer)
    : Object.entries(answer).map(([name, { shape, data }]) => [name, shape, [...(data as Float32Array)]]);

t.test('ragged requests run together, padded to the longest, and each gets what it would have got alone', async (t) => {
  const requests = [feedsOf(4), feedsOf(5), feedsOf(5, 2), feedsOf(5)];
  const { shapes, run } = model();
  const answers = await runBatch(requests, { signature: text, run, maxRows: 64, pad: PAD });
  t.same(shapes, [[5, 5]], 'one run');
  const alone = model();
  for (const [at, request] of requests.entries()) t.same(plain(answers[at]), plain(await alone.run(request)));
});

t.test('any lengths and rows: each gets what it would have got alone', async (t) => {
  const sizes = fc.array(fc.record({ length: fc.integer({ min: 1, max: 40 }), rows: fc.integer({ min: 1, max: 3 }) }), {
    minLength: 1,
    maxLength: 12,
  });
  await fc.assert(
    fc.asyncProperty(sizes, fc.integer({ min: 1, max: 8 }), async (list, maxRows) => {
      const requests = list.map(({ length, rows }) => feedsOf(length, rows));
      const { run } = model();
      const answers = await runBatch(requests, { signature: text, run, maxRows, pad: PAD });
      for (const [at, request] of requests.entries())
        if (JSON.stringify(plain(answers[at])) !== JSON.stringify(plain(await run(request)))) return false;
      return true;
    }),
  );
  t.pass();
});

t.test('at most a quarter of what came is added: short ones run apart from long ones', async (t) => {
  const sizes = fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(sizes, (lengths) => {
      const members = lengths.map((length, index) => ({ index, feeds: feedsOf(length), rows: 1 }));
      const groups = groupsOf(members, PAD);
      const all = groups.flat().map(({ index }) => index);
      if (all.length !== lengths.length || new Set(all).size !== lengths.length) return false;
      return groups.every((group) => {
        const own = group.map(({ index }) => lengths[index] as number);
        const came = own.reduce((sum, each) => sum + each, 0);
        return Math.max(...own) * own.length <= 1.25 * came;
      });
    }),
  );
  t.equal(
    groupsOf(
      [8, 9, 100].map((length) => ({ feeds: feedsOf(length), rows: 1 })),
      PAD,
    ).length,
    2,
  );
});

t.test('without names of axes the same axis of the padded length is cut', async (t) => {
  const unnamed: Signature = {
    inputs: [port('x', 'float32', '', '')],
    outputs: [port('y', 'float32', '', '')],
  };
  const run = async ({ x }: Feeds): Promise<Outputs> => ({ y: x as Tensor });
  const feeds = [4, 5].map((length) => ({ x: new Tensor('float32', [1, length], new Float32Array(length).fill(length)) }));
  const answers = await runBatch(feeds, { signature: unnamed, run, maxRows: 64, pad: { x: 0 } });
  t.same(answers.map(plain), [[['y', [1, 4], [4, 4, 4, 4]]], [['y', [1, 5], [5, 5, 5, 5, 5]]]]);
});

t.test('what is not padded must be alike', async (t) => {
  const { shapes, run } = model();
  const odd = { ...feedsOf(4), mask: new Tensor('int64', [1, 5], new BigInt64Array(5).fill(1n)) };
  await runBatch([feedsOf(4), odd], { signature: text, run, maxRows: 64, pad: { ids: 0 } });
  t.equal(shapes.length, 2);
});

t.test('what cannot be padded is refused at the start, and the message says what is there', async (t) => {
  const signature: Signature = {
    inputs: [
      port('ids', 'int64', 'b', 's'),
      port('fixed', 'float32', 'b', 3),
      port('small', 'uint8', 'b', 's'),
      port('half', 'float16', 'b', 's'),
      port('words', 'string', 'b', 's'),
    ],
    outputs: [],
  };
  for (const [pad, message] of [
    [{ id: 0 }, /names the input `id`, which the model does not have; it has `ids`, /],
    [{ fixed: 0 }, /`fixed`, whose shape is fixed behind axis 0/],
    [{ ids: 0.5 }, /fills the input `ids` with 0.5, which int64 cannot hold/],
    [{ small: 256 }, /with 256, which uint8 cannot hold/],
    [{ half: 1 }, /float16 cannot hold/],
    [{ words: 0 }, /string cannot hold/],
  ] as const)
    t.throws(() => checkPad(pad, signature), { code: 'INVALID_INPUT', message });
  t.doesNotThrow(() => checkPad({ ids: -1, small: 255, half: 0 }, signature));
});

t.test('a tensor is filled up and cut along any axis', async (t) => {
  const tensor = new Tensor('int32', [2, 2], Int32Array.of(1, 2, 3, 4));
  t.same([...(resized(tensor, [2, 3], 7).data as Int32Array)], [1, 2, 7, 3, 4, 7]);
  t.same([...(resized(tensor, [2, 1], 7).data as Int32Array)], [1, 3]);
  t.same([...(resized(tensor, [1, 3], 7).data as Int32Array)], [1, 2, 7]);
  t.equal(resized(tensor, [2, 2], 7), tensor, 'nothing is copied for nothing');
  t.same(resized(new Tensor('string', [1, 2], ['a', 'b']), [1, 1], 0).data, ['a']);
});

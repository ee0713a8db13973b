import t from 'tap';
import { parseExactly } from '../../src/protocol/exact-json.ts';
import { Tensor } from '../../src/protocol/tensor.ts';
import type { Dtype } from '../../src/protocol/value.ts';
import {
  describe,
  feedsOf,
  feedsOfBytes,
  feedsOfJson,
  isStackable,
  needsTrial,
  type Signature,
} from '../../src/replica/engines/onnx-signature.ts';

const signature = (dtype: Dtype = 'float32', shape: readonly (number | string)[] = ['batch', 2]): Signature => ({
  inputs: [{ name: 'x', dtype, shape }],
  outputs: [],
});
const two: Signature = {
  inputs: [
    { name: 'a', dtype: 'int64', shape: ['n'] },
    { name: 'b', dtype: 'string', shape: ['n', 1] },
  ],
  outputs: [],
};
const floats = (shape: number[], data: number[]) => new Tensor('float32', shape, Float32Array.from(data));

t.test('tensors are given by name, or bare where there is one input', async (t) => {
  const x = floats([1, 2], [1, 2]);
  t.equal(feedsOf(x, signature())['x'], x);
  t.equal(feedsOf({ x }, signature())['x'], x);
});

const wrong: readonly (readonly [string, unknown, Signature, string])[] = [
  [
    'another dtype',
    { x: new Tensor('float64', [1, 2], new Float64Array(2)) },
    signature(),
    'expected float32 [?, 2] for input `x`, got float64 [1, 2]',
  ],
  ['another shape', floats([1, 3], [1, 2, 3]), signature(), 'expected float32 [?, 2] for input `x`, got float32 [1, 3]'],
  ['another rank', floats([2], [1, 2]), signature(), 'expected float32 [?, 2] for input `x`, got float32 [2]'],
  ['another name', { y: floats([1, 2], [1, 2]) }, signature(), 'expected the input `x`, got `y`'],
  ['nothing', null, signature(), 'expected an object with the input `x`, got nothing'],
  ['a list', [1], signature(), 'expected an object with the input `x`, got a list'],
  ['a typed array', new Float32Array(2), signature(), 'expected an object with the input `x`, got Float32Array'],
  [
    'a bare tensor for two inputs',
    floats([1], [1]),
    two,
    'expected an object with the inputs `a`, `b`, got a tensor float32 [1]',
  ],
  [
    'one of two',
    { a: new Tensor('int64', [1], BigInt64Array.of(1n)) },
    two,
    'expected a tensor string [?, 1] for input `b`, got nothing',
  ],
];
for (const [what, value, against, message] of wrong) {
  t.test(`tensors that do not fit say what was expected and what came: ${what}`, async (t) => {
    t.throws(() => feedsOf(value, against), { code: 'INVALID_INPUT', message });
  });
}

t.test('nested lists become tensors', async (t) => {
  t.same(
    feedsOfJson(
      [
        [1, 2],
        [3, 4],
      ],
      signature(),
    )['x'],
    floats([2, 2], [1, 2, 3, 4]),
  );
  t.same(feedsOfJson({ x: [[1, 2]] }, signature())['x'], floats([1, 2], [1, 2]));
  t.same(feedsOfJson({ a: [1, -2], b: [['p'], ['q']] }, two), {
    a: new Tensor('int64', [2], BigInt64Array.of(1n, -2n)),
    b: new Tensor('string', [2, 1], ['p', 'q']),
  });
  t.same(feedsOfJson(5, signature('float32', []))['x'], floats([], [5]), 'a scalar');
  t.same(feedsOfJson([[true, 0]], signature('bool'))['x'], new Tensor('bool', [1, 2], Uint8Array.of(1, 0)));
});

const bad: readonly (readonly [string, unknown, Signature, RegExp])[] = [
  ['a short row', [[1, 2], [3]], signature(), /input `x` is ragged: expected lists of 2 on axis 1/],
  ['a number for a row', [[1, 2], 3], signature(), /ragged/],
  ['a list for a number', [[1, [2]]], signature(), /expected numbers in input `x` \(float32\), got \[2\]/],
  ['a text for a number', [['a', 2]], signature(), /expected numbers in input `x` \(float32\), got "a"/],
  ['null for a number', [[null, 2]], signature(), /got null/],
  ['too large for its dtype', [[256, 1]], signature('uint8'), /expected whole numbers that fit uint8/],
  ['a fraction', [[0.5, 1]], signature('int32'), /whole numbers that fit int32/],
  ['a fraction for int64', [[0.5, 1]], signature('int64'), /whole numbers/],
  ['a number beyond what JSON can say', [[2 ** 60, 1]], signature('int64'), /whole numbers/],
  ['a negative number for uint64', [[-1, 1]], signature('uint64'), /whole numbers/],
  ['a number for a text', [[1, 2]], signature('string'), /expected texts/],
  ['2 for a boolean', [[2, 1]], signature('bool'), /true or false/],
  ['nothing at all', {}, signature(), /expected the input `x` \(float32 \[\?, 2\]\), got none/],
  ['a name too many', { x: [[1, 2]], y: 1 }, signature(), /got `y`/],
  [
    'no rows where the shape wants another axis',
    [[]],
    signature(),
    /expected float32 \[\?, 2\] for input `x`, got float32 \[1, 0\]/,
  ],
  ['40 levels', JSON.parse('['.repeat(40) + ']'.repeat(40)), signature(), /nested deeper than 32 levels/],
  ['beyond float16', [[65_520, 2]], signature('float16'), /numbers that fit float16.*got 65520/],
  ['beyond float32', [[1e39, 2]], signature(), /numbers that fit float32.*got 1e\+39/],
  ['a text for float16', [['1', 2]], signature('float16'), /expected numbers in input `x` \(float16\), got "1"/],
  ['beyond int64', [['9223372036854775808', 1]], signature('int64'), /whole numbers that fit int64.*9223372036854775808/],
  ['beyond uint64', [['18446744073709551616', 1]], signature('uint64'), /whole numbers that fit uint64/],
  ['digits that are none', [['12a', 1]], signature('int64'), /whole numbers/],
  ['a text with NUL', [['a\0b', 'c']], signature('string'), /without NUL/],
];
for (const [what, body, against, message] of bad) {
  t.test(`lists that do not fit say why: ${what}`, async (t) => {
    t.throws(() => feedsOfJson(body, against), { code: 'INVALID_INPUT', message });
  });
}

t.test('a raw body becomes rows, wherever its bytes stand', async (t) => {
  const bytes = new Uint8Array(17);
  bytes.set(new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer), 1);
  t.same(feedsOfBytes(bytes.subarray(1), signature())['x'], floats([2, 2], [1, 2, 3, 4]));
});

t.test('a raw body of a wrong length, or for another kind of model, is refused', async (t) => {
  t.throws(() => feedsOfBytes(new Uint8Array(9), signature()), {
    code: 'INVALID_INPUT',
    message: 'expected a multiple of 8 bytes (float32 [?, 2]), got 9',
  });
  t.throws(() => feedsOfBytes(new Uint8Array(0), signature()), { code: 'INVALID_INPUT' });
  t.throws(() => feedsOfBytes(new Uint8Array(8), signature('float32', ['n', 'm'])), { message: /shape is fixed behind axis 0/ });
  t.throws(() => feedsOfBytes(new Uint8Array(8), signature('float32', [3, 2])), { message: /expected float32 \[3, 2\]/ });
  t.throws(() => feedsOfBytes(new Uint8Array(8), two), { message: /one numeric input/ });
  t.throws(() => feedsOfBytes(new Uint8Array(4), signature('float32', [])), { code: 'INVALID_INPUT' });
});

t.test('whole numbers beyond what JavaScript can say come as digits', async (t) => {
  const most = signature('int64', ['n']);
  t.same(feedsOfJson(['9223372036854775807', '-9223372036854775808', 1], most)['x']?.data, [2n ** 63n - 1n, -(2n ** 63n), 1n]);
  t.same(feedsOfJson(parseExactly('[18446744073709551615]'), signature('uint64', ['n']))['x']?.data, [2n ** 64n - 1n]);
  t.same(feedsOfJson(parseExactly('[18446744073709551615]'), signature('float64', ['n']))['x']?.data, [2 ** 64]);
  t.throws(() => feedsOfJson(parseExactly('[9223372036854775808]'), most), { message: /got 9223372036854775808/ });
});

t.test('lists without elements get the extents that the model fixes', async (t) => {
  const shapeOf = (body: unknown, shape: readonly (number | string)[] | null) =>
    feedsOfJson(body, { inputs: [{ name: 'x', dtype: 'float32', shape }], outputs: [] })['x']?.shape;
  t.same(shapeOf([], ['n', 2]), [0, 2]);
  t.same(shapeOf([], ['n', 'm', 3]), [0, 0, 3]);
  t.same(shapeOf([[], []], [2, 'm', 3]), [2, 0, 3]);
  t.same(shapeOf([], null), [0]);
});

t.test('an input without a rank takes any', async (t) => {
  const any: Signature = { inputs: [{ name: 'x', dtype: 'float32', shape: null }], outputs: [] };
  for (const x of [floats([], [1]), floats([2], [1, 2]), floats([1, 2], [1, 2])]) t.equal(feedsOf(x, any)['x'], x);
  t.equal(isStackable(any), false);
  t.same(describe(any), { inputs: [{ name: 'x', dtype: 'float32', shape: null }], outputs: [] });
  t.throws(() => feedsOfBytes(new Uint8Array(8), any), { code: 'INVALID_INPUT' });
});

t.test('tensors of texts with NUL are refused: the runtime would cut them off', async (t) => {
  t.throws(() => feedsOf(new Tensor('string', [1, 1], ['a\0']), signature('string', ['n', 1])), { message: /without NUL/ });
});

t.test('requests may be stacked where every input and output has a free axis 0, and it is the same one', async (t) => {
  t.equal(isStackable(signature()), true);
  t.equal(isStackable({ ...signature(), outputs: [{ name: 'y', dtype: 'float32', shape: [] }] }), false);
  const others: Signature = { ...signature(), outputs: [{ name: 'y', dtype: 'float32', shape: ['detections', 7] }] };
  t.equal(isStackable(others), false, 'boxes of a detector are nobody’s rows');
  t.equal(needsTrial(others), true);
  t.equal(isStackable({ ...others, rowsAgree: true }), true);
  t.equal(isStackable({ ...others, rowsAgree: false }), false);
  t.equal(needsTrial({ ...others, rowsAgree: false }), false);
  t.equal(needsTrial(signature()), false);
  t.equal(isStackable(signature('float32', [1, 2])), false);
  t.equal(isStackable(signature('float32', [])), false);
});

t.test('a model describes itself, free extents as -1', async (t) => {
  t.same(describe(signature()), { inputs: [{ name: 'x', dtype: 'float32', shape: [-1, 2] }], outputs: [] });
});

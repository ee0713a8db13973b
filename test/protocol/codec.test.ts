import fc from 'fast-check';
import t from 'tap';
import { decodeValue, encodeValue, MAX_DEPTH } from '../../src/protocol/codec.ts';
import { Tensor } from '../../src/protocol/tensor.ts';
import { combine, nodeOf, type WireValue, wireOf } from '../../src/protocol/value.ts';

/** Over the wire: the skeleton as bytes, each segment at an address that is a multiple of nothing. */
const carried = (value: unknown, offset = 1): unknown => {
  const { skeleton, segments } = encodeValue(value);
  const moved: WireValue = {
    skeleton: Buffer.from(skeleton as string, 'utf8'),
    segments: segments.map((segment) => {
      const bytes = new Uint8Array(segment.bytes.byteLength + offset);
      bytes.set(segment.bytes, offset);
      return { ...segment, bytes: bytes.subarray(offset) };
    }),
  };
  return decodeValue(moved);
};

const keys = fc.oneof(fc.string(), fc.constantFrom('$', '$$', '$seg', '$$seg', '$date', '__proto__', 'constructor', 'toString'));
const leaves = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.string({ unit: 'binary' }),
  fc.double().map((number) => (Object.is(number, -0) ? 0 : number)),
  fc.bigInt(),
  fc.date({ noInvalidDate: true }),
  fc.uint8Array({ maxLength: 20 }),
  fc.float32Array({ maxLength: 10 }),
  fc.float64Array({ maxLength: 10 }),
  fc.int16Array({ maxLength: 10 }),
  fc.bigInt64Array({ maxLength: 5 }),
  fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 4 }).map((texts) => new Tensor('string', [texts.length], texts)),
  fc.uint8Array({ maxLength: 12 }).map((data) => new Tensor('uint8', [1, data.length, 1], data)),
  fc.float32Array({ minLength: 6, maxLength: 6 }).map((data) => new Tensor('float32', [2, 3], data)),
);
const values = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaves,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(keys, tie('value'), { maxKeys: 4, noNullPrototype: true }),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 3 }).map((pairs) => new Map(pairs)),
    fc.array(tie('value'), { maxLength: 3 }).map((items) => new Set(items)),
  ),
})).value;

/** Deep equality that tells NaN, prototypes and typed arrays apart. */
const equal = (a: unknown, b: unknown): boolean => {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (a instanceof Date) return a.getTime() === (b as Date).getTime();
  if (a instanceof Map) return equal([...a], [...(b as Map<unknown, unknown>)]);
  if (a instanceof Set) return equal([...a], [...(b as Set<unknown>)]);
  const names = Object.keys(a);
  return (
    names.join('\n') === Object.keys(b).join('\n') &&
    names.every(
      (name) => Object.hasOwn(b, name) && equal((a as Record<string, unknown>)[name], (b as Record<string, unknown>)[name]),
    )
  );
};

t.test('every value that can cross is the same on the other side, wherever its segments stand', async (t) => {
  fc.assert(fc.property(values, fc.integer({ min: 0, max: 9 }), (value, offset) => equal(carried(value, offset), value)));
  t.pass();
});

t.test('NaN and the infinities cross', async (t) => {
  const value = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  t.ok(equal(carried(value), value));
});

t.test('an error crosses with name, code, details and its chain of causes', async (t) => {
  const cause = new TypeError('inner', { cause: new RangeError('innermost') });
  const error = carried(new Error('outer', { cause })) as Error;
  t.match(error, {
    message: 'outer',
    name: 'Error',
    cause: { name: 'TypeError', message: 'inner', cause: { name: 'RangeError' } },
  });
});

t.test('a key `__proto__` crosses as a key and pollutes nothing', async (t) => {
  const value = JSON.parse('{"__proto__":{"polluted":1},"when":{"__proto__":{"polluted":1}}}') as Record<string, unknown>;
  for (const copy of [carried(value), carried({ ...value, date: new Date(0), inner: value })] as Record<string, unknown>[]) {
    t.equal(copy['polluted'], undefined);
    t.equal(Object.getPrototypeOf(copy), Object.prototype);
  }
  t.ok(Object.hasOwn(carried(value) as object, '__proto__'));
  t.equal(({} as Record<string, unknown>)['polluted'], undefined);
});

t.test('undefined is null in a list and nothing in an object', async (t) => {
  t.same(carried([undefined, 1]), [null, 1]);
  t.same(Object.keys(carried({ a: undefined, b: 1 }) as object), ['b']);
  t.equal(carried(undefined), null);
});

t.test('one blob at two places crosses once', async (t) => {
  const blob = new Float32Array(8);
  t.equal(encodeValue({ a: blob, b: [blob] }).segments.length, 1);
});

t.test('an ArrayBuffer crosses as bytes', async (t) => {
  t.same(carried(new Uint8Array([1, 2]).buffer), Buffer.from([1, 2]));
});

class Point {
  x = 1;
}
const unencodable: readonly (readonly [string, unknown, string | RegExp])[] = [
  ['a function', { a: [{ run: () => 1 }] }, 'the value at `a[0].run` cannot be encoded: it is a function'],
  ['a symbol', [Symbol('x')], 'the value at `[0]` cannot be encoded: it is a symbol'],
  ['a class instance', { p: new Point() }, 'the value at `p` cannot be encoded: it is an instance of Point'],
  ['an invalid date', { when: new Date(Number.NaN) }, 'the value at `when` cannot be encoded: it is an invalid date'],
  ['a value in a Map', new Map([['k', new Point()]]), 'the value at `get("k")` cannot be encoded: it is an instance of Point'],
  ['a value in a Set', new Set([new Point()]), /values\(\)\[0\]/],
  ['a DataView', { view: new DataView(new ArrayBuffer(1)) }, /`view`.*DataView/],
  ['the value itself', new WeakMap(), 'the value cannot be encoded: it is an instance of WeakMap'],
  ['an object with toJSON', { a: { toJSON: () => 1 } }, /`a.toJSON`/],
];
for (const [what, value, message] of unencodable) {
  t.test(`what cannot cross is named by its path: ${what}`, async (t) => {
    t.throws(() => encodeValue(value), { code: 'USER_ERROR', message });
  });
}

t.test('a tensor of texts takes texts only', async (t) => {
  t.throws(() => new Tensor('string', [1], [5] as unknown as string[]), { name: 'TypeError', message: /an array of strings/ });
});

const nested = (levels: number): unknown => Array.from({ length: levels }).reduce<unknown>((inner) => [inner], 1);

t.test('values nested as deep as is allowed cross, deeper ones and circles are refused', async (t) => {
  t.ok(equal(carried(nested(MAX_DEPTH)), nested(MAX_DEPTH)));
  t.throws(() => encodeValue(nested(MAX_DEPTH + 2)), { code: 'USER_ERROR', message: /nested deeper than 64 levels/ });
  const circle: { self?: unknown } = {};
  circle.self = circle;
  t.throws(() => encodeValue(circle), { code: 'USER_ERROR' });
});

t.test('a peer that nests deeper is refused', async (t) => {
  const deep = (tag: string) => `${'['.repeat(1000)}${tag}${']'.repeat(1000)}`;
  t.throws(() => decodeValue({ skeleton: deep('{"$date":"2020-01-01"}'), segments: [] }), { code: 'INVALID_INPUT' });
  t.throws(() => decodeValue({ skeleton: deep('1'), segments: [] }), { code: 'INVALID_INPUT' }, 'without a tag');
});

const bytes = (text: string) => ({ dtype: 'string' as const, shape: [1], bytes: Buffer.from(text, 'latin1') });
const malformed: readonly (readonly [string, WireValue])[] = [
  ['no JSON', { skeleton: '{', segments: [] }],
  ['an unknown tag', { skeleton: '{"$new":1}', segments: [] }],
  ['a segment that is not there', { skeleton: '{"$seg":0}', segments: [] }],
  ['a segment that is no number', { skeleton: '{"$seg":"0"}', segments: [bytes('')] }],
  ['a map that is no list', { skeleton: '{"$map":5}', segments: [] }],
  ['a map without pairs', { skeleton: '{"$map":[[1]]}', segments: [] }],
  ['a bigint that is none', { skeleton: '{"$bigint":"1e9"}', segments: [] }],
  ['a bigint of 100,000 digits', { skeleton: `{"$bigint":"${'9'.repeat(100_000)}"}`, segments: [] }],
  ['an error that is none', { skeleton: '{"$error":1}', segments: [] }],
  ['a text longer than its segment', { skeleton: '{"$seg":0}', segments: [bytes('\xff\xff\xff\xffab')] }],
  ['half a length of a text', { skeleton: '{"$seg":0}', segments: [bytes('\x01\x00')] }],
  ['half a float', { skeleton: '{"$seg":0}', segments: [{ dtype: 'float32', shape: null, bytes: new Uint8Array(3) }] }],
];
for (const [what, value] of malformed) {
  t.test(`a value of a peer with ${what} is INVALID_INPUT`, async (t) => {
    t.throws(() => decodeValue(value), { code: 'INVALID_INPUT' });
  });
}

t.test('an aligned segment becomes a view, not a copy', async (t) => {
  const data = new Float64Array([1, 2]);
  const decoded = decodeValue(encodeValue(data)) as Float64Array;
  t.equal(decoded.buffer, data.buffer);
});

t.test('joined values keep their own segments, and what is not used is left behind', async (t) => {
  const [a, b] = [{ x: Buffer.from('a') }, { x: Buffer.from('b'), $seg: 1 }].map((value) => nodeOf(encodeValue(value)));
  if (a === undefined || b === undefined) throw new Error('expected two');
  const joined = combine([a, b], (jsons) => jsons);
  t.same(decodeValue(wireOf(joined)), [{ x: Buffer.from('a') }, { x: Buffer.from('b'), $seg: 1 }]);
  const [, second] = joined.json as unknown[];
  const part = wireOf({ json: second, segments: joined.segments });
  t.equal(part.segments.length, 1);
  t.same(decodeValue(part), { x: Buffer.from('b'), $seg: 1 });
});

t.test('a tensor is refused whose data are not its dtype, or not as many as its shape says', async (t) => {
  t.throws(() => new Tensor('float32', [2], new Float64Array(2)), TypeError);
  t.throws(() => new Tensor('float32', [3], new Float32Array(2)), {
    name: 'RangeError',
    message: 'expected 3 elements for shape [3], got 2',
  });
  t.throws(() => new Tensor('float32', [-1], new Float32Array(0)), RangeError);
  t.throws(() => new Tensor('float128' as 'float32', [], new Float32Array(1)), TypeError);
  t.doesNotThrow(() => new Tensor('float32', [], new Float32Array(1)), 'a scalar');
  t.doesNotThrow(() => new Tensor('float32', [0, 3], new Float32Array(0)), 'no rows');
});

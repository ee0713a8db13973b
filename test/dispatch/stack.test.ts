import fc from 'fast-check';
import t from 'tap';
import { split, stack, stackableOf } from '../../src/dispatch/stack.ts';
import { decodeValue, encodeValue } from '../../src/protocol/codec.ts';
import { Tensor } from '../../src/protocol/tensor.ts';
import type { WireValue } from '../../src/protocol/value.ts';

const floats = (rows: number, columns: number, from = 0) =>
  new Tensor(
    'float32',
    [rows, columns],
    Float32Array.from({ length: rows * columns }, (_, index) => from + index),
  );

/** A stack as the value that a peer would read. */
const stacked = (values: readonly WireValue[]): WireValue => ({
  skeleton: (values[0] as WireValue).skeleton,
  segments: stack(values).map(({ dtype, shape, parts }) => ({ dtype, shape, bytes: Buffer.concat(parts) })),
});

t.test('splitting what was stacked gives back every value', async (t) => {
  const members = fc.record({
    columns: fc.integer({ min: 0, max: 4 }),
    rows: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 6 }),
  });
  fc.assert(
    fc.property(members, ({ columns, rows }) => {
      const values = rows.map((count, index) =>
        encodeValue({
          x: floats(count, columns, index * 100),
          ids: new Tensor(
            'int64',
            [count],
            BigInt64Array.from({ length: count }, (_, row) => BigInt(index * 100 + row)),
          ),
          flags: new Tensor('bool', [count, 3], new Uint8Array(count * 3).fill(index % 2)),
        }),
      );
      const parts = split(stacked(values), rows);
      return parts.every((part, index) => {
        const value = values[index] as WireValue;
        return (
          part.skeleton === value.skeleton &&
          part.segments.every((segment, each) => {
            const other = value.segments[each];
            return (
              other !== undefined &&
              segment.dtype === other.dtype &&
              segment.shape?.join() === other.shape?.join() &&
              Buffer.compare(segment.bytes, other.bytes) === 0
            );
          })
        );
      });
    }),
  );
  t.pass();
});

t.test('a result with another number of rows than its members have together is an error', async (t) => {
  const value = encodeValue({ y: floats(3, 2) });
  t.throws(() => split(value, [1, 1]), {
    code: 'USER_ERROR',
    message: 'expected 2 rows for a batch of 2 requests, got a result of shape [3, 2]',
  });
  t.throws(
    () => split(encodeValue({ y: new Tensor('float32', [], Float32Array.of(1)) }), [1, 1]),
    { code: 'USER_ERROR' },
    'a scalar',
  );
  t.throws(() => split(encodeValue({ y: new Float32Array(2) }), [1, 1]), { code: 'USER_ERROR' }, 'no tensor');
});

t.test('a stacked result of texts is split by texts, not by bytes', async (t) => {
  const value = encodeValue({ label: new Tensor('string', [3], ['a', 'a long label', '']) });
  t.same(split(value, [1, 2]).map(decodeValue), [
    { label: new Tensor('string', [1], ['a']) },
    { label: new Tensor('string', [2], ['a long label', '']) },
  ]);
});

t.test('values of one skeleton, dtype and shape behind axis 0 stack', async (t) => {
  const key = (value: unknown) => stackableOf(encodeValue(value))?.key;
  t.equal(key({ x: floats(1, 2) }), key({ x: floats(5, 2) }));
  t.not(key({ x: floats(1, 2) }), key({ x: floats(1, 3) }), 'another shape');
  t.not(key({ x: floats(1, 2) }), key({ y: floats(1, 2) }), 'another name');
  t.not(key({ x: floats(1, 1) }), key({ x: new Tensor('float64', [1, 1], Float64Array.of(1)) }), 'another dtype');
  t.not(key({ x: floats(1, 2), top: 1 }), key({ x: floats(1, 2), top: 2 }), 'another number beside it');
});

t.test('what has no rows, or rows that differ, does not stack', async (t) => {
  const stackable = (value: unknown) => stackableOf(encodeValue(value));
  t.equal(stackable(null), undefined);
  t.equal(stackable(Buffer.from('abc')), undefined);
  t.equal(stackable(new Float32Array(3)), undefined);
  t.equal(stackable(new Tensor('float32', [], Float32Array.of(1))), undefined);
  t.equal(stackable(new Tensor('string', [1], ['a'])), undefined);
  t.equal(stackable({ x: floats(1, 2), y: floats(2, 2) }), undefined);
});

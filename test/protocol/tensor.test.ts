import t from 'tap';
import { halfBits, halfOf } from '../../src/protocol/tensor.ts';

t.test('every float16 is the nearest to the number that it is', async (t) => {
  let wrong = 0;
  for (let bits = 0; bits < 65_536; bits++) {
    const value = halfOf(bits);
    if (Number.isNaN(value) ? !Number.isNaN(halfOf(halfBits(value))) : halfBits(value) !== bits) wrong += 1;
  }
  t.equal(wrong, 0);
});

t.test('a number between two float16 becomes the nearer, of equally near ones the even', async (t) => {
  const rows: readonly (readonly [number, number])[] = [
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    [1 + 2 ** -11 + 2 ** -30, 0x3c01],
    [2 ** -25, 0],
    [2 ** -25 + 2 ** -40, 1],
    [2 ** -14 - 2 ** -26, 0x0400],
    [65_519, 0x7bff],
    [65_520, 0x7c00],
    [-65_520, 0xfc00],
    [2 - 2 ** -12, 0x4000],
    [Number.NaN, 0x7e00],
  ];
  for (const [value, bits] of rows) t.equal(halfBits(value), bits, String(value));
});

import t from 'tap';
import { bytesOf, millisOf } from '../../src/config/units.ts';

t.test('sizes are powers of 1000 or of 1024 by their unit, in any case, with or without a space', async (t) => {
  t.same(['64MiB', '1 gb', '1.5kib', '2TB', 17].map(bytesOf), [64 * 2 ** 20, 1e9, 1536, 2e12, 17]);
});

t.test('what is no size is undefined', async (t) => {
  t.same(['64', 'MiB', '1 mb/s', '-1MB', '', null].map(bytesOf), Array(6).fill(undefined));
});

t.test('seconds become milliseconds without the noise of binary fractions', async (t) => {
  t.same([1.1, 0.005, 0, 30].map(millisOf), [1100, 5, 0, 30_000]);
});

t.test('what is above 0 seconds stays above 0 milliseconds', async (t) => {
  t.ok(millisOf(1e-12) > 0);
});

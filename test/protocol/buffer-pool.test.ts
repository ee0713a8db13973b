import t from 'tap';
import { BufferPool } from '../../src/protocol/buffer-pool.ts';

const KIB = 1024;

t.test('memory that was given back is used again, for any length that it has room for', async (t) => {
  const pool = new BufferPool();
  const first = pool.take(600 * KIB);
  t.equal(first.length, 600 * KIB);
  t.equal(first.byteOffset, 0);
  pool.give(first.subarray(100));
  const second = pool.take(700 * KIB);
  t.equal(second.length, 700 * KIB);
  t.equal(second.buffer, first.buffer);
  t.not(pool.take(700 * KIB).buffer, second.buffer, 'it is there once');
  t.not(pool.take(300 * KIB).buffer, second.buffer);
});

t.test('memory that is given back twice is there once', async (t) => {
  const pool = new BufferPool();
  const buffer = pool.take(600 * KIB);
  pool.give(buffer);
  pool.give(buffer);
  t.equal(pool.take(600 * KIB).buffer, buffer.buffer);
  t.not(pool.take(600 * KIB).buffer, buffer.buffer);
});

t.test('what is not of the pool is never given out', async (t) => {
  const pool = new BufferPool();
  const foreign = Buffer.alloc(1024 * KIB);
  pool.give(foreign);
  t.not(pool.take(1024 * KIB).buffer, foreign.buffer);
  const small = pool.take(1000);
  t.equal(small.byteOffset % 8, 0);
  pool.give(small);
  t.not(pool.take(1000), small);
  const huge = pool.take(64 * 1024 * KIB);
  t.equal(huge.length, 64 * 1024 * KIB);
  pool.give(huge);
  t.not(pool.take(64 * 1024 * KIB).buffer, huge.buffer);
});

t.test('what lies ready is bounded', async (t) => {
  const pool = new BufferPool();
  const buffers = Array.from({ length: 10 }, () => pool.take(4 * 1024 * KIB));
  for (const buffer of buffers) pool.give(buffer);
  const known = new Set(buffers.map(({ buffer }) => buffer));
  const again = Array.from({ length: 10 }, () => pool.take(4 * 1024 * KIB));
  t.equal(again.filter(({ buffer }) => known.has(buffer)).length, 4, '16 MiB');
});

import t from 'tap';
import { bytesHeld, isCompact, ownCopy } from '../../src/dispatch/answer-memory.ts';
import type { WireValue } from '../../src/protocol/value.ts';

const bytesIn = (memory: Buffer, from: number, to: number): WireValue => ({
  skeleton: memory.subarray(0, 0),
  segments: [{ dtype: 'bytes', shape: null, bytes: memory.subarray(from, to) }],
});

const memoryOf = ({ skeleton, segments }: WireValue): number => {
  const buffers = new Set(segments.map(({ bytes }) => bytes.buffer));
  if (typeof skeleton !== 'string' && skeleton.byteLength > 0) buffers.add(skeleton.buffer);
  return [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
};

t.test('a small answer is taken out of the chunk that it came in', async (t) => {
  const chunk = Buffer.alloc(65_536, 7);
  const value = bytesIn(chunk, 100, 130);
  const own = ownCopy(value);
  t.same(own.segments[0]?.bytes, Buffer.alloc(30, 7));
  t.equal(memoryOf(own), 32);
  t.equal(bytesHeld(value, undefined), memoryOf(own) + 200);
  chunk.fill(0);
  t.equal(own.segments[0]?.bytes[0], 7);
});

t.test('a large answer that came alone stays where it is, and counts with all that it holds', async (t) => {
  const frame = Buffer.allocUnsafeSlow(200_000);
  const value = bytesIn(frame, 96, 200_000);
  t.equal(ownCopy(value), value);
  t.equal(bytesHeld(value, undefined), 200_200);
});

t.test('tensors of a copy stand where typed arrays can begin', async (t) => {
  const chunk = Buffer.alloc(1000, 1);
  const value: WireValue = {
    skeleton: chunk.subarray(0, 6),
    segments: [
      { dtype: 'uint8', shape: [3], bytes: chunk.subarray(8, 11) },
      { dtype: 'float64', shape: [2], bytes: chunk.subarray(16, 32) },
    ],
  };
  const own = ownCopy(value);
  t.same(
    own.segments.map(({ bytes }) => [...bytes]),
    value.segments.map(({ bytes }) => [...bytes]),
  );
  t.equal((own.segments[1]?.bytes.byteOffset ?? 1) % 8, 0);
  const around = 2 * 200 + 2 * 8;
  t.equal(bytesHeld(value, undefined), memoryOf(own) + around, 'what is around them counts too');
  t.equal(bytesHeld(value, { status: 200, headers: ['abc', 'de'] }), memoryOf(own) + around + 2 * 48 + 2 * 5, 'and headers');
});

t.test('an answer of many pieces, or with a long head, is none to keep', async (t) => {
  const pieces = (count: number): WireValue => ({
    skeleton: '[]',
    segments: Array.from({ length: count }, () => ({ dtype: 'uint8', shape: [1], bytes: new Uint8Array(1) })),
  });
  const head = (characters: number) => ({ status: 200, headers: ['x', 'y'.repeat(characters - 1)] });
  t.equal(isCompact(pieces(256), head(12 * 1024)), true);
  t.equal(isCompact(pieces(257), undefined), false);
  t.equal(isCompact(pieces(0), head(12 * 1024 + 1)), false);
});

/** What an answer that is kept holds in memory, to the byte; and how it is taken out of the memory that it came in. Pure. */
import { pad8 } from '../protocol/frame.ts';
import type { HttpAnswerHead } from '../protocol/messages.ts';
import type { Segment, WireValue } from '../protocol/value.ts';

/** Of the memory that an answer came in, as a part of what is in it, so much may be something else: then it stays where it is. */
const WASTE = 1 / 16;

/** What `ownCopy` will hold. */
export const bytesHeld = (value: WireValue, http: HttpAnswerHead | undefined): number => {
  const own = bytesOf(value);
  const shared = sharedBuffer(value);
  let sum = shared !== undefined && isWorthKeeping(shared, own) ? shared.byteLength : own;
  if (typeof value.skeleton === 'string') sum += 2 * value.skeleton.length;
  for (const text of http?.headers ?? []) sum += text.length;
  return sum;
};

/**
 * The same value with memory of its own: a small answer came in one chunk of a socket with many others, which would all stay for its sake.
 * A large one that came alone is not copied.
 */
export const ownCopy = (value: WireValue): WireValue => {
  const own = bytesOf(value);
  const shared = sharedBuffer(value);
  if (shared !== undefined && isWorthKeeping(shared, own)) return value;
  const memory = Buffer.allocUnsafeSlow(own);
  let at = 0;
  const moved = (bytes: Uint8Array): Uint8Array => {
    const place = memory.subarray(at, at + bytes.byteLength);
    place.set(bytes);
    // As in a frame: tensors stand at multiples of 8.
    at += pad8(bytes.byteLength);
    return place;
  };
  return {
    skeleton: typeof value.skeleton === 'string' ? value.skeleton : moved(value.skeleton),
    segments: value.segments.map((segment): Segment => ({ ...segment, bytes: moved(segment.bytes) })),
  };
};

const bytesOf = ({ skeleton, segments }: WireValue): number =>
  segments.reduce((sum, { bytes }) => sum + pad8(bytes.byteLength), typeof skeleton === 'string' ? 0 : pad8(skeleton.byteLength));

/** The one buffer that all its bytes are in; undefined: there are several, or none. */
const sharedBuffer = ({ skeleton, segments }: WireValue): ArrayBufferLike | undefined => {
  const buffers = new Set(segments.map(({ bytes }) => bytes.buffer));
  if (typeof skeleton !== 'string' && skeleton.byteLength > 0) buffers.add(skeleton.buffer);
  const [only] = buffers;
  return buffers.size === 1 ? only : undefined;
};

const isWorthKeeping = ({ byteLength }: ArrayBufferLike, own: number): boolean => byteLength - own <= own * WASTE;

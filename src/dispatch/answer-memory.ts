/** What an answer that is kept holds in memory; and how it is taken out of the memory that it came in. Pure. */
import { pad8 } from '../protocol/frame.ts';
import type { HttpAnswerHead } from '../protocol/messages.ts';
import type { Segment, WireValue } from '../protocol/value.ts';

/** Of the memory that an answer came in, as a part of what is in it, so much may be something else: then it stays where it is. */
const WASTE = 1 / 16;

/** What is around a segment: the object, its view of the memory, its shape. 100,000 of them took 197 bytes each on Node 20. */
const SEGMENT_BYTES = 200;
const DIMENSION_BYTES = 8;
/** What is around a text, in its place in a list. */
const TEXT_BYTES = 48;

/** Answers in more pieces are rare, and nearly all that they hold would be what is around them. */
const MAX_SEGMENTS = 256;
const MAX_HEAD_CHARACTERS = 12 * 1024;

/** Whether what is around its bytes is little enough to be kept for long. */
export const isCompact = ({ segments }: WireValue, http: HttpAnswerHead | undefined): boolean =>
  segments.length <= MAX_SEGMENTS && charactersOf(http) <= MAX_HEAD_CHARACTERS;

/**
 * The same for each of several who get it, on the same bytes: who joins values knows a segment by its object, and would take two answers
 * with one for one array, which the code that gets both could change through either.
 */
export const sharedValue = (value: WireValue): WireValue =>
  value.segments.length === 0 ? value : { ...value, segments: value.segments.map((segment) => ({ ...segment })) };

/** What `ownCopy` will hold, and what is around it. */
export const bytesHeld = (value: WireValue, http: HttpAnswerHead | undefined): number => {
  const own = bytesOf(value);
  const shared = sharedBuffer(value);
  let sum = shared !== undefined && isWorthKeeping(shared, own) ? shared.byteLength : own;
  if (typeof value.skeleton === 'string') sum += 2 * value.skeleton.length;
  for (const { shape } of value.segments) sum += SEGMENT_BYTES + DIMENSION_BYTES * (shape?.length ?? 0);
  for (const text of http?.headers ?? []) sum += TEXT_BYTES + 2 * text.length;
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

const charactersOf = (http: HttpAnswerHead | undefined): number =>
  (http?.headers ?? []).reduce((sum, { length }) => sum + length, 0);

const isWorthKeeping = ({ byteLength }: ArrayBufferLike, own: number): boolean => byteLength - own <= own * WASTE;

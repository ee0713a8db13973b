/**
 * Frames of the replica protocol: bytes ⇄ {type, meta, skeleton, segments}. All numbers little-endian.
 *
 *     0  u32  length of the whole frame, header included, a multiple of 8
 *     4  u8   type (FRAME)          5  u8 0     6  u16 0
 *     8  u32  length of meta       12  u32 length of the skeletons
 *    16  meta (JSON), skeletons (JSON texts, one after the other), zero padding to 8
 *        segments in the order of `meta.segs`, each begun at a multiple of 8
 *
 * `meta.segs` is the table of segments: `[dtype, shape | null, byteLength]`.
 */
import { COPY_BELOW, DTYPES, type Dtype, type Segment } from './value.ts';

/** Version of the protocol, told in the first frame of each link. */
export const PROTOCOL_VERSION = 1;

export const FRAME = {
  HELLO: 1,
  WELCOME: 2,
  START: 3,
  READY: 4,
  FAILED: 5,
  RECONFIGURE: 6,
  RECONFIGURED: 7,
  CHECK: 8,
  CHECKED: 9,
  STOP: 10,
  SETTINGS: 11,
  DESCRIBED: 12,
  METRICS: 13,
  PING: 16,
  PONG: 17,
  CALL: 32,
  BEGUN: 33,
  RESULT: 34,
  ERROR: 35,
  OPEN: 36,
  CHUNK: 37,
  END: 38,
  CANCEL: 39,
  CREDIT: 40,
  SOCKET: 41,
  MESSAGE: 42,
  CLOSE: 43,
  MODELS: 56,
  FORGET: 57,
  /** 48, 49 and 52 to 54 are the short forms. */
  BODY: 50,
  BODY_CREDIT: 51,
} as const;

export type FrameType = (typeof FRAME)[keyof typeof FRAME];

export const HEADER_BYTES = 16;
/** Beyond this many segments a frame is refused: a table that long is a mistake or an attack. */
const MAX_SEGMENTS = 65_536;

export interface Frame {
  readonly type: FrameType;
  readonly meta: Readonly<Record<string, unknown>>;
  readonly skeletons: Uint8Array;
  readonly segments: readonly Segment[];
}

/** The peer sent what no peer of this protocol sends; the link is closed. */
export class ProtocolError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ProtocolError';
  }
}

/** Not with bit operations, which end at 2 GiB. */
export const pad8 = (length: number): number => Math.ceil(length / 8) * 8;

/** A segment to send: parts follow each other without padding, so that stacking on axis 0 is their order. */
export interface OutgoingSegment {
  readonly dtype: Dtype | 'bytes';
  readonly shape: readonly number[] | null;
  readonly parts: readonly Uint8Array[];
}

const EMPTY = Buffer.alloc(8);

/**
 * Encodes a frame as buffers to be written one after the other.
 * @param meta without `segs`, which is added here
 */
export const encodeFrame = (
  type: FrameType,
  meta: object,
  skeletons: readonly (string | Uint8Array)[] = [],
  segments: readonly OutgoingSegment[] = [],
): Uint8Array[] => {
  let metaText: string;
  const sizes: number[] = [];
  let payloadBytes = 0;
  if (segments.length === 0) {
    metaText = JSON.stringify(meta);
  } else {
    const table = segments.map(({ dtype, shape, parts }) => {
      let size = 0;
      for (const part of parts) {
        if (!(part instanceof Uint8Array)) throw new TypeError('expected bytes in a segment');
        size += part.byteLength;
      }
      sizes.push(size);
      payloadBytes += pad8(size);
      return [dtype, shape, size];
    });
    metaText = JSON.stringify({ ...meta, segs: table });
  }
  const metaBytes = Buffer.byteLength(metaText);
  let skeletonBytes = 0;
  for (const skeleton of skeletons)
    skeletonBytes += typeof skeleton === 'string' ? Buffer.byteLength(skeleton) : skeleton.byteLength;
  const headBytes = pad8(HEADER_BYTES + metaBytes + skeletonBytes);
  const length = headBytes + payloadBytes;
  if (length > 0xffff_fff8) throw new RangeError(`a frame of ${length} bytes is too long: the limit is 4 GiB`);

  const copyPayload = payloadBytes <= COPY_BELOW;
  const head = Buffer.allocUnsafe(copyPayload ? length : headBytes);
  head.writeUInt32LE(length, 0);
  head.writeUInt32LE(type, 4);
  head.writeUInt32LE(metaBytes, 8);
  head.writeUInt32LE(skeletonBytes, 12);
  let at = HEADER_BYTES;
  at += head.write(metaText, at);
  for (const skeleton of skeletons) {
    if (typeof skeleton === 'string') at += head.write(skeleton, at);
    else {
      head.set(skeleton, at);
      at += skeleton.byteLength;
    }
  }
  head.fill(0, at, headBytes);
  if (segments.length === 0) return [head];

  if (copyPayload) {
    at = headBytes;
    segments.forEach((segment, index) => {
      for (const part of segment.parts) {
        head.set(part, at);
        at += part.byteLength;
      }
      const padded = pad8(at);
      if (sizes[index] !== 0) head.fill(0, at, padded);
      at = padded;
    });
    return [head];
  }
  const buffers: Uint8Array[] = [head];
  segments.forEach((segment, index) => {
    for (const part of segment.parts) if (part.byteLength > 0) buffers.push(part);
    const size = sizes[index] ?? 0;
    const padding = pad8(size) - size;
    if (padding > 0) buffers.push(EMPTY.subarray(0, padding));
  });
  return buffers;
};

/** A segment of one part. */
export const outgoing = (segment: Segment): OutgoingSegment => ({
  dtype: segment.dtype,
  shape: segment.shape,
  parts: [segment.bytes],
});

const TYPES = new Set<number>(Object.values(FRAME));

/**
 * Decodes one whole frame. Its segments are views into `bytes`, which must not be reused.
 * @throws ProtocolError for anything that is not a frame of this protocol
 */
export const decodeFrame = (bytes: Buffer): Frame => {
  const type = bytes.readUInt32LE(4);
  if (!TYPES.has(type)) throw new ProtocolError(`unknown frame type ${type}`);
  const metaBytes = bytes.readUInt32LE(8);
  const skeletonBytes = bytes.readUInt32LE(12);
  const metaEnd = HEADER_BYTES + metaBytes;
  const skeletonEnd = metaEnd + skeletonBytes;
  if (skeletonEnd > bytes.length) throw new ProtocolError('a frame is shorter than its meta and skeletons');
  let meta: unknown;
  try {
    meta = JSON.parse(bytes.toString('utf8', HEADER_BYTES, metaEnd));
  } catch {
    throw new ProtocolError('the meta of a frame is not JSON');
  }
  if (typeof meta !== 'object' || meta === null || Array.isArray(meta))
    throw new ProtocolError('the meta of a frame is not an object');
  const record = meta as Record<string, unknown>;
  const table = record['segs'];
  const segments = table === undefined ? NO_SEGMENTS : readSegments(table, bytes, pad8(skeletonEnd));
  return { type: type as FrameType, meta: record, skeletons: bytes.subarray(metaEnd, skeletonEnd), segments };
};

const NO_SEGMENTS: readonly Segment[] = [];

const readSegments = (table: unknown, bytes: Buffer, start: number): Segment[] => {
  if (!Array.isArray(table) || table.length > MAX_SEGMENTS)
    throw new ProtocolError('the table of segments is not a list, or too long');
  let at = start;
  return table.map((row: unknown) => {
    if (!Array.isArray(row) || row.length !== 3)
      throw new ProtocolError('a row of the table of segments is not [dtype, shape, length]');
    const [dtype, shape, length] = row as [unknown, unknown, unknown];
    if (typeof dtype !== 'string' || (dtype !== 'bytes' && !Object.hasOwn(DTYPES, dtype)))
      throw new ProtocolError(`unknown dtype ${JSON.stringify(dtype)}`);
    if (typeof length !== 'number' || !Number.isSafeInteger(length) || length < 0 || at + length > bytes.length) {
      throw new ProtocolError('a segment is longer than its frame');
    }
    const checked = checkedShape(shape, dtype as Dtype | 'bytes', length);
    const segment: Segment = { dtype: dtype as Dtype | 'bytes', shape: checked, bytes: bytes.subarray(at, at + length) };
    at = pad8(at + length);
    return segment;
  });
};

/** @throws ProtocolError where the shape is none, or not that of so many bytes */
export const checkedShape = (shape: unknown, dtype: Dtype | 'bytes', length: number): readonly number[] | null => {
  if (shape === null) return null;
  if (!Array.isArray(shape) || shape.length > 32) throw new ProtocolError('a shape is not a list of at most 32 extents');
  let elements = 1;
  for (const extent of shape) {
    if (typeof extent !== 'number' || !Number.isSafeInteger(extent) || extent < 0)
      throw new ProtocolError('an extent of a shape is not a whole number');
    elements *= extent;
  }
  const size = dtype === 'bytes' || dtype === 'string' ? 0 : DTYPES[dtype];
  if (size > 0 && elements * size !== length)
    throw new ProtocolError(`a segment of shape [${shape.join(', ')}] ${dtype} has ${length} bytes`);
  return shape as number[];
};

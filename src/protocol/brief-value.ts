/**
 * The short forms of calls and results that carry a value, for peers that take them (HELLO and WELCOME `briefValues`): those of handles and
 * of steps of a graph, both ways. They are read into the same `Frame` as the long forms. All numbers little-endian.
 *
 *     VALUE_CALL                                         VALUE_RESULT
 *     0  u32  length of the frame                        0  u32  length of the frame
 *     4  u32  type                                       4  u32  type
 *     8  u32  length of the text                         8  u32  number of segments
 *    12  u32  length of the skeleton                    12  u32  length of the skeleton
 *    16  f64  id                                        16  f64  id
 *    24  f64  leftMs, timeoutMs; −1: none              24  f64  workMs; NaN: not measured
 *    32  f64  parent; −1: none                         32  table of segments, skeleton
 *    40  u16  number of segments                            segments
 *    42  u8   1: spread
 *    43  zero to 48
 *    48  table of segments, text, skeleton
 *        segments
 *
 * A row of the table: u8 dtype (its place in `CODES`), u8 number of extents (255: no shape), u16 0, u32 length, u32 for each extent. A text is
 * four fields that line feeds part: the request id (from a replica: the handle), the method, the model id, the session id; empty: none.
 */

import { BRIEF } from './brief.ts';
import { checkedShape, FRAME, type Frame, ProtocolError, pad8 } from './frame.ts';
import type { CallMeta, ResultMeta } from './messages.ts';
import { closeHead, type Room, UTF8_BYTES } from './room.ts';
import type { Dtype, Segment, WireValue } from './value.ts';

const CALL_BYTES = 48;
const RESULT_BYTES = 32;
const ROW_BYTES = 8;
const NO_SHAPE = 255;
const MAX_SEGMENTS = 255;
/** A longer skeleton goes the long way: there it is not the meta that costs, and here memory is set aside for the most that it can be. */
const MAX_SKELETON = 16_384;
const MAX_U32 = 0xffff_ffff;
const CODES: readonly (Dtype | 'bytes')[] = [
  'bytes',
  'bool',
  'uint8',
  'int8',
  'uint16',
  'int16',
  'float16',
  'uint32',
  'int32',
  'float32',
  'uint64',
  'int64',
  'float64',
  'string',
];

export interface ValueCall {
  readonly id: number;
  /** To a replica: milliseconds left. From one: its own limit. */
  readonly limitMs: number | undefined;
  readonly parent: number | undefined;
  readonly spread: boolean;
  /** Request id or handle, method, model id, session id. */
  readonly fields: readonly [string, string, string | undefined, string | undefined];
  readonly value: WireValue;
}

/** @returns false: it has no short form, and nothing was written */
export const writeValueCall = (room: Room, { id, limitMs, parent, spread, fields, value }: ValueCall): boolean => {
  const [first, method, modelId, sessionId] = fields;
  const rows = tableBytes(value);
  if (rows < 0 || first.includes('\n') || method.includes('\n') || !isField(modelId) || !isField(sessionId)) return false;
  const text = `${first}\n${method}\n${modelId ?? ''}\n${sessionId ?? ''}`;
  const { bytes, at } = room.reserve(CALL_BYTES + rows + UTF8_BYTES * (text.length + value.skeleton.length) + 8);
  const textAt = writeTable(bytes, at + CALL_BYTES, value.segments);
  const skeletonAt = textAt + bytes.write(text, textAt);
  const end = skeletonAt + writeSkeleton(bytes, skeletonAt, value.skeleton);
  const headBytes = closeHead(bytes, at, end, BRIEF.VALUE_CALL, payloadBytes(value.segments));
  bytes.writeUInt32LE(skeletonAt - textAt, at + 8);
  bytes.writeUInt32LE(end - skeletonAt, at + 12);
  bytes.writeDoubleLE(id, at + 16);
  bytes.writeDoubleLE(limitMs ?? -1, at + 24);
  bytes.writeDoubleLE(parent ?? -1, at + 32);
  bytes.writeUInt16LE(value.segments.length, at + 40);
  bytes.writeUInt16LE(spread ? 1 : 0, at + 42);
  bytes.writeUInt32LE(0, at + 44);
  room.wrote(headBytes);
  for (const segment of value.segments) room.body(segment.bytes);
  return true;
};

/** @returns false: it has no short form, and nothing was written */
export const writeValueResult = (room: Room, id: number, workMs: number, value: WireValue): boolean => {
  const rows = tableBytes(value);
  if (rows < 0) return false;
  const { bytes, at } = room.reserve(RESULT_BYTES + rows + UTF8_BYTES * value.skeleton.length + 8);
  const skeletonAt = writeTable(bytes, at + RESULT_BYTES, value.segments);
  const end = skeletonAt + writeSkeleton(bytes, skeletonAt, value.skeleton);
  const headBytes = closeHead(bytes, at, end, BRIEF.VALUE_RESULT, payloadBytes(value.segments));
  bytes.writeUInt32LE(value.segments.length, at + 8);
  bytes.writeUInt32LE(end - skeletonAt, at + 12);
  bytes.writeDoubleLE(id, at + 16);
  bytes.writeDoubleLE(workMs, at + 24);
  room.wrote(headBytes);
  for (const segment of value.segments) room.body(segment.bytes);
  return true;
};

/** Whether a text can stand in a field; undefined is written as an empty one. Code that is not typed may give anything. */
const isField = (text: string | undefined): boolean =>
  text === undefined || (typeof text === 'string' && text !== '' && !text.includes('\n'));

/** @returns a negative number for a value without a short form */
const tableBytes = ({ skeleton, segments }: WireValue): number => {
  if (skeleton.length > MAX_SKELETON || segments.length > MAX_SEGMENTS) return -1;
  let bytes = 0;
  for (const { shape, bytes: content } of segments) {
    if (content.byteLength > MAX_U32 || shape?.some((extent) => extent > MAX_U32)) return -1;
    bytes += ROW_BYTES + 4 * (shape?.length ?? 0);
  }
  return bytes;
};

const payloadBytes = (segments: readonly Segment[]): number => {
  let sum = 0;
  for (const { bytes } of segments) sum += pad8(bytes.byteLength);
  return sum;
};

/** @returns where it ends */
const writeTable = (bytes: Buffer, from: number, segments: readonly Segment[]): number => {
  let at = from;
  for (const { dtype, shape, bytes: content } of segments) {
    bytes[at] = CODES.indexOf(dtype);
    bytes[at + 1] = shape?.length ?? NO_SHAPE;
    bytes.writeUInt16LE(0, at + 2);
    bytes.writeUInt32LE(content.byteLength, at + 4);
    at += ROW_BYTES;
    for (const extent of shape ?? []) at = bytes.writeUInt32LE(extent, at);
  }
  return at;
};

/** @returns its length */
const writeSkeleton = (bytes: Buffer, at: number, skeleton: string | Uint8Array): number => {
  if (typeof skeleton === 'string') return bytes.write(skeleton, at);
  bytes.set(skeleton, at);
  return skeleton.byteLength;
};

/** One whole frame of type VALUE_CALL from the daemon, as a CALL. @throws ProtocolError */
export const readValueCall = (bytes: Buffer): Frame => {
  const { id, limitMs, spread, fields, skeletons, segments } = readCall(bytes);
  const [requestId, method, modelId, sessionId] = fields;
  const meta: CallMeta = { method, form: 'one', calls: [{ id, requestId, leftMs: limitMs, modelId, sessionId }], spread };
  return { type: FRAME.CALL, meta: meta as unknown as Frame['meta'], skeletons, segments };
};

/** The same from a replica: a call through a handle. @throws ProtocolError */
export const readHandleCall = (bytes: Buffer): Frame => {
  const { id, limitMs, parent, spread, fields, skeletons, segments } = readCall(bytes);
  const [handle, method, modelId, sessionId] = fields;
  const calls = [{ id, requestId: '' }];
  const meta: CallMeta = { method, form: 'one', calls, spread, parent, handle, timeoutMs: limitMs, modelId, sessionId };
  return { type: FRAME.CALL, meta: meta as unknown as Frame['meta'], skeletons, segments };
};

const readCall = (bytes: Buffer) => {
  if (bytes.length < CALL_BYTES) throw new ProtocolError('a VALUE_CALL is shorter than its head');
  const table = readTable(bytes, CALL_BYTES, bytes.readUInt16LE(40));
  const textEnd = table.end + bytes.readUInt32LE(8);
  const skeletonEnd = textEnd + bytes.readUInt32LE(12);
  if (skeletonEnd > bytes.length) throw new ProtocolError('a VALUE_CALL is longer than its frame');
  const [first, method, modelId, sessionId, ...more] = bytes.toString('utf8', table.end, textEnd).split('\n');
  if (first === undefined || method === undefined || modelId === undefined || sessionId === undefined || more.length > 0)
    throw new ProtocolError('the text of a VALUE_CALL has another number of fields');
  const limitMs = bytes.readDoubleLE(24);
  const parent = bytes.readDoubleLE(32);
  if (Number.isNaN(limitMs) || Number.isNaN(parent)) throw new ProtocolError('a number of a VALUE_CALL is none');
  return {
    id: bytes.readDoubleLE(16),
    limitMs: limitMs < 0 ? undefined : limitMs,
    parent: parent < 0 ? undefined : parent,
    spread: bytes.readUInt8(42) === 1 || undefined,
    fields: [first, method, modelId || undefined, sessionId || undefined] as const,
    skeletons: bytes.subarray(textEnd, skeletonEnd),
    segments: segmentsOf(table.rows, bytes, pad8(skeletonEnd)),
  };
};

/** One whole frame of type VALUE_RESULT, as a RESULT. @throws ProtocolError */
export const readValueResult = (bytes: Buffer): Frame => {
  if (bytes.length < RESULT_BYTES) throw new ProtocolError('a VALUE_RESULT is shorter than its head');
  const table = readTable(bytes, RESULT_BYTES, bytes.readUInt32LE(8));
  const skeletonEnd = table.end + bytes.readUInt32LE(12);
  if (skeletonEnd > bytes.length) throw new ProtocolError('a VALUE_RESULT is longer than its frame');
  const meta: ResultMeta = { ids: [bytes.readDoubleLE(16)], workMs: bytes.readDoubleLE(24) };
  return {
    type: FRAME.RESULT,
    meta: meta as unknown as Frame['meta'],
    skeletons: bytes.subarray(table.end, skeletonEnd),
    segments: segmentsOf(table.rows, bytes, pad8(skeletonEnd)),
  };
};

interface Row {
  readonly dtype: Dtype | 'bytes';
  readonly shape: readonly number[] | null;
  readonly length: number;
}

const NO_ROWS: readonly Row[] = [];

const readTable = (bytes: Buffer, from: number, count: number): { readonly rows: readonly Row[]; readonly end: number } => {
  if (count === 0) return { rows: NO_ROWS, end: from };
  if (count > MAX_SEGMENTS) throw new ProtocolError(`a short form has ${count} segments: the limit is ${MAX_SEGMENTS}`);
  const rows: Row[] = [];
  let at = from;
  for (let index = 0; index < count; index++) {
    if (at + ROW_BYTES > bytes.length) throw new ProtocolError('a table of segments is longer than its frame');
    const dtype = CODES[bytes.readUInt8(at)];
    if (dtype === undefined) throw new ProtocolError(`unknown dtype ${bytes.readUInt8(at)}`);
    const extents = bytes.readUInt8(at + 1);
    const length = bytes.readUInt32LE(at + 4);
    at += ROW_BYTES;
    if (extents === NO_SHAPE) {
      rows.push({ dtype, shape: null, length });
      continue;
    }
    if (at + 4 * extents > bytes.length) throw new ProtocolError('a table of segments is longer than its frame');
    const shape: number[] = [];
    for (let axis = 0; axis < extents; axis++) shape.push(bytes.readUInt32LE(at + 4 * axis));
    at += 4 * extents;
    rows.push({ dtype, shape: checkedShape(shape, dtype, length), length });
  }
  return { rows, end: at };
};

const NO_SEGMENTS: readonly Segment[] = [];

const segmentsOf = (rows: readonly Row[], bytes: Buffer, start: number): readonly Segment[] => {
  if (rows.length === 0) return NO_SEGMENTS;
  let at = start;
  return rows.map(({ dtype, shape, length }) => {
    if (at + length > bytes.length) throw new ProtocolError('a segment is longer than its frame');
    const segment: Segment = { dtype, shape, bytes: bytes.subarray(at, at + length) };
    at = pad8(at + length);
    return segment;
  });
};

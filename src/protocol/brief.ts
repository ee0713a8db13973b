/**
 * The short forms of the two frames that a request from HTTP needs, for peers that take them (HELLO `brief`): numbers in fixed places
 * instead of a JSON meta, which cost more than all else that a small request needs. They are read into the same `Frame` as the long
 * forms. All numbers little-endian; each body stands at a multiple of 8.
 *
 *     HTTP_CALL                                          HTTP_RESULT
 *     0  u32  length of the frame                        0  u32  length of the frame
 *     4  u32  type                                       4  u32  type
 *     8  u32  number of members                          8  u32  length of the text
 *    12  u16  length of the method's name               12  u32  length of the body
 *    14  u8   form: 0 one, 1 items                      16  f64  id
 *    15  u8   1: over TLS
 *    16  members of 24 bytes:                           24  f64  workMs
 *          0  f64  id                                   32  u16  status
 *          8  f64  leftMs; −1: no deadline              34  zero to 40
 *         16  u32  length of its text                   40  text: name, value, …
 *         20  u32  length of its body                       body
 *        method's name, texts
 *        bodies
 *
 * Texts are fields that line feeds part: request id, HTTP method, path, query, then name, value, name, value.
 */
import { FRAME, type Frame, ProtocolError, pad8 } from './frame.ts';
import type { CallMeta, HttpAnswerHead, HttpHead, ResultMeta } from './messages.ts';
import { closeHead, type Room, UTF8_BYTES } from './room.ts';
import type { Segment } from './value.ts';

/** Types of the short forms; what is read of them is of type CALL, RESULT and BEGUN. */
export const BRIEF = { HTTP_CALL: 48, HTTP_RESULT: 49, VALUE_CALL: 52, VALUE_RESULT: 53, IDS_BEGUN: 54 } as const;

const CALL_BYTES = 16;
const MEMBER_BYTES = 24;
const RESULT_BYTES = 40;
const LINE_FEED = 10;
/** Of an answer: far more than the daemon lets pass to a client, and little enough to be split without harm. */
const MAX_HEADER_BYTES = 65_536;
const FORMS = ['one', 'items'] as const;

export interface BriefCall {
  readonly id: number;
  readonly requestId: string;
  readonly leftMs: number | undefined;
  readonly http: HttpHead;
  readonly body: Uint8Array;
}

const textOfCall = ({ requestId, http: { method, path, query, headers } }: BriefCall): string => {
  let text = `${requestId}\n${method}\n${path}\n${query}`;
  for (let index = 0; index < headers.length; index++) text += `\n${headers[index]}`;
  return text;
};

/** @throws RangeError when the frame would be longer than one can be */
export const writeHttpCall = (
  room: Room,
  method: string,
  form: 'one' | 'items',
  calls: readonly BriefCall[],
  secure = false,
): void => {
  const texts: string[] = [];
  let most = CALL_BYTES + calls.length * MEMBER_BYTES + UTF8_BYTES * method.length + 8;
  let bodyBytes = 0;
  for (let index = 0; index < calls.length; index++) {
    const call = calls[index] as BriefCall;
    const text = textOfCall(call);
    texts.push(text);
    most += UTF8_BYTES * text.length;
    bodyBytes += pad8(call.body.byteLength);
  }
  const { bytes, at } = room.reserve(most);
  let member = at + CALL_BYTES;
  let end = member + calls.length * MEMBER_BYTES;
  const methodBytes = bytes.write(method, end);
  end += methodBytes;
  for (let index = 0; index < calls.length; index++) {
    const { id, leftMs, body } = calls[index] as BriefCall;
    const textBytes = bytes.write(texts[index] as string, end);
    end += textBytes;
    bytes.writeDoubleLE(id, member);
    bytes.writeDoubleLE(leftMs ?? -1, member + 8);
    bytes.writeUInt32LE(textBytes, member + 16);
    bytes.writeUInt32LE(body.byteLength, member + 20);
    member += MEMBER_BYTES;
  }
  const headBytes = closeHead(bytes, at, end, BRIEF.HTTP_CALL, bodyBytes);
  bytes.writeUInt32LE(calls.length, at + 8);
  bytes.writeUInt16LE(methodBytes, at + 12);
  bytes[at + 14] = FORMS.indexOf(form);
  bytes[at + 15] = secure ? 1 : 0;
  room.wrote(headBytes);
  for (const { body } of calls) room.body(body);
};

/**
 * @returns false: the headers are too long for the short form, and nothing was written
 * @throws RangeError when the frame would be longer than one can be
 */
export const writeHttpResult = (
  room: Room,
  id: number,
  { status, headers }: HttpAnswerHead,
  workMs: number,
  body: Uint8Array,
): boolean => {
  const text = headers.join('\n');
  if (text.length * UTF8_BYTES > MAX_HEADER_BYTES) return false;
  const { bytes, at } = room.reserve(RESULT_BYTES + UTF8_BYTES * text.length + 8);
  const textBytes = bytes.write(text, at + RESULT_BYTES);
  const headBytes = closeHead(bytes, at, at + RESULT_BYTES + textBytes, BRIEF.HTTP_RESULT, pad8(body.byteLength));
  bytes.writeUInt32LE(textBytes, at + 8);
  bytes.writeUInt32LE(body.byteLength, at + 12);
  bytes.writeDoubleLE(id, at + 16);
  bytes.writeDoubleLE(workMs, at + 24);
  bytes.writeUInt16LE(status, at + 32);
  bytes.fill(0, at + 34, at + RESULT_BYTES);
  room.wrote(headBytes);
  room.body(body);
  return true;
};

const NO_BYTES = Buffer.alloc(0);
/** Most answers have the headers of the one before: the same list stands for them, and is not to be changed. */
let lastText = '';
let lastHeaders: readonly string[] = [];

const headersOf = (text: string): readonly string[] => {
  if (text === lastText) return lastHeaders;
  lastHeaders = text === '' ? [] : text.split('\n');
  lastText = text;
  return lastHeaders;
};

/** Where the field that begins at `from` ends. */
const fieldEnd = (bytes: Buffer, from: number, end: number): number => {
  let at = from;
  while (at < end && bytes[at] !== LINE_FEED) at += 1;
  return at;
};

/** Requests of one client differ in their bodies: a head that is that of the call before stands for both, and is not to be changed. */
let lastHeadBytes: Buffer = NO_BYTES;
let lastHead: HttpHead | undefined;

/** @param from where the request id ends. @throws ProtocolError */
const headOf = (bytes: Buffer, from: number, end: number, secure: true | undefined): HttpHead => {
  if (
    lastHead !== undefined &&
    lastHead.secure === secure &&
    lastHeadBytes.length === end - from &&
    bytes.compare(lastHeadBytes, 0, lastHeadBytes.length, from, end) === 0
  )
    return lastHead;
  const fields = bytes.toString('utf8', from, end).split('\n');
  const [before, method, path, query] = fields;
  if (before !== '' || method === undefined || path === undefined || query === undefined || fields.length % 2 !== 0)
    throw new ProtocolError('the text of a member of an HTTP_CALL has another number of fields');
  lastHead = { method, path, query, headers: fields.slice(4), secure };
  lastHeadBytes = Buffer.from(bytes.subarray(from, end));
  return lastHead;
};

/** One whole frame of type HTTP_CALL, as a CALL. @throws ProtocolError */
export const readHttpCall = (bytes: Buffer): Frame => {
  const count = bytes.readUInt32LE(8);
  const methodBytes = bytes.readUInt16LE(12);
  const form = FORMS[bytes.readUInt8(14)];
  const secure = bytes.readUInt8(15) === 1 || undefined;
  const membersEnd = CALL_BYTES + count * MEMBER_BYTES;
  if (form === undefined || count === 0 || (form === 'one' && count > 1) || membersEnd + methodBytes > bytes.length)
    throw new ProtocolError('the head of an HTTP_CALL does not fit its frame');
  let textAt = membersEnd + methodBytes;
  let bodyAt = textAt;
  for (let index = 0; index < count; index++) bodyAt += bytes.readUInt32LE(CALL_BYTES + index * MEMBER_BYTES + 16);
  bodyAt = pad8(bodyAt);
  const calls: CallMeta['calls'][number][] = [];
  const segments: Segment[] = [];
  for (let index = 0; index < count; index++) {
    const at = CALL_BYTES + index * MEMBER_BYTES;
    const textEnd = textAt + bytes.readUInt32LE(at + 16);
    const bodyEnd = bodyAt + bytes.readUInt32LE(at + 20);
    if (textEnd > bytes.length || bodyEnd > bytes.length)
      throw new ProtocolError('a member of an HTTP_CALL is longer than its frame');
    const idEnd = fieldEnd(bytes, textAt, textEnd);
    const leftMs = bytes.readDoubleLE(at + 8);
    calls.push({
      id: bytes.readDoubleLE(at),
      requestId: bytes.toString('utf8', textAt, idEnd),
      leftMs: leftMs < 0 ? undefined : leftMs,
      sk: form === 'items' ? 0 : undefined,
      n: form === 'items' ? 1 : undefined,
      http: headOf(bytes, idEnd, textEnd, secure),
    });
    segments.push({ dtype: 'bytes', shape: null, bytes: bytes.subarray(bodyAt, bodyEnd) });
    textAt = textEnd;
    bodyAt = pad8(bodyEnd);
  }
  const meta: CallMeta = { method: bytes.toString('utf8', membersEnd, membersEnd + methodBytes), form, calls };
  return { type: FRAME.CALL, meta: meta as unknown as Frame['meta'], skeletons: NO_BYTES, segments };
};

/** One whole frame of type HTTP_RESULT, as a RESULT. @throws ProtocolError */
export const readHttpResult = (bytes: Buffer): Frame => {
  if (bytes.length < RESULT_BYTES) throw new ProtocolError('an HTTP_RESULT is shorter than its head');
  const textEnd = RESULT_BYTES + bytes.readUInt32LE(8);
  const bodyAt = pad8(textEnd);
  const bodyEnd = bodyAt + bytes.readUInt32LE(12);
  if (bodyEnd > bytes.length) throw new ProtocolError('an HTTP_RESULT is longer than its frame');
  if (textEnd - RESULT_BYTES > MAX_HEADER_BYTES)
    throw new ProtocolError(`the headers of an HTTP_RESULT are longer than ${MAX_HEADER_BYTES} bytes`);
  const meta: ResultMeta = {
    ids: [bytes.readDoubleLE(16)],
    http: {
      status: bytes.readUInt16LE(32),
      headers: headersOf(bytes.toString('utf8', RESULT_BYTES, textEnd)),
    },
    workMs: bytes.readDoubleLE(24),
  };
  return {
    type: FRAME.RESULT,
    meta: meta as unknown as Frame['meta'],
    skeletons: NO_BYTES,
    segments: bodyEnd === bodyAt ? [] : [{ dtype: 'bytes', shape: null, bytes: bytes.subarray(bodyAt, bodyEnd) }],
  };
};

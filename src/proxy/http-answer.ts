/** Checks the head of an answer before a driver writes it, so that no header of a handler can end one answer and begin another. */

import { STATUS_CODES } from 'node:http';
import type { Refusal } from './http-framing.ts';
import { statusOf } from './http-framing.ts';

/** Clients take 8 to 16 KiB of headers; and one cork buffer of uWebSockets.js (16 KiB) must hold a whole head. */
export const MAX_ANSWER_HEAD_BYTES = 12 * 1024;

export const TEXT = 'text/plain; charset=utf-8';
export const INTERNAL_HEADERS: readonly string[] = ['content-type', TEXT, 'x-serve-error', 'INTERNAL'];
export const INTERNAL_BODY = 'Internal Server Error';

const reasons: string[] = [];

/** `200 OK`. */
export const statusLine = (status: number): string => {
  const known = reasons[status];
  if (known !== undefined) return known;
  const line = `${status} ${STATUS_CODES[status] ?? 'Unknown'}`;
  reasons[status] = line;
  return line;
};

/** A final status; what is informational frames no answer. */
export const isFinalStatus = (status: number): boolean => Number.isInteger(status) && status >= 200 && status <= 599;

/** No body follows, whatever the headers say (RFC 9112, 6.3). */
export const isBodyless = (method: string, status: number): boolean => method === 'HEAD' || status === 204 || status === 304;

/** By place, those of the answers before, which most are like: what has been looked at needs no second look. */
const sound: string[] = [];

/**
 * The headers as they may be written: without those that the driver itself writes.
 * @returns the same array when there is nothing to leave out; undefined when one of them is not a header or all together are too long
 */
export const soundHeaders = (headers: readonly string[]): readonly string[] | undefined => {
  if (headers.length % 2 !== 0) return undefined;
  let bytes = 0;
  let framing = false;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i];
    const value = headers[i + 1];
    if (typeof name !== 'string' || typeof value !== 'string') return undefined;
    if ((name !== sound[i] || value !== sound[i + 1]) && !(isToken(name) && isFieldValue(value))) return undefined;
    bytes += name.length + value.length + 4;
    framing ||= isDriversOwn(name);
  }
  if (bytes > MAX_ANSWER_HEAD_BYTES) return undefined;
  for (let i = 0; i < headers.length; i++) sound[i] = headers[i] as string;
  return framing ? headers.filter((_, i) => !isDriversOwn(headers[i - (i % 2)] as string)) : headers;
};

/** The headers of a refusal, less those that the driver writes. */
export const refusalHeaders = (refusal: Refusal): readonly string[] => [
  'content-type',
  typeOf(refusal),
  'x-serve-error',
  refusal.code,
  ...(refusal.headers ?? []),
];

export const refusalBody = ({ message, isObject }: Refusal): string =>
  `${isObject === true ? JSON.stringify({ error: message }) : message}\r\n`;

const typeOf = ({ isObject }: Refusal): string => (isObject === true ? 'application/json' : TEXT);

/**
 * A whole refusal as it goes on the wire after `HTTP/1.1 `, for where no answer object of a library can be used.
 * @param padTo lengthens the body with spaces to so many bytes
 */
export const rawRefusal = (refusal: Refusal, padTo = 0): string => {
  const body = `${refusalBody(refusal)
    .trimEnd()
    .padEnd(padTo - 2)}\r\n`;
  const head = `${statusLine(statusOf(refusal.code))}\r\nDate: ${new Date().toUTCString()}\r\nContent-Type: ${typeOf(refusal)}\r\n`;
  let more = '';
  for (let i = 0; i < (refusal.headers?.length ?? 0); i += 2) more += `${refusal.headers?.[i]}: ${refusal.headers?.[i + 1]}\r\n`;
  return `${head}x-serve-error: ${refusal.code}\r\n${more}Connection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
};

const isDriversOwn = (name: string): boolean => {
  switch (name.length) {
    case 4:
      return name.toLowerCase() === 'date';
    case 10:
      return name.toLowerCase() === 'connection' || name.toLowerCase() === 'keep-alive';
    case 14:
      return name.toLowerCase() === 'content-length';
    case 17:
      return name.toLowerCase() === 'transfer-encoding';
    default:
      return false;
  }
};

const TOKEN = new Uint8Array(128);
for (const c of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") TOKEN[c.charCodeAt(0)] = 1;

const isToken = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) if (TOKEN[text.charCodeAt(i)] !== 1) return false;
  return text.length > 0;
};

/** Visible characters, space, tab, and Latin-1: whatever else could be taken for the end of the line by somebody. */
const isFieldValue = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if ((c < 0x20 && c !== 0x09) || c === 0x7f || c > 0xff) return false;
  }
  return true;
};

/** True when the value must be written as Latin-1 bytes because a string would be written as UTF-8. */
export const isAscii = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7e) return false;
  return true;
};

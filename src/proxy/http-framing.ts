/** Decides, from the head alone, where a request ends and whether it can be read in one way only; and checks heads of answers. */

import { METHODS } from 'node:http';
import { ERROR_TABLE, type ErrorCode } from '../domain/errors.ts';

export interface Refusal {
  readonly code: ErrorCode;
  /** ASCII, without anything that the client sent: it goes into an answer as it is. */
  readonly message: string;
  /** Beside those of every refusal; ASCII too. */
  readonly headers?: readonly string[];
  /** Told as `{"error": message}`, which is all that clients of the Open Inference Protocol read. */
  readonly isObject?: boolean;
}

export interface Framing {
  /** Bytes of the body as declared; 0 when there is none; `CHUNKED` when only the last chunk tells. */
  readonly bodyBytes: number;
  /** The client asked for the connection to be closed. */
  readonly close: boolean;
  /** It has an `upgrade` header. */
  readonly upgrade: boolean;
  /** When set, the rest says nothing. */
  readonly refusal: Refusal | undefined;
}

export const CHUNKED = -1;
/** Beyond it: 431. uWebSockets.js has room for 98 and refuses more by itself. */
export const MAX_HEADERS = 98;

const invalid = (message: string): Refusal => ({ code: 'INVALID_INPUT', message });
const refused = (refusal: Refusal): Framing => ({ bodyBytes: 0, close: true, upgrade: false, refusal });

const METHOD_UNKNOWN = invalid('expected a known method in upper case');
const TARGET_ODD = invalid('expected a request target of visible ASCII characters without a fragment');
const HOST_MISSING = invalid('expected a host header');
const HOST_REPEATED = invalid('expected one host header, got more');
const HOST_ODD = invalid('expected a host header of the form name or name:port');
const LENGTH_REPEATED = invalid('expected one content-length header, got more');
const LENGTH_ODD = invalid('expected a content-length of decimal digits only');
const CODING_REPEATED = invalid('expected one transfer-encoding header, got more');
const CODING_ODD = invalid('expected transfer-encoding to be exactly chunked');
const CODING_AND_LENGTH = invalid('expected content-length or transfer-encoding, got both');
const CODING_OLD = invalid('expected no transfer-encoding in HTTP/1.0');
const HEADERS_MANY: Refusal = { code: 'HEADERS_TOO_LARGE', message: `expected at most ${MAX_HEADERS} header lines` };
/** A body in very many very small pieces costs far more time than bytes. */
export const BODY_FRAGMENTED = invalid('expected larger chunks');

const KNOWN_METHODS: ReadonlySet<string> = new Set(METHODS);

export const tooLarge = (limitBytes: number): Refusal => ({
  code: 'PAYLOAD_TOO_LARGE',
  message: `expected a body of at most ${limitBytes} bytes`,
});

/** The refusal in the form that its path wants. */
export const inFormOf = (refusal: Refusal, path: string, isObjectPath: ((path: string) => boolean) | undefined): Refusal =>
  isObjectPath?.(path) === true ? { ...refusal, isObject: true } : refusal;

export const statusOf = (code: ErrorCode): number => ERROR_TABLE[code].http;

/**
 * Reads what frames the message.
 * @param headers flat, names in lower case, every line of the request
 * @param maxBodyBytes a declared length beyond it is refused here, before any of it is read
 * @param isHttp10 no Host is needed, and no Transfer-Encoding can be
 */
export const readFraming = (headers: readonly string[], maxBodyBytes: number, isHttp10 = false): Framing => {
  if (headers.length > MAX_HEADERS * 2) return refused(HEADERS_MANY);
  let host: string | undefined;
  let length: string | undefined;
  let coding: string | undefined;
  let close = false;
  let upgrade = false;
  for (let i = 0; i < headers.length; i += 2) {
    const value = headers[i + 1] as string;
    switch (headers[i]) {
      case 'host':
        if (host !== undefined) return refused(HOST_REPEATED);
        host = value;
        break;
      case 'content-length':
        if (length !== undefined) return refused(LENGTH_REPEATED);
        length = value;
        break;
      case 'transfer-encoding':
        if (coding !== undefined) return refused(CODING_REPEATED);
        coding = value;
        break;
      case 'connection':
        close ||= asksToClose(value);
        break;
      case 'upgrade':
        upgrade = true;
        break;
    }
  }
  if (host === undefined ? !isHttp10 : !isHost(host)) return refused(host === undefined ? HOST_MISSING : HOST_ODD);
  if (coding !== undefined) {
    if (length !== undefined) return refused(CODING_AND_LENGTH);
    if (coding.length !== 7 || coding.toLowerCase() !== 'chunked') return refused(CODING_ODD);
    if (isHttp10) return refused(CODING_OLD);
    return { bodyBytes: CHUNKED, close, upgrade, refusal: undefined };
  }
  if (length === undefined) return { bodyBytes: 0, close, upgrade, refusal: undefined };
  if (!isDigits(length)) return refused(LENGTH_ODD);
  // Too many digits for a number still compare rightly: they round to something far above any limit.
  const bodyBytes = Number(length);
  if (bodyBytes > maxBodyBytes) return refused(tooLarge(maxBodyBytes));
  return { bodyBytes, close, upgrade, refusal: undefined };
};

/** Checks the request line: a method that we know, and a path and query that no two readers split differently. */
export const checkRequestLine = (method: string, path: string, query: string): Refusal | undefined => {
  if (!KNOWN_METHODS.has(method) || method === 'CONNECT') return METHOD_UNKNOWN;
  return isVisible(path) && isVisible(query) ? undefined : TARGET_ODD;
};

/** True when so many pieces for so few bytes can only be meant to cost time. */
export const isFragmented = (pieces: number, bytes: number): boolean => pieces > 16_384 && bytes < pieces * 16;

const isVisible = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 0x21 || c > 0x7e || c === 0x23) return false;
  }
  return true;
};

const isDigits = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 0x30 || c > 0x39) return false;
  }
  return text.length > 0;
};

const asksToClose = (value: string): boolean => {
  if (value === 'keep-alive') return false;
  const text = value.toLowerCase();
  return text === 'close' || (text.includes('close') && text.split(',').some((token) => token.trim() === 'close'));
};

// uri-host [":" port] of RFC 9110, 7.2, without percent-encoding tricks: what a name or an address is written with.
const HOST_FORM = /^(?:[\w.~%!$&'()*+;=-]+|\[[\da-fA-F:.vV]+(?:%25[\w.~-]+)?\])(?::\d{0,5})?$/;
let lastHost = '';

/** The last good one is remembered: the clients of one daemon send few different hosts. */
export const isHost = (text: string): boolean => {
  if (text === lastHost) return text.length > 0;
  if (text.length > 255 || !HOST_FORM.test(text)) return false;
  lastHost = text;
  return true;
};

/** Writes whole answers and refusals with what uWebSockets.js offers, and closes where it offers no way to close. */

import { isAscii, rawRefusal, statusLine } from './http-answer.ts';
import type { Refusal } from './http-framing.ts';
import { CORK_BYTES } from './http-uws-stream.ts';
import type { UwsResponse } from './uws-types.ts';

/**
 * Status and headers, under cork; the library ends the head when the first of the body is written.
 * @param headers sound: they go out as they are
 * @param id goes out as `x-request-id`; '' does not
 */
export const writeHead = (res: UwsResponse, status: number, headers: readonly string[], id = ''): void => {
  const lines = linesOf(headers);
  const own = id === '' ? '' : `\r\nx-request-id: ${id}`;
  // In one text: each call into the library costs as much as what it writes. It adds the line end behind the last.
  if (lines !== undefined) {
    res.writeStatus(`${statusLine(status)}${own}${lines}`);
    return;
  }
  res.writeStatus(`${statusLine(status)}${own}`);
  for (let i = 0; i < headers.length; i += 2) {
    const value = headers[i + 1] as string;
    res.writeHeader(headers[i] as string, isAscii(value) ? value : Buffer.from(value, 'latin1'));
  }
};

/** Answers of one kind share their list of headers, and with it these lines. */
let lastHeaders: readonly string[] = [];
let lastLines: string | undefined = '';

/** The headers, a line end before each; undefined where a value must be written as Latin-1. */
const linesOf = (headers: readonly string[]): string | undefined => {
  if (headers === lastHeaders) return lastLines;
  let lines: string | undefined = '';
  for (let i = 0; i < headers.length && lines !== undefined; i += 2) {
    const value = headers[i + 1] as string;
    lines = isAscii(value) ? `${lines}\r\n${headers[i]}: ${value}` : undefined;
  }
  lastHeaders = headers;
  lastLines = lines;
  return lines;
};

/** Ends, under cork, a head that no body follows on a connection that will be closed: `endWithoutBody` cannot close. */
export const endBareHead = (res: UwsResponse): void => {
  res.writeHeader('Date', new Date().toUTCString());
  res.writeHeader('Connection', 'close\r\n');
};

/** The last chunk, by hand: `0`, one trailer, an empty line. `end` would leave the connection open for a next request. */
export const endStreamOpen = (res: UwsResponse): void => {
  res.writeHeader('\r\n0\r\nx-serve-stream', 'end\r\n');
};

/**
 * Writes what the socket takes, from `written` on, of a large body whose connection will be closed. `tryEnd` cannot close, and what it has ended cannot be closed: so the last byte
 * goes with a total that is never reached, and the answer stays ours until all of it is with the kernel.
 * @returns true when it is, and the connection may be closed
 */
export const pushBodyOpen = (res: UwsResponse, body: Uint8Array, written: number): boolean => {
  const last = body.length - 1;
  if (written > last) return true;
  if (written < last && !res.tryEnd(body.subarray(written, last), body.length)[0]) return false;
  return res.tryEnd(body.subarray(last), body.length + 1)[0];
};

/**
 * Refuses a request from inside its own callback: the answer leaves and the connection is closed before the parser goes on, so
 * nothing behind it is ever read. The library sends from there only what is larger than its cork buffer, hence the padding.
 */
export const refuseRequest = (res: UwsResponse, method: string, refusal: Refusal): void => {
  if (method !== 'HEAD') {
    // The line end that `writeStatus` adds is the last one of the body.
    res.writeStatus(rawRefusal(refusal, CORK_BYTES + 2).slice(0, -2));
    res.close();
    return;
  }
  // No body to pad: the answer waits until the parser is out, and a request behind it makes the library close without one.
  let gone = false;
  res.onAborted(() => {
    gone = true;
  });
  setImmediate(() => {
    if (gone) return;
    const raw = rawRefusal(refusal);
    res.cork(() => res.writeStatus(raw.slice(0, raw.indexOf('\r\n\r\n') + 2)));
    res.close();
  });
};

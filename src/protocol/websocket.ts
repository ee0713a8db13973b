/** What both ends of a data link must agree on about WebSockets: what a message costs, and which closes can be said. Pure. */
import type { Segment } from './value.ts';

/** So much of what a client sent may wait, unread, for the code in the replica; beyond it the client is closed with 1013. */
export const MAX_UNREAD_BYTES = 1_048_576;
/** Credit is given back in portions, so that not each small message costs a frame. */
export const CREDIT_PORTION_BYTES = 65_536;
/** What a message costs beside its bytes: empty ones take memory too. */
const MESSAGE_BYTES = 64;

export const costOf = (payload: Uint8Array): number => payload.byteLength + MESSAGE_BYTES;

export const CLOSE_CODE = {
  NORMAL: 1000,
  GOING_AWAY: 1001,
  NO_STATUS: 1005,
  ABNORMAL: 1006,
  TOO_LARGE: 1009,
  INTERNAL: 1011,
  SERVICE_RESTART: 1012,
  TRY_AGAIN_LATER: 1013,
} as const;

/** Whether an endpoint may send this code (RFC 6455, 7.4): 1005, 1006 and 1015 only say what nobody sent. */
export const isCloseCode = (code: unknown): code is number =>
  Number.isInteger(code) &&
  (((code as number) >= 1000 && (code as number) <= 1014 && ![1004, 1005, 1006].includes(code as number)) ||
    ((code as number) >= 3000 && (code as number) <= 4999));

/** A control frame has 125 bytes, two of which are the code. */
const MAX_REASON_BYTES = 123;

export const isCloseReason = (reason: unknown): reason is string =>
  typeof reason === 'string' && Buffer.byteLength(reason) <= MAX_REASON_BYTES;

/** The segment that carries a message. */
export const segmentOf = (bytes: Uint8Array): Segment => ({ dtype: 'bytes', shape: null, bytes });

/** The subprotocols that a client offers, in its order. @param headers flat, names in lower case */
export const offeredProtocols = (headers: readonly string[]): string[] =>
  headers
    .filter((_, index) => index % 2 === 1 && headers[index - 1] === 'sec-websocket-protocol')
    .flatMap((value) => value.split(','))
    .map((each) => each.trim())
    .filter((each) => each !== '');

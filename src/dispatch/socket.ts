/**
 * One WebSocket between a client and the replica that took it: messages and closes both ways, each way bounded. It is a call whose place
 * has become free: `OPEN → CLOSED` (either side has closed; the code may still end its work) `→ over` (END or ERROR, or it was abandoned).
 */
import { isUtf8 } from 'node:buffer';
import { ServeError } from '../domain/errors.ts';
import { encodeFrame, FRAME, type Frame, outgoing, ProtocolError } from '../protocol/frame.ts';
import { type CloseMeta, type CreditMeta, INITIAL_CREDIT_BYTES, type MessageMeta } from '../protocol/messages.ts';
import {
  CLOSE_CODE,
  CREDIT_PORTION_BYTES,
  costOf,
  isCloseCode,
  isCloseReason,
  MAX_UNREAD_BYTES,
  segmentOf,
} from '../protocol/websocket.ts';
import type { PendingCall, Sink } from './pending.ts';

/** The client's side. `end` and `error` of the sink tell that the code has returned or thrown. */
export interface SocketSink extends Sink {
  /** @throws ProtocolError for a subprotocol that was not offered */
  accepted(socket: Socket, protocol: string | undefined): void;
  toClient(payload: Uint8Array, isText: boolean): void;
  /** By the code, or by the data plane. Once, and not where the client has closed. */
  closeClient(code: number, reason: string): void;
}

const ended = (): ServeError => new ServeError('CLIENT_CLOSED', 'the WebSocket was closed, and its code has not ended in time');

/** Code that was told of a close has so long to end, where its replica is to go. */
const END_WITHIN_MS = 2000;
/** The close comes so much before the drain time is over: what follows it still reaches a replica that lives. */
const BEFORE_STOP_MS = 1000;

export class Socket {
  readonly call: PendingCall;
  readonly #sink: SocketSink;
  readonly #write: (buffers: Uint8Array[]) => void;
  /** Bytes that the replica may still send. */
  #credit = INITIAL_CREDIT_BYTES;
  /** Bytes that the replica was sent and its code has not taken, and the largest message among them. */
  #unread = 0;
  #largest = 0;
  #isClosedHere = false;
  #isClosedThere = false;
  #isToGo = false;
  /**
   * What the client is closed with where the replica goes a moment before its time. Undefined: it was not to go, or not yet. One that dies is
   * taken out of the snapshot too, which may be here before the end of its connection.
   */
  leaving: number | undefined;

  constructor(call: PendingCall, sink: SocketSink, write: (buffers: Uint8Array[]) => void) {
    this.call = call;
    this.#sink = sink;
    this.#write = write;
  }

  // From the client.

  /** @returns false when its reader is so far behind that nothing more is kept for it; the message is dropped */
  send(payload: Uint8Array, isText: boolean): boolean {
    if (this.#isOver) return true;
    // The largest does not count: a reader that takes a message longer than the bound is not slow for having been sent another.
    if (this.#unread - this.#largest > MAX_UNREAD_BYTES) return false;
    const cost = costOf(payload);
    this.#unread += cost;
    this.#largest = Math.max(this.#largest, cost);
    const meta: MessageMeta = isText ? { id: this.call.id, text: true } : { id: this.call.id };
    this.#write(encodeFrame(FRAME.MESSAGE, meta, [], [outgoing(segmentOf(payload))]));
    return true;
  }

  /** The client has closed, or was closed: the code is told, and ends when it has done what it wants to. */
  clientClosed(code: number, reason: string): void {
    if (this.#isOver) return;
    this.#isClosedHere = true;
    this.#endsSoon();
    this.#write(encodeFrame(FRAME.CLOSE, { id: this.call.id, code, reason } satisfies CloseMeta));
  }

  /** The client has taken so many bytes. */
  credit(bytes: number): void {
    if (this.#isOver) return;
    this.#credit += bytes;
    this.#write(encodeFrame(FRAME.CREDIT, { id: this.call.id, bytes } satisfies CreditMeta));
  }

  // From the replica, which is trusted with nothing.

  /** @throws ProtocolError */
  message({ meta, segments }: Frame): void {
    if (this.#isClosedThere) throw new ProtocolError('a MESSAGE behind CLOSE');
    const [segment] = segments;
    if (segment === undefined || segments.length > 1 || segment.dtype !== 'bytes' || segment.shape !== null)
      throw new ProtocolError('a MESSAGE that is not one segment of bytes');
    const isText = meta['text'] === true;
    const payload = segment.bytes;
    if (isText && !isUtf8(payload)) throw new ProtocolError('a MESSAGE of text that is not UTF-8');
    if (this.#credit <= 0) throw new ProtocolError('a MESSAGE beyond its credit');
    const cost = costOf(payload);
    this.#credit -= cost;
    // Whoever sends to a client that has gone is told soon; until then it must not wait for credit that nobody gives.
    if (this.#isClosedHere) this.credit(cost);
    else this.#sink.toClient(payload, isText);
  }

  /** @throws ProtocolError */
  close({ meta }: Frame): void {
    const { code, reason = '' } = meta;
    if (this.#isClosedThere) throw new ProtocolError('a second CLOSE');
    if (!isCloseCode(code)) throw new ProtocolError(`a CLOSE with the code ${JSON.stringify(code)}, which nobody may send`);
    if (!isCloseReason(reason)) throw new ProtocolError('a CLOSE with a reason that is no text, or over 123 bytes');
    this.#isClosedThere = true;
    if (this.#isClosedHere) return;
    this.#isClosedHere = true;
    this.#endsSoon();
    this.#sink.closeClient(code, reason);
  }

  /** @throws ProtocolError */
  taken({ meta }: Frame): void {
    const { bytes } = meta;
    if (typeof bytes !== 'number' || !(bytes > 0) || bytes > this.#unread)
      throw new ProtocolError('CREDIT for more of a WebSocket than was sent');
    this.#unread -= bytes;
    if (this.#unread < CREDIT_PORTION_BYTES) this.#largest = 0;
  }

  // From the data plane.

  /**
   * Its replica is to go, or its application has gone. It may end by itself for a while; then the client is closed, and the code told.
   * @param drainMs `graceful_shutdown_timeout_s`
   */
  drain(code: number, drainMs: number): void {
    if (this.#isToGo) return;
    this.#isToGo = true;
    const earlyMs = Math.min(BEFORE_STOP_MS, drainMs / 10);
    this.#after(drainMs - 2 * earlyMs, () => {
      this.leaving = code;
      this.#after(earlyMs, () => {
        this.goAway(code);
        this.#endsWithin(END_WITHIN_MS);
      });
    });
  }

  /** Closes the client at once. */
  goAway(code: number): void {
    if (this.#isClosedHere || this.#isOver) return;
    this.#sink.closeClient(code, code === CLOSE_CODE.SERVICE_RESTART ? 'service restart' : 'going away');
    this.clientClosed(code, '');
  }

  /** There is no client any more: code that goes on is not waited for without end. */
  #endsSoon(): void {
    if (!this.#isToGo) this.#endsWithin(this.call.queue.routing.gracefulShutdownTimeoutMs);
  }

  #endsWithin(ms: number): void {
    this.#after(ms, () => this.call.abandon(ended()));
  }

  /** Once, and in place of what was to be next. */
  #after(ms: number, next: () => void): void {
    const { call } = this;
    clearTimeout(call.timer);
    call.timer = setTimeout(next, ms);
  }

  get #isOver(): boolean {
    return this.call.state === 'done';
  }
}

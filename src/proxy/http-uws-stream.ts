/** The chunks of one streamed answer on uWebSockets.js: cut to size, kept back while the socket is full, and never dropped. */

import type { UwsResponse } from './uws-types.ts';

/**
 * The library gathers what is written under `cork` in one buffer of 16 KiB. A larger write goes past it, and where the socket
 * happens to be full at that moment uWebSockets.js 20.51 drops it. So a piece fits that buffer, its framing included.
 */
export const CORK_BYTES = 16 * 1024;
const PIECE_BYTES = CORK_BYTES - 1024;
/** What a handler may write before the first chunks have left. */
const UNSENT_BYTES = 64 * 1024;

/** What a stream asks of its exchange. */
export interface UwsStreamOwner {
  /** Under cork. */
  writeStreamHead(): void;
  /** Every chunk is with the library and no more come; `wroteHead` is false when there was none. */
  streamEnded(wroteHead: boolean): void;
  /** Something threw: the connection is cut. */
  abort(): void;
}

export class UwsStream {
  readonly #res: UwsResponse;
  readonly #owner: UwsStreamOwner;
  #firstPieceBytes: number;
  #unsent: Uint8Array[] = [];
  #unsentBytes = 0;
  #wroteHead = false;
  /** The socket takes no more. */
  #full = false;
  /** The library is in its parser, where its cork buffer may hold something else. */
  #held = false;
  /** The handler was told to wait. */
  #waiting = false;
  #ended = false;
  #dropped = false;
  #drained: (() => void) | undefined;

  constructor(res: UwsResponse, owner: UwsStreamOwner, headBytes: number) {
    this.#res = res;
    this.#owner = owner;
    this.#firstPieceBytes = PIECE_BYTES - headBytes;
    this.hold();
  }

  write(chunk: Uint8Array | string): boolean {
    if (this.#ended || this.#dropped) return true;
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    if (bytes.length > 0) {
      this.#unsent.push(bytes);
      this.#unsentBytes += bytes.length;
      this.#pump();
    }
    const takesMore = this.#held ? this.#unsentBytes < UNSENT_BYTES : this.#unsentBytes === 0 && !this.#full;
    this.#waiting ||= !takesMore;
    return takesMore;
  }

  /** The library tells it when the socket is writable. */
  get isWatched(): boolean {
    return this.#wroteHead;
  }

  onDrain(listener: () => void): void {
    this.#drained = listener;
  }

  end(): void {
    this.#ended = true;
    this.#pump();
  }

  /** Nothing more is sent: `res` is dead. */
  drop(): void {
    this.#dropped = true;
    this.#unsent = [];
    this.#unsentBytes = 0;
  }

  /** Keeps chunks back until the library is out of its parser and the cork buffer is ours alone. */
  hold(): void {
    if (this.#held) return;
    this.#held = true;
    setImmediate(release, this);
  }

  release(): void {
    this.#held = false;
    this.#pump();
  }

  #pump(): void {
    if (this.#held || this.#full || this.#dropped) return;
    try {
      while (this.#unsent.length > 0 && !this.#full) this.#sendPiece();
      if (this.#full) return;
      if (this.#ended) this.#owner.streamEnded(this.#wroteHead);
      else if (this.#waiting) {
        this.#waiting = false;
        this.#drained?.();
      }
    } catch {
      this.#owner.abort();
    }
  }

  #sendPiece(): void {
    const chunk = this.#unsent[0] as Uint8Array;
    const room = this.#wroteHead ? PIECE_BYTES : this.#firstPieceBytes;
    const piece = chunk.length > room ? chunk.subarray(0, room) : chunk;
    if (piece === chunk) this.#unsent.shift();
    else this.#unsent[0] = chunk.subarray(room);
    this.#unsentBytes -= piece.length;
    this.#res.cork(() => {
      if (!this.#wroteHead) {
        this.#wroteHead = true;
        this.#owner.writeStreamHead();
        this.#res.onWritable(() => this.#writable());
      }
      // False comes one piece late: when the one before did not leave, and this one waits behind it inside the library.
      this.#full = !this.#res.write(piece);
    });
  }

  #writable(): boolean {
    if (this.#dropped) return true;
    this.#full = false;
    try {
      // With a listener set, the library does not send what it holds by itself; an empty cork does.
      this.#res.cork(nothing);
    } catch {
      this.#owner.abort();
    }
    this.#pump();
    return true;
  }
}

const nothing = (): void => {};
const release = (stream: UwsStream): void => stream.release();

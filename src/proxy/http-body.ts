/** Request bodies: gathered into one buffer (exactly sized when the length is known, else grown geometrically), or passed on as they come. */

import { LARGE_BUFFERS } from '../protocol/buffer-pool.ts';
import { BODY_FRAGMENTED, CHUNKED, isFragmented, type Refusal, tooLarge } from './http-framing.ts';
import type { BodySink } from './http-server.ts';

const FIRST_BYTES = 16 * 1024;
/**
 * How long a connection that closes with its answer stays for the rest of a request that was answered before it was whole, counted from the
 * last that came: closed on unread bytes, TCP would take the answer back (RFC 9112, 9.6).
 */
export const LINGER_MS = 1000;
export const NO_BYTES = new Uint8Array(0);

export class BodyBuffer {
  readonly #declaredBytes: number;
  readonly #maxBytes: number;
  #bytes: Uint8Array = NO_BYTES;
  #length = 0;
  #pieces = 0;

  /** @param declaredBytes `CHUNKED` when nobody told */
  constructor(declaredBytes: number, maxBytes: number) {
    this.#declaredBytes = declaredBytes;
    this.#maxBytes = maxBytes;
  }

  /** Copies the piece. What it returns is why the body is refused; it must not be used after that. */
  add(piece: Uint8Array): Refusal | undefined {
    const length = this.#length + piece.length;
    if (length > this.#maxBytes) return this.#refuse(tooLarge(this.#maxBytes));
    if (isFragmented(++this.#pieces, length)) return this.#refuse(BODY_FRAGMENTED);
    if (length > this.#bytes.length) this.#grow(length);
    this.#bytes.set(piece, this.#length);
    this.#length = length;
    return undefined;
  }

  take(): Uint8Array {
    const bytes = this.#length === this.#bytes.length ? this.#bytes : this.#bytes.subarray(0, this.#length);
    this.#bytes = NO_BYTES;
    return bytes;
  }

  #grow(neededBytes: number): void {
    const room =
      this.#declaredBytes === CHUNKED
        ? Math.min(this.#maxBytes, Math.max(neededBytes, this.#bytes.length * 2, FIRST_BYTES))
        : Math.max(neededBytes, this.#declaredBytes);
    // Not zeroed: pages that no client fills are never touched, so a large declared length costs nothing.
    const bytes = LARGE_BUFFERS.take(room);
    bytes.set(this.#bytes.subarray(0, this.#length));
    LARGE_BUFFERS.give(this.#bytes);
    this.#bytes = bytes;
  }

  #refuse(refusal: Refusal): Refusal {
    LARGE_BUFFERS.give(this.#bytes);
    this.#bytes = NO_BYTES;
    this.#length = 0;
    return refusal;
  }
}

/** Passes a body on as it comes, within the same limits. */
export class BodyFlow {
  readonly #maxBytes: number;
  #sink: BodySink | undefined;
  #bytes = 0;
  #pieces = 0;
  /** The last of it has come. */
  isOver = false;
  /** Its receiver wants no more for now. */
  isFull = false;

  constructor(sink: BodySink, maxBytes: number) {
    this.#sink = sink;
    this.#maxBytes = maxBytes;
  }

  /** False: what comes is only counted. */
  get isWanted(): boolean {
    return this.#sink !== undefined;
  }

  /** What it returns is why the body is refused; it must not be used after that. */
  add(piece: Uint8Array): Refusal | undefined {
    if (piece.length === 0) return undefined;
    this.#bytes += piece.length;
    if (this.#bytes > this.#maxBytes) return tooLarge(this.#maxBytes);
    if (isFragmented(++this.#pieces, this.#bytes)) return BODY_FRAGMENTED;
    this.isFull = this.#sink?.piece(piece) === false;
    return undefined;
  }

  end(): void {
    this.isOver = true;
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.end();
  }

  /** Nobody wants the rest. */
  letGo(): void {
    this.#sink = undefined;
    this.isFull = false;
  }
}

/** Gathers a request body into one buffer: exactly sized when the length is known, else grown geometrically up to the limit. */

import { BODY_FRAGMENTED, CHUNKED, isFragmented, type Refusal, tooLarge } from './http-framing.ts';

const FIRST_BYTES = 16 * 1024;
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
    const bytes = Buffer.allocUnsafeSlow(room);
    bytes.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = bytes;
  }

  #refuse(refusal: Refusal): Refusal {
    this.#bytes = NO_BYTES;
    this.#length = 0;
    return refusal;
  }
}

/** Turns the chunks of a socket into frames: whole frames inside a chunk are views of it, a frame over several chunks gets one target of its size. */
import { LARGE_BUFFERS } from './buffer-pool.ts';
import { decodeFrame, type Frame, HEADER_BYTES, ProtocolError } from './frame.ts';
import type { ShortForms } from './short-forms.ts';

/** Less is not worth a read of its own. */
const PLACE_BYTES = 4096;

export class FrameReader {
  readonly #maxFrameBytes: number;
  readonly #short: ShortForms;
  /** Bytes of a header that came in pieces. */
  #head: Buffer = Buffer.allocUnsafe(HEADER_BYTES);
  #headFilled = 0;
  /** The frame being collected; undefined between frames. */
  #target: Buffer | undefined;
  #filled = 0;

  /**
   * @param maxFrameBytes a longer frame is a ProtocolError: a peer must not make us allocate at will
   * @param short the short forms that the peer may send
   */
  constructor(maxFrameBytes: number, short: ShortForms = {}) {
    this.#maxFrameBytes = maxFrameBytes;
    this.#short = short;
  }

  /**
   * Takes one chunk, gives every frame that is complete with it to `each`, in order.
   * @throws ProtocolError when the peer does not speak the protocol; the link is then of no use
   */
  push(chunk: Buffer, each: (frame: Frame) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#target !== undefined) {
        const taken = chunk.copy(this.#target, this.#filled, at);
        this.#filled += taken;
        at += taken;
        if (this.#filled < this.#target.length) return;
        const whole = this.#target;
        this.#target = undefined;
        each(this.#decode(whole));
        continue;
      }
      const available = chunk.length - at;
      if (this.#headFilled === 0 && available >= HEADER_BYTES) {
        const length = this.#checkedLength(chunk.readUInt32LE(at));
        if (available >= length) {
          each(this.#decode(chunk.subarray(at, at + length)));
          at += length;
          continue;
        }
        this.#begin(length, chunk, at);
        return;
      }
      const taken = chunk.copy(this.#head, this.#headFilled, at);
      this.#headFilled += taken;
      at += taken;
      if (this.#headFilled < HEADER_BYTES) return;
      this.#headFilled = 0;
      this.#begin(this.#checkedLength(this.#head.readUInt32LE(0)), this.#head, 0);
      if (this.#filled === (this.#target as Buffer | undefined)?.length) {
        const whole = this.#target as unknown as Buffer;
        this.#target = undefined;
        each(this.#decode(whole));
      }
    }
  }

  /** Where the rest of a long frame belongs: bytes that are read to it at once, and told to `filled`, are copied no more. */
  get place(): Buffer | undefined {
    if (this.#target === undefined || this.#target.length - this.#filled < PLACE_BYTES) return undefined;
    return this.#target.subarray(this.#filled);
  }

  /** So many bytes were read to `place`. @throws ProtocolError as `push` */
  filled(bytes: number, each: (frame: Frame) => void): void {
    const whole = this.#target;
    if (whole === undefined) throw new Error('there is no place that could be filled');
    this.#filled += bytes;
    if (this.#filled < whole.length) return;
    this.#target = undefined;
    each(this.#decode(whole));
  }

  /** Nothing of a further frame has come. */
  get between(): boolean {
    return this.#target === undefined && this.#headFilled === 0;
  }

  #decode(bytes: Buffer): Frame {
    const read = this.#short[bytes.readUInt32LE(4)];
    return read === undefined ? decodeFrame(bytes) : read(bytes);
  }

  #begin(length: number, from: Buffer, at: number): void {
    // Memory of its own, 8-aligned. Not zeroed: nobody sees it before it is full.
    this.#target = LARGE_BUFFERS.take(length);
    this.#filled = from.copy(this.#target, 0, at);
  }

  #checkedLength(length: number): number {
    if (length < HEADER_BYTES || length % 8 !== 0) throw new ProtocolError(`a frame says that it has ${length} bytes`);
    if (length > this.#maxFrameBytes)
      throw new ProtocolError(`a frame of ${length} bytes is over the limit of ${this.#maxFrameBytes}`);
    return length;
  }
}

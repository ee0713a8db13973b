/** Reads frames off a socket: long ones straight to where they stay, others without 64 KiB of new memory for each read. */
import type { OnReadOpts } from 'node:net';
import type { Frame } from '../protocol/frame.ts';
import type { FrameReader } from '../protocol/reader.ts';

const CHUNK_BYTES = 65_536;

export class Intake {
  readonly #reader: FrameReader;
  /** Read into again and again. */
  readonly #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  #each: (frame: Frame) => void = () => {};
  #afterRead: () => void = () => {};

  constructor(reader: FrameReader) {
    this.#reader = reader;
  }

  /** For the socket that is to be read. */
  get onread(): OnReadOpts {
    return {
      buffer: () => this.#reader.place ?? this.#chunk,
      callback: (bytes, into) => {
        if (into === this.#chunk) this.#reader.push(Buffer.from(this.#chunk.subarray(0, bytes)), this.#each);
        else this.#reader.filled(bytes, this.#each);
        this.#afterRead();
        return true;
      },
    };
  }

  /** @param afterRead called when all frames of one read were given */
  follow(each: (frame: Frame) => void, afterRead: () => void): void {
    this.#each = each;
    this.#afterRead = afterRead;
  }
}

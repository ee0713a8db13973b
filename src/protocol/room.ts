/** Where short forms are laid: memory that a writer gives, and the head that all frames have. */
import { pad8 } from './frame.ts';

/** Where a writer puts a frame. */
export interface Room {
  /** Memory for at least so many bytes from `at` on. */
  reserve(bytes: number): { readonly bytes: Buffer; readonly at: number };
  /** So many bytes were written from there. */
  wrote(bytes: number): void;
  /** What follows them, to be padded. */
  body(bytes: Uint8Array): void;
}

/** A UTF-16 unit is at most so many bytes of UTF-8. */
export const UTF8_BYTES = 3;

/**
 * Pads the head of a frame, writes length and type.
 * @returns bytes of the head
 * @throws RangeError when the frame would be longer than one can be
 */
export const closeHead = (bytes: Buffer, at: number, end: number, type: number, bodyBytes: number): number => {
  const headBytes = pad8(end - at);
  const length = headBytes + bodyBytes;
  if (length > 0xffff_fff8) throw new RangeError(`a frame of ${length} bytes is too long: the limit is 4 GiB`);
  for (let index = end; index < at + headBytes; index++) bytes[index] = 0;
  bytes.writeUInt32LE(length, at);
  bytes.writeUInt32LE(type, at + 4);
  return headBytes;
};

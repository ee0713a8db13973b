/**
 * Large buffers that are used again. Memory anew for each large body is mapped, filled with zeros by the kernel and given back, and counts for the
 * garbage collector: a few hundred images a second keep it marking the whole heap.
 */

const LEAST_BYTES = 64 * 1024;
const MOST_BYTES = 4 * 1024 * 1024;
/** Of what lies ready, in all. */
const MOST_SPARE_BYTES = 16 * 1024 * 1024;

export class BufferPool {
  /** By size, a power of two each. */
  readonly #spare = new Map<number, ArrayBuffer[]>();
  /** Made here and not given back: nothing else is ever taken. */
  readonly #out = new WeakSet<ArrayBufferLike>();
  #spareBytes = 0;

  /** A buffer of exactly so many bytes, 8-aligned and not zeroed: whoever takes it fills what others get to see. */
  take(bytes: number): Buffer {
    if (bytes < LEAST_BYTES) return Buffer.allocUnsafe(bytes);
    if (bytes > MOST_BYTES) return Buffer.allocUnsafeSlow(bytes);
    const size = 2 ** Math.ceil(Math.log2(bytes));
    let memory = this.#spare.get(size)?.pop();
    if (memory === undefined) memory = Buffer.allocUnsafeSlow(size).buffer as ArrayBuffer;
    else this.#spareBytes -= size;
    this.#out.add(memory);
    return Buffer.from(memory, 0, bytes);
  }

  /** The memory of a buffer that nobody reads any more. What is not of this pool, or was given back already, is left alone. */
  give({ buffer }: Uint8Array): void {
    if (!this.#out.delete(buffer) || this.#spareBytes + buffer.byteLength > MOST_SPARE_BYTES) return;
    const size = buffer.byteLength;
    this.#spareBytes += size;
    const spare = this.#spare.get(size);
    if (spare === undefined) this.#spare.set(size, [buffer as ArrayBuffer]);
    else spare.push(buffer as ArrayBuffer);
  }
}

/** That of this thread. */
export const LARGE_BUFFERS = new BufferPool();

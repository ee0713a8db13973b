/**
 * Writes frames to a socket in few system calls: what a turn of the event loop produces leaves together, but not so much together that
 * the peer sits idle while we go on — two sides that take turns use one core of two.
 */
import type { Socket } from 'node:net';

/** So many frames leave without waiting for the end of the turn: the peer begins on them while we go on. */
const FLUSH_FRAMES = 8;
/** Up to this many bytes are joined into one buffer: cheaper than a vector of small ones. */
const JOIN_BELOW = 65_536;

export class FrameWriter {
  readonly #socket: Socket;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #pendingFrames = 0;
  #scheduled = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /**
   * Queues the buffers of one frame; they leave at the end of this turn at the latest. Their bytes must not change before.
   * @param atOnce the peer has nothing to do: it shall not wait for the end of the turn
   */
  write(buffers: readonly Uint8Array[], atOnce = false): void {
    for (const buffer of buffers) {
      this.#pending.push(buffer);
      this.#pendingBytes += buffer.byteLength;
    }
    this.#pendingFrames += 1;
    if (atOnce || this.#pendingFrames >= FLUSH_FRAMES) {
      this.flush();
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#turnEnded);
    }
  }

  /** Sends now what has been queued: for what must be in the kernel before anything else runs. */
  flush(): void {
    const { length } = this.#pending;
    if (length === 0) return;
    const buffers = this.#pending;
    const bytes = this.#pendingBytes;
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#pendingFrames = 0;
    if (this.#socket.destroyed) return;
    if (length === 1) this.#socket.write(buffers[0] as Uint8Array);
    else if (bytes <= JOIN_BELOW) this.#socket.write(Buffer.concat(buffers, bytes));
    else {
      this.#socket.cork();
      for (const buffer of buffers) this.#socket.write(buffer);
      this.#socket.uncork();
    }
  }

  /** Bytes that the peer has not yet taken. */
  get unsentBytes(): number {
    return this.#pendingBytes + this.#socket.writableLength;
  }

  readonly #turnEnded = (): void => {
    this.#scheduled = false;
    this.flush();
  };
}

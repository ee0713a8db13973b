/** Writes frames to a socket once per event-loop turn: what a turn produces leaves in one system call. */
import type { Socket } from 'node:net';

/** Up to this many bytes are joined into one buffer: cheaper than a vector of small ones. */
const JOIN_BELOW = 65_536;

export class FrameWriter {
  readonly #socket: Socket;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #scheduled = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Queues buffers; they leave at the end of this turn. Their bytes must not change before. */
  write(buffers: readonly Uint8Array[]): void {
    for (const buffer of buffers) {
      this.#pending.push(buffer);
      this.#pendingBytes += buffer.byteLength;
    }
    if (!this.#scheduled) {
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

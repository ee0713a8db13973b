/**
 * Writes frames to a socket in few system calls: what a turn of the event loop produces leaves together, but not so much together that
 * the peer sits idle while we go on — two sides that take turns use one core of two.
 */
import type { Duplex } from 'node:stream';
import { type BriefCall, writeHttpCall, writeHttpResult } from './brief.ts';
import { type ValueCall, writeValueCall, writeValueResult } from './brief-value.ts';
import { pad8 } from './frame.ts';
import type { HttpAnswerHead } from './messages.ts';
import type { Room } from './room.ts';
import { COPY_BELOW, type WireValue } from './value.ts';

/** So many frames leave without waiting for the end of the turn: the peer begins on them while we go on. */
const FLUSH_FRAMES = 8;
/** Up to this many bytes are joined into one buffer: cheaper than a vector of small ones. */
const JOIN_BELOW = 65_536;
/** Memory in which frames are laid one behind the other; given back as soon as the kernel has all of it. */
const SLAB_BYTES = 65_536;
/**
 * Slabs that no writer of this thread needs. Most of the time one is enough for all of them, and it stays in the CPU's caches; memory of a slab for each
 * replica that there ever was would be given back by the garbage collector alone, which does not hurry.
 */
const SPARE: Buffer[] = [];
const MOST_SPARE = 16;
const ZEROS = Buffer.alloc(8);
const NO_SLAB = Buffer.alloc(0);

export class FrameWriter implements Room {
  readonly #socket: Duplex;
  /** What leaves before the open part of the slab. */
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #pendingFrames = 0;
  #scheduled = false;
  #slab: Buffer = NO_SLAB;
  /** The open part of the slab: laid there and not sent. */
  #from = 0;
  #to = 0;
  #queuedBytes = 0;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /**
   * Queues the buffers of one frame; they leave at the end of this turn at the latest. The bytes of large ones must not change before.
   * @param atOnce the peer has nothing to do: it shall not wait for the end of the turn
   */
  write(buffers: readonly Uint8Array[], atOnce = false): void {
    for (const buffer of buffers) this.#add(buffer);
    this.#written(atOnce);
  }

  /** Calls from HTTP, of one method, in the short form. */
  httpCall(method: string, form: 'one' | 'items', calls: readonly BriefCall[], atOnce: boolean, secure = false): void {
    writeHttpCall(this, method, form, calls, secure);
    this.#written(atOnce);
  }

  /** The answer to one, in the short form. @returns false where its headers are too long for that: nothing is written */
  httpResult(id: number, http: HttpAnswerHead, workMs: number, body: Uint8Array, atOnce = false): boolean {
    if (!writeHttpResult(this, id, http, workMs, body)) return false;
    this.#written(atOnce);
    return true;
  }

  /** A call that carries a value, in the short form. @returns false where it has none: nothing is written */
  valueCall(call: ValueCall, atOnce: boolean): boolean {
    if (!writeValueCall(this, call)) return false;
    this.#written(atOnce);
    return true;
  }

  /** @returns false where it has no short form: nothing is written */
  valueResult(id: number, workMs: number, value: WireValue, atOnce: boolean): boolean {
    if (!writeValueResult(this, id, workMs, value)) return false;
    this.#written(atOnce);
    return true;
  }

  /** Sends now what has been queued: for what must be in the kernel before anything else runs. */
  flush(): void {
    if (this.#pendingFrames === 0) return;
    this.#pendingFrames = 0;
    const socket = this.#socket;
    if (!socket.destroyed) {
      if (this.#pending.length === 0) socket.write(this.#slab.subarray(this.#from, this.#to));
      else this.#writePending();
    }
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#from = this.#to;
    // What the kernel has not taken yet is still read from there; and one very large head must not cost its memory for ever.
    const isTaken = socket.writableLength === 0;
    if (!isTaken && this.#slab.length === SLAB_BYTES) return;
    if (isTaken && this.#slab.length === SLAB_BYTES && SPARE.length < MOST_SPARE) SPARE.push(this.#slab);
    this.#slab = NO_SLAB;
    this.#from = this.#to = 0;
  }

  /** How many bytes were queued since the beginning. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Bytes that the peer has not yet taken. */
  get unsentBytes(): number {
    return this.#pendingBytes + (this.#to - this.#from) + this.#socket.writableLength;
  }

  reserve(bytes: number): { readonly bytes: Buffer; readonly at: number } {
    if (this.#slab.length - this.#to < bytes) {
      this.#closePart();
      const spare = bytes <= SLAB_BYTES ? SPARE.pop() : undefined;
      this.#slab = spare ?? Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, pad8(bytes)));
      this.#from = 0;
      this.#to = 0;
    }
    return { bytes: this.#slab, at: this.#to };
  }

  wrote(bytes: number): void {
    this.#to += bytes;
    this.#queuedBytes += bytes;
  }

  body(bytes: Uint8Array): void {
    const { byteLength } = bytes;
    this.#add(bytes);
    const padding = pad8(byteLength) - byteLength;
    if (padding === 0) return;
    if (byteLength > COPY_BELOW) return this.#add(ZEROS.subarray(0, padding));
    // It has just been laid into the slab, whose length and places are multiples of 8.
    this.#slab.fill(0, this.#to, this.#to + padding);
    this.wrote(padding);
  }

  #add(buffer: Uint8Array): void {
    if (buffer.byteLength > COPY_BELOW) {
      this.#closePart();
      this.#pending.push(buffer);
      this.#pendingBytes += buffer.byteLength;
      this.#queuedBytes += buffer.byteLength;
      return;
    }
    const { bytes, at } = this.reserve(buffer.byteLength);
    bytes.set(buffer, at);
    this.wrote(buffer.byteLength);
  }

  #closePart(): void {
    if (this.#to === this.#from) return;
    this.#pending.push(this.#slab.subarray(this.#from, this.#to));
    this.#pendingBytes += this.#to - this.#from;
    this.#from = this.#to;
  }

  #writePending(): void {
    this.#closePart();
    const buffers = this.#pending;
    if (this.#pendingBytes <= JOIN_BELOW) {
      this.#socket.write(Buffer.concat(buffers, this.#pendingBytes));
      return;
    }
    this.#socket.cork();
    for (const buffer of buffers) this.#socket.write(buffer);
    this.#socket.uncork();
  }

  #written(atOnce: boolean): void {
    this.#pendingFrames += 1;
    if (atOnce || this.#pendingFrames >= FLUSH_FRAMES) {
      this.flush();
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#turnEnded);
    }
  }

  readonly #turnEnded = (): void => {
    this.#scheduled = false;
    this.flush();
  };
}

/**
 * The socket on which a replica tells what it has begun, and nothing else. A write to a process that has just died ends a socket with what it
 * still had to read; to this one nothing is written, so that all that was said before the death is heard.
 *
 * It is read now and then only: what was begun counts when the replica dies, and for a body that is sent on behind it. To be woken for each
 * word would cost a tenth of what a request costs.
 */
import type { Duplex } from 'node:stream';
import { encodeFrame, FRAME, type Frame } from '../protocol/frame.ts';
import type { FrameReader } from '../protocol/reader.ts';

/**
 * It is not left unread for longer than there are so many words that may come. Each takes about 1 KiB of what the kernel holds for a socket,
 * 208 KiB where nobody has set it otherwise; and a replica must never wait for us to read.
 */
const MOST_UNREAD = 128;
/** The sockets of a dead process end at once; one that was closed for its mistakes may hold this one open. */
const KNOWN_WITHIN_MS = 250;

export interface BegunOwner {
  tookUp(frame: Frame): void;
  /** It sent what does not belong there. */
  broke(reason: string): void;
  /** Whether something waits for the next word. */
  isAwaited(): boolean;
  /** Calls that it has: of each a word may still come. */
  ongoing(): number;
}

export class BegunSocket {
  readonly #socket: Duplex;
  /** Words that may have come, or may come, since it was read last. */
  #unread = 0;
  #isClosed = false;
  #known: (() => void) | undefined;

  /** @param socket that holds back what comes while it is paused: `highWaterMark` 1 */
  constructor(socket: Duplex, reader: FrameReader, owner: BegunOwner) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk, (frame) => owner.tookUp(frame));
      } catch (error) {
        socket.destroy();
        owner.broke((error as Error).message);
      }
      this.#unread = owner.ongoing();
      if (this.#known === undefined && this.#unread < MOST_UNREAD && !owner.isAwaited()) socket.pause();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#isClosed = true;
      this.#known?.();
    });
    for (const buffer of encodeFrame(FRAME.WELCOME, {})) socket.write(buffer);
  }

  /** So many calls were sent, of which it will tell. */
  expect(calls: number): void {
    this.#unread += calls;
    if (this.#unread >= MOST_UNREAD) this.read();
  }

  /** Reads what there is, and goes on for as long as it is awaited. */
  read(): void {
    if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** Calls back when the last word on what was begun has been read. */
  lastWord(then: () => void): void {
    if (this.#isClosed) return then();
    const late = setTimeout(() => this.#socket.destroy(), KNOWN_WITHIN_MS);
    this.#known = () => {
      clearTimeout(late);
      then();
    };
    this.read();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

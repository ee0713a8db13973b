/** A connection inside one process: two ends, each a stream of bytes that daemon and replica take for a socket. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Duplex } from 'node:stream';
// By name: clocks that tests replace leave it as it is.
import { setImmediate } from 'node:timers';

/** Work of the next turn, outside of whatever runs now: what a socket brings belongs to no call of this process. */
export type NextTurn = (work: () => void) => void;

/** In the asynchronous context of who asks for it. */
export const nextTurn = (): NextTurn => {
  const outside = AsyncLocalStorage.snapshot();
  return (work) => setImmediate(() => outside(work));
};

/**
 * What is written in a turn comes in the next, in one piece and copied, as through a kernel. There is no backpressure between the two: credit
 * bounds what is on its way, as everywhere.
 */
class End extends Duplex {
  readonly #next: NextTurn;
  #written: Buffer[] = [];
  #isScheduled = false;
  peer: End | undefined;

  constructor(next: NextTurn) {
    // As the daemon's sockets: one that is paused takes no more than it has.
    super({ highWaterMark: 1, allowHalfOpen: false });
    this.#next = next;
  }

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    // Who wrote it may fill it anew as soon as this returns.
    this.#written.push(Buffer.from(bytes));
    done();
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#next(() => this.#deliver());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // Behind what was written before, which comes in the same turn.
    this.#next(() => this.peer?.destroy());
    done(error);
  }

  #deliver(): void {
    this.#isScheduled = false;
    const [first, second] = this.#written;
    if (first === undefined) return;
    const bytes = second === undefined ? first : Buffer.concat(this.#written);
    this.#written = [];
    if (this.peer?.destroyed === false) this.peer.push(bytes);
  }
}

/** The two ends of a new connection. Destroying one destroys the other. */
export const connect = (next: NextTurn): readonly [Duplex, Duplex] => {
  const [one, other] = [new End(next), new End(next)];
  one.peer = other;
  other.peer = one;
  return [one, other];
};

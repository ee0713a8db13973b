/** Requests of one deployment that may run together: same version, same shape. First in, first out, with cheap removal from the middle. */
import type { PendingCall } from './pending.ts';

/** How the members of a lane are sent. */
export type LaneForm = 'one' | 'items' | 'rows';

export class Lane {
  readonly key: string;
  readonly version: string;
  readonly form: LaneForm;
  /** All its members are for this multiplexed model; undefined: for none. */
  readonly modelId: string | undefined;
  /** Of suspects: each runs with a replica to itself. */
  readonly alone: boolean;
  /** Of WebSockets: the replica is chosen by those that it has open. */
  readonly sockets: boolean;
  #calls: (PendingCall | undefined)[] = [];
  #head = 0;
  #size = 0;
  /** When to look again at a batch that is held for company. */
  timer: NodeJS.Timeout | undefined;
  /** Monotonic milliseconds; of no meaning without a timer. */
  timerAt = 0;

  constructor(key: string, version: string, form: LaneForm, alone: boolean, modelId?: string, sockets = false) {
    this.key = key;
    this.version = version;
    this.form = form;
    this.alone = alone;
    this.modelId = modelId;
    this.sockets = sockets;
  }

  /** Requests that wait; cancelled ones do not count. */
  get size(): number {
    return this.#size;
  }

  push(call: PendingCall): void {
    call.lane = this;
    this.#calls.push(call);
    this.#size += 1;
  }

  /** Puts requests that were handed back before all others, in their order. */
  unshift(calls: readonly PendingCall[]): void {
    for (const call of calls) call.lane = this;
    this.#calls.splice(0, this.#head, ...calls);
    this.#head = 0;
    this.#size += calls.length;
  }

  /** A request left the lane without being taken: it is marked done, and skipped from now on. */
  forget(): void {
    this.#size -= 1;
    if (this.#calls.length > 64 && this.#calls.length > 4 * this.#size) this.#compact();
  }

  /** Requests that have gone to other lanes: taken out at once, as they may come back to this one. */
  forgetMoved(count: number): void {
    this.#size -= count;
    this.#compact();
  }

  #compact(): void {
    this.#calls = [...this];
    this.#head = 0;
  }

  /** Not for one that was cancelled, or that has moved to another lane. */
  #holds(call: PendingCall): boolean {
    return call.state === 'queued' && call.lane === this;
  }

  /** Arrival of the oldest; Infinity when empty. */
  get oldest(): number {
    return this.first?.arrivedAt ?? Number.POSITIVE_INFINITY;
  }

  *[Symbol.iterator](): Generator<PendingCall> {
    for (let index = this.#head; index < this.#calls.length; index++) {
      const call = this.#calls[index];
      if (call !== undefined && this.#holds(call)) yield call;
    }
  }

  /** Removes the first. Undefined when empty. */
  shift(): PendingCall | undefined {
    while (this.#head < this.#calls.length) {
      const call = this.#calls[this.#head];
      // What has left must not be kept alive from here.
      this.#calls[this.#head] = undefined;
      this.#head += 1;
      if (this.#head === this.#calls.length) {
        this.#calls.length = 0;
        this.#head = 0;
      } else if (this.#head > 1024 && this.#head * 2 > this.#calls.length) {
        this.#calls.splice(0, this.#head);
        this.#head = 0;
      }
      if (call !== undefined && this.#holds(call)) {
        this.#size -= 1;
        return call;
      }
    }
    return undefined;
  }

  /** The oldest. */
  get first(): PendingCall | undefined {
    for (let index = this.#head; index < this.#calls.length; index++) {
      const call = this.#calls[index];
      if (call !== undefined && this.#holds(call)) return call;
    }
    return undefined;
  }

  /** Removes the oldest of those that fit, wherever they stand. */
  takeThose(count: number, fits: (call: PendingCall) => boolean): PendingCall[] {
    const taken: PendingCall[] = [];
    for (let index = this.#head; index < this.#calls.length && taken.length < count; index++) {
      const call = this.#calls[index];
      if (call === undefined || !this.#holds(call) || !fits(call)) continue;
      this.#calls[index] = undefined;
      this.#size -= 1;
      taken.push(call);
    }
    if (this.#calls.length > 64 && this.#calls.length > 4 * this.#size) this.#compact();
    return taken;
  }

  take(count: number): PendingCall[] {
    const taken: PendingCall[] = [];
    while (taken.length < count) {
      const call = this.shift();
      if (call === undefined) break;
      taken.push(call);
    }
    return taken;
  }
}

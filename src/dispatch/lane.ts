/** Requests of one deployment that may run together: same version, same shape. By rank, and in order of arrival within a priority. */
import { Fifo } from './fifo.ts';
import type { Link } from './link.ts';
import type { PendingCall } from './pending.ts';
import { DEFAULT_PRIORITY, rankOf } from './priority.ts';

/** What the last pause counts beside those before it. */
const GAP_WEIGHT = 0.1;
/** Pauses after which the usual one is worth believing. */
const GAPS_BELIEVED = 8;

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
  /** Of requests of sequences: the replica that has their states; `new`: of their starts. */
  readonly sequences: Link | 'new' | undefined;
  /** Of calls of one replica. */
  readonly pinned: Link | undefined;
  /** One for each priority that was ever asked for here; mostly the first alone. */
  readonly #classes: { readonly priority: number; readonly calls: Fifo<PendingCall> }[] = [];
  #size = 0;
  #rows = 0;
  #gapMs = 0;
  #gaps = 0;
  #lastAt: number | undefined;
  /** When to look again at a batch that is held for company. */
  timer: NodeJS.Timeout | undefined;
  /** Monotonic milliseconds; of no meaning without a timer. */
  timerAt = 0;

  constructor(
    key: string,
    version: string,
    form: LaneForm,
    alone: boolean,
    modelId?: string,
    sockets = false,
    sequences?: Link | 'new',
    pinned?: Link,
  ) {
    this.key = key;
    this.version = version;
    this.form = form;
    this.alone = alone;
    this.modelId = modelId;
    this.sockets = sockets;
    this.sequences = sequences;
    this.pinned = pinned;
  }

  /** Requests that wait; cancelled ones do not count. */
  get size(): number {
    return this.#size;
  }

  /** Rows of all that waits. */
  get rows(): number {
    return this.#rows;
  }

  /** The usual pause between two arrivals, in milliseconds; undefined until some were seen. */
  get gapMs(): number | undefined {
    return this.#gaps < GAPS_BELIEVED ? undefined : this.#gapMs;
  }

  /** When the last request came, whether it still waits or not; undefined: none came. */
  get lastAt(): number | undefined {
    return this.#lastAt;
  }

  push(call: PendingCall): void {
    this.#enter(call);
    this.#classOf(call).push(call);
    const { arrivedAt } = call;
    if (this.#lastAt !== undefined) {
      const gapMs = Math.max(0, arrivedAt - this.#lastAt);
      const usual = this.#gaps === 0 ? gapMs : this.#gapMs;
      // A long silence says little of how fast they come once they come.
      this.#gapMs = usual + GAP_WEIGHT * (Math.min(gapMs, 8 * usual + 10) - usual);
      this.#gaps += 1;
    }
    this.#lastAt = arrivedAt;
  }

  /** Puts requests that were handed back before all others of their priority, in their order. */
  unshift(calls: readonly PendingCall[]): void {
    for (const call of calls) this.#enter(call);
    const left = new Map<Fifo<PendingCall>, PendingCall[]>();
    for (const call of calls) {
      const own = this.#classOf(call);
      const same = left.get(own);
      if (same === undefined) left.set(own, [call]);
      else same.push(call);
    }
    for (const [own, same] of left) own.unshift(same);
  }

  /** A request left the lane without being taken: it is marked done, and skipped from now on. */
  forget(call: PendingCall): void {
    this.#leave(call);
    this.#classOf(call).compactWhere(this.#size);
  }

  /** Requests that have gone to other lanes: taken out at once, as they may come back to this one. */
  forgetMoved(count: number, rows: number): void {
    this.#size -= count;
    this.#rows -= rows;
    for (const { calls } of this.#classes) calls.compact();
  }

  /** Arrival of the oldest; Infinity when empty. */
  get oldest(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { calls } of this.#classes) oldest = Math.min(oldest, calls.first?.arrivedAt ?? Number.POSITIVE_INFINITY);
    return oldest;
  }

  /** Of the next; Infinity when empty. */
  get rank(): number {
    const { first } = this;
    return first === undefined ? Number.POSITIVE_INFINITY : rankOf(first);
  }

  /** The next one first. */
  *[Symbol.iterator](): Generator<PendingCall> {
    const [only] = this.#classes;
    if (only === undefined) return;
    if (this.#classes.length === 1) return yield* only.calls;
    const heads = this.#classes.map(({ calls }) => {
      const iterator = calls[Symbol.iterator]();
      return { iterator, call: iterator.next().value as PendingCall | undefined };
    });
    for (;;) {
      let next: (typeof heads)[number] | undefined;
      for (const head of heads) if (head.call !== undefined && isBefore(head.call, next?.call)) next = head;
      if (next?.call === undefined) return;
      yield next.call;
      next.call = next.iterator.next().value as PendingCall | undefined;
    }
  }

  /** Removes the first. Undefined when empty. */
  shift(): PendingCall | undefined {
    const call = this.#next()?.shift();
    if (call !== undefined) this.#leave(call);
    return call;
  }

  /** The next one. */
  get first(): PendingCall | undefined {
    return this.#next()?.first;
  }

  /** Removes the first of those that fit, wherever they stand. */
  takeThose(count: number, fits: (call: PendingCall) => boolean): PendingCall[] {
    const taken: PendingCall[] = [];
    for (const call of this) {
      if (taken.length === count) break;
      if (fits(call)) taken.push(call);
    }
    const gone = new Set(taken);
    for (const { calls } of this.#classes) calls.remove(gone);
    for (const call of taken) this.#leave(call);
    for (const { calls } of this.#classes) calls.compactWhere(this.#size);
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

  /** The class whose first is the next. */
  #next(): Fifo<PendingCall> | undefined {
    if (this.#classes.length === 1) return this.#classes[0]?.calls;
    let next: Fifo<PendingCall> | undefined;
    let found: PendingCall | undefined;
    for (const { calls } of this.#classes) {
      const { first } = calls;
      if (first === undefined || !isBefore(first, found)) continue;
      next = calls;
      found = first;
    }
    return next;
  }

  #classOf({ priority = DEFAULT_PRIORITY }: PendingCall): Fifo<PendingCall> {
    for (const each of this.#classes) if (each.priority === priority) return each.calls;
    const calls = new Fifo<PendingCall>((call) => this.#holds(call));
    this.#classes.push({ priority, calls });
    return calls;
  }

  #enter(call: PendingCall): void {
    call.lane = this;
    this.#size += 1;
    this.#rows += call.rows;
  }

  #leave(call: PendingCall): void {
    this.#size -= 1;
    this.#rows -= call.rows;
  }

  /** Not for one that was cancelled, or that has moved to another lane. */
  #holds(call: PendingCall): boolean {
    return call.state === 'queued' && call.lane === this;
  }
}

/** Among equals the more urgent. */
const isBefore = (one: PendingCall, other: PendingCall | undefined): boolean => {
  if (other === undefined) return true;
  const [mine, theirs] = [rankOf(one), rankOf(other)];
  return mine < theirs || (mine === theirs && (one.priority ?? DEFAULT_PRIORITY) < (other.priority ?? DEFAULT_PRIORITY));
};

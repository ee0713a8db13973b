/**
 * Where the state of each sequence is, and which of its requests is next: one at a time, in the order in which they came. Pure but for its
 * own memory.
 *
 *     (unknown) ──a start has run──▶ open ──its end, another start, idle, its replica gone──▶ (unknown)
 *
 * Each start has a number, by which its replica knows the state that comes of it. A request belongs to the last start that came before it; so
 * none runs on the state of another start, also where that of its own never ran.
 */
import type { SequenceAsk } from '../protocol/routing-headers.ts';
import { Fifo } from './fifo.ts';

/** A replica. */
export interface Holder {
  /** Sequences whose state it has, or whose start it was given. */
  sequences: number;
}

/** What a request is in its sequence. */
export interface Step<C, H extends Holder> {
  readonly sequence: Sequence<C, H>;
  /** Of the start that it belongs to. */
  readonly number: number;
  readonly isStart: boolean;
  readonly isEnd: boolean;
}

interface StepCall<C, H extends Holder> {
  /** `queued`: it waits still. */
  readonly state: string;
  step: Step<C, H> | undefined;
}

class Sequence<C, H extends Holder> {
  readonly id: string;
  /** Has its state, or was given its start. */
  holder: H | undefined;
  /** Of the start that its state comes of; undefined: it has none. */
  number: number | undefined;
  /** Of the last start that came. */
  newest = 0;
  /** The one that is next, or was sent and is not answered. */
  current: C | undefined;
  /** Those behind it. */
  readonly waiting: Fifo<C>;
  /** How many these are; cancelled ones do not count. */
  size = 0;
  /** When its last request was over. */
  usedAt = 0;

  constructor(id: string, holds: (call: C) => boolean) {
    this.id = id;
    this.waiting = new Fifo(holds);
  }
}

/** Performs what is decided here. */
export interface SequenceOwner<C, H> {
  /** It is the next of its sequence. @param holder has its state; undefined: it starts, where there is a place */
  ready(call: C, holder: H | undefined): void;
  /** There is no state that it could go on from: it is in no sequence any more. */
  lost(call: C, id: string): void;
  /** The state of a number is of no use any more. */
  forget(holder: H, number: number): void;
}

/** How a sequence that was open ended; `replaced`: its replica had to go. */
export type SequenceEnd = 'end' | 'restart' | 'idle' | 'died' | 'replaced';

export class Sequences<C extends StepCall<C, H>, H extends Holder> {
  readonly #owner: SequenceOwner<C, H>;
  readonly #now: () => number;
  readonly #byId = new Map<string, Sequence<C, H>>();
  /** Open ones for which nothing is under way, the one that was used longest ago first. */
  readonly #idle = new Set<Sequence<C, H>>();
  #open = 0;
  #started = 0;
  /** None opens any more. */
  #closed = false;
  readonly ended: Record<SequenceEnd, number> = { end: 0, restart: 0, idle: 0, died: 0, replaced: 0 };

  constructor(owner: SequenceOwner<C, H>, now: () => number) {
    this.#owner = owner;
    this.#now = now;
  }

  /** Those that have a state. */
  get open(): number {
    return this.#open;
  }

  get started(): number {
    return this.#started;
  }

  /** Those that have a state, or requests. */
  get size(): number {
    return this.#byId.size;
  }

  /** undefined: nobody has started it, or it is over. */
  get(id: string): Sequence<C, H> | undefined {
    return this.#byId.get(id);
  }

  /** Requests that wait, those that are next included. */
  *queued(): Generator<C> {
    for (const { current, waiting } of this.#byId.values()) {
      if (current?.state === 'queued') yield current;
      yield* waiting;
    }
  }

  /** A request comes to wait. @returns false: it goes on with what is not known, and was not taken */
  come(call: C, { id, isStart, isEnd }: SequenceAsk): boolean {
    let sequence = this.#byId.get(id);
    if (sequence === undefined) {
      if (!isStart) return false;
      sequence = new Sequence<C, H>(id, isQueued);
      this.#byId.set(id, sequence);
    }
    if (isStart) sequence.newest = nextNumber++;
    call.step = { sequence, number: sequence.newest, isStart, isEnd };
    this.#idle.delete(sequence);
    sequence.waiting.push(call);
    sequence.size += 1;
    this.#advance(sequence);
    return true;
  }

  /** A start was refused before it came to wait: its client has given up the state all the same. */
  refused(id: string): void {
    const sequence = this.#byId.get(id);
    if (sequence === undefined) return;
    sequence.newest = nextNumber++;
    if (sequence.current === undefined) this.#rest(sequence);
  }

  /** It goes to a replica. */
  sent({ step }: C, holder: H): void {
    if (step?.isStart !== true) return;
    step.sequence.holder = holder;
    holder.sequences += 1;
  }

  /** Its replica has answered, whether anybody still waits for that or not. @param ran so its state has moved on */
  over({ step }: C, ran: boolean): void {
    if (step === undefined) return;
    const { sequence, number, isStart, isEnd } = step;
    sequence.current = undefined;
    if (isStart && ran && sequence.holder !== undefined && !this.#closed) {
      sequence.number = number;
      this.#open += 1;
      this.#started += 1;
    }
    // A start of which nothing came, or whose sequence ended while this was in work: its replica would have kept what the run left.
    else if (isStart || sequence.number !== number) this.#release(sequence, number);
    // An end that its replica was given is one, whatever came of it.
    if (isEnd && sequence.number === number) this.#end(sequence, 'end');
    this.#advance(sequence);
  }

  /** It was cancelled, or failed, before it went anywhere. The caller marks it so. */
  left(call: C): void {
    const sequence = call.step?.sequence;
    if (sequence === undefined) return;
    if (sequence.current !== call) {
      // Clients come and go as they like while one is in work: what has gone is not kept for its end.
      sequence.size -= 1;
      return sequence.waiting.compactWhere(sequence.size);
    }
    sequence.current = undefined;
    this.#advance(sequence);
  }

  /** A replica has gone, and what it held with it. Of a start that it was given it is told by `over`, or it is sent again. */
  gone(holder: H, why: SequenceEnd): void {
    for (const sequence of [...this.#byId.values()]) {
      if (sequence.holder !== holder) continue;
      this.#end(sequence, why);
      sequence.holder = undefined;
      this.#loseWaiting(sequence);
    }
  }

  /** They are kept from now on, after `endAll`. */
  keep(): void {
    this.#closed = false;
  }

  /** Nobody can go on with any of them, nor with what a start that is in work leaves. */
  endAll(): void {
    this.#closed = true;
    for (const sequence of [...this.#byId.values()]) {
      this.#end(sequence, 'replaced');
      this.#loseWaiting(sequence);
    }
  }

  /** Its state has gone: what was to go on with it, and was not sent, cannot. */
  #loseWaiting(sequence: Sequence<C, H>): void {
    const { current } = sequence;
    if (current === undefined) return this.#rest(sequence);
    if (!isQueued(current) || current.step?.isStart === true) return;
    sequence.current = undefined;
    this.#lose(current, sequence);
    this.#advance(sequence);
  }

  #lose(call: C, { id }: Sequence<C, H>): void {
    call.step = undefined;
    this.#owner.lost(call, id);
  }

  /** Forgets those that were not used for so long. @returns when to look again; undefined: when one comes to rest */
  sweep(timeoutMs: number): number | undefined {
    const now = this.#now();
    for (const sequence of this.#idle) {
      const due = sequence.usedAt + timeoutMs;
      if (due > now) return due;
      this.#end(sequence, 'idle');
      this.#rest(sequence);
    }
    return undefined;
  }

  #advance(sequence: Sequence<C, H>): void {
    while (sequence.current === undefined) {
      const call = sequence.waiting.shift();
      if (call === undefined) return this.#rest(sequence);
      sequence.size -= 1;
      const { isStart, number } = call.step as Step<C, H>;
      // A start ends what was, also where it fails itself: nobody goes on with a state that its client has given up.
      if (isStart) this.#end(sequence, 'restart');
      else if (number !== sequence.number) {
        this.#lose(call, sequence);
        continue;
      }
      sequence.current = call;
      this.#owner.ready(call, sequence.holder);
    }
  }

  /** Nothing of it is under way. */
  #rest(sequence: Sequence<C, H>): void {
    // The start that came last was cancelled before it ran: what comes now would belong to it.
    if (sequence.number !== undefined && sequence.number !== sequence.newest) this.#end(sequence, 'restart');
    this.#idle.delete(sequence);
    if (sequence.number === undefined) {
      // Who was told that it is lost may have started another one by that id.
      if (this.#byId.get(sequence.id) === sequence) this.#byId.delete(sequence.id);
      return;
    }
    sequence.usedAt = this.#now();
    this.#idle.add(sequence);
  }

  #end(sequence: Sequence<C, H>, why: SequenceEnd): void {
    const { number } = sequence;
    if (number === undefined) return;
    sequence.number = undefined;
    this.#open -= 1;
    this.ended[why] += 1;
    // While one of it is in work `over` sees to it: what is forgotten before a run is kept again by it.
    if (sequence.current === undefined || isQueued(sequence.current)) this.#release(sequence, number);
  }

  #release(sequence: Sequence<C, H>, number: number): void {
    const { holder } = sequence;
    if (holder === undefined) return;
    sequence.holder = undefined;
    holder.sequences -= 1;
    this.#owner.forget(holder, number);
  }
}

/** Of starts, over the whole daemon: a replica may outlive the queue that it was given them by. */
let nextNumber = 1;

const isQueued = ({ state }: { readonly state: string }): boolean => state === 'queued';

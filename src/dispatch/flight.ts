/**
 * One run, and all who wait for its answer. Who leaves takes nobody along: the run goes on while one waits, and is cancelled when none does.
 *
 *     calls ──join──▶ Flight ──begin──▶ run      with the request of the first
 *           ◀─answer─        ◀─result──          what is not for all: the first has it, if he still waits; the others run by themselves
 *           ◀─error──        ◀─error───          the run's time was over: it is begun anew for those who have more of it
 */
import type { ServeError } from '../domain/errors.ts';
import type { HttpAnswerHead } from '../protocol/messages.ts';
import type { WireValue } from '../protocol/value.ts';
import { headForAll } from './answer-fate.ts';
import { sharedValue } from './answer-memory.ts';
import type { Generation } from './generation.ts';
import { type CallTrace, CLOCKS_APART_MS, type Sink } from './pending.ts';
import type { SharedCall } from './shared-call.ts';

/** The work itself, as those who wait for it see it. */
export interface Run extends CallTrace {
  /** It may have moved to another than it was begun with. */
  readonly generation: Generation;
  /** Monotonic milliseconds; Infinity: none. */
  readonly deadlineAt: number;
  /** Gives it more time. @returns false: too late, its replica has been told how much there is */
  extend(deadlineAt: number, now: () => number): boolean;
  credit(bytes: number): void;
  abandon(error: undefined): void;
}

/** How a run is begun. */
export interface RunOptions {
  /** undefined: that of the request. */
  readonly generation: Generation | undefined;
  /** Monotonic milliseconds; Infinity: none. */
  readonly deadlineAt: number;
  /** It takes the place of one that was let in. */
  readonly isAgain: boolean;
  readonly sink: Sink;
}

export interface FlightOwner {
  readonly now: () => number;
  /** Begins a run with the request of `call`. @returns undefined: it was refused, which the sink was told before */
  begin(call: SharedCall, options: RunOptions): Run | undefined;
  /** From now on nobody joins it. */
  closed(): void;
  /** It is closed with an answer. @returns whether that is for all who wait */
  answered(value: WireValue, http: HttpAnswerHead | undefined): boolean;
  /** The answer is one that comes in pieces. */
  streams(): void;
  /** One who waited needs a run of his own. */
  apart(call: SharedCall, generation: Generation | undefined): void;
}

export class Flight implements Sink {
  readonly #owner: FlightOwner;
  readonly #calls = new Set<SharedCall>();
  /** Whose request the run has. What is not for all is for him alone: also when he has left, it is nobody else's. */
  #first: SharedCall;
  #run: Run | undefined;
  /** Until when the run may take. */
  #deadlineAt = Number.NEGATIVE_INFINITY;
  #isStreaming = false;

  constructor(owner: FlightOwner, first: SharedCall) {
    this.#owner = owner;
    this.#first = first;
    this.#add(first);
  }

  /** What is asked, byte for byte, by all who wait. */
  get value(): WireValue {
    return this.#first.request.value;
  }

  begin(generation: Generation | undefined): void {
    this.#start(generation, false);
  }

  join(call: SharedCall): void {
    this.#add(call);
    if (call.deadlineAt > this.#deadlineAt && this.#run?.extend(call.deadlineAt, this.#owner.now) === true)
      this.#deadlineAt = call.deadlineAt;
  }

  leave(call: SharedCall): void {
    this.#calls.delete(call);
    if (this.#calls.size > 0) return;
    this.#owner.closed();
    this.#run?.abandon(undefined);
  }

  credit(bytes: number): void {
    this.#run?.credit(bytes);
  }

  // What the run brings.

  result(value: WireValue, http: HttpAnswerHead | undefined): void {
    const run = this.#run;
    if (!this.#owner.answered(value, http)) return this.#toFirst((first) => first.complete(value, http, run, this.#owner.now()));
    const forAll = headForAll(http);
    for (const call of this.#takeAll()) {
      if (call.isOver) continue;
      if (call === this.#first) call.complete(value, http, run, this.#owner.now());
      else call.complete(sharedValue(value), forAll, run, this.#owner.now());
    }
  }

  error(error: ServeError): void {
    if (error.code === 'HTTP_ERROR' && !this.#isStreaming) {
      // Code has made an answer of it, with a status and headers, for the one who asked.
      this.#owner.closed();
      return this.#toFirst((first) => first.fail(error));
    }
    const isLate = !this.#isStreaming && this.#isOutOfTime(error);
    const failed = [...this.#calls].filter((call) => !isLate || call.deadlineAt <= this.#deadlineAt);
    const goesOn = failed.length < this.#calls.size;
    if (!goesOn) this.#owner.closed();
    const run = this.#run;
    this.#run = undefined;
    for (const call of failed) this.#calls.delete(call);
    for (const call of failed) call.fail(error);
    const [next] = this.#calls;
    if (!goesOn || next === undefined) return;
    this.#first = next;
    this.#start(run?.generation, run !== undefined);
  }

  open(http: HttpAnswerHead | undefined): void {
    this.#isStreaming = true;
    this.#owner.streams();
    this.#owner.closed();
    this.#toFirst((first) => {
      this.#calls.add(first);
      first.open(http, this.#run, this.#owner.now());
    });
    if (this.#calls.size === 0) this.#run?.abandon(undefined);
  }

  chunk(value: WireValue, bytes: number): void {
    for (const call of this.#calls) call.chunk(value, bytes);
  }

  end(): void {
    for (const call of this.#takeAll()) call.end();
  }

  #start(generation: Generation | undefined, isAgain: boolean): void {
    this.#deadlineAt = Math.max(...[...this.#calls].map(({ deadlineAt }) => deadlineAt));
    const run = this.#owner.begin(this.#first, { generation, deadlineAt: this.#deadlineAt, isAgain, sink: this });
    // One that is refused has told so already, and may have been begun anew meanwhile.
    if (run !== undefined) this.#run = run;
  }

  /** Whether the run's own time was over. Work may say so of what it waited for itself: that is an error as any other. */
  #isOutOfTime({ code }: ServeError): boolean {
    const deadlineAt = this.#run?.deadlineAt ?? this.#deadlineAt;
    return code === 'DEADLINE_EXCEEDED' && this.#owner.now() >= deadlineAt - CLOCKS_APART_MS;
  }

  #toFirst(give: (first: SharedCall) => void): void {
    const generation = this.#run?.generation;
    for (const call of this.#takeAll()) {
      if (call.isOver) continue;
      if (call === this.#first) give(call);
      else this.#owner.apart(call, generation);
    }
  }

  #add(call: SharedCall): void {
    call.flight = this;
    this.#calls.add(call);
  }

  #takeAll(): readonly SharedCall[] {
    const calls = [...this.#calls];
    this.#calls.clear();
    return calls;
  }
}

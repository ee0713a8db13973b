/**
 * One run, and all who wait for its answer. Who leaves takes nobody along: the run goes on while one waits, and is cancelled when none does.
 *
 *     calls ──join──▶ Flight ──begin──▶ run
 *           ◀─answer─        ◀─result──          an answer that is not for all: the first has it, the others run by themselves
 *           ◀─error──        ◀─error───          the run's time was over: it is begun anew for those who have more of it
 */
import type { ServeError } from '../domain/errors.ts';
import type { HttpAnswerHead } from '../protocol/messages.ts';
import type { WireValue } from '../protocol/value.ts';
import { headForAll } from './answer-fate.ts';
import type { Generation } from './generation.ts';
import type { CallTrace, Sink } from './pending.ts';
import type { SharedCall } from './shared-call.ts';

/** The work itself, as those who wait for it see it. */
export interface Run extends CallTrace {
  /** It may have moved to another than it was begun with. */
  readonly generation: Generation;
  /** Gives it more time. @returns false: too late, its replica has been told how much there is */
  extend(deadlineAt: number, now: number): boolean;
  credit(bytes: number): void;
  abandon(error: undefined): void;
}

/** How a run is begun. */
export interface RunOptions {
  /** undefined: that of the request. */
  readonly generation: Generation | undefined;
  /** Monotonic milliseconds; Infinity: none. */
  readonly deadlineAt: number;
  /** It was let in before. */
  readonly isAgain: boolean;
  readonly sink: Sink;
}

export interface FlightOwner {
  readonly now: () => number;
  /** Begins a run. @returns undefined: it was refused, which the sink was told before */
  begin(options: RunOptions): Run | undefined;
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
  /** The one for whom the run was begun is the first, as long as he waits. */
  readonly #calls = new Set<SharedCall>();
  #run: Run | undefined;
  /** Until when the run may take. */
  #deadlineAt = Number.NEGATIVE_INFINITY;
  #isStreaming = false;

  constructor(owner: FlightOwner) {
    this.#owner = owner;
  }

  /** Begins the run for the first who waits. @param isAgain he was let in before */
  begin(first: SharedCall, generation: Generation | undefined, isAgain: boolean): void {
    this.#add(first);
    this.#start(generation, isAgain);
  }

  join(call: SharedCall): void {
    this.#add(call);
    if (call.deadlineAt > this.#deadlineAt && this.#run?.extend(call.deadlineAt, this.#owner.now()) === true)
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
    const isForAll = this.#owner.answered(value, http);
    const calls = this.#takeAll();
    const forAll = isForAll ? headForAll(http) : undefined;
    for (const [index, call] of calls.entries()) {
      if (call.isOver) continue;
      if (index > 0 && !isForAll) this.#owner.apart(call, this.#run?.generation);
      else call.complete(value, isForAll && call.cache === 'shared' ? forAll : http, this.#run, this.#owner.now());
    }
  }

  error(error: ServeError): void {
    const isLate = error.code === 'DEADLINE_EXCEEDED' && !this.#isStreaming;
    const failed = [...this.#calls].filter((call) => !isLate || call.deadlineAt <= this.#deadlineAt);
    const goesOn = failed.length < this.#calls.size;
    if (!goesOn) this.#owner.closed();
    const generation = this.#run?.generation;
    this.#run = undefined;
    for (const call of failed) this.#calls.delete(call);
    for (const call of failed) call.fail(error);
    if (goesOn && this.#calls.size > 0) this.#start(generation, true);
  }

  open(http: HttpAnswerHead | undefined): void {
    this.#isStreaming = true;
    this.#owner.streams();
    this.#owner.closed();
    const [first, ...others] = this.#takeAll();
    if (first === undefined) return;
    this.#calls.add(first);
    first.open(http, this.#run, this.#owner.now());
    for (const call of others) if (!call.isOver) this.#owner.apart(call, this.#run?.generation);
  }

  chunk(value: WireValue, bytes: number): void {
    for (const call of this.#calls) call.chunk(value, bytes);
  }

  end(): void {
    for (const call of this.#takeAll()) call.end();
  }

  #start(generation: Generation | undefined, isAgain: boolean): void {
    this.#deadlineAt = Math.max(...[...this.#calls].map(({ deadlineAt }) => deadlineAt));
    const run = this.#owner.begin({ generation, deadlineAt: this.#deadlineAt, isAgain, sink: this });
    // One that is refused has told so already, and may have been begun anew meanwhile.
    if (run !== undefined) this.#run = run;
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

/** One who waits for an answer that others may wait for too: with a deadline, a cancellation and a caller of his own. */
import { atDeadline } from '../domain/at-deadline.ts';
import type { ServeError } from '../domain/errors.ts';
import type { HttpAnswerHead } from '../protocol/messages.ts';
import type { WireValue } from '../protocol/value.ts';
import type { CallRequest } from './dispatcher.ts';
import type { Flight } from './flight.ts';
import { type CallTrace, type CallUnderWay, timedOut } from './pending.ts';

export class SharedCall implements CallUnderWay {
  readonly deployment: string;
  /** His own: a run for him has it, and nobody else's. Its value may be that of another who asks the same. */
  readonly request: CallRequest;
  /** `miss`: the run was begun for this one; `bypass`: it has one of its own after all. */
  cache: 'miss' | 'shared' | 'bypass';
  readonly cacheMs: number;
  /** Monotonic milliseconds; Infinity: none. */
  readonly deadlineAt: number;
  replica = '';
  batchSize = 0;
  queueMs = 0;
  workMs = 0;
  streaming = false;
  isOver = false;
  /** Whose answer it waits for. */
  flight: Flight | undefined;
  readonly #arrivedAt: number;
  readonly #finished: (call: SharedCall, result: string) => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param finished told once, before its caller is; `OK` or the code of an error */
  constructor(init: {
    readonly deployment: string;
    readonly cache: 'miss' | 'shared';
    readonly cacheMs: number;
    readonly deadlineAt: number;
    readonly now: () => number;
    readonly request: CallRequest;
    readonly finished: (call: SharedCall, result: string) => void;
  }) {
    this.deployment = init.deployment;
    this.cache = init.cache;
    this.cacheMs = init.cacheMs;
    this.deadlineAt = init.deadlineAt;
    this.#arrivedAt = init.now();
    this.request = init.request;
    this.#finished = init.finished;
    if (init.deadlineAt === Number.POSITIVE_INFINITY) return;
    const hold = (timer: NodeJS.Timeout) => {
      this.#timer = timer;
    };
    atDeadline(init.deadlineAt, init.now, hold, () => this.abandon(timedOut()));
  }

  /** @param run that brought the answer */
  complete(value: WireValue, http: HttpAnswerHead | undefined, run: CallTrace | undefined, now: number): void {
    this.#took(run, now);
    if (now >= this.deadlineAt) return this.fail(timedOut());
    if (!this.#finish('OK')) return;
    this.request.sink.result(value, http);
  }

  fail(error: ServeError): void {
    if (!this.#finish(error.code)) return;
    this.request.sink.error(error);
  }

  /** The answer is a stream, and this one's alone. */
  open(http: HttpAnswerHead | undefined, run: CallTrace | undefined, now: number): void {
    this.#took(run, now);
    this.streaming = true;
    this.request.sink.open(http);
  }

  chunk(value: WireValue, bytes: number): void {
    this.request.sink.chunk(value, bytes);
  }

  end(): void {
    if (this.#finish('OK')) this.request.sink.end();
  }

  credit(bytes: number): void {
    this.flight?.credit(bytes);
  }

  abandon(error: ServeError | undefined): void {
    if (!this.#finish(error?.code ?? 'CLIENT_CLOSED')) return;
    this.flight?.leave(this);
    if (error !== undefined) this.request.sink.error(error);
  }

  /** What the run cost is told of the one for whom it was begun; the others have waited. */
  #took(run: CallTrace | undefined, now: number): void {
    this.replica = run?.replica ?? '';
    this.batchSize = run?.batchSize ?? 0;
    this.queueMs = this.cache === 'shared' ? now - this.#arrivedAt : (run?.queueMs ?? 0);
    this.workMs = this.cache === 'shared' ? 0 : (run?.workMs ?? 0);
  }

  #finish(result: string): boolean {
    if (this.isOver) return false;
    this.isOver = true;
    clearTimeout(this.#timer);
    this.#finished(this, result);
    return true;
  }
}

/** The sequences of one deployment's queue: refuses requests of those that nobody knows, and forgets in time what nobody goes on with. */
import type { SequenceLimits } from '../domain/desired.ts';
import { ServeError } from '../domain/errors.ts';
import type { SequenceMetrics } from '../domain/metrics.ts';
import type { SequenceAsk } from '../protocol/routing-headers.ts';
import type { Link } from './link.ts';
import type { PendingCall } from './pending.ts';
import { type SequenceEnd, Sequences } from './sequences.ts';

/** The longest delay that a timer takes; one that fires early looks again. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export interface StepOwner {
  /** It may run as soon as there is a place where it may. */
  ready(call: PendingCall): void;
  /** It waited, and is to wait no longer. */
  refuse(call: PendingCall, error: ServeError): void;
}

export class QueueSequences {
  readonly #key: string;
  readonly #now: () => number;
  readonly #table: Sequences<PendingCall, Link>;
  #limits: SequenceLimits;
  #timer: NodeJS.Timeout | undefined;

  /** @param key `application/Deployment` */
  constructor(key: string, limits: SequenceLimits, owner: StepOwner, now: () => number) {
    this.#key = key;
    this.#limits = limits;
    this.#now = now;
    const ready = (call: PendingCall) => owner.ready(call);
    const lost = (call: PendingCall, id: string) => owner.refuse(call, this.unknown(id));
    this.#table = new Sequences<PendingCall, Link>({ ready, lost, forget: (link, number) => link.forget(number) }, now);
  }

  /** @param limits undefined: none is kept any more */
  configure(limits: SequenceLimits | undefined): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (limits === undefined) return this.#table.endAll();
    this.#table.keep();
    this.#limits = limits;
    this.#look();
  }

  destroy(): void {
    clearTimeout(this.#timer);
  }

  unknown(id: string): ServeError {
    const why = `it was never started, has ended, was not used for ${this.#limits.idleTimeoutMs / 1000} s, or its replica has gone`;
    return new ServeError(
      'SEQUENCE_NOT_FOUND',
      `Sequence ${JSON.stringify(id)} is not known to ${this.#key}: ${why}. Start it again (\`sequence_start\`, x-sequence-start).`,
    );
  }

  /** @throws ServeError SEQUENCE_NOT_FOUND */
  expect({ id, isStart }: SequenceAsk): void {
    if (!isStart && this.#table.get(id) === undefined) throw this.unknown(id);
  }

  /** What `expect` let pass comes to wait. */
  come(call: PendingCall, asked: SequenceAsk): void {
    this.#table.come(call, asked);
  }

  /** A start was refused at the door. */
  refused({ id }: SequenceAsk): void {
    this.#table.refused(id);
  }

  /** Whether a replica holds the state that it is to go on with. */
  isHeld({ id, isStart }: SequenceAsk): boolean {
    return !isStart && this.#table.get(id)?.holder !== undefined;
  }

  /** Whether a request would be sent at once. @param mayStart whether a replica would take the start of a new one */
  isFree({ id, isStart }: SequenceAsk, mayStart: (link: Link | undefined) => boolean, hasRoom: (link: Link) => boolean): boolean {
    const sequence = this.#table.get(id);
    if (sequence?.current !== undefined) return false;
    if (isStart) return mayStart(sequence?.holder);
    return sequence?.holder !== undefined && hasRoom(sequence.holder);
  }

  /** Whether a replica may be given another one. */
  hasPlace({ sequences }: Link): boolean {
    return sequences < this.#limits.maxSequences;
  }

  /** Those whose replicas hold as many as they may. */
  full(status: number, retryAfterS: number | null): ServeError {
    const message = `Request dropped: each replica of ${this.#key} has as many sequences as model.sequence.max_sequences allows (${this.#limits.maxSequences}).`;
    return new ServeError('QUEUE_FULL', message, { status, retryAfterS });
  }

  sent(call: PendingCall, link: Link): void {
    this.#table.sent(call, link);
  }

  over(call: PendingCall, ran: boolean): void {
    this.#table.over(call, ran);
    this.#watch();
  }

  left(call: PendingCall): void {
    this.#table.left(call);
    this.#watch();
  }

  gone(link: Link): void {
    const why: SequenceEnd = link.accepting ? 'died' : 'replaced';
    this.#table.gone(link, why);
  }

  /** Requests that wait. */
  queued(): Iterable<PendingCall> {
    return this.#table.queued();
  }

  read(): SequenceMetrics {
    const { open, started, ended } = this.#table;
    return { open, started, ended };
  }

  #watch(): void {
    if (this.#timer === undefined && this.#table.open > 0) this.#lookIn(this.#limits.idleTimeoutMs);
  }

  #look(): void {
    const due = this.#table.sweep(this.#limits.idleTimeoutMs);
    if (due !== undefined) this.#lookIn(due - this.#now());
  }

  #lookIn(ms: number): void {
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#look();
        this.#watch();
      },
      Math.min(ms, MAX_TIMER_MS),
    );
  }
}

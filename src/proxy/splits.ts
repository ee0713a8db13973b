/** Where requests of splits go that nothing sticks to, and what becomes of the calls of those splits that are judged. */
import { CLOCKS_APART_MS, type Sink } from '../dispatch/pending.ts';
import type { ServeError } from '../domain/errors.ts';
import type { CallTarget } from '../domain/graph.ts';
import { emptyLatency, latencyBucket } from '../domain/latency.ts';
import type { ApplicationRouting, SplitCounts, TargetCounts } from '../domain/snapshot.ts';
import { nextPoint } from '../graph/split.ts';
import type { HttpAnswerHead } from '../protocol/messages.ts';
import type { WireValue } from '../protocol/value.ts';
import type { Shadows } from './shadow.ts';

/** Often enough for windows of a second; where nothing is judged there is no timer. */
const REPORT_MS = 250;

/** Of one step with a split. */
interface Place {
  /** Its number among the splits of its graph. */
  order: number;
  /** In 2⁻³². */
  point: number;
}

interface Judged {
  /** `application/step`. */
  readonly step: string;
  readonly stable: Counter;
  readonly canary: Counter;
}

class Counter {
  requests = 0;
  errors = 0;
  clientErrors = 0;
  abandoned = 0;
  readonly latency = emptyLatency();
  readonly waited = emptyLatency();

  failed(error: ServeError): void {
    if (error.code === 'CLIENT_CLOSED') return;
    if (!isOwnFault(error)) {
      this.clientErrors += 1;
      return;
    }
    this.requests += 1;
    this.errors += 1;
  }

  read(): TargetCounts {
    const { requests, errors, clientErrors, abandoned, latency, waited } = this;
    return { requests, errors, clientErrors, abandoned, latency: [...latency], waited: [...waited] };
  }
}

/** Too late and too full are the fault of who was to answer, whatever status the client gets. */
const isOwnFault = ({ code, status }: ServeError): boolean =>
  status >= 500 || code === 'DEADLINE_EXCEEDED' || code === 'QUEUE_FULL';

const count = (latency: number[], ms: number): void => {
  const bucket = latencyBucket(ms);
  latency[bucket] = (latency[bucket] as number) + 1;
};

/** How a call of a split came to be. Times are monotonic milliseconds; Infinity: none. */
export interface Asked {
  /** One of those of the split. */
  readonly target: CallTarget;
  /** The soonest of the limits that others than the client have set: of the proxy, of the step, of the deployment. */
  readonly ownDeadlineAt: number;
  readonly clientDeadlineAt: number;
  /** Its answer may go to the client item by item, as fast as that reads. */
  readonly streams: boolean;
}

/** Counts what comes of one call; all else goes on to who waits for it. */
export class Watch implements Sink {
  readonly #counter: Counter;
  readonly #asked: Asked;
  readonly #sink: Sink;
  readonly #now: () => number;
  readonly #since: number;
  #hasItem = false;

  constructor(counter: Counter, asked: Asked, sink: Sink, now: () => number) {
    this.#counter = counter;
    this.#asked = asked;
    this.#sink = sink;
    this.#now = now;
    this.#since = now();
  }

  result(value: WireValue, http: HttpAnswerHead | undefined): void {
    this.#answered();
    this.#sink.result(value, http);
  }

  error(error: ServeError): void {
    if (this.#isClientsLimit(error)) this.left();
    else this.#counter.failed(error);
    this.#sink.error(error);
  }

  open(http: HttpAnswerHead | undefined): void {
    this.#sink.open(http);
  }

  chunk(value: WireValue, bytes: number): void {
    if (this.#asked.streams && !this.#hasItem) {
      this.#hasItem = true;
      count(this.#counter.latency, this.#now() - this.#since);
    }
    this.#sink.chunk(value, bytes);
  }

  end(): void {
    this.#answered();
    this.#sink.end();
  }

  /** Nobody waits for it any more. After that, and after an answer, nothing more is called. */
  left(): void {
    this.#counter.abandoned += 1;
    if (!this.#hasItem) count(this.#counter.waited, this.#now() - this.#since);
  }

  #answered(): void {
    this.#counter.requests += 1;
    if (!this.#hasItem) count(this.#counter.latency, this.#now() - this.#since);
  }

  /** A client that takes away its time leaves, whatever it is told. What waited in vain for something else says so itself, before that time. */
  #isClientsLimit({ code, source }: ServeError): boolean {
    const { clientDeadlineAt, ownDeadlineAt } = this.#asked;
    if (code !== 'DEADLINE_EXCEEDED' || clientDeadlineAt >= ownDeadlineAt) return false;
    return source === undefined || this.#now() >= clientDeadlineAt - CLOCKS_APART_MS;
  }
}

export class Splits {
  readonly #shadows: Shadows;
  readonly #now: () => number;
  readonly #post: (splits: Readonly<Record<string, SplitCounts>>) => void;
  readonly #places = new Map<string, Place>();
  readonly #judged = new Map<string, Judged>();
  #timer: NodeJS.Timeout | undefined;

  /** @param post told what was counted, by `judgedAs` */
  constructor(shadows: Shadows, now: () => number, post: (splits: Readonly<Record<string, SplitCounts>>) => void) {
    this.#shadows = shadows;
    this.#now = now;
    this.#post = post;
  }

  /** Splits that are no more are forgotten. */
  follow(applications: readonly ApplicationRouting[]): void {
    const known = new Set<string>();
    const judged = new Set<string>();
    for (const { name, ingress } of applications) {
      if (ingress.kind !== 'graph') continue;
      let order = 0;
      for (const { name: step, split } of ingress.graph.steps) {
        if (split === undefined) continue;
        const key = `${name}/${step}`;
        known.add(key);
        this.#placeOf(key).order = order++;
        if (split.judgedAs === undefined) continue;
        judged.add(split.judgedAs);
        if (!this.#judged.has(split.judgedAs))
          this.#judged.set(split.judgedAs, { step: key, stable: new Counter(), canary: new Counter() });
      }
    }
    for (const key of this.#places.keys()) if (!known.has(key)) this.#places.delete(key);
    for (const key of this.#judged.keys()) if (!judged.has(key)) this.#judged.delete(key);
    if (judged.size === 0) this.close();
    else this.#timer ??= setInterval(() => this.#post(this.read()), REPORT_MS);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** In [0, 1): where the next request of a step falls. @param step `application/step` */
  next(step: string): number {
    const place = this.#placeOf(step);
    place.point = nextPoint(place.point, place.order);
    return place.point / 2 ** 32;
  }

  #placeOf(step: string): Place {
    let place = this.#places.get(step);
    if (place === undefined) {
      place = { order: 0, point: 0 };
      this.#places.set(step, place);
    }
    return place;
  }

  /** @returns what counts the call, and hands on to `sink`; undefined: it is not counted, as nothing is judged, or as there was no time for it */
  watch(judgedAs: string, stable: CallTarget | undefined, asked: Asked, sink: Sink): Watch | undefined {
    const judged = this.#judged.get(judgedAs);
    if (judged === undefined || Math.min(asked.ownDeadlineAt, asked.clientDeadlineAt) <= this.#now()) return undefined;
    return new Watch(asked.target === stable ? judged.stable : judged.canary, asked, sink, this.#now);
  }

  /** By `judgedAs`. */
  read(): Readonly<Record<string, SplitCounts>> {
    const entries = [...this.#judged].map(([key, { step, stable, canary }]) => {
      const counts: SplitCounts = { stable: stable.read(), canary: canary.read(), shadow: this.#shadows.of(step) };
      return [key, counts] as const;
    });
    return Object.fromEntries(entries);
  }
}

/** Where requests of splits go that nothing sticks to, and what becomes of the calls of those splits that are judged. */
import type { Sink } from '../dispatch/pending.ts';
import type { ServeError } from '../domain/errors.ts';
import type { CallTarget, Split } from '../domain/graph.ts';
import { emptyLatency, latencyBucket } from '../domain/latency.ts';
import type { ApplicationRouting, SplitCounts, TargetCounts } from '../domain/snapshot.ts';
import { nextPoint } from '../graph/split.ts';
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
  readonly latency = emptyLatency();

  answered(ms: number): void {
    const bucket = latencyBucket(ms);
    this.requests += 1;
    this.latency[bucket] = (this.latency[bucket] as number) + 1;
  }

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
    const { requests, errors, clientErrors, latency } = this;
    return { requests, errors, clientErrors, latency: [...latency] };
  }
}

/** Too late and too full are the fault of who was to answer, whatever status the client gets. */
const isOwnFault = ({ code, status }: ServeError): boolean =>
  status >= 500 || code === 'DEADLINE_EXCEEDED' || code === 'QUEUE_FULL';

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

  /** @param target one of those of the split @returns the same sink where nothing is judged, else one that counts what comes of the call */
  watch(split: Split | undefined, target: CallTarget, sink: Sink): Sink {
    if (split?.judgedAs === undefined) return sink;
    const judged = this.#judged.get(split.judgedAs);
    if (judged === undefined) return sink;
    const counter = target === split.targets[0]?.target ? judged.stable : judged.canary;
    const since = this.#now();
    return {
      result: (value, http) => {
        counter.answered(this.#now() - since);
        sink.result(value, http);
      },
      error: (error) => {
        counter.failed(error);
        sink.error(error);
      },
      open: (http) => sink.open(http),
      chunk: (value, bytes) => sink.chunk(value, bytes),
      end: () => {
        counter.answered(this.#now() - since);
        sink.end();
      },
    };
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

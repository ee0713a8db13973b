/**
 * Measures the load of deployments that autoscale, for the control plane: it looks at the queues now and then, so that requests cost nothing.
 * Where none autoscales there is no timer.
 */
import type { LoadReport, Spread } from '../domain/snapshot.ts';
import type { DeploymentQueue } from './queue.ts';

const SAMPLE_MS = 50;
/** So many samples make a report. */
const SAMPLES = 5;

interface Sample {
  readonly requests: number;
  readonly ongoing: number;
  readonly queueDelayMs: number;
}

export class LoadMeter {
  readonly #queues: () => Iterable<DeploymentQueue>;
  readonly #now: () => number;
  readonly #post: (deployments: Readonly<Record<string, LoadReport>>) => void;
  readonly #samples = new Map<string, Sample[]>();
  /** Deployments whose first waiting request was told of since the last report. */
  readonly #urgent = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #reportedAt = 0;
  #taken = 0;

  constructor(
    queues: () => Iterable<DeploymentQueue>,
    now: () => number,
    post: (deployments: Readonly<Record<string, LoadReport>>) => void,
  ) {
    this.#queues = queues;
    this.#now = now;
    this.#post = post;
  }

  /** The queues have changed. */
  follow(): void {
    const wanted = [...this.#queues()].some(({ routing }) => routing.autoscales);
    if (wanted && this.#timer === undefined) {
      this.#reportedAt = this.#now();
      this.#timer = setInterval(() => this.sample(), SAMPLE_MS);
    } else if (!wanted) this.close();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#samples.clear();
    this.#taken = 0;
  }

  /** A request comes to a deployment without replicas: the control plane need not wait for the next report. */
  urgent = (queue: DeploymentQueue): void => {
    if (this.#urgent.has(queue.key)) return;
    this.#urgent.add(queue.key);
    // A request that is refused because nothing may wait is wanted all the same.
    const { ongoing, queueDelayMs } = sampleOf(queue, this.#now());
    const sample = { requests: queue.queued + ongoing + 1, ongoing, queueDelayMs };
    this.#post({ [queue.key]: reportOf([sample], 0) });
  };

  sample(): void {
    const now = this.#now();
    for (const queue of this.#queues()) {
      if (!queue.routing.autoscales) continue;
      const samples = this.#samples.get(queue.key);
      const sample = sampleOf(queue, now);
      if (samples === undefined) this.#samples.set(queue.key, [sample]);
      else samples.push(sample);
    }
    this.#taken += 1;
    if (this.#taken < SAMPLES) return;
    const durationMs = now - this.#reportedAt;
    this.#reportedAt = now;
    this.#taken = 0;
    this.#urgent.clear();
    const reports = [...this.#samples].map(([key, samples]) => [key, reportOf(samples, durationMs)] as const);
    this.#samples.clear();
    this.#post(Object.fromEntries(reports));
  }
}

const sampleOf = (queue: DeploymentQueue, now: number): Sample => {
  const { ongoing, queued, routing } = queue;
  const held = routing.batching?.waitMs ?? 0;
  return { requests: queued + ongoing, ongoing, queueDelayMs: queued === 0 ? 0 : Math.max(0, now - queue.oldest - held) };
};

const reportOf = (samples: readonly Sample[], durationMs: number): LoadReport => {
  const spread = (quantity: keyof Sample): Spread => {
    const values = samples.map((sample) => sample[quantity]);
    return {
      mean: values.reduce((sum, value) => sum + value, 0) / values.length,
      max: Math.max(...values),
      min: Math.min(...values),
    };
  };
  return { durationMs, requests: spread('requests'), ongoing: spread('ongoing'), queueDelayMs: spread('queueDelayMs') };
};

/** What happened to the calls of one deployment. */
import { type DeploymentMetrics, Histogram, SECONDS, SIZES } from '../domain/metrics.ts';

/** Why a call went to a replica once more. */
export type RetryReason = 'died' | 'not_begun' | 'halved';

export class DeploymentCounts {
  readonly #results = new Map<string, number>();
  readonly #queueWait = new Histogram(SECONDS);
  readonly #processing = new Histogram(SECONDS);
  readonly #batchSize = new Histogram(SIZES);
  readonly #dispatches = { full: 0, idle: 0, window: 0 };
  readonly #retries: Record<RetryReason, number> = { died: 0, not_begun: 0, halved: 0 };
  #ok = 0;

  /** @param result `OK` or the code of an error */
  finished(result: string, queueMs: number, workMs: number, wasSent: boolean): void {
    if (result === 'OK') this.#ok += 1;
    else this.#results.set(result, (this.#results.get(result) ?? 0) + 1);
    if (!wasSent) return;
    this.#queueWait.observe(queueMs / 1000);
    this.#processing.observe(workMs / 1000);
  }

  /** @param size rows of a model's, items of code's */
  dispatched(reason: 'full' | 'idle' | 'window', size: number): void {
    this.#dispatches[reason] += 1;
    this.#batchSize.observe(size);
  }

  again(reason: RetryReason, calls: number): void {
    this.#retries[reason] += calls;
  }

  read(): Omit<DeploymentMetrics, 'application' | 'deployment' | 'queued' | 'ongoing' | 'websockets'> {
    return {
      results: { OK: this.#ok, ...Object.fromEntries(this.#results) },
      queueWait: { ...this.#queueWait },
      processing: { ...this.#processing },
      batchSize: { ...this.#batchSize },
      dispatches: this.#dispatches,
      retries: this.#retries,
    };
  }
}

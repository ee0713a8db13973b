/** What happened to the calls of one deployment. */

import { DISPATCH_REASONS, type DispatchReason } from '../batching/batch.ts';
import { type DeploymentMetrics, Histogram, SECONDS, SIZES } from '../domain/metrics.ts';

/** Why a call went to a replica once more. */
export type RetryReason = 'died' | 'not_begun' | 'halved';

export class DeploymentCounts {
  readonly #results = new Map<string, number>();
  readonly #queueWait = new Histogram(SECONDS);
  readonly #processing = new Histogram(SECONDS);
  readonly #batchSize = new Histogram(SIZES);
  readonly #dispatches = Object.fromEntries(DISPATCH_REASONS.map((reason) => [reason, 0])) as Record<DispatchReason, number>;
  readonly #retries: Record<RetryReason, number> = { died: 0, not_begun: 0, halved: 0 };
  #ok = 0;
  #dropped = 0;

  /** @param result `OK` or the code of an error */
  finished(result: string): void {
    if (result === 'OK') this.#ok += 1;
    else this.#results.set(result, (this.#results.get(result) ?? 0) + 1);
  }

  /** A replica had it. */
  ran(queueMs: number, workMs: number): void {
    this.#queueWait.observe(queueMs / 1000);
    this.#processing.observe(workMs / 1000);
  }

  /** @param size rows of a model's, items of code's */
  dispatched(reason: DispatchReason, size: number): void {
    this.#dispatches[reason] += 1;
    this.#batchSize.observe(size);
  }

  /** Calls that were given up before they ran: they could not have been answered in time. */
  dropped(calls: number): void {
    this.#dropped += calls;
  }

  again(reason: RetryReason, calls: number): void {
    this.#retries[reason] += calls;
  }

  read(): Omit<
    DeploymentMetrics,
    'application' | 'deployment' | 'queued' | 'ongoing' | 'websockets' | 'batchSizeInForce' | 'cache'
  > {
    return {
      results: { OK: this.#ok, ...Object.fromEntries(this.#results) },
      queueWait: { ...this.#queueWait },
      processing: { ...this.#processing },
      batchSize: { ...this.#batchSize },
      dispatches: this.#dispatches,
      retries: this.#retries,
      dropped: this.#dropped,
    };
  }
}

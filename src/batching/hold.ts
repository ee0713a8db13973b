/** How long a batch that is not full waits for company while a replica is idle: never, unless the file asks for it. Pure. */
import type { Hold } from './batch.ts';
import type { CostModel } from './cost.ts';

/** No timer is shorter than this. */
const SHORTEST_MS = 1.1;
/** Somebody who has not come in so many of the usual pauses between two requests is not waited for any longer. */
const PATIENCE = 2;
/** Of the latency that was asked for, what a batch may use up by waiting and running: the rest is for the way. */
const SHARE_OF_TARGET = 0.9;

export const NO_HOLD: Hold = () => Number.NEGATIVE_INFINITY;

/**
 * `batch_wait_timeout_s`: counted from the OLDEST arrival. Where nobody is expected before its end there is nothing to wait for.
 * @param gapMs usual pause between two requests; undefined: not known
 */
export const holdForWindow =
  (waitMs: number, gapMs: number | undefined, now: number): Hold =>
  ({ oldest }) => {
    const end = oldest + waitMs;
    return gapMs !== undefined && now + gapMs > end && now < end ? Number.NEGATIVE_INFINITY : end;
  };

/**
 * `latency_target_s`: as long as it pays. One more request saves a replica the fixed cost of a batch, and each that waits pays the pause
 * until it comes.
 * @param lastAt when the last request came: who is late by now is waited for no longer at each look
 */
export const holdForTarget =
  (targetMs: number, cost: CostModel, gapMs: number | undefined, lastAt: number, now: number): Hold =>
  ({ requests, rows, oldest }) => {
    const fixedMs = cost.fit()?.fixedMs ?? 0;
    const runMs = cost.predict(rows + 1);
    if (gapMs === undefined || runMs === undefined || fixedMs <= requests * gapMs) return Number.NEGATIVE_INFINITY;
    const end = Math.min(lastAt + PATIENCE * gapMs, oldest + targetMs * SHARE_OF_TARGET - runMs);
    return end - now < SHORTEST_MS ? Number.NEGATIVE_INFINITY : end;
  };

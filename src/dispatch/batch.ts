/** How many requests leave together, and when. Pure: the queue asks, this decides. */

export interface BatchLimits {
  /** Rows for a model, items for code. */
  readonly maxBatchSize: number;
  /** The longest that the OLDEST request may be held for company; 0 = never. */
  readonly waitMs: number;
}

/** What the policy needs to know of a waiting request. */
export interface Waiting {
  readonly rows: number;
  /** Monotonic milliseconds. */
  readonly arrivedAt: number;
  /** Monotonic milliseconds; Infinity: none. */
  readonly deadlineAt: number;
  /** The most requests it may be in a batch with, itself counted: lowered after a batch with it failed. */
  readonly maxCompany: number;
}

export type BatchDecision = { readonly take: number; readonly reason: 'full' | 'idle' | 'window' } | { readonly until: number };

/**
 * Decides whether the head of a lane leaves now, or when to look again. A free replica never waits unless the file asks for it
 * (`waitMs`); waiting is counted from the OLDEST arrival, and a nearer deadline cuts it shorter.
 * @param waiting requests of one lane, oldest first, not empty
 * @param room    how many requests the chosen replica may take, at least 1
 * @param now     monotonic milliseconds
 * @returns `take` n ≥ 1: their rows are within `maxBatchSize`, save that a lone request may be larger; or `until`, a time
 */
export const decideBatch = (waiting: Iterable<Waiting>, limits: BatchLimits, room: number, now: number): BatchDecision => {
  let take = 0;
  let rows = 0;
  let company = Number.POSITIVE_INFINITY;
  let oldest = Number.POSITIVE_INFINITY;
  let nearest = Number.POSITIVE_INFINITY;
  let full = false;
  for (const request of waiting) {
    const most = Math.min(company, request.maxCompany);
    if (take > 0 && (take >= room || take + 1 > most || rows + request.rows > limits.maxBatchSize)) {
      full = true;
      break;
    }
    take += 1;
    rows += request.rows;
    company = most;
    oldest = Math.min(oldest, request.arrivedAt);
    // Half of what a deadline allows is kept for the work itself: waiting until it would only serve a 408.
    nearest = Math.min(nearest, (request.arrivedAt + request.deadlineAt) / 2);
  }
  if (full || rows >= limits.maxBatchSize || take >= room || take >= company) return { take, reason: 'full' };
  if (limits.waitMs === 0) return { take, reason: 'idle' };
  const until = Math.min(oldest + limits.waitMs, nearest);
  return until <= now + 0.5 ? { take, reason: 'window' } : { until };
};

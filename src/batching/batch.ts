/** How many requests leave together, and when. Pure: the queue asks, this decides. */

/** Why a batch left. `docs/metrics.md` says what each means. */
export const DISPATCH_REASONS = ['full', 'best', 'trial', 'spread', 'idle', 'window', 'deadline', 'alone'] as const;
export type DispatchReason = (typeof DISPATCH_REASONS)[number];

export interface BatchLimits {
  /** Rows for a model, items for code: a batch that has them leaves. */
  readonly rows: number;
  /** What it is called when they are there. */
  readonly whenFull: 'full' | 'best' | 'trial' | 'spread';
  /** How long this batch may still be held for company. */
  readonly hold: Hold;
  /** What a run of so many rows takes, in milliseconds; undefined: not known. */
  readonly runMs: (rows: number) => number | undefined;
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

/** @returns monotonic milliseconds until which a batch that is not full waits for company; -Infinity: not at all */
export type Hold = (batch: { readonly requests: number; readonly rows: number; readonly oldest: number }) => number;

export type BatchDecision = { readonly take: number; readonly reason: DispatchReason } | { readonly until: number };

/**
 * Decides whether the head of a lane leaves now, or when to look again. A free replica never waits unless the file asks for it
 * (`hold`); a deadline that is nearer than the end of the hold cuts it shorter.
 * @param waiting requests of one lane, the next one first, not empty
 * @param room    how many requests the chosen replica may take, at least 1
 * @param now     monotonic milliseconds
 * @returns `take` n ≥ 1: their rows are within `rows`, save that a lone request may be larger; or `until`, a time
 */
export const decideBatch = (waiting: Iterable<Waiting>, limits: BatchLimits, room: number, now: number): BatchDecision => {
  let take = 0;
  let rows = 0;
  let company = Number.POSITIVE_INFINITY;
  let oldest = Number.POSITIVE_INFINITY;
  let nearest = Number.POSITIVE_INFINITY;
  let soonest = Number.POSITIVE_INFINITY;
  let full = false;
  for (const request of waiting) {
    const most = Math.min(company, request.maxCompany);
    if (take > 0 && take + 1 > most) return { take, reason: 'alone' };
    if (take > 0 && (take >= room || rows + request.rows > limits.rows)) {
      full = true;
      break;
    }
    soonest = Math.min(soonest, request.deadlineAt);
    // Company that would make one of them late goes with the next batch.
    if (take > 0 && soonest !== Number.POSITIVE_INFINITY && now + (limits.runMs(rows + request.rows) ?? 0) > soonest)
      return { take, reason: 'deadline' };
    take += 1;
    rows += request.rows;
    company = most;
    oldest = Math.min(oldest, request.arrivedAt);
    // Half of what a deadline allows is kept for the work itself: waiting until it would only serve a 408.
    nearest = Math.min(nearest, (request.arrivedAt + request.deadlineAt) / 2);
  }
  if (take >= company) return { take, reason: 'alone' };
  if (full || rows >= limits.rows || take >= room) return { take, reason: limits.whenFull };
  const end = limits.hold({ requests: take, rows, oldest });
  if (end === Number.NEGATIVE_INFINITY) return { take, reason: 'idle' };
  const until = Math.min(end, nearest);
  if (until > now + 0.5) return { until };
  return { take, reason: nearest < end ? 'deadline' : 'window' };
};

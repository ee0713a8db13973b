/** What was counted of a split over its last while: the difference of two readings of counters that only go up. */
import { latencyBucket, latencyQuantile } from '../domain/latency.ts';
import type { ShadowCounts, SplitCounts, TargetCounts } from '../domain/snapshot.ts';

/** Counters as they were at one moment. */
export interface Reading {
  /** Monotonic milliseconds. */
  readonly at: number;
  readonly counts: SplitCounts;
}

/** Of one target, in a window. */
export interface TargetFigures {
  readonly requests: number;
  readonly errors: number;
  readonly clientErrors: number;
  readonly abandoned: number;
  /** Calls by which the p99 is told. */
  readonly timed: number;
  /** undefined: there are none. */
  readonly p99Ms: number | undefined;
}

export interface Figures {
  readonly stable: TargetFigures;
  readonly canary: TargetFigures;
  /** Copies that the shadow was to answer and that can be compared. */
  readonly compared: number;
  /** Of these: it answered otherwise, or failed. */
  readonly differing: number;
}

/** So many readings make up a window, whatever its length. */
const READINGS = 60;

/**
 * @param readings oldest first; the first is where counting begins
 * @returns them with the new one, without those that no window needs any more: at most a few more than `READINGS`
 */
export const remember = (readings: readonly Reading[], reading: Reading, windowMs: number): readonly Reading[] => {
  const [before, last] = readings.slice(-2);
  const isClose = before !== undefined && last !== undefined && last.at - before.at < windowMs / READINGS;
  const kept = isClose ? readings.slice(0, -1) : readings;
  const begin = kept.findLastIndex(({ at }) => at <= reading.at - windowMs);
  return [...kept.slice(Math.max(0, begin)), reading];
};

/** What was counted from `now - windowMs` on, as far as there are readings. */
export const figuresIn = (readings: readonly Reading[], windowMs: number, now: number): Figures => {
  const begin = readings.findLast(({ at }) => at <= now - windowMs) ?? readings[0];
  const end = readings.at(-1);
  return {
    stable: between(begin?.counts.stable, end?.counts.stable),
    canary: between(begin?.counts.canary, end?.counts.canary),
    ...comparedBetween(begin?.counts.shadow, end?.counts.shadow),
  };
};

const between = (begin: TargetCounts | undefined, end: TargetCounts | undefined): TargetFigures => {
  if (begin === undefined || end === undefined) return NOTHING;
  const since = (of: 'latency' | 'waited') => end[of].map((count, bucket) => count - (begin[of][bucket] ?? 0));
  const latency = withWaits(since('latency'), since('waited'));
  return {
    requests: end.requests - begin.requests,
    errors: end.errors - begin.errors,
    clientErrors: end.clientErrors - begin.clientErrors,
    abandoned: end.abandoned - begin.abandoned,
    timed: latency.reduce((sum, count) => sum + count, 0),
    p99Ms: latencyQuantile(latency, 0.99),
  };
};

const NOTHING: TargetFigures = { requests: 0, errors: 0, clientErrors: 0, abandoned: 0, timed: 0, p99Ms: undefined };

/**
 * A wait in vain is less than the answer would have taken. So it counts where it was longer than the p99 of the answers, and nowhere else: clients
 * that leave at once make nobody faster.
 */
const withWaits = (latency: readonly number[], waited: readonly number[]): readonly number[] => {
  const p99 = latencyQuantile(latency, 0.99);
  const beyond = p99 === undefined ? 0 : latencyBucket(p99) + 1;
  return latency.map((count, bucket) => count + (bucket < beyond ? 0 : (waited[bucket] ?? 0)));
};

const comparedBetween = (
  begin: ShadowCounts | undefined,
  end: ShadowCounts | undefined,
): Pick<Figures, 'compared' | 'differing'> => {
  if (begin === undefined || end === undefined) return { compared: 0, differing: 0 };
  const [before, after] = [comparisonOf(begin), comparisonOf(end)];
  // Counters of a shadow that was taken away and given back begin anew.
  return {
    compared: Math.max(0, after.compared - before.compared),
    differing: Math.max(0, after.differing - before.differing),
  };
};

/** A copy that fails where the request was answered is an answer that differs. */
export const comparisonOf = ({ same, different, failed }: ShadowCounts): Pick<Figures, 'compared' | 'differing'> => ({
  compared: same + different + failed,
  differing: different + failed,
});

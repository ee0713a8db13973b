/** What was counted of a split over its last while: the difference of two readings of counters that only go up. */
import { latencyQuantile } from '../domain/latency.ts';
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
  /** Answered: those whose time is known. */
  readonly answered: number;
  /** undefined: none was answered. */
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
  if (begin === undefined || end === undefined) return { requests: 0, errors: 0, answered: 0, p99Ms: undefined };
  const latency = end.latency.map((count, bucket) => count - (begin.latency[bucket] ?? 0));
  return {
    requests: end.requests - begin.requests,
    errors: end.errors - begin.errors,
    answered: latency.reduce((sum, count) => sum + count, 0),
    p99Ms: latencyQuantile(latency, 0.99),
  };
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

/** How long calls took, counted so that a high percentile is told within five percent of what it was. */

const FIRST_MS = 0.1;
/** Each bucket ends so many times later than the one before. */
const GROWTH = 1.1;
/** The last one holds what took longer than 40 minutes. */
const BUCKETS = 180;
const LOG_GROWTH = Math.log(GROWTH);

export const emptyLatency = (): number[] => new Array<number>(BUCKETS).fill(0);

/** Where a call that took so long is counted. */
export const latencyBucket = (ms: number): number =>
  ms <= FIRST_MS ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log(ms / FIRST_MS) / LOG_GROWTH));

/**
 * @param share 0.99: of a hundred calls one took longer
 * @returns milliseconds, the middle of the bucket in which it lies; undefined: nothing was counted
 */
export const latencyQuantile = (counts: readonly number[], share: number): number | undefined => {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return undefined;
  let left = Math.max(1, Math.ceil(total * share));
  const bucket = counts.findIndex((count) => {
    left -= count;
    return left <= 0;
  });
  return FIRST_MS * GROWTH ** (bucket - 0.5);
};

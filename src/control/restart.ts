/** When a dead replica's place is filled again, and when that is given up. Pure. */

/** What is remembered of one version of one deployment. */
export interface RestartMemory {
  /** Starts in a row that failed, or died soon after. */
  readonly failures: number;
  /** When the last of them was counted (monotonic milliseconds). */
  readonly failedAt: number;
  /** No start before this time (monotonic milliseconds). */
  readonly notBefore: number;
  /** A replica of this version was ready once. */
  readonly everReady: boolean;
  /** What the last failure said. */
  readonly error: string;
}

export const NO_FAILURES: RestartMemory = {
  failures: 0,
  failedAt: Number.NEGATIVE_INFINITY,
  notBefore: 0,
  everReady: false,
  error: '',
};

/** A replica that lived this long after it was ready did not fail to start: it is replaced at once. */
const SETTLED_MS = 10_000;
const LONGEST_MS = 60_000;

/**
 * Replicas that were started side by side and die of one cause are one failure: four that find no database have not tried four times.
 * @param readyForMs how long it had been ready; undefined: it never was
 * @param rand in [0, 1)
 * @param startedAt when it was started, on the clock of `now`
 */
export const afterDeath = (
  memory: RestartMemory,
  readyForMs: number | undefined,
  error: string,
  now: number,
  rand: number,
  startedAt = now,
): RestartMemory => {
  if (readyForMs !== undefined && readyForMs >= SETTLED_MS) return { ...memory, failures: 0, notBefore: now, error };
  if (startedAt < memory.failedAt) return { ...memory, error };
  const failures = memory.failures + 1;
  return { ...memory, failures, failedAt: now, notBefore: now + backoffMs(failures, rand), error };
};

/** 0, 0.5, 1, 2 … 60 s, ±20 %. */
export const backoffMs = (failures: number, rand: number): number => {
  if (failures <= 1) return 0;
  return Math.min(LONGEST_MS, 500 * 2 ** (failures - 2)) * (0.8 + 0.4 * rand);
};

/** A version that was never ready and has failed so often is not tried again until something changes. A version that was once goes on. */
export const hasFailed = (memory: RestartMemory, maxRetries: number): boolean =>
  !memory.everReady && memory.failures >= maxRetries;

/**
 * A version that was ready once and has since died as often, soon after each start, as a first start may fail: requests are refused
 * until one is ready again. Fewer deaths are a replica that was killed: what waits for the next one is held.
 */
export const isUnhealthy = (memory: RestartMemory, maxRetries: number): boolean =>
  memory.everReady && memory.failures > 1 && memory.failures >= maxRetries;

/**
 * Whether a replica that has not answered for `limitMs` may be held to it. Heartbeats begin before the constructor, which may be busy for
 * as long as `startup_timeout_s` allows: what was not answered then says nothing of what is ready now.
 * @param readyForMs undefined: it is not ready
 */
export const mayBeUnresponsive = (readyForMs: number | undefined, limitMs: number): boolean =>
  readyForMs !== undefined && readyForMs >= limitMs;

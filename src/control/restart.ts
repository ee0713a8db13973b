/** When a dead replica's place is filled again, and when that is given up. Pure. */

/** One version of one deployment. */
export const restartKey = (application: string, deployment: string, version: string): string =>
  `${application}/${deployment}@${version}`;

/** What is remembered of one version of one deployment. */
export interface RestartMemory {
  /** Starts in a row that failed, or died soon after. */
  readonly failures: number;
  /** How many of them a signal ended some time after they were ready: they say little of what is run. */
  readonly kills: number;
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
  kills: 0,
  failedAt: Number.NEGATIVE_INFINITY,
  notBefore: 0,
  everReady: false,
  error: '',
};

/** A replica that was ready, in milliseconds. */
export interface Life {
  readonly startMs: number;
  readonly readyForMs: number;
  /** A signal from somebody else ended it: what it runs is not to blame. */
  readonly killed: boolean;
}

const SETTLED_MS = { least: 500, most: 10_000 };
const LONGEST_MS = 60_000;
/** So many that a signal ended count as one that failed by itself, but for those that it ended at once: their first request may have. */
const KILLS_A_FAULT = 3;
const AT_ONCE_MS = 200;

/**
 * It did not fail to start: it is replaced at once. Replicas that somebody kills one after the other are no crash loop, as long as each
 * serves for longer than it takes to start: back-off keeps starts from costing more than they give.
 */
const hasSettled = ({ startMs, readyForMs, killed }: Life): boolean =>
  readyForMs >= (killed ? Math.min(SETTLED_MS.most, Math.max(SETTLED_MS.least, startMs)) : SETTLED_MS.most);

/**
 * Replicas that were started side by side and die of one cause are one failure: four that find no database have not tried four times.
 * @param life undefined: it never was ready
 * @param rand in [0, 1)
 * @param startedAt when it was started, on the clock of `now`
 */
export const afterDeath = (
  memory: RestartMemory,
  life: Life | undefined,
  error: string,
  now: number,
  rand: number,
  startedAt = now,
): RestartMemory => {
  if (life !== undefined && hasSettled(life)) return { ...memory, failures: 0, kills: 0, notBefore: now, error };
  if (startedAt < memory.failedAt) return { ...memory, error };
  const failures = memory.failures + 1;
  const kills = memory.kills + (life?.killed === true && life.readyForMs >= AT_ONCE_MS ? 1 : 0);
  return { ...memory, failures, kills, failedAt: now, notBefore: now + backoffMs(failures, rand), error };
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
  memory.everReady && memory.failures > 1 && faultsOf(memory) >= maxRetries;

const faultsOf = ({ failures, kills }: RestartMemory): number => failures - kills + kills / KILLS_A_FAULT;

/**
 * Whether a replica that has not answered for `limitMs` may be held to it. Heartbeats begin before the constructor, which may be busy for
 * as long as `startup_timeout_s` allows: what was not answered then says nothing of what is ready now.
 * @param readyForMs undefined: it is not ready
 */
export const mayBeUnresponsive = (readyForMs: number | undefined, limitMs: number): boolean =>
  readyForMs !== undefined && readyForMs >= limitMs;

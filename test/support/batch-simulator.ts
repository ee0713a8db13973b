/** A deployment whose runs cost what the test says, under a closed loop of clients: the policies decide, time is counted. */
import { decideBatch, type Waiting } from '../../src/batching/batch.ts';
import { CostModel } from '../../src/batching/cost.ts';
import { holdForTarget, NO_HOLD } from '../../src/batching/hold.ts';
import { afterBatch, bestSize, coldRows, isSentAhead, NO_TRIALS, type SizeLimits, sizeToTry } from '../../src/batching/size.ts';

export interface Simulated {
  /** Milliseconds of a run of so many rows. */
  readonly curve: (rows: number) => number;
  /** Runs differ by up to this share, and one of fifty takes three times as long. */
  readonly noise: number;
  readonly clients: number;
  readonly maxRows: number;
  /** A batch of so many rows whatever is learned; undefined: learned. */
  readonly fixed?: number;
  readonly targetMs?: number;
  /** How long the way to the replica and back takes. */
  readonly overheadMs: number;
  readonly runs: number;
  readonly random: () => number;
}

export interface Outcome {
  /** Rows a second, over the second half. */
  readonly rowsPerSecond: number;
  readonly sizes: readonly number[];
  /** Of the second half, in milliseconds. */
  readonly latencies: readonly number[];
  readonly best: number;
}

/** Between two numbers in proportion, beyond them as between the last two. */
export const curveOf = (points: readonly (readonly [rows: number, ms: number])[]) => (rows: number) => {
  let at = 1;
  while (at < points.length - 1 && rows > (points[at] as readonly [number, number])[0]) at++;
  const [[x0, y0], [x1, y1]] = [points[at - 1], points[at]] as [readonly [number, number], readonly [number, number]];
  return y0 + ((y1 - y0) * (rows - x0)) / (x1 - x0);
};

export const simulate = (given: Simulated, cost = new CostModel(given.maxRows)): Outcome => {
  const { maxRows, fixed, targetMs = null, random } = given;
  const limits: SizeLimits = { maxRows, targetMs, coldRows: coldRows('model', maxRows) };
  let now = 0;
  let trials = NO_TRIALS;
  let gapMs: number | undefined;
  let queue: Waiting[] = Array.from({ length: given.clients }, () => arrival(0));
  const sizes: number[] = [];
  const latencies: number[] = [];
  let rowsCounted = 0;
  let countedFrom = 0;
  for (let run = 0; run < given.runs; run++) {
    if (run === given.runs >> 1) {
      countedFrom = now;
      rowsCounted = 0;
      latencies.length = 0;
    }
    const best = fixed ?? bestSize(cost, limits);
    const rows = fixed ?? (queue.length >= best ? sizeToTry(cost, best, (size) => size <= queue.length, trials, limits) : best);
    const hold = targetMs === null ? NO_HOLD : holdForTarget(targetMs, cost, gapMs, queue.at(-1)?.arrivedAt ?? now, now);
    const decision = decideBatch(queue, { rows, whenFull: 'best', hold, runMs: () => undefined }, maxRows * 2, now);
    // All clients of a closed loop wait already: nobody is expected.
    const take = 'take' in decision ? decision.take : queue.length;
    if (queue.length >= best) trials = afterBatch(trials, best, rows !== best);
    const taken = queue.slice(0, take);
    queue = queue.slice(take);
    const ms = given.curve(take) * (1 + given.noise * (2 * random() - 1)) * (random() < 0.02 ? 3 : 1);
    const ahead = isSentAhead('model', ms) && queue.length >= best;
    const periodMs = ahead ? Math.max(ms, (ms + given.overheadMs) / 2) : ms + given.overheadMs;
    cost.observe(take, ms, periodMs);
    now += periodMs;
    for (const { arrivedAt } of taken) {
      latencies.push(now - arrivedAt);
      queue.push(arrival(now));
    }
    gapMs = ms / take;
    rowsCounted += take;
    sizes.push(take);
  }
  return {
    rowsPerSecond: (1000 * rowsCounted) / (now - countedFrom),
    sizes,
    latencies,
    best: bestSize(cost, limits),
  };
};

const arrival = (now: number): Waiting => ({
  rows: 1,
  arrivedAt: now,
  deadlineAt: Number.POSITIVE_INFINITY,
  maxCompany: Number.POSITIVE_INFINITY,
});

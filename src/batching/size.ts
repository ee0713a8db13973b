/** How many rows a batch may have: the fewest with which a replica gets as much done as with the best. Pure. */
import type { CostModel, Fit, SizeCost } from './cost.ts';

/** Of two sizes with which as much gets done but for this share, the smaller one is taken: its first answers come sooner. */
const AS_GOOD = 1.015;
/** Before anything is known of a model no batch is larger: what it costs at worst is the time of so many rows. */
const COLD_ROWS = 4;
/** Rows that go in batches of the size in force for each row that goes in one to learn from: while a size is new, and later. */
const ROWS_FOR_NEW = 8;
const ROWS_FOR_OTHER = 40;
/** With fewer runs a size is new: what the first few say may be the noise of the machine. */
const NEW_BELOW_RUNS = 10;
/** A size that is worse by more than this share is tried more seldom: what it costs to know stays small. */
const WORSE = 1.1;
const ROWS_FOR_WORSE = 160;
/** A request waits for the batch under way and then for its own: each may take this share of the latency that was asked for. */
const SHARE_OF_TARGET = 0.45;

/** Runs at least this long are not worth a batch sent ahead: it would only wait there instead of going to whoever is free first. */
const AHEAD_BELOW_MS = 20;

/** Whether a batch goes to a replica of such runs while another is under way there. */
export const isSentAhead = (kind: 'module' | 'model', runMs: number): boolean => kind === 'model' && runMs < AHEAD_BELOW_MS;

export interface SizeLimits {
  /** `max_batch_size`. */
  readonly maxRows: number;
  /** The latency that the file asks for; null: none. */
  readonly targetMs: number | null;
  /** A model that nothing is known of begins with small batches; code that takes an array gets what the file says. */
  readonly coldRows: number;
}

export const coldRows = (kind: 'module' | 'model', maxRows: number): number =>
  kind === 'model' ? Math.min(maxRows, COLD_ROWS) : maxRows;

/** @returns rows, at least 1 and at most `maxRows` */
export const bestSize = (cost: CostModel, limits: SizeLimits): number => {
  const { known } = cost;
  const affordable = limits.targetMs === null ? limits.maxRows : withinTarget(cost, limits.targetMs, limits.maxRows);
  if (known.length < 2) return Math.min(affordable, Math.max(limits.coldRows, 1));
  const costs = known.map((each) => ({ size: each.size, perRow: perRowMs(each) }));
  const best = Math.min(...costs.map(({ perRow }) => perRow));
  const smallest = costs.find(({ perRow }) => perRow <= best * AS_GOOD) as { readonly size: number };
  return Math.max(1, Math.min(smallest.size, affordable));
};

const perRowMs = ({ rows, periodMs }: SizeCost): number => periodMs / rows;

/** The most rows whose run takes no more than its share of the target; doubled at most from one try to the next. */
const withinTarget = (cost: CostModel, targetMs: number, maxRows: number): number => {
  const mostMs = targetMs * SHARE_OF_TARGET;
  let rows = 1;
  for (const size of cost.sizes) {
    const ms = cost.predict(size);
    if (ms === undefined || ms > mostMs || size > Math.max(1, 2 * cost.largestTried)) break;
    rows = size;
  }
  // Between two sizes: as many rows as fit.
  for (let step = rows / 2; step >= 1 && rows < maxRows; step /= 2) {
    const more = Math.min(maxRows, Math.floor(rows + step));
    const ms = cost.predict(more);
    if (ms !== undefined && ms <= mostMs && more <= Math.max(1, 2 * cost.largestTried)) rows = more;
  }
  return rows;
};

/** What a lane remembers of its trials. */
export interface Trials {
  /** Rows that have gone in full batches since the last. */
  readonly rows: number;
  readonly done: number;
}

export const NO_TRIALS: Trials = { rows: 0, done: 0 };

/** After a full batch. */
export const afterBatch = ({ rows, done }: Trials, size: number, wasTrial: boolean): Trials =>
  wasTrial ? { rows: 0, done: done + 1 } : { rows: rows + size, done };

/**
 * Another size for once, so that it is known what it would cost: new ones first, those that ran least before others, then what is forgotten,
 * from the nearest on, then all in turn. Not the neighbours
 * alone: what a batch costs has steps, and the best size may lie behind one.
 * @param best  of `bestSize`
 * @param fills whether a batch of what waits would be of that size; others are not tried: nothing would be learned of them
 */
export const sizeToTry = (
  cost: CostModel,
  best: number,
  fills: (size: number) => boolean,
  trials: Trials,
  limits: SizeLimits,
): number => {
  const others = cost.sizes.filter((size) => size !== best && fills(size) && isAffordable(cost, size, limits));
  const isNew = (size: number): boolean => cost.timesRun(size) < NEW_BELOW_RUNS;
  const distance = (size: number): number => Math.max(size / best, best / size);
  const tried =
    others.filter(isNew).sort((one, other) => cost.timesRun(one) - cost.timesRun(other))[0] ??
    others.filter((size) => !cost.isKnown(size)).sort((one, other) => distance(one) - distance(other))[0] ??
    others[trials.done % Math.max(1, others.length)];
  if (tried === undefined) return best;
  const costOf = (size: number): number => {
    const known = cost.known.find((each) => each.size === size);
    return known === undefined ? 0 : perRowMs(known);
  };
  const share = isNew(tried) ? ROWS_FOR_NEW : costOf(tried) > WORSE * costOf(best) ? ROWS_FOR_WORSE : ROWS_FOR_OTHER;
  return trials.rows >= share * tried ? tried : best;
};

const isAffordable = (cost: CostModel, size: number, { targetMs }: SizeLimits): boolean =>
  targetMs === null || (cost.predict(size) ?? 0) <= targetMs * SHARE_OF_TARGET;

/**
 * Among how many idle replicas what waits is divided: as many as still have more work with their rows than with the batch as such.
 * Where nothing is known of the cost, each gets its part.
 */
export const partsOf = (rows: number, idle: number, fit: Fit | undefined): number => {
  if (idle <= 1 || rows <= 1) return 1;
  const most = Math.min(idle, rows);
  if (fit === undefined || fit.fixedMs <= 0) return most;
  return Math.max(1, Math.min(most, Math.floor((rows * fit.perRowMs) / fit.fixedMs)));
};

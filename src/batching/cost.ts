/** What batches cost: learned from the runs themselves, for each size that is worth telling apart. No clock, no I/O. */

/** Runs remembered for each size: their median is what one slow run does not move, and what is older is forgotten. */
const REMEMBERED = 32;
/** So many runs of a size make its median worth believing. */
const BELIEVED_FROM = 3;
/** A run before so many others says nothing any more: the machine, the load or the inputs may have changed since. */
const FORGOTTEN_AFTER = 2048;
/** One size, as it was measured. */
export interface SizeCost {
  /** The size that stands for all near it. */
  readonly size: number;
  /** Medians. */
  readonly rows: number;
  readonly ms: number;
  /** How long its replica is taken up by it: what passes besides the run counts where nothing else is done meanwhile. */
  readonly periodMs: number;
}

/** A run of n rows takes `perRowMs` · n + `fixedMs`. The fixed part may come out below 0 where large batches are slow. */
export interface Fit {
  readonly perRowMs: number;
  readonly fixedMs: number;
}

/** The best that was seen of one size. */
interface Fastest {
  readonly fewestRows: number;
  readonly ms: number;
  readonly runs: number;
}

interface Run {
  readonly rows: number;
  readonly ms: number;
  readonly periodMs: number;
  /** How many runs had been seen then. */
  readonly at: number;
}

/** The last runs of one size. */
class Runs {
  readonly #size: number;
  #runs: Run[] = [];
  #cost: SizeCost | undefined;

  constructor(size: number) {
    this.#size = size;
  }

  /** Of all time. */
  count = 0;

  add(run: Run): void {
    this.count += 1;
    if (this.#runs.length === REMEMBERED) this.#runs.shift();
    this.#runs.push(run);
    this.#cost = undefined;
  }

  /** @param now runs seen; what is too old is forgotten first */
  at(now: number): readonly Run[] {
    while ((this.#runs[0]?.at ?? now) < now - FORGOTTEN_AFTER) {
      this.#runs.shift();
      this.#cost = undefined;
    }
    return this.#runs;
  }

  costAt(now: number): SizeCost | undefined {
    this.at(now);
    if (this.#runs.length < BELIEVED_FROM) return undefined;
    this.#cost ??= {
      size: this.#size,
      rows: median(this.#runs.map(({ rows }) => rows)),
      ms: median(this.#runs.map(({ ms }) => ms)),
      periodMs: median(this.#runs.map(({ periodMs }) => periodMs)),
    };
    return this.#cost;
  }
}

export class CostModel {
  /** Sizes told apart: the powers of two up to the largest batch, and that. */
  readonly sizes: readonly number[];
  readonly #runs: readonly Runs[];
  #seen = 0;
  #known: readonly SizeCost[] | undefined;
  #fastest: readonly Fastest[] | undefined;

  constructor(maxRows: number) {
    this.sizes = sizesUpTo(maxRows);
    this.#runs = this.sizes.map((size) => new Runs(size));
  }

  /** Runs that it was told of. */
  get seen(): number {
    return this.#seen;
  }

  /** @param periodMs how long its replica was taken up by it, which a run alone does not say */
  observe(rows: number, ms: number, periodMs = ms): void {
    if (!(rows > 0 && ms >= 0 && ms < Number.POSITIVE_INFINITY && periodMs >= 0)) return;
    this.#seen += 1;
    (this.#runs[this.#indexOf(rows)] as Runs).add({ rows, ms, periodMs, at: this.#seen });
    this.#known = undefined;
    this.#fastest = undefined;
  }

  /** Sizes of which enough is known, smallest first. */
  get known(): readonly SizeCost[] {
    this.#known ??= this.#runs.map((runs) => runs.costAt(this.#seen)).filter((cost) => cost !== undefined);
    return this.#known;
  }

  isKnown(size: number): boolean {
    return this.known.some((each) => each.size === size);
  }

  /** Runs of a size, those that are forgotten included. */
  timesRun(size: number): number {
    return this.#runs[this.sizes.indexOf(size)]?.count ?? 0;
  }

  /** The largest size that was ever run; 0: none. */
  get largestTried(): number {
    return this.sizes.findLast((_, index) => (this.#runs[index] as Runs).count > 0) ?? 0;
  }

  /** Least squares over the known sizes, each of equal weight in proportion to its time; undefined below two of them. */
  fit(): Fit | undefined {
    return fitOf(this.known);
  }

  /** Milliseconds that a run of so many rows takes, by the nearest that is known; undefined where nothing is. */
  predict(rows: number): number | undefined {
    const { known } = this;
    const [first] = known;
    if (first === undefined) return undefined;
    let below = first;
    for (const each of known) {
      if (each.rows === rows) return each.ms;
      if (each.rows > rows) {
        // Fewer rows than were ever run cost no more than the fewest that were.
        if (each === below) return each.ms;
        const share = (rows - below.rows) / (each.rows - below.rows);
        return below.ms + share * (each.ms - below.ms);
      }
      below = each;
    }
    const fit = fitOf(known);
    return fit === undefined || fit.perRowMs <= 0
      ? (below.ms * rows) / below.rows
      : Math.max(below.ms, below.ms + fit.perRowMs * (rows - below.rows));
  }

  /**
   * Milliseconds that a run of so many rows takes at least: as long as the fastest that was seen of no more rows. A prediction says what
   * is usual; whoever is to be refused for it must be told what cannot be done.
   * @param rows undefined: not known, as of a body that nobody has read; then all runs count
   * @returns undefined where too little is known of so few rows
   */
  leastMs(rows: number | undefined): number | undefined {
    this.#fastest ??= this.#runs.map((runs) => fastestOf(runs.at(this.#seen)));
    let runs = 0;
    let ms = Number.POSITIVE_INFINITY;
    for (const each of this.#fastest) {
      if (rows !== undefined && each.fewestRows > rows) break;
      runs += each.runs;
      ms = Math.min(ms, each.ms);
    }
    return runs < BELIEVED_FROM ? undefined : ms;
  }

  /** The size that stands for so many rows. */
  sizeOf(rows: number): number {
    return this.sizes[this.#indexOf(rows)] as number;
  }

  /** Of the size that is nearest in proportion. */
  #indexOf(rows: number): number {
    let best = 0;
    for (let index = 1; index < this.sizes.length; index++)
      if ((this.sizes[index] as number) * (this.sizes[index - 1] as number) <= rows * rows) best = index;
    return best;
  }
}

/** Times of one batch, in monotonic milliseconds. */
export interface Passage {
  /** Its run. */
  readonly ms: number;
  readonly sentAt: number;
  readonly endedAt: number;
  /** When the batch before it on the same replica was answered. */
  readonly before: number;
}

/**
 * How long a replica was taken up by a batch: from the answer to the one before it on, or from when it was sent where that was later.
 * @param isSentAhead the next one goes while it runs: one that came alone then says what it would take with another behind it, as the
 *   way there and back passes while that runs
 */
export const periodOf = ({ ms, sentAt, endedAt, before }: Passage, isSentAhead: boolean): number => {
  if (sentAt < before) return endedAt - before;
  const elapsedMs = endedAt - sentAt;
  return isSentAhead ? Math.max(ms, elapsedMs / 2) : elapsedMs;
};

const fastestOf = (runs: readonly Run[]): Fastest => ({
  fewestRows: runs.length === 0 ? 0 : Math.min(...runs.map(({ rows }) => rows)),
  ms: runs.reduce((least, { ms }) => Math.min(least, ms), Number.POSITIVE_INFINITY),
  runs: runs.length,
});

/** 1, 2, 4 … and the largest itself; a power of two that is nearly the largest is left out. */
export const sizesUpTo = (maxRows: number): readonly number[] => {
  const sizes: number[] = [];
  for (let size = 1; size <= maxRows / 1.5; size *= 2) sizes.push(size);
  if (sizes.at(-1) !== maxRows) sizes.push(maxRows);
  return sizes;
};

export const fitOf = (points: readonly { readonly rows: number; readonly ms: number }[]): Fit | undefined => {
  let [weights, sumX, sumY, sumXX, sumXY] = [0, 0, 0, 0, 0];
  for (const { rows, ms } of points) {
    // Long runs are as wrong in proportion as short ones are.
    const weight = 1 / Math.max(ms, 1e-3) ** 2;
    weights += weight;
    sumX += weight * rows;
    sumY += weight * ms;
    sumXX += weight * rows * rows;
    sumXY += weight * rows * ms;
  }
  const spread = weights * sumXX - sumX * sumX;
  if (points.length < 2 || spread <= 1e-12 * weights * sumXX) return undefined;
  const perRowMs = (weights * sumXY - sumX * sumY) / spread;
  return { perRowMs, fixedMs: (sumY - perRowMs * sumX) / weights };
};

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
};

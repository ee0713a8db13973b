/** Batches of one deployment: keeps what was learned of their cost, and asks the policies what leaves next. */

import { type BatchDecision, type BatchLimits, decideBatch, type Hold } from '../batching/batch.ts';
import { CostModel } from '../batching/cost.ts';
import { holdForTarget, holdForWindow, NO_HOLD } from '../batching/hold.ts';
import { afterBatch, bestSize, coldRows, NO_TRIALS, partsOf, type SizeLimits, sizeToTry, type Trials } from '../batching/size.ts';
import type { BatchingSpec } from '../domain/desired.ts';
import type { DeploymentRouting } from '../domain/snapshot.ts';
import { tooLate } from './drop.ts';
import type { Lane } from './lane.ts';
import type { PendingCall } from './pending.ts';

/** Shapes come from clients: what is known of those that were seen last is kept. */
const MAX_LEARNED = 64;

/** What is known of the batches of one lane: same version, same shape. */
export interface Learned {
  readonly cost: CostModel;
  trials: Trials;
  /** `seen` of the cost when the size was chosen. */
  chosenAt: number;
  best: number;
}

export class Batcher {
  readonly #learned = new Map<string, Learned>();
  #maxRows = 0;
  #inForce: number | undefined;
  #targetMs: number | null = null;

  /** Of the lane that a batch is formed of. */
  learnedOf(lane: Lane, batching: BatchingSpec): Learned {
    if (this.#maxRows !== batching.maxBatchSize || this.#targetMs !== batching.targetMs) {
      // Other sizes are told apart now.
      this.#learned.clear();
      this.#inForce = undefined;
      this.#maxRows = batching.maxBatchSize;
      this.#targetMs = batching.targetMs;
    }
    const known = this.#learned.get(lane.key);
    if (known !== undefined) {
      if (this.#learned.size < MAX_LEARNED) return known;
      // The one that was used last is the last to be forgotten.
      this.#learned.delete(lane.key);
      this.#learned.set(lane.key, known);
      return known;
    }
    const learned = { cost: new CostModel(batching.maxBatchSize), trials: NO_TRIALS, chosenAt: -1, best: 1 };
    const [oldest] = this.#learned.keys();
    if (this.#learned.size >= MAX_LEARNED && oldest !== undefined) this.#learned.delete(oldest);
    this.#learned.set(lane.key, learned);
    return learned;
  }

  /** Rows that make a batch whole. Who names a window wants those of the file; else they are learned. */
  sizeOf(lane: Lane, routing: DeploymentRouting, batching: BatchingSpec): number {
    if (hasWindow(batching)) return batching.maxBatchSize;
    const learned = this.learnedOf(lane, batching);
    if (learned.chosenAt !== learned.cost.seen) {
      learned.chosenAt = learned.cost.seen;
      learned.best = bestSize(learned.cost, limitsOf(routing, batching));
    }
    this.#inForce = learned.best;
    return learned.best;
  }

  /** The size of the lane that was looked at last; before any, with what a lane begins. */
  sizeInForce(routing: DeploymentRouting, batching: BatchingSpec): number {
    if (hasWindow(batching)) return batching.maxBatchSize;
    return this.#inForce ?? (batching.targetMs === null ? coldRows(routing.kind, batching.maxBatchSize) : 1);
  }

  /**
   * Those at the head of a lane that would be answered too late.
   * @param free replicas that could begin at once
   */
  late(lane: Lane, routing: DeploymentRouting, batching: BatchingSpec, now: number, free: () => number): readonly PendingCall[] {
    const { cost } = this.learnedOf(lane, batching);
    // A body from HTTP counts as one row, whatever is in it.
    const leastMs = ({ http, rows }: PendingCall) => cost.leastMs(http === undefined ? Math.max(1, rows) : undefined);
    return tooLate(lane, this.sizeOf(lane, routing, batching), leastMs, now, free);
  }

  /**
   * @param waiting of the lane, those that may share this batch; the next one first
   * @param room    requests that the chosen replica may take
   * @param idle    replicas that could begin at once, the chosen one counted
   */
  decide(
    lane: Lane,
    waiting: Iterable<PendingCall>,
    routing: DeploymentRouting,
    batching: BatchingSpec,
    replicas: { readonly room: number; readonly idle: number },
    now: number,
  ): BatchDecision {
    const learned = this.learnedOf(lane, batching);
    const best = this.sizeOf(lane, routing, batching);
    const limits = this.#limits(lane, learned, best, routing, batching, replicas, now);
    const decision = decideBatch(waiting, limits, replicas.room, now);
    if ('take' in decision && (decision.reason === 'best' || decision.reason === 'full' || decision.reason === 'trial'))
      learned.trials = afterBatch(learned.trials, best, decision.reason === 'trial');
    return decision;
  }

  #limits(
    lane: Lane,
    { cost, trials }: Learned,
    best: number,
    routing: DeploymentRouting,
    batching: BatchingSpec,
    { room, idle }: { readonly room: number; readonly idle: number },
    now: number,
  ): BatchLimits {
    const hold = holdOf(lane, cost, batching, now);
    const runMs = (rows: number) => cost.predict(rows);
    if (hasWindow(batching)) return { rows: best, whenFull: 'full', hold, runMs };
    if (idle > 1) {
      const part = Math.ceil(lane.rows / partsOf(lane.rows, idle, cost.fit()));
      if (part < Math.min(best, lane.rows)) return { rows: part, whenFull: 'spread', hold: NO_HOLD, runMs };
    }
    // What failed together is taken apart first: that is no time to learn.
    if (lane.rows >= best && lane.first?.maxCompany === Number.POSITIVE_INFINITY) {
      const tried = sizeToTry(cost, best, fillable(lane, room, cost), trials, limitsOf(routing, batching));
      if (tried !== best) return { rows: tried, whenFull: 'trial', hold, runMs };
    }
    return { rows: best, whenFull: best < batching.maxBatchSize ? 'best' : 'full', hold, runMs };
  }
}

const hasWindow = ({ waitMs, targetMs }: BatchingSpec): boolean => waitMs > 0 && targetMs === null;

/** Sizes that a batch of what waits would be of: cut neither by the room of the replica, in requests, nor where a request has many rows. */
const fillable = (lane: Lane, room: number, cost: CostModel): ((size: number) => boolean) => {
  if (lane.rows === lane.size) return (size) => size <= Math.min(lane.size, room);
  const sizes = new Set<number>();
  let requests = 0;
  let rows = 0;
  for (const call of lane) {
    if (requests === room || rows >= (cost.sizes.at(-1) as number)) break;
    requests += 1;
    rows += call.rows;
    const size = cost.sizeOf(rows);
    // Only a lone request may be larger than the batch.
    if (requests === 1 || rows <= size) sizes.add(size);
  }
  return (size) => size <= lane.rows && sizes.has(size);
};

const limitsOf = ({ kind }: DeploymentRouting, { maxBatchSize, targetMs }: BatchingSpec): SizeLimits => ({
  maxRows: maxBatchSize,
  targetMs,
  coldRows: coldRows(kind, maxBatchSize),
});

const holdOf = (lane: Lane, cost: CostModel, { waitMs, targetMs }: BatchingSpec, now: number): Hold => {
  if (targetMs !== null) return holdForTarget(targetMs, cost, lane.gapMs, lane.lastAt ?? now, now);
  return waitMs > 0 ? holdForWindow(waitMs, lane.gapMs, now) : NO_HOLD;
};

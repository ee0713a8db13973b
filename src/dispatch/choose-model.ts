/** Which replica takes the next request for a multiplexed model. Pure. */
import type { Candidate } from './choose.ts';

export interface ModelCandidate extends Candidate {
  /** Models that it holds, loads, or was given requests for. */
  readonly models: number;
}

export interface ModelLimits {
  readonly maxNumModelsPerReplica: number;
  readonly targetReplicasPerModel: number;
}

/**
 * A replica that has the model, the least loaded of them: a request never waits for one that is cold while a warm one has room. The model
 * spreads to a replica that has less to do while there are fewer copies than wanted, and to any that has room when no warm one has.
 * @param holds whether the model is loaded there, being loaded, or about to be; those on which it may not run hold it not
 * @param room  how many more requests for this model a candidate may be given
 * @param after index of who was chosen last: among equals the next one
 * @returns its index; undefined when none has room
 */
export const chooseForModel = <T extends ModelCandidate>(
  candidates: readonly T[],
  holds: (candidate: T) => boolean,
  { maxNumModelsPerReplica: most, targetReplicasPerModel: target }: ModelLimits,
  room: (candidate: T) => number,
  after: number,
): number | undefined => {
  let warm: number | undefined;
  let cold: number | undefined;
  let copies = 0;
  for (let step = 1; step <= candidates.length; step++) {
    const index = (after + step) % candidates.length;
    const candidate = candidates[index] as T;
    const holdsIt = holds(candidate);
    if (holdsIt) copies += 1;
    if (room(candidate) <= 0) continue;
    if (holdsIt) {
      if (warm === undefined || candidate.load < (candidates[warm] as T).load) warm = index;
    } else if (cold === undefined || isBetterCold(candidate, candidates[cold] as T, most)) cold = index;
  }
  if (warm === undefined || cold === undefined) return warm ?? cold;
  return copies < target && (candidates[cold] as T).load < (candidates[warm] as T).load ? cold : warm;
};

/** A free place for the model before one that has to be made, then fewer models, then less work. */
const isBetterCold = (one: ModelCandidate, other: ModelCandidate, most: number): boolean => {
  const isFree = one.models < most;
  if (isFree !== other.models < most) return isFree;
  if (!isFree && one.models !== other.models) return one.models < other.models;
  return one.load < other.load;
};

/** Which replica takes the next request. Pure. */

export interface Candidate {
  /** Requests it has been given and not answered. */
  readonly ongoing: number;
  /** How many more it may be given. */
  readonly room: number;
}

/**
 * The candidate with the least outstanding work among those that have room; among equals the one after `after`, so that idle replicas
 * take turns.
 * @returns its index; undefined when none has room
 */
export const chooseLeastLoaded = (candidates: readonly Candidate[], after: number): number | undefined => {
  let best: number | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (let step = 1; step <= candidates.length; step++) {
    const index = (after + step) % candidates.length;
    const candidate = candidates[index] as Candidate;
    if (candidate.room > 0 && candidate.ongoing < least) {
      best = index;
      least = candidate.ongoing;
    }
  }
  return best;
};

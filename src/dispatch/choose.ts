/** Which replica takes the next request. Pure. */

export interface Candidate {
  /**
   * Work that it has been given and not answered: rows of a model's batches, else requests. Replicas of one version take as long for a row
   * as each other, so the rows say who is done first.
   */
  readonly load: number;
}

/** For a WebSocket: the fewest open ones count first, and among equals the least outstanding work. Otherwise as `chooseLeastLoaded`. */
export const chooseForSocket = <T extends Candidate & { readonly openSockets: number }>(
  candidates: readonly T[],
  room: (candidate: T) => number,
  after: number,
): number | undefined => chooseFewest(candidates, ({ openSockets }) => openSockets, room, after);

/** For a sequence that starts: the same with the sequences that a candidate has. */
export const chooseForStart = <T extends Candidate & { readonly sequences: number }>(
  candidates: readonly T[],
  room: (candidate: T) => number,
  after: number,
): number | undefined => chooseFewest(candidates, ({ sequences }) => sequences, room, after);

const chooseFewest = <T extends Candidate>(
  candidates: readonly T[],
  held: (candidate: T) => number,
  room: (candidate: T) => number,
  after: number,
): number | undefined => {
  let fewest = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) if (room(candidate) > 0) fewest = Math.min(fewest, held(candidate));
  return chooseLeastLoaded(candidates, (candidate) => (held(candidate) > fewest ? 0 : room(candidate)), after);
};

/**
 * The candidate with the least outstanding work among those that have room; among equals the one after `after`, so that idle replicas
 * take turns.
 * @param room how many more requests a candidate may be given
 * @returns its index; undefined when none has room
 */
export const chooseLeastLoaded = <T extends Candidate>(
  candidates: readonly T[],
  room: (candidate: T) => number,
  after: number,
): number | undefined => {
  let best: number | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (let step = 1; step <= candidates.length; step++) {
    const index = (after + step) % candidates.length;
    const candidate = candidates[index] as T;
    if (candidate.load < least && room(candidate) > 0) {
      best = index;
      least = candidate.load;
    }
  }
  return best;
};

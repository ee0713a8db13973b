/**
 * Which replica a session sticks to: rendezvous hashing. Each replica has a weight for each session, and the heaviest takes it; so a replica
 * that comes takes its share of the sessions and moves no other, and one that goes leaves its own to all. Pure.
 */

/** FNV-1a with the finish of MurmurHash3, as a 32-bit number. */
export const hashOf = (text: string): number => {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return mixed(hash);
};

const mixed = (hash: number): number => {
  let mix = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  mix = Math.imul(mix ^ (mix >>> 13), 0xc2b2ae35);
  return (mix ^ (mix >>> 16)) >>> 0;
};

/** @param session and replica: `hashOf` their ids */
const weightOf = (session: number, replica: number): number => mixed(Math.imul(session, 0x9e3779b1) ^ replica);

export interface SessionCandidate {
  /** `hashOf` its id. */
  readonly hash: number;
}

/**
 * The heaviest for this session among those that may take it: its own replica first, and when that is full or gone always the same next one.
 * @returns its index; undefined when none may
 */
export const chooseForSession = <T extends SessionCandidate>(
  candidates: readonly T[],
  session: number,
  mayTake: (candidate: T) => boolean,
): number | undefined => {
  let best: number | undefined;
  let heaviest = -1;
  for (let index = 0; index < candidates.length; index++) {
    const candidate = candidates[index] as T;
    const weight = weightOf(session, candidate.hash);
    if (weight > heaviest && mayTake(candidate)) {
      best = index;
      heaviest = weight;
    }
  }
  return best;
};

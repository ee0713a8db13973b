/** `target_capacity`: per cent of every replica count, rounded as Ray Serve does. Pure. */

/** @param percent null: all of them */
export const atCapacity = (count: number, percent: number | null): number => {
  if (percent === null || count === 0) return count;
  if (percent === 0) return 0;
  // In whole numbers first: 0.285 × 100 is not 28.5 in binary.
  return Math.max(1, Math.floor(Number(((count * percent) / 100).toFixed(9)) + 0.5));
};

/** Whether the capacity is on its way up or down: going up, `initial_replicas` is the least, else `min_replicas`. */
export type Direction = 'up' | 'down' | null;

export interface CapacityGoal {
  readonly percent: number | null;
  readonly applications: readonly string[];
}

/** @param before undefined: nothing was wanted yet */
export const directionOf = (before: CapacityGoal | undefined, after: CapacityGoal, current: Direction): Direction => {
  if (after.percent === null) return null;
  if (before === undefined || !sameNames(before.applications, after.applications)) return 'up';
  if (before.percent === after.percent) return current;
  return before.percent === null || after.percent < before.percent ? 'down' : 'up';
};

const sameNames = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && [...a].sort().join() === [...b].sort().join();

/** The counts between which a deployment may scale. */
export interface Bounds {
  readonly lower: number;
  readonly upper: number;
}

export const boundsOf = (
  spec: { readonly minReplicas: number; readonly initialReplicas: number | null; readonly maxReplicas: number },
  percent: number | null,
  direction: Direction,
): Bounds => ({
  lower: atCapacity(direction === 'up' && spec.initialReplicas !== null ? spec.initialReplicas : spec.minReplicas, percent),
  upper: atCapacity(spec.maxReplicas, percent),
});

export const within = (count: number, { lower, upper }: Bounds): number => Math.min(upper, Math.max(lower, count));

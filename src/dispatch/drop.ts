/** Which requests are given up before they run: what cannot be answered in time only takes the place of what can. Pure. */

interface WithDeadline {
  readonly rows: number;
  /** Monotonic milliseconds; Infinity: none. */
  readonly deadlineAt: number;
}

/**
 * Requests at the head of a lane that would be late even if they ran alone, now and as fast as was ever seen. Where what is in time leaves
 * replicas free, those with the most time left are kept, one for each: such a replica has nothing better to do, and the run tells whether
 * it is still as slow.
 * @param waiting the next one first
 * @param rows    of a batch; looks no further than what is in time takes up all free replicas
 * @param leastMs what a run of the request takes at least; undefined: not known, it is not given up
 * @param free    replicas that could begin at once, asked only where one is late; the one that asks for work counts in any case
 */
export const tooLate = <T extends WithDeadline>(
  waiting: Iterable<T>,
  rows: number,
  leastMs: (request: T) => number | undefined,
  now: number,
  free: () => number,
): readonly T[] => {
  const late: T[] = [];
  let replicas = 1;
  let inTime = 0;
  for (const request of waiting) {
    const ms = request.deadlineAt === Number.POSITIVE_INFINITY ? undefined : leastMs(request);
    if (ms === undefined || now + ms <= request.deadlineAt) inTime += Math.max(1, request.rows);
    else {
      if (late.length === 0) replicas = Math.max(1, free());
      late.push(request);
    }
    if (inTime >= rows * replicas) break;
  }
  const spare = replicas - Math.ceil(inTime / rows);
  if (spare <= 0 || late.length === 0) return late;
  const tried = new Set([...late].sort((one, other) => other.deadlineAt - one.deadlineAt).slice(0, spare));
  return late.filter((each) => !tried.has(each));
};

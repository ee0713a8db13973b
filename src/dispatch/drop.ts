/** Which requests are given up before they run: what cannot be answered in time only takes the place of what can. Pure. */

interface WithDeadline {
  readonly rows: number;
  /** Monotonic milliseconds; Infinity: none. */
  readonly deadlineAt: number;
}

/**
 * Requests at the head of a lane that would be late even if they ran alone and now. Where all that waits would be, the one with the most
 * time left is kept: a replica that is free has nothing better to do, and its run tells whether the prediction still holds.
 * @param waiting the next one first
 * @param rows    looks no further than a batch of so many rows that are in time
 * @param runMs   what a run of so many rows takes; undefined: not known, nothing is given up
 */
export const tooLate = <T extends WithDeadline>(
  waiting: Iterable<T>,
  rows: number,
  runMs: (rows: number) => number | undefined,
  now: number,
): readonly T[] => {
  const late: T[] = [];
  let inTime = 0;
  for (const request of waiting) {
    const ms = request.deadlineAt === Number.POSITIVE_INFINITY ? 0 : runMs(Math.max(1, request.rows));
    if (ms === undefined || now + ms <= request.deadlineAt) inTime += Math.max(1, request.rows);
    else late.push(request);
    if (inTime >= rows) break;
  }
  if (inTime > 0 || late.length === 0) return late;
  const kept = late.reduce((best, each) => (each.deadlineAt > best.deadlineAt ? each : best));
  return late.filter((each) => each !== kept);
};

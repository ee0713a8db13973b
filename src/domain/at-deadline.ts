/** Waits for a time, however far away it is. */

/** The longest delay that a timer takes. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Tells that a time is over, and never before it is: timers come up to two milliseconds early, and code that was told so of one call would begin
 * the next in what is left.
 * @param hold is given each timer that it waits with
 */
export const atDeadline = (
  deadlineAt: number,
  now: () => number,
  hold: (timer: NodeJS.Timeout) => void,
  over: () => void,
): void => {
  const wait = () => hold(setTimeout(look, Math.min(Math.max(deadlineAt - now(), 1), MAX_TIMER_MS)));
  const look = () => (now() < deadlineAt ? wait() : over());
  wait();
};

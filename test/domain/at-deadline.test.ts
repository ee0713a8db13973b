import t from 'tap';
import { atDeadline } from '../../src/domain/at-deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';

type Owner = ConstructorParameters<typeof FakeClock>[0];

/** Waits for a time on a clock whose timers come a fiftieth early, as Node's come up to two milliseconds early. */
const waiting = (t: Owner, afterMs: number) => {
  const clock = new FakeClock(t);
  const exact = globalThis.setTimeout;
  globalThis.setTimeout = ((work: () => void, ms: number) => exact(work, ms * 0.98)) as typeof setTimeout;
  let told = 0;
  const timers: NodeJS.Timeout[] = [];
  atDeadline(
    clock.now() + afterMs,
    clock.now,
    (timer) => timers.push(timer),
    () => told++,
  );
  return { clock, told: () => told, timers };
};

t.test('that a time is over is told once, and never before it is', async (t) => {
  const { clock, told } = waiting(t, 100);
  clock.advance(99.9);
  t.equal(told(), 0, 'code would begin its next call in what is left');
  clock.advance(1.1);
  t.equal(told(), 1);
  t.equal(clock.pending, 0);
});

t.test('a time that is further away than a timer may be is waited for all the same', async (t) => {
  const { clock, told } = waiting(t, 2 ** 31 + 500);
  clock.advance(2 ** 31);
  t.equal(told(), 0);
  clock.advance(600);
  t.equal(told(), 1);
});

t.test('who waits no longer is told nothing, whichever of its timers is at work', async (t) => {
  const { clock, told, timers } = waiting(t, 100);
  clock.advance(98.5);
  t.equal(timers.length, 2);
  clearTimeout(timers[1]);
  clock.advance(10);
  t.equal(told(), 0);
});

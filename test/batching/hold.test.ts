import t from 'tap';
import { CostModel } from '../../src/batching/cost.ts';
import { holdForTarget, holdForWindow, NO_HOLD } from '../../src/batching/hold.ts';

const costOf = (perRowMs: number, fixedMs: number): CostModel => {
  const cost = new CostModel(32);
  for (let run = 0; run < 8; run++) for (const rows of [1, 8]) cost.observe(rows, perRowMs * rows + fixedMs);
  return cost;
};
const one = { requests: 1, rows: 1, oldest: 100 };
const NOT_HELD = Number.NEGATIVE_INFINITY;

t.test('without a wait in the file nothing is held', async (t) => {
  t.equal(NO_HOLD(one), NOT_HELD);
});

t.test('a window counts from the oldest', async (t) => {
  t.equal(holdForWindow(50, undefined, 100)(one), 150);
  t.equal(holdForWindow(50, 10, 120)(one), 150);
});

t.test('where nobody is expected before the end of the window it is not waited out', async (t) => {
  t.equal(holdForWindow(50, 51, 100)(one), NOT_HELD);
  t.equal(holdForWindow(50, 31, 120)(one), NOT_HELD);
  t.equal(holdForWindow(50, 31, 150)(one), 150, 'a window that is over is told as such');
});

t.test('for a target it is held while one more saves more than those who wait pay', async (t) => {
  const cost = costOf(1, 20);
  t.equal(holdForTarget(100, cost, 5, 100, 100)(one), 110, 'twice the usual pause');
  t.equal(holdForTarget(100, cost, 5, 100, 100)({ requests: 4, rows: 4, oldest: 100 }), NOT_HELD, '4 wait 5 ms each for 20');
  t.equal(holdForTarget(100, costOf(1, 0), 5, 100, 100)(one), NOT_HELD, 'nothing to save');
  t.equal(holdForTarget(100, cost, undefined, 100, 100)(one), NOT_HELD, 'nobody is known to come');
  t.equal(holdForTarget(100, new CostModel(8), 5, 100, 100)(one), NOT_HELD, 'nothing is known of the cost');
});

t.test('for a target it is never held so long that the run would be late', async (t) => {
  const cost = costOf(1, 20);
  // 22 ms for a run of two: 45 - 22 after the arrival.
  t.equal(holdForTarget(50, cost, 15, 110, 110)(one), 123);
  t.equal(holdForTarget(50, cost, 15, 110, 122.5)(one), NOT_HELD, 'no timer is that short');
  t.equal(holdForTarget(50, cost, 15, 110, 140)(one), NOT_HELD);
});

t.test(
  'who has not come in twice the usual pause since the last one is not waited for, however often it is looked',
  async (t) => {
    const cost = costOf(1, 20);
    let now = 100;
    for (let look = 0; look < 50; look++) {
      const end = holdForTarget(100, cost, 5, 100, now)(one);
      if (end === NOT_HELD) break;
      now = end;
    }
    t.equal(now, 110);
  },
);

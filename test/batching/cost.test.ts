import fc from 'fast-check';
import t from 'tap';
import { CostModel, fitOf, periodOf, sizesUpTo } from '../../src/batching/cost.ts';

const told = (cost: CostModel, curve: (rows: number) => number, runs: readonly number[], times = 8): CostModel => {
  for (let time = 0; time < times; time++) for (const rows of runs) cost.observe(rows, curve(rows));
  return cost;
};
const close = (got: number | undefined, wanted: number, share = 0.02) => Math.abs((got ?? Number.NaN) - wanted) <= share * wanted;

t.test('sizes that are told apart: powers of two, and the largest', async (t) => {
  t.same(sizesUpTo(1), [1]);
  t.same(sizesUpTo(2), [1, 2]);
  t.same(sizesUpTo(3), [1, 2, 3]);
  t.same(sizesUpTo(10), [1, 2, 4, 10]);
  t.same(sizesUpTo(64), [1, 2, 4, 8, 16, 32, 64]);
});

t.test('what a row and a batch as such cost is found from the runs', async (t) => {
  const cost = told(new CostModel(32), (rows) => 0.5 * rows + 4, [1, 4, 32]);
  const fit = cost.fit();
  t.ok(close(fit?.perRowMs, 0.5) && close(fit?.fixedMs, 4), JSON.stringify(fit));
  t.ok(close(cost.predict(16), 12), `${cost.predict(16)}`);
});

t.test('any line is found through two of its points', async (t) => {
  const points = fc.record({
    a: fc.double({ min: 0.01, max: 50, noNaN: true }),
    b: fc.double({ min: 0, max: 50, noNaN: true }),
    rows: fc.uniqueArray(fc.integer({ min: 1, max: 500 }), { minLength: 2, maxLength: 6 }),
  });
  fc.assert(
    fc.property(points, ({ a, b, rows }) => {
      const fit = fitOf(rows.map((each) => ({ rows: each, ms: a * each + b })));
      return fit !== undefined && Math.abs(fit.perRowMs - a) < 0.01 * a + 1e-6 && Math.abs(fit.fixedMs - b) < 0.02 * (a + b);
    }),
  );
  t.equal(fitOf([{ rows: 4, ms: 1 }]), undefined, 'one point is no line');
  t.same(new CostModel(8).fit(), undefined);
});

t.test('one run of three that takes a hundred times as long changes nothing', async (t) => {
  const cost = new CostModel(8);
  for (let run = 0; run < 30; run++) for (const rows of [1, 8]) cost.observe(rows, (rows + 2) * (run % 3 === 1 ? 100 : 1));
  t.ok(close(cost.predict(8), 10) && close(cost.fit()?.fixedMs, 2), `${cost.predict(8)} ${JSON.stringify(cost.fit())}`);
});

t.test('what a size costs today counts, not what it cost before', async (t) => {
  const cost = told(new CostModel(8), (rows) => rows, [1, 8], 100);
  told(cost, (rows) => 3 * rows, [1, 8], 20);
  t.ok(close(cost.predict(8), 24), `${cost.predict(8)}`);
});

t.test('a size that was not run for long is not known any more', async (t) => {
  const cost = told(new CostModel(8), (rows) => rows, [1, 8]);
  t.ok(cost.isKnown(8));
  told(cost, (rows) => rows, [1], 5000);
  t.notOk(cost.isKnown(8));
  t.equal(cost.largestTried, 8);
});

t.test('a size is known after three runs, each counts for the size that is nearest in proportion', async (t) => {
  const cost = new CostModel(16);
  cost.observe(3, 3);
  cost.observe(4, 4);
  t.notOk(cost.isKnown(4));
  cost.observe(5, 5);
  t.same(cost.known, [{ size: 4, rows: 4, ms: 4, periodMs: 4 }]);
});

t.test('no prediction without a run, and none below what less was seen to cost', async (t) => {
  t.equal(new CostModel(8).predict(1), undefined);
  const cost = told(new CostModel(8), (rows) => (rows >= 4 ? 1 : 5), [1, 4]);
  t.ok((cost.predict(8) ?? 0) >= 1, `${cost.predict(8)}`);
  const only = told(new CostModel(8), () => 6, [2]);
  t.same([only.predict(1), only.predict(4)], [6, 12]);
});

t.test('a run takes at least what the fastest of no more rows took', async (t) => {
  const cost = told(new CostModel(32), () => 100, [32]);
  t.equal(cost.leastMs(1), undefined, 'of so few nothing is known');
  t.equal(cost.leastMs(32), 100);
  for (const ms of [50, 20, 50, 50]) cost.observe(4, ms);
  t.same([cost.leastMs(1), cost.leastMs(4), cost.leastMs(32)], [undefined, 20, 20]);
  for (const ms of [9, 30]) cost.observe(1, ms);
  t.equal(cost.leastMs(1), undefined, 'two runs say little');
  t.equal(cost.leastMs(8), 9, 'but that it can be done');
  cost.observe(1, 30);
  t.equal(cost.leastMs(1), 9);
  told(cost, () => 50, [32], 5000);
  t.same([cost.leastMs(1), cost.leastMs(32)], [undefined, 50], 'what is long ago is forgotten');
});

t.test('of how many rows nobody knows, the fastest of all counts', async (t) => {
  const cost = new CostModel(8);
  t.equal(cost.leastMs(undefined), undefined);
  for (const ms of [2000, 2000, 2000]) cost.observe(1, ms);
  for (const ms of [40, 60, 60]) cost.observe(8, ms);
  t.equal(cost.leastMs(undefined), 40);
});

t.test('what is no run is not learned', async (t) => {
  const cost = new CostModel(8);
  for (const [rows, ms] of [
    [0, 1],
    [1, Number.NaN],
    [1, -1],
    [1, Number.POSITIVE_INFINITY],
  ] as const)
    for (let run = 0; run < 5; run++) cost.observe(rows, ms);
  t.equal(cost.seen, 0);
});

t.test('how long a replica is taken up is learned beside the run, and one that was held up counts little', async (t) => {
  const cost = new CostModel(8);
  for (let run = 0; run < 50; run++) cost.observe(1, 1, 1.2);
  cost.observe(1, 1, 500);
  t.match(cost.known, [{ size: 1, ms: 1, periodMs: 1.2 }]);
  t.equal(cost.predict(1), 1, 'what a request waits for is the run');
});

t.test('a batch takes its replica up from the answer to the one before it on, or from when it came', async (t) => {
  t.equal(periodOf({ ms: 10, sentAt: 90, endedAt: 112, before: 100 }, true), 12, 'it was there when the one before was done');
  t.equal(
    periodOf({ ms: 10, sentAt: 105, endedAt: 119, before: 100 }, false),
    14,
    'it came later: the way there and back counts',
  );
  t.equal(periodOf({ ms: 10, sentAt: 105, endedAt: 119, before: 100 }, true), 10, 'which the next run would hide');
  t.equal(periodOf({ ms: 1, sentAt: 105, endedAt: 119, before: 100 }, true), 7, 'but for what is longer than both runs');
});

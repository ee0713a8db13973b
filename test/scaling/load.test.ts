import t from 'tap';
import { aggregate, type LoadSample, remember } from '../../src/scaling/load.ts';
import { loadReport } from '../support/scaling.ts';

const sample = (until: number, requests: number, durationMs = 1000): LoadSample => ({
  ...loadReport(requests, requests, requests * 10, durationMs),
  until,
});

t.test('the mean is weighted by time', async (t) => {
  const samples = [sample(3000, 10, 3000), sample(4000, 2, 1000)];
  t.equal(aggregate(samples, 'mean', 10_000, 4000)?.requests, 8);
});

t.test('of a sample that the look-back cuts, only the part within counts', async (t) => {
  const samples = [sample(3000, 10, 3000), sample(4000, 2, 1000)];
  t.equal(aggregate(samples, 'mean', 2000, 4000)?.requests, 6);
});

t.test('max and min are those of the whole look-back', async (t) => {
  const samples = [sample(1000, 1), sample(2000, 9), sample(3000, 4)];
  t.equal(aggregate(samples, 'max', 5000, 3000)?.requests, 9);
  t.equal(aggregate(samples, 'min', 5000, 3000)?.requests, 1);
  t.equal(aggregate(samples, 'min', 1500, 3000)?.requests, 4);
});

t.test('what is there at this moment is that of the last sample', async (t) => {
  t.same(aggregate([sample(1000, 9), sample(2000, 3)], 'mean', 5000, 2000)?.latest, { requests: 3, queueDelayMs: 30 });
});

t.test('where nothing was measured within the look-back nothing is known', async (t) => {
  t.equal(aggregate([], 'mean', 5000, 0), undefined);
  t.equal(aggregate([sample(1000, 5)], 'mean', 5000, 6000), undefined);
});

t.test('samples that no look-back reaches are forgotten', async (t) => {
  let samples: readonly LoadSample[] = [];
  for (let now = 250; now <= 60_000; now += 250) samples = remember(samples, loadReport(1), 5000, now);
  t.equal(samples.length, 20);
});

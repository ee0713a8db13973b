import fc from 'fast-check';
import t from 'tap';
import { emptyLatency, latencyBucket, latencyQuantile } from '../../src/domain/latency.ts';

const counted = (times: readonly number[]): readonly number[] => {
  const counts = emptyLatency();
  for (const ms of times) counts[latencyBucket(ms)] = (counts[latencyBucket(ms)] as number) + 1;
  return counts;
};

t.test('a percentile is within five percent of that of the times themselves', async () => {
  const times = fc.array(fc.double({ min: 0.1, max: 1_000_000, noNaN: true }), { minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(times, fc.constantFrom(0.5, 0.9, 0.99, 1), (all, share) => {
      const exact = [...all].sort((a, b) => a - b)[Math.ceil(all.length * share) - 1] as number;
      const told = latencyQuantile(counted(all), share) as number;
      return told > exact * 0.95 && told < exact * 1.05;
    }),
  );
});

t.test('nothing is told of nothing, and what is too short or too long has its place', async (t) => {
  t.equal(latencyQuantile(emptyLatency(), 0.99), undefined);
  t.equal(latencyBucket(0), 0);
  t.equal(latencyBucket(1e12), emptyLatency().length - 1);
});

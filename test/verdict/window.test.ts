import fc from 'fast-check';
import t from 'tap';
import { emptyLatency, latencyBucket } from '../../src/domain/latency.ts';
import { figuresIn, type Reading, remember } from '../../src/verdict/window.ts';

/** Counters after so many requests, each tenth of which failed, and each second of whose copies differed or failed. */
const reading = (at: number, requests: number, ms = 10): Reading => {
  const errors = Math.floor(requests / 10);
  const latency = emptyLatency();
  latency[latencyBucket(ms)] = requests - errors;
  const target = { requests, errors, clientErrors: 0, abandoned: 0, latency, waited: emptyLatency() };
  const half = Math.floor(requests / 2);
  const shadow = { same: requests - half, different: half - Math.floor(half / 2), failed: Math.floor(half / 2), skipped: 7 };
  return { at, counts: { stable: target, canary: target, shadow } };
};

const over = (all: readonly Reading[], windowMs: number): readonly Reading[] =>
  all.reduce<readonly Reading[]>((kept, each) => remember(kept, each, windowMs), []);

t.test('figures are what was counted in the window, from the first reading at the earliest', async (t) => {
  const readings = over([reading(0, 100), reading(1000, 200), reading(2000, 400), reading(3000, 900)], 2000);
  t.match(figuresIn(readings, 2000, 3000), {
    canary: { requests: 700, errors: 70, timed: 630 },
    compared: 700,
    differing: 350,
  });
  t.match(figuresIn(readings, 2000, 4000).canary, { requests: 500 }, 'time goes on where nothing is told');
  t.match(figuresIn(readings, 2000, 9000).canary, { requests: 0, p99Ms: undefined });
  t.match(figuresIn(over([reading(0, 100)], 2000), 2000, 0).canary, { requests: 0 }, 'the first is where counting begins');
  t.match(figuresIn([], 2000, 0), { stable: { requests: 0 }, compared: 0 });
});

t.test('however many readings come, a bounded number is kept, and the window is right but for a sixtieth', async () => {
  const gaps = fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 2, maxLength: 600 });
  fc.assert(
    fc.property(gaps, fc.integer({ min: 1000, max: 20_000 }), (steps, windowMs) => {
      let at = 0;
      // One request in each millisecond, so that requests tell how much time was counted.
      const all = [
        reading(0, 0),
        ...steps.map((gap) => {
          at += gap;
          return reading(at, at);
        }),
      ];
      const kept = over(all, windowMs);
      const counted = figuresIn(kept, windowMs, at).canary.requests;
      const wanted = Math.min(windowMs, at);
      return kept.length <= 64 && counted >= wanted && counted <= wanted + windowMs / 60 + 900;
    }),
    { numRuns: 60 },
  );
});

t.test('a wait in vain makes a p99 longer, and never shorter', async (t) => {
  const of = (waits: readonly number[]) => {
    const begin = reading(0, 0);
    const { latency } = reading(1000, 1000, 100).counts.canary;
    const waited = emptyLatency();
    for (const ms of waits) waited[latencyBucket(ms)] = (waited[latencyBucket(ms)] ?? 0) + 1;
    const canary = { ...begin.counts.canary, requests: 1000, abandoned: waits.length, latency, waited };
    return figuresIn([begin, { at: 1000, counts: { ...begin.counts, canary } }], 1000, 1000).canary;
  };
  const answered = of([]);
  t.same(of(new Array(5000).fill(1)), { ...answered, abandoned: 5000 }, 'clients that leave at once');
  const hung = of(new Array(50).fill(10_000));
  t.ok((hung.p99Ms ?? 0) > 9000, `${hung.p99Ms}`);
  t.equal(hung.timed, 950);
});

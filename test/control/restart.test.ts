import fc from 'fast-check';
import t from 'tap';
import {
  afterDeath,
  backoffMs,
  hasFailed,
  isUnhealthy,
  type Life,
  mayBeUnresponsive,
  NO_FAILURES,
} from '../../src/control/restart.ts';

t.test('the wait doubles from half a second to a minute, with a fifth to either side', async (t) => {
  const waits = [1, 2, 3, 4, 5, 9, 10, 100, 5000].map((failures) => backoffMs(failures, 0.5));
  t.same(
    waits,
    [0, 500, 1000, 2000, 4000, 60_000, 60_000, 60_000, 60_000]
      .map((ms, index) => (index === 5 ? 500 * 2 ** 7 : ms))
      .map((ms) => Math.min(ms, 60_000)),
  );
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 10_000 }), fc.double({ min: 0, max: 0.999, noNaN: true }), (failures, rand) => {
      const middle = backoffMs(failures, 0.5);
      const wait = backoffMs(failures, rand);
      return wait >= 0.8 * middle - 1e-6 && wait <= 1.2 * middle + 1e-6 && middle >= 500 && middle <= 60_000;
    }),
  );
});

const table: readonly {
  what: string;
  failures: number;
  life?: Life;
  gives: { failures: number; notBefore: number };
}[] = [
  {
    what: 'the first failure is tried again at once',
    failures: 0,
    gives: { failures: 1, notBefore: 1000 },
  },
  { what: 'the second waits', failures: 1, gives: { failures: 2, notBefore: 1500 } },
  {
    what: 'a death soon after ready is a failure',
    failures: 2,
    life: { startMs: 10, readyForMs: 499, killed: true },
    gives: { failures: 3, notBefore: 2000 },
  },
  {
    what: 'a later death is replaced at once',
    failures: 5,
    life: { startMs: 10, readyForMs: 500, killed: true },
    gives: { failures: 0, notBefore: 1000 },
  },
  {
    what: 'what took long to start must have served for longer',
    failures: 2,
    life: { startMs: 800, readyForMs: 799, killed: true },
    gives: { failures: 3, notBefore: 2000 },
  },
  {
    what: 'as long as its start took',
    failures: 5,
    life: { startMs: 800, readyForMs: 800, killed: true },
    gives: { failures: 0, notBefore: 1000 },
  },
  {
    what: 'what ended by itself must have served for ten seconds',
    failures: 2,
    life: { startMs: 10, readyForMs: 9999, killed: false },
    gives: { failures: 3, notBefore: 2000 },
  },
  {
    what: 'ten seconds are enough for any',
    failures: 5,
    life: { startMs: 60_000, readyForMs: 10_000, killed: true },
    gives: { failures: 0, notBefore: 1000 },
  },
];
for (const { what, failures, life, gives } of table) {
  t.test(`after a death: ${what}`, async (t) => {
    const memory = { ...NO_FAILURES, failures };
    t.match(afterDeath(memory, life, 'why', 1000, 0.5), { ...gives, error: 'why', everReady: false });
  });
}

t.test('a version that never was ready is given up after so many failures, one that was ready never', async (t) => {
  t.equal(hasFailed({ ...NO_FAILURES, failures: 2 }, 3), false);
  t.equal(hasFailed({ ...NO_FAILURES, failures: 3 }, 3), true);
  t.equal(hasFailed({ ...NO_FAILURES, failures: 300, everReady: true }, 3), false);
});

t.test('replicas that were started side by side and die of one cause are one failure', async (t) => {
  let memory = NO_FAILURES;
  for (const diedAt of [1000, 1010, 1020, 1030]) memory = afterDeath(memory, undefined, 'no database', diedAt, 0.5, 900);
  t.match(memory, { failures: 1, failedAt: 1000, notBefore: 1000 });
  memory = afterDeath(memory, undefined, 'no database', 1200, 0.5, 1100);
  t.match(memory, { failures: 2, failedAt: 1200, notBefore: 1700 });
});

t.test('what others kill is unhealthy after three times as many deaths as what dies by itself', async (t) => {
  const deaths = (killed: boolean, count: number, readyForMs = 200) => {
    let memory = { ...NO_FAILURES, everReady: true };
    for (let n = 0; n < count; n++)
      memory = { ...memory, ...afterDeath(memory, { startMs: 100, readyForMs, killed }, 'why', n * 1e6, 0.5) };
    return memory;
  };
  t.equal(isUnhealthy(deaths(false, 2), 3), false);
  t.equal(isUnhealthy(deaths(false, 3), 3), true);
  t.equal(isUnhealthy(deaths(true, 8), 3), false);
  t.equal(isUnhealthy(deaths(true, 9), 3), true);
  t.equal(isUnhealthy(deaths(true, 3, 199), 3), true, 'what dies as soon as it is ready may kill itself');
  t.equal(deaths(true, 3).notBefore, deaths(false, 3).notBefore, 'but both wait as long');
  const settled = afterDeath(deaths(true, 8), { startMs: 100, readyForMs: 60_000, killed: true }, 'why', 9e6, 0.5);
  t.match(settled, { failures: 0, kills: 0 });
});

t.test('what dies again and again is started at most 20 times in 10 minutes, and goes on once a minute', async () => {
  const startsWithin = (ms: number, livesMs: number, rand: number): number[] => {
    const starts: number[] = [];
    let [now, memory] = [0, { ...NO_FAILURES, everReady: true }];
    while (now < ms) {
      starts.push(now);
      now += livesMs;
      const life = { startMs: 50, readyForMs: livesMs, killed: false };
      memory = afterDeath(memory, life, 'it dies', now, rand, starts.at(-1));
      now = Math.max(now, memory.notBefore);
    }
    return starts;
  };
  fc.assert(
    fc.property(fc.double({ min: 0, max: 0.999, noNaN: true }), fc.integer({ min: 50, max: 9_000 }), (rand, livesMs) => {
      const starts = startsWithin(600_000, livesMs, rand);
      // To the millisecond: sums of fractions are a hair off.
      const gaps = starts.slice(1).map((at, index) => Math.round(at - (starts[index] ?? 0) - livesMs));
      return (
        starts.length <= 20 && (gaps.at(-1) ?? 0) >= 48_000 && (gaps.at(-1) ?? 0) <= 72_000 && gaps.every((gap) => gap <= 72_000)
      );
    }),
  );
});

t.test('a replica is held to its heartbeats only for the time that it has been ready', async (t) => {
  t.equal(mayBeUnresponsive(undefined, 1000), false, 'its constructor is busy');
  t.equal(mayBeUnresponsive(3, 1000), false, 'its constructor was busy until just now');
  t.equal(mayBeUnresponsive(1000, 1000), true);
});

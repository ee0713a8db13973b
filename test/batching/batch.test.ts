import fc from 'fast-check';
import t from 'tap';
import { decideBatch, type Waiting } from '../../src/batching/batch.ts';
import { holdForWindow, NO_HOLD } from '../../src/batching/hold.ts';

const one = (given: Partial<Waiting> = {}): Waiting => ({
  rows: 1,
  arrivedAt: 0,
  deadlineAt: Number.POSITIVE_INFINITY,
  maxCompany: Number.POSITIVE_INFINITY,
  ...given,
});
const many = (count: number, given: Partial<Waiting> = {}) => Array.from({ length: count }, () => one(given));

interface Window {
  readonly maxBatchSize: number;
  readonly waitMs: number;
}

const decide = (waiting: readonly Waiting[], { maxBatchSize, waitMs }: Window, room: number, now: number) => {
  const hold = waitMs === 0 ? NO_HOLD : holdForWindow(waitMs, undefined, now);
  return decideBatch(waiting, { rows: maxBatchSize, whenFull: 'full', hold, runMs: () => undefined }, room, now);
};

interface Row {
  readonly what: string;
  readonly waiting: readonly Waiting[];
  readonly limits?: Partial<Window>;
  readonly room?: number;
  readonly now?: number;
  readonly decision: object;
}

const table: readonly Row[] = [
  { what: 'one request and no wait', waiting: many(1), decision: { take: 1, reason: 'idle' } },
  { what: 'a full batch leaves at once', waiting: many(4), limits: { waitMs: 100 }, decision: { take: 4, reason: 'full' } },
  { what: 'what is over the batch stays', waiting: many(9), limits: { waitMs: 100 }, decision: { take: 4, reason: 'full' } },
  { what: 'less than a batch is held', waiting: many(3), limits: { waitMs: 100 }, decision: { until: 100 } },
  { what: 'held until its window is over', waiting: many(3), limits: { waitMs: 100 }, now: 60, decision: { until: 100 } },
  { what: 'the window is over', waiting: many(3), limits: { waitMs: 100 }, now: 100, decision: { take: 3, reason: 'window' } },
  {
    what: 'the oldest counts, not the newest',
    waiting: [one({ arrivedAt: 20 }), one({ arrivedAt: 90 })],
    limits: { waitMs: 100 },
    now: 95,
    decision: { until: 120 },
  },
  {
    what: 'half of what the nearest deadline leaves',
    waiting: [one(), one({ deadlineAt: 40 })],
    limits: { waitMs: 100 },
    decision: { until: 20 },
  },
  {
    what: 'a deadline that has passed holds nothing',
    waiting: [one({ deadlineAt: 40 })],
    limits: { waitMs: 100 },
    now: 50,
    decision: { take: 1, reason: 'deadline' },
  },
  {
    what: 'no more than there is room for',
    waiting: many(4),
    limits: { waitMs: 100 },
    room: 2,
    decision: { take: 2, reason: 'full' },
  },
  { what: 'a lone request may be larger', waiting: [one({ rows: 9 }), one()], decision: { take: 1, reason: 'full' } },
  {
    what: 'a large one behind ends the batch',
    waiting: [one({ rows: 3 }), one({ rows: 2 })],
    decision: { take: 1, reason: 'full' },
  },
  {
    what: 'rows count, not requests',
    waiting: [one({ rows: 2 }), one({ rows: 2 }), one()],
    decision: { take: 2, reason: 'full' },
  },
  {
    what: 'one that must be alone is alone',
    waiting: [one({ maxCompany: 1 }), one()],
    limits: { waitMs: 100 },
    decision: { take: 1, reason: 'alone' },
  },
  {
    what: 'one that must be alone joins nobody',
    waiting: [one(), one({ maxCompany: 1 })],
    limits: { waitMs: 100 },
    decision: { take: 1, reason: 'alone' },
  },
  {
    what: 'company of two',
    waiting: [one({ maxCompany: 2 }), one({ maxCompany: 2 }), one()],
    limits: { waitMs: 100 },
    decision: { take: 2, reason: 'alone' },
  },
];

for (const { what, waiting, limits, room, now, decision } of table) {
  t.test(`a batch: ${what}`, async (t) => {
    t.same(decide(waiting, { maxBatchSize: 4, waitMs: 0, ...limits }, room ?? 100, now ?? 0), decision);
  });
}

t.test('company that would make one of a batch late goes with the next', async (t) => {
  const limits = { rows: 8, whenFull: 'best', hold: NO_HOLD, runMs: (rows: number) => 10 * rows } as const;
  t.same(decideBatch([one({ deadlineAt: 25 }), ...many(5)], limits, 100, 0), { take: 2, reason: 'deadline' });
  t.same(decideBatch([...many(3), one({ deadlineAt: 25 })], limits, 100, 0), { take: 3, reason: 'deadline' });
  t.same(decideBatch([one({ deadlineAt: 5 }), ...many(2)], limits, 100, 0), { take: 1, reason: 'deadline' }, 'late in any case');
  t.same(decideBatch(many(9), limits, 100, 0), { take: 8, reason: 'best' });
});

const waitingOf = fc.record({
  rows: fc.integer({ min: 0, max: 12 }),
  arrivedAt: fc.integer({ min: 0, max: 1000 }),
  deadlineAt: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.integer({ min: 0, max: 3000 })),
  maxCompany: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.integer({ min: 1, max: 6 })),
});
const situations = fc.record({
  waiting: fc.array(waitingOf, { minLength: 1, maxLength: 20 }),
  limits: fc.record({ maxBatchSize: fc.integer({ min: 1, max: 16 }), waitMs: fc.integer({ min: 0, max: 500 }) }),
  room: fc.integer({ min: 1, max: 20 }),
  now: fc.integer({ min: 1000, max: 2000 }),
});

t.test('a batch is never over its size, its room or the company that a member bears, save a lone request', async (t) => {
  fc.assert(
    fc.property(situations, ({ waiting, limits, room, now }) => {
      const decision = decide(waiting, limits, room, now);
      if ('until' in decision) return true;
      const taken = waiting.slice(0, decision.take);
      const rows = taken.reduce((sum, each) => sum + each.rows, 0);
      return (
        decision.take >= 1 &&
        taken.length === decision.take &&
        (decision.take === 1 || rows <= limits.maxBatchSize) &&
        decision.take <= room &&
        taken.every(({ maxCompany }) => decision.take <= maxCompany)
      );
    }),
  );
  t.pass();
});

t.test('nothing is held past the window of the oldest, past a deadline, or at all without a window', async (t) => {
  fc.assert(
    fc.property(situations, ({ waiting, limits, room, now }) => {
      const decision = decide(waiting, limits, room, now);
      if ('take' in decision) return true;
      // What is held is everything that waits: a full batch would have left.
      const oldest = Math.min(...waiting.map(({ arrivedAt }) => arrivedAt));
      const nearest = Math.min(...waiting.map(({ deadlineAt }) => deadlineAt));
      return limits.waitMs > 0 && decision.until > now && decision.until <= oldest + limits.waitMs && decision.until <= nearest;
    }),
  );
  t.pass();
});

t.test('looking again at the time that was said comes to an end before the deadline', async (t) => {
  fc.assert(
    fc.property(situations, ({ waiting, limits, now }) => {
      let time = now;
      for (let looks = 0; looks < 30; looks++) {
        const decision = decide(waiting, limits, 100, time);
        if ('take' in decision) return true;
        time = decision.until;
      }
      return false;
    }),
  );
  t.pass();
});

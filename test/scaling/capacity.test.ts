import fc from 'fast-check';
import t from 'tap';
import { atCapacity, boundsOf, type CapacityGoal, type Direction, directionOf, within } from '../../src/scaling/capacity.ts';

t.test('a count at a capacity is rounded half up, and at least 1 unless it is 0', async (t) => {
  const table: readonly (readonly [count: number, percent: number | null, gives: number])[] = [
    [10, null, 10],
    [10, 100, 10],
    [10, 25, 3],
    [10, 24, 2],
    [10, 50, 5],
    [10, 10, 1],
    [10, 1, 1],
    [10, 0, 0],
    [0, 50, 0],
    [0, null, 0],
    [1, 1, 1],
    [3, 50, 2],
    [5, 50, 3],
    [100, 28.5, 29],
    [1000, 28.45, 285],
  ];
  for (const [count, percent, gives] of table) t.equal(atCapacity(count, percent), gives, `${count} at ${percent} %`);
});

t.test('more capacity never means fewer replicas', async () => {
  fc.assert(
    fc.property(fc.nat(1000), fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 100 }), (count, a, b) => {
      const [less, more] = [Math.min(a, b), Math.max(a, b)];
      return atCapacity(count, less) <= atCapacity(count, more) && atCapacity(count, more) <= count;
    }),
  );
});

t.test('the direction is that of the last change; the same applications begin downwards, new ones upwards', async (t) => {
  const goal = (percent: number | null, ...applications: string[]): CapacityGoal => ({ percent, applications });
  const table: readonly (readonly [CapacityGoal | undefined, CapacityGoal, Direction, Direction])[] = [
    [undefined, goal(null, 'a'), null, null],
    [undefined, goal(20, 'a'), null, 'up'],
    [goal(null, 'a'), goal(20, 'a'), null, 'down'],
    [goal(null, 'a'), goal(20, 'a', 'b'), null, 'up'],
    [goal(20, 'a'), goal(40, 'a'), 'up', 'up'],
    [goal(40, 'a'), goal(20, 'a'), 'up', 'down'],
    [goal(40, 'a'), goal(40, 'a'), 'down', 'down'],
    [goal(40, 'a', 'b'), goal(40, 'b', 'a'), 'down', 'down'],
    [goal(40, 'a'), goal(null, 'a'), 'up', null],
  ];
  for (const [before, after, current, gives] of table)
    t.equal(directionOf(before, after, current), gives, JSON.stringify([before, after, current]));
});

t.test('going up initial_replicas is the least, going down min_replicas', async (t) => {
  const spec = { minReplicas: 2, initialReplicas: 8, maxReplicas: 20 };
  t.same(boundsOf(spec, 50, 'up'), { lower: 4, upper: 10 });
  t.same(boundsOf(spec, 50, 'down'), { lower: 1, upper: 10 });
  t.same(boundsOf({ ...spec, initialReplicas: null }, 50, 'up'), { lower: 1, upper: 10 });
  t.same(boundsOf(spec, null, null), { lower: 2, upper: 20 });
  t.same(boundsOf({ ...spec, minReplicas: 0 }, 1, 'down'), { lower: 0, upper: 1 });
  t.same(boundsOf(spec, 0, 'down'), { lower: 0, upper: 0 });
  t.equal(within(7, { lower: 2, upper: 5 }), 5);
});

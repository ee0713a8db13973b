import fc from 'fast-check';
import t from 'tap';
import { tooLate } from '../../src/dispatch/drop.ts';

const NEVER = Number.POSITIVE_INFINITY;
const waiting = (...deadlines: readonly number[]) => deadlines.map((deadlineAt, name) => ({ name, rows: 1, deadlineAt }));
const names = (requests: readonly { readonly name: number }[]) => requests.map(({ name }) => name);
const tenEach = ({ rows }: { readonly rows: number }) => 10 * Math.max(1, rows);
const oneFree = () => 1;

t.test('what would be late although it ran alone and now is given up', async (t) => {
  t.same(names(tooLate(waiting(5, 100, 9, NEVER), 4, tenEach, 0, oneFree)), [0, 2]);
  t.same(names(tooLate(waiting(10), 4, tenEach, 0, oneFree)), [], 'in time to the millisecond');
});

t.test('of requests that would all be late the one with the most time left is kept', async (t) => {
  t.same(names(tooLate(waiting(5), 4, tenEach, 0, oneFree)), [], 'a free replica has nothing better to do');
  t.same(names(tooLate(waiting(3, 7, 5), 4, tenEach, 0, oneFree)), [0, 2]);
});

t.test('what would be late is tried on a replica for which nothing else waits', async (t) => {
  t.same(names(tooLate(waiting(5, NEVER), 4, tenEach, 0, () => 2)), []);
  t.same(names(tooLate(waiting(5, 3, 7, NEVER), 4, tenEach, 0, () => 3)), [1], 'those with the most time left');
  t.same(names(tooLate(waiting(5, NEVER, NEVER), 1, tenEach, 0, () => 2)), [0], 'what is in time takes both');
  t.same(names(tooLate(waiting(5, NEVER), 4, tenEach, 0, () => 0)), [0], 'none is idle');
});

t.test('it looks no further than a batch', async (t) => {
  t.same(names(tooLate(waiting(NEVER, NEVER, 1), 2, tenEach, 0, oneFree)), []);
  t.same(names(tooLate(waiting(1, NEVER, 1, NEVER, 1), 2, tenEach, 0, oneFree)), [0, 2]);
});

t.test('rows count: a larger request needs more time', async (t) => {
  const requests = [
    { name: 0, rows: 3, deadlineAt: 25 },
    { name: 1, rows: 2, deadlineAt: 25 },
  ];
  t.same(names(tooLate(requests, 8, tenEach, 0, oneFree)), [0]);
});

t.test('nothing is given up where nothing is known of the cost', async (t) => {
  t.same(
    tooLate(waiting(1, 9, NEVER), 4, () => undefined, 5, oneFree),
    [],
  );
});

t.test('never is everything that waits given up, nor anything that has time', async (t) => {
  const requests = fc.array(
    fc.record({
      name: fc.nat(),
      rows: fc.integer({ min: 0, max: 9 }),
      deadlineAt: fc.oneof(fc.constant(NEVER), fc.integer({ min: 0, max: 100 })),
    }),
    { minLength: 1, maxLength: 20 },
  );
  fc.assert(
    fc.property(requests, fc.integer({ min: 1, max: 30 }), (list, rows) => {
      const late = tooLate(list, rows, tenEach, 20, oneFree);
      return late.length < list.length && late.every(({ rows, deadlineAt }) => deadlineAt < 20 + tenEach({ rows }));
    }),
  );
  t.pass();
});

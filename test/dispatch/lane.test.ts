import fc from 'fast-check';
import t from 'tap';
import { Lane } from '../../src/dispatch/lane.ts';
import type { PendingCall } from '../../src/dispatch/pending.ts';

/** All that a lane reads of a call. */
const call = (name: number, arrivedAt = 0) =>
  ({ name, arrivedAt, rows: 1 + (name % 3), state: 'queued' }) as unknown as PendingCall & { name: number };
const lane = () => new Lane('lane', 'v1', 'one', false);
const names = (calls: Iterable<PendingCall>) => [...calls].map((each) => (each as unknown as { name: number }).name);

const cancel = (from: Lane, each: PendingCall) => {
  from.forget(each);
  each.state = 'done';
};
const send = (calls: readonly PendingCall[]) => {
  for (const each of calls) each.state = 'sent';
  return calls;
};

t.test('first in, first out', async (t) => {
  const queue = lane();
  for (let name = 0; name < 4; name++) queue.push(call(name));
  t.same(names(send(queue.take(2))), [0, 1]);
  t.same(names(queue), [2, 3]);
  t.equal(queue.size, 2);
});

t.test('a request that was cancelled in the middle is neither counted nor taken', async (t) => {
  const queue = lane();
  const calls = [0, 1, 2].map((name) => call(name));
  for (const each of calls) queue.push(each);
  cancel(queue, calls[1] as PendingCall);
  t.equal(queue.size, 2);
  t.same(names(queue.take(5)), [0, 2]);
});

t.test('what is handed back stands before all others, in its order', async (t) => {
  const queue = lane();
  for (let name = 0; name < 4; name++) queue.push(call(name));
  const taken = send(queue.take(2));
  for (const each of taken) each.state = 'queued';
  queue.unshift(taken);
  t.same(names(queue), [0, 1, 2, 3]);
  t.equal(queue.size, 4);
});

t.test('the oldest is the first that still waits', async (t) => {
  const queue = lane();
  const first = call(0, 5);
  queue.push(first);
  queue.push(call(1, 7));
  t.equal(queue.oldest, 5);
  cancel(queue, first);
  t.equal(queue.oldest, 7);
  t.equal(lane().oldest, Number.POSITIVE_INFINITY);
});

t.test('the usual pause between arrivals is learned, and one long silence does not change it much', async (t) => {
  const queue = lane();
  queue.push(call(0, 0));
  t.equal(queue.gapMs, undefined);
  for (let name = 1; name <= 50; name++) queue.push(call(name, 2 * name));
  t.ok(Math.abs((queue.gapMs ?? 0) - 2) < 0.01, `${queue.gapMs}`);
  queue.push(call(51, 60_000));
  t.ok((queue.gapMs ?? 0) < 5, `${queue.gapMs}`);
});

t.test('the more urgent goes first, until the other has waited so much longer', async (t) => {
  const queue = lane();
  const urgent = (name: number, priority: number, arrivedAt: number) => Object.assign(call(name, arrivedAt), { priority });
  for (const each of [
    urgent(0, 3, 0),
    urgent(1, 5, 1),
    urgent(2, 3, 2),
    urgent(3, 0, 10),
    urgent(4, 0, 5500),
    urgent(5, 5, 5600),
  ])
    queue.push(each);
  t.same(names(queue), [3, 0, 2, 1, 4, 5]);
  t.equal(queue.oldest, 0);
  const taken = send(queue.take(2));
  t.same(names(taken), [3, 0]);
  for (const each of taken) each.state = 'queued';
  queue.unshift(taken.toReversed());
  t.same(names(queue), [3, 0, 2, 1, 4, 5], 'what is handed back has its old place');
  t.same(names(queue.takeThose(2, (each) => each.priority === 5)), [1, 5]);
  t.same(names(queue), [3, 0, 2, 4]);
  t.equal(queue.size, 4);
});

t.test('an empty lane gives nothing', async (t) => {
  t.equal(lane().shift(), undefined);
  t.same(lane().take(3), []);
});

t.test('a lane does what a plain list does, whatever is pushed, taken, cancelled and handed back', async (t) => {
  const steps = fc.array(
    fc.oneof(
      fc.record({ type: fc.constant('push' as const), count: fc.integer({ min: 1, max: 200 }) }),
      fc.record({
        type: fc.constant('take' as const),
        count: fc.integer({ min: 1, max: 150 }),
        back: fc.integer({ min: 0, max: 5 }),
      }),
      fc.record({ type: fc.constant('cancel' as const), at: fc.nat() }),
      fc.record({ type: fc.constant('sweep' as const), keep: fc.integer({ min: 2, max: 9 }) }),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(steps, (steps) => {
      const queue = lane();
      let model: PendingCall[] = [];
      let next = 0;
      const drop = (each: PendingCall) => {
        cancel(queue, each);
        model = model.filter((other) => other !== each);
      };
      for (const step of steps) {
        if (step.type === 'push') {
          for (let count = 0; count < step.count; count++) {
            const each = call(next++);
            queue.push(each);
            model.push(each);
          }
        } else if (step.type === 'take') {
          const taken = send(queue.take(step.count));
          if (names(taken).join() !== names(model.splice(0, step.count)).join()) return false;
          const back = taken.slice(0, step.back);
          for (const each of back) each.state = 'queued';
          queue.unshift(back);
          model.unshift(...back);
        } else if (step.type === 'cancel') {
          const each = model[step.at % Math.max(1, model.length)];
          if (each !== undefined) drop(each);
        } else {
          for (const [index, each] of [...model].entries()) if (index % step.keep !== 0) drop(each);
        }
        const rows = model.reduce((sum, each) => sum + each.rows, 0);
        if (queue.size !== model.length || queue.rows !== rows || names(queue).join() !== names(model).join()) return false;
      }
      return true;
    }),
  );
  t.pass();
});

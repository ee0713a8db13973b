import { AsyncLocalStorage } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import t from 'tap';
import { type BatchOptions, type BatchRun, batch } from '../../src/sdk/batch.ts';
import { setBatchedFunctions, unknownNames } from '../../src/sdk/batch-settings.ts';
import { type CallWork, currentWork, type SharedWork } from '../../src/sdk/current-work.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
/** Longer than anything that is due now takes. */
const turns = async (): Promise<void> => {
  for (let count = 0; count < 5; count++) await turn();
};

interface Begun<Item> extends BatchRun {
  readonly items: Item[];
  answer(results: readonly unknown[]): void;
  throw(error: unknown): void;
}

let names = 0;

/** A batched function whose runs are answered by the test. */
const gated = (options: Partial<BatchOptions> = {}) => {
  const runs: Begun<number>[] = [];
  const name = `gated${names++}`;
  const fn = batch(
    { name, ...options },
    (items: number[], run): Promise<readonly (number | Error)[]> =>
      new Promise((resolve, reject) => {
        runs.push({
          items,
          get signal() {
            return run.signal;
          },
          answer: resolve as Begun<number>['answer'],
          throw: reject,
        });
      }),
  );
  const itemsOf = () => runs.map(({ items }) => items);
  return { fn, runs, name, itemsOf };
};

t.afterEach(() => setBatchedFunctions({}));

t.test('what is asked for in one turn is one run, and each gets its own result', async (t) => {
  const runs: number[][] = [];
  const double = batch({ name: 'double', maxBatchSize: 10 }, (items: number[]) => {
    runs.push(items);
    return items.map((item) => 2 * item);
  });
  const call = async (text: string) => {
    const prepared = await Promise.resolve(Number(text));
    return double(prepared);
  };
  const asked = [...Array(10).keys()];
  t.same(
    await Promise.all(asked.map((each) => call(String(each)))),
    asked.map((each) => 2 * each),
  );
  t.same(runs, [asked], 'one run of ten items');
});

t.test('a run has at most maxBatchSize items, and what comes while it is under way goes with the next', async (t) => {
  const { fn, runs, itemsOf } = gated({ maxBatchSize: 3 });
  const first = [1, 2, 3, 4].map((item) => fn(item));
  await turns();
  t.same(itemsOf(), [[1, 2, 3]], 'one run at a time');
  const later = fn(5);
  runs[0]?.answer([10, 20, 30]);
  t.same(await Promise.all(first.slice(0, 3)), [10, 20, 30]);
  await turns();
  t.same(
    itemsOf(),
    [
      [1, 2, 3],
      [4, 5],
    ],
    'those that waited go together, without a wait of their own',
  );
  runs[1]?.answer([40, 50]);
  t.same(await Promise.all([first[3], later]), [40, 50]);
});

t.test('maxConcurrentBatches runs at the same time', async (t) => {
  const { fn, runs, itemsOf } = gated({ maxBatchSize: 1, maxConcurrentBatches: 2 });
  const asked = [1, 2, 3].map((item) => fn(item));
  await turns();
  t.same(itemsOf(), [[1], [2]]);
  runs[1]?.answer([20]);
  t.equal(await asked[1], 20);
  await turns();
  t.same(itemsOf(), [[1], [2], [3]]);
  runs[0]?.answer([10]);
  runs[2]?.answer([30]);
  t.same(await Promise.all(asked), [10, 20, 30]);
});

t.test('without waitS nothing is held; with it until the batch is full', async (t) => {
  const free = gated();
  const asked = free.fn(1);
  await turns();
  t.same(free.itemsOf(), [[1]]);
  free.runs[0]?.answer([1]);
  await asked;
  const held = gated({ waitS: 3600, maxBatchSize: 3 });
  const all = [held.fn(1), held.fn(2)];
  await turns();
  t.same(held.itemsOf(), [], 'held for company');
  all.push(held.fn(3));
  await turns();
  t.same(held.itemsOf(), [[1, 2, 3]], 'full');
  held.runs[0]?.answer([1, 2, 3]);
  t.same(await Promise.all(all), [1, 2, 3]);
});

t.test('the wait ends, and a deadline that is nearer ends it before', async (t) => {
  const short = batch({ name: 'short', waitS: 0.005 }, (items: number[]) => items);
  t.equal(await short(1), 1);
  const long = batch({ name: 'long', waitS: 3600 }, (items: number[]) => items);
  t.equal(await long(2, { deadline: Date.now() + 10 }), 2);
});

t.test('a wrong number of results fails the whole run, and says both numbers', async (t) => {
  const { fn, runs, name } = gated();
  const asked = [fn(1), fn(2)].map((each) =>
    t.rejects(each, { code: 'USER_ERROR', message: new RegExp(`\`${name}\` .*array of 2 .*array of 1`) }),
  );
  await turns();
  runs[0]?.answer([1]);
  await Promise.all(asked);
  const none = gated();
  const rejected = t.rejects(none.fn(1), { message: /array of 1 .*got undefined/ });
  await turns();
  none.runs[0]?.answer(undefined as never);
  await rejected;
});

t.test('an item that is an Error fails its own caller; a run that throws fails all of its own', async (t) => {
  const { fn, runs, itemsOf } = gated({ maxBatchSize: 2 });
  const [one, two, three] = [fn(1), fn(2), fn(3)] as const;
  const bad = t.rejects(two, { message: 'two is bad' });
  await turns();
  runs[0]?.answer([10, new RangeError('two is bad')]);
  t.equal(await one, 10);
  await bad;
  const thrown = t.rejects(three, { name: 'TypeError', message: 'the model is gone' });
  await turns();
  t.same(itemsOf(), [[1, 2], [3]]);
  runs[1]?.throw(new TypeError('the model is gone'));
  await thrown;
  const four = fn(4);
  await turns();
  runs[2]?.answer([40]);
  t.equal(await four, 40, 'it goes on');
});

t.test('a run that throws at once is a run that throws', async (t) => {
  const fn = batch({ name: 'throws' }, (_items: number[]): number[] => {
    throw new Error('at once');
  });
  await Promise.all([t.rejects(fn(1), { message: 'at once' }), t.rejects(fn(2), { message: 'at once' })]);
});

t.test('a caller that has gone leaves before the run, and a run for nobody is told', async (t) => {
  const { fn, runs, itemsOf } = gated({ maxBatchSize: 2 });
  const [one, two, three] = [new AbortController(), new AbortController(), new AbortController()];
  const first = [fn(1, one), fn(2, two)].map((each) => t.rejects(each, { message: 'gone' }));
  const left = t.rejects(fn(3, three), { message: 'gone' });
  await turns();
  three.abort(new Error('gone'));
  await left;
  const { signal } = runs[0] as Begun<number>;
  one.abort(new Error('gone'));
  t.notOk(signal.aborted, 'somebody waits yet');
  two.abort(new Error('gone'));
  await Promise.all(first);
  t.ok(signal.aborted);
  runs[0]?.answer([1, 2]);
  await turns();
  t.same(itemsOf(), [[1, 2]], 'nothing runs for those that have left');
  await t.rejects(fn(4, { signal: AbortSignal.abort(new Error('gone before')) }), { message: 'gone before' });
});

t.test('no listener stays on a signal that outlives the call', async (t) => {
  const { signal } = new AbortController();
  const fn = batch({ name: 'outlived' }, (items: number[]): (number | Error)[] =>
    items.map((item) => (item < 0 ? new Error('no') : item)),
  );
  await fn(1, { signal });
  await t.rejects(fn(-1, { signal }));
  t.equal(getEventListeners(signal, 'abort').length, 0);
});

t.test('more than maxQueuedItems are refused, and there is room again when some have gone', async (t) => {
  const { fn, runs, name } = gated({ maxBatchSize: 1, maxQueuedItems: 2 });
  const first = fn(1);
  await turns();
  const waiting = [fn(2), fn(3)];
  await t.rejects(fn(4), { code: 'QUEUE_FULL', message: new RegExp(`\`${name}\` has 2 items waiting`) });
  runs[0]?.answer([1]);
  await first;
  await turns();
  const last = fn(4);
  for (const index of [1, 2, 3]) {
    runs[index]?.answer([index + 1]);
    await turns();
  }
  t.same(await Promise.all([...waiting, last]), [2, 3, 4]);
});

t.test('what code keeps of a request is in a run that of its first item', async (t) => {
  const place = new AsyncLocalStorage<string>();
  const seen: (string | undefined)[] = [];
  const fn = batch({ name: 'placed', maxBatchSize: 2 }, async (items: number[]) => {
    seen.push(place.getStore());
    return items;
  });
  await Promise.all([1, 2, 3].map((item) => place.run(`request ${item}`, () => fn(item))));
  t.same(seen, ['request 1', 'request 3']);
});

t.test('what a run calls belongs to the call that all of its items are of, else to none of them', async (t) => {
  const seen: (CallWork | SharedWork | undefined)[] = [];
  const fn = batch({ name: 'belongs' }, async (items: number[]) => {
    seen.push(currentWork.getStore());
    await Promise.resolve();
    seen.push(currentWork.getStore());
    return items;
  });
  const now = Date.now();
  const [one, two] = [1, 2].map((id) => ({ id, requestId: `${id}`, deadline: now + id * 60_000 })) as [CallWork, CallWork];
  await Promise.all([1, 2].map((item) => currentWork.run(one, () => fn(item))));
  t.same(seen.splice(0), [one, one], 'both of one request');
  await Promise.all([currentWork.run(two, () => fn(2)), currentWork.run(one, () => fn(1, { deadline: now + 10 }))]);
  t.match(seen.splice(0), Array(2).fill({ id: undefined, deadline: now + 120_000, signal: { aborted: false } }), 'of two');
  await Promise.all([currentWork.run(two, () => fn(2)), fn(1)]);
  t.match(seen.splice(0), Array(2).fill({ id: undefined, deadline: undefined }), 'one of them has no deadline');
});

t.test('what the file says wins over the code, at once', async (t) => {
  const { fn, runs, name, itemsOf } = gated({ maxBatchSize: 100, waitS: 3600 });
  const asked = [1, 2, 3].map((item) => fn(item));
  await turns();
  t.same(itemsOf(), []);
  setBatchedFunctions({ [name]: { maxBatchSize: 2, waitMs: 0, maxConcurrentBatches: 2 } });
  t.same(itemsOf(), [[1, 2], [3]], 'what was held leaves');
  runs[0]?.answer([1, 2]);
  runs[1]?.answer([3]);
  t.same(await Promise.all(asked), [1, 2, 3]);
  setBatchedFunctions({ [name]: {}, constructor: {} });
  t.match(unknownNames(), { unknown: ['constructor'] });
});

t.test('options that cannot be are refused where they are written', async (t) => {
  const run = (items: number[]) => items;
  const refused: readonly (readonly [BatchOptions, RegExp])[] = [
    [{ name: '' }, /expects a `name`/],
    [{ name: '1st' }, /begins with a letter or `_`, got "1st"/],
    [{} as BatchOptions, /got undefined/],
    [{ name: 'a', maxBatchSize: 0 }, /`maxBatchSize` ≥ 1, a whole number, got 0/],
    [{ name: 'a', maxConcurrentBatches: 1.5 }, /`maxConcurrentBatches` ≥ 1/],
    [{ name: 'a', maxQueuedItems: Number.NaN }, /`maxQueuedItems` ≥ 1/],
    [{ name: 'a', waitS: -1 }, /`waitS` from 0 to 2147483, in seconds, got -1/],
    [{ name: 'a', waitS: 3e9 }, /`waitS`/],
  ];
  for (const [options, message] of refused) t.throws(() => batch(options, run), { message });
  t.throws(() => batch({ name: 'a' }, undefined as never), /a function of an array/);
});

t.test('whatever comes and goes, each item runs at most once and gets its own result', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(fc.constant('add'), fc.constant('answer'), fc.constant('leave'), fc.constant('turn')), { maxLength: 60 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 3 }),
      async (steps, maxBatchSize, maxConcurrentBatches) => {
        const { fn, runs } = gated({ maxBatchSize, maxConcurrentBatches });
        const asked: { item: number; caller: AbortController; outcome: Promise<unknown> }[] = [];
        const answered = new Set<number>();
        const answer = () => {
          const index = runs.findIndex((_, at) => !answered.has(at));
          if (index < 0) return;
          answered.add(index);
          runs[index]?.answer(runs[index]?.items.map((item) => item * 7) ?? []);
        };
        for (const step of steps) {
          if (step === 'add') {
            const caller = new AbortController();
            const item = asked.length;
            asked.push({ item, caller, outcome: fn(item, caller).catch(() => 'left') });
          } else if (step === 'answer') answer();
          else if (step === 'leave') asked.findLast(({ caller }) => !caller.signal.aborted)?.caller.abort();
          else await turn();
          const under = runs.length - answered.size;
          if (under > maxConcurrentBatches) throw new Error(`${under} runs at once`);
        }
        while (await Promise.race([Promise.all(asked.map(({ outcome }) => outcome)).then(() => false), turns().then(() => true)]))
          answer();
        const ran = runs.flatMap(({ items }) => items);
        if (new Set(ran).size !== ran.length) throw new Error(`ran twice: ${ran}`);
        if (runs.some(({ items }) => items.length > maxBatchSize)) throw new Error('too many in one');
        for (const { item, caller, outcome } of asked) {
          const got = await outcome;
          if (got !== item * 7 && !(caller.signal.aborted && got === 'left')) throw new Error(`${item} got ${String(got)}`);
          if (!caller.signal.aborted && !ran.includes(item)) throw new Error(`${item} never ran`);
        }
      },
    ),
  );
});

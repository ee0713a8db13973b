/** Random answers against a plain list: never over the bound, the least recently used goes first, nothing is given after its time. */
import fc from 'fast-check';
import t from 'tap';
import { AnswerStore, ENTRY_BYTES, MAX_PASSES, PASS_MS, type StoredAnswer } from '../../src/dispatch/answer-store.ts';

const answer = (text: string): StoredAnswer => ({ value: { skeleton: text, segments: [] }, http: undefined });
const MIB = 2 ** 20;

t.test('an answer is given again, and counts with what is around it', async (t) => {
  const store = new AnswerStore(MIB, Number.POSITIVE_INFINITY);
  const [a, b] = [answer('a'), answer('b')];
  store.keep('a', a, 100, Number.POSITIVE_INFINITY, 0);
  store.keep('b', b, 50, Number.POSITIVE_INFINITY, 0);
  t.equal(store.get('a', 1e9), a);
  t.equal(store.get('c', 0), undefined);
  t.equal(store.bytes, 150 + 2 * ENTRY_BYTES);
  store.keep('a', b, 10, Number.POSITIVE_INFINITY, 0);
  t.equal(store.get('a', 0), b);
  t.equal(store.bytes, 60 + 2 * ENTRY_BYTES, 'what it replaces is gone');
  store.clear();
  t.equal(store.bytes, 0);
  t.equal(store.get('a', 0), undefined);
});

t.test('an answer of more than a quarter of the bound is not kept', async (t) => {
  const store = new AnswerStore(8 * ENTRY_BYTES, Number.POSITIVE_INFINITY);
  t.equal(store.takes(ENTRY_BYTES), true);
  t.equal(store.takes(ENTRY_BYTES + 1), false);
  store.keep('large', answer('large'), ENTRY_BYTES + 1, Number.POSITIVE_INFINITY, 0);
  t.equal(store.get('large', 0), undefined);
  t.equal(store.bytes, 0);
});

t.test('a lower bound frees at once, a shorter time is in force at once', async (t) => {
  const store = new AnswerStore(MIB, Number.POSITIVE_INFINITY);
  for (const key of ['a', 'b', 'c']) store.keep(key, answer(key), 0, Number.POSITIVE_INFINITY, 0);
  store.limit(2 * ENTRY_BYTES, Number.POSITIVE_INFINITY);
  t.equal(store.bytes, 2 * ENTRY_BYTES);
  t.equal(store.evicted, 1);
  t.equal(store.get('a', 0), undefined, 'the oldest went');
  store.limit(2 * ENTRY_BYTES, 10);
  t.ok(store.get('b', 9));
  t.equal(store.get('b', 10), undefined);
  t.equal(store.expired, 1);
  store.limit(0, 10);
  t.equal(store.entries, 0);
});

t.test('that an answer is not kept is remembered for a while', async (t) => {
  const store = new AnswerStore(MIB, 1);
  store.pass('own', 0);
  t.equal(store.get('own', PASS_MS - 1), 'pass', 'for longer than answers are');
  t.equal(store.get('own', PASS_MS), undefined);
  store.keep('changed', answer('changed'), 0, Number.POSITIVE_INFINITY, 0);
  store.pass('changed', 0);
  t.same([store.get('changed', 0), store.entries, store.bytes], ['pass', 0, 0]);
  store.keep('changed', answer('changed'), 0, Number.POSITIVE_INFINITY, 0);
  t.type(store.get('changed', 0), 'object');
  store.pass('own', 0);
  store.clear();
  t.equal(store.get('own', 0), undefined);
});

t.test('answers that are not kept throw out none that are', async (t) => {
  const store = new AnswerStore(4 * ENTRY_BYTES, Number.POSITIVE_INFINITY);
  store.keep('kept', answer('kept'), 0, Number.POSITIVE_INFINITY, 0);
  for (let index = 0; index <= MAX_PASSES; index += 1) store.pass(String(index), 0);
  t.same([store.entries, store.bytes, store.evicted], [1, ENTRY_BYTES, 0]);
  t.equal(store.get('kept', 0), store.get('kept', 0));
  t.same([store.get('0', 0), store.get('1', 0)], [undefined, 'pass'], 'so many are remembered, and the oldest is not');
});

type Step =
  | { readonly kind: 'keep'; readonly key: number; readonly bytes: number; readonly ttlMs: number }
  | { readonly kind: 'get' | 'pass'; readonly key: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'limit'; readonly maxBytes: number; readonly ttlMs: number };

const key = fc.nat(12);
const ttlMs = fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.nat(30));
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('keep' as const), key, bytes: fc.nat(4 * ENTRY_BYTES), ttlMs }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('get' as const, 'pass' as const), key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(20) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('limit' as const), maxBytes: fc.nat(40 * ENTRY_BYTES), ttlMs }),
  },
);

t.test('whatever comes, it is a bounded list in order of use', async () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      let limits = { maxBytes: 20 * ENTRY_BYTES, ttlMs: Number.POSITIVE_INFINITY };
      const store = new AnswerStore(limits.maxBytes, limits.ttlMs);
      /** The least recently used first. `over`: of its own time, when it was kept and how long it is good. */
      let list: { key: string; answer: StoredAnswer; bytes: number; at: number; ttlMs: number }[] = [];
      const passes = new Map<string, number>();
      let now = 0;
      const isOver = (each: (typeof list)[number]) => now - each.at >= Math.min(each.ttlMs, limits.ttlMs);
      const sum = () => list.reduce((bytes, each) => bytes + each.bytes, 0);
      const put = (entry: (typeof list)[number]) => {
        list = list.filter((each) => each.key !== entry.key);
        if (entry.bytes > limits.maxBytes / 4) return;
        while (list[0] !== undefined && isOver(list[0])) list.shift();
        while (list.length > 0 && sum() + entry.bytes > limits.maxBytes) list.shift();
        list.push(entry);
      };
      for (const [index, each] of steps.entries()) {
        if (each.kind === 'wait') now += each.ms;
        else if (each.kind === 'limit') {
          limits = each;
          store.limit(each.maxBytes, each.ttlMs);
          while (sum() > limits.maxBytes) list.shift();
        } else {
          const name = String(each.key);
          const known = list.find((entry) => entry.key === name);
          if (each.kind === 'keep') {
            const kept = answer(`${name} ${index}`);
            passes.delete(name);
            store.keep(name, kept, each.bytes, each.ttlMs, now);
            put({ key: name, answer: kept, bytes: each.bytes + ENTRY_BYTES, at: now, ttlMs: each.ttlMs });
          } else if (each.kind === 'pass') {
            store.pass(name, now);
            list = list.filter((entry) => entry !== known);
            passes.set(name, now + PASS_MS);
          } else {
            const found = store.get(name, now);
            const good = known !== undefined && !isOver(known);
            const passed = (passes.get(name) ?? 0) > now ? 'pass' : undefined;
            if (found !== (good ? known.answer : known === undefined ? passed : undefined)) return false;
            list = list.filter((entry) => entry !== known);
            if (good) list.push(known);
          }
        }
        if (store.bytes !== sum() || store.entries !== list.length || store.bytes > limits.maxBytes) return false;
      }
      return true;
    }),
    { numRuns: 500 },
  );
});

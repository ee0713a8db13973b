import fc from 'fast-check';
import t from 'tap';
import { ServeError } from '../../src/domain/errors.ts';
import type { Split } from '../../src/domain/graph.ts';
import { latencyBucket } from '../../src/domain/latency.ts';
import type { SplitCounts } from '../../src/domain/snapshot.ts';
import { compileGraph, type GraphSource } from '../../src/graph/compile.ts';
import { choose, pointOf } from '../../src/graph/split.ts';
import { Shadows } from '../../src/proxy/shadow.ts';
import { Splits } from '../../src/proxy/splits.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { applicationRouting } from '../support/routing.ts';

const target = (deployment: string) => ({ application: 'app', deployment, method: 'call' });
const split = (weights: readonly number[], judgedAs?: string): Split => ({
  targets: weights.map((weight, index) => ({ target: target(`${index}`), weight })),
  stickyBy: undefined,
  judgedAs,
});
/** An application whose steps have these splits. */
const serving = (splits: Readonly<Record<string, Split>>) => {
  const steps = Object.fromEntries(Object.keys(splits).map((name) => [name, { call: 'A', input: 1 }]));
  const source: GraphSource = { steps, output: 1 };
  const { ingress } = compileGraph(source, { name: 'app', deployments: ['A'] }, []);
  if (ingress?.kind !== 'graph') throw new Error('expected a graph');
  const graph = { ...ingress.graph, steps: ingress.graph.steps.map((step) => ({ ...step, split: splits[step.name] })) };
  return applicationRouting({ ingress: { kind: 'graph', graph } });
};
const open = (post: (counts: Readonly<Record<string, SplitCounts>>) => void = () => {}) => {
  const now = { ms: 0 };
  const shadows = new Shadows();
  return { now, shadows, splits: new Splits(shadows, () => now.ms, post) };
};

t.test(
  'of ten thousand requests each target gets its share, but for a thousandth; of any that follow each other likewise',
  async (t) => {
    const weights = fc
      .array(fc.integer({ min: 0, max: 100 }), { minLength: 2, maxLength: 6 })
      .filter((all) => all.some((each) => each > 0));
    fc.assert(
      fc.property(weights, fc.nat(7), fc.nat(1000), fc.constantFrom(1, 2, 3, 7, 10), (all, order, begin, every) => {
        const { splits } = open();
        const names = Array.from({ length: order + 1 }, (_, index) => `s${index}`);
        splits.follow([serving(Object.fromEntries(names.map((name) => [name, split(all)])))]);
        const total = all.reduce((sum, weight) => sum + weight, 0);
        const counts = all.map(() => 0);
        for (let request = 0; request < begin; request++) splits.next(`app/s${order}`);
        for (let request = 0; request < 10_000 * every; request++) {
          const point = splits.next(`app/s${order}`);
          // A client may be of a kind that comes in each second or tenth request.
          if (request % every > 0) continue;
          const index = Number(choose(split(all), point).deployment);
          counts[index] = (counts[index] as number) + 1;
        }
        return all.every((weight, index) => Math.abs((counts[index] as number) / 10_000 - weight / total) < 0.003);
      }),
      { numRuns: 40 },
    );
    const { splits } = open();
    splits.follow([serving({ s: split([90, 10]) })]);
    const canaries = Array.from({ length: 10_000 }, () => choose(split([90, 10]), splits.next('app/s')).deployment).filter(
      (each) => each === '1',
    );
    t.ok(Math.abs(canaries.length - 1000) <= 10, `90/10: ${canaries.length} of 10000`);
  },
);

t.test('who is in the canary of one split is in that of another as often as chance has it', async (t) => {
  const { splits } = open();
  splits.follow([serving({ a: split([90, 10]), b: split([90, 10]), c: split([90, 10]) })]);
  const both = { ab: 0, ac: 0, bc: 0 };
  for (let request = 0; request < 10_000; request++) {
    const [a, b, c] = ['app/a', 'app/b', 'app/c'].map((step) => splits.next(step) >= 0.9);
    if (a && b) both.ab += 1;
    if (a && c) both.ac += 1;
    if (b && c) both.bc += 1;
  }
  for (const [pair, count] of Object.entries(both)) t.ok(Math.abs(count - 100) <= 30, `${pair}: ${count} of 10000`);
});

t.test('weights that change go on where the last request fell, and steps that are no more are forgotten', async (t) => {
  const { splits } = open();
  splits.follow([serving({ s: split([90, 10]) })]);
  const first = [splits.next('app/s'), splits.next('app/s')];
  splits.follow([serving({ s: split([50, 50]) })]);
  const third = splits.next('app/s');
  splits.follow([]);
  splits.follow([serving({ s: split([50, 50]) })]);
  t.same([splits.next('app/s'), splits.next('app/s')], first);
  t.equal(splits.next('app/s'), third);
});

t.test('a growing canary takes keys from the stable target, and gives none back', async () => {
  const rising = fc
    .uniqueArray(fc.double({ min: 0, max: 100, noNaN: true }), { minLength: 2, maxLength: 8 })
    .map((all) => all.sort((a, b) => a - b));
  fc.assert(
    fc.property(rising, fc.array(fc.string(), { minLength: 1, maxLength: 200 }), (percents, keys) =>
      keys.every((key) => {
        const sides = percents.map((percent) => choose(split([100 - percent, percent]), pointOf(key)).deployment);
        return sides.every((side, index) => index === 0 || sides[index - 1] === '0' || side === '1');
      }),
    ),
  );
});

t.test('a key falls where it has always fallen, so that no restart or upgrade moves anybody', async (t) => {
  t.same(
    ['score\n"ann"', 'score\n"bob"', 'score\n7'].map((key) => Math.floor(pointOf(key) * 1e9)),
    [33686761, 21700850, 286879427],
  );
});

const NOTHING = { result() {}, error() {}, open() {}, chunk() {}, end() {} };

t.test(
  'calls of a split that is judged are counted by target, by whose fault they failed, and by how long they took',
  async (t) => {
    const { now, shadows, splits } = open();
    t.teardown(() => splits.close());
    const judged = split([90, 10], 'app/s@1');
    splits.follow([serving({ s: judged })]);
    const [stable, canary] = judged.targets.map(({ target: each }) => each);
    if (stable === undefined || canary === undefined) throw new Error('two targets');
    const passed: string[] = [];
    const sink = {
      ...NOTHING,
      result: () => passed.push('result'),
      error: () => passed.push('error'),
      end: () => passed.push('end'),
    };
    const call = (of: typeof stable) => {
      now.ms = 0;
      const watched = splits.watch(judged, of, sink);
      now.ms = 30;
      return watched;
    };
    call(stable).result({ skeleton: '1', segments: [] }, undefined);
    call(canary).end();
    for (const code of ['USER_ERROR', 'REPLICA_DIED', 'QUEUE_FULL', 'DEADLINE_EXCEEDED', 'UNAVAILABLE'] as const)
      call(canary).error(new ServeError(code, ''));
    call(canary).error(new ServeError('QUEUE_FULL', '', { status: 429 }));
    for (const error of [
      new ServeError('INVALID_INPUT', ''),
      new ServeError('HTTP_ERROR', '', { status: 422 }),
      new ServeError('HTTP_ERROR', '', { status: 429 }),
    ])
      call(canary).error(error);
    call(canary).error(new ServeError('CLIENT_CLOSED', ''));
    shadows.count('app/s', 'same');
    const { stable: one, canary: two, shadow } = splits.read()['app/s@1'] ?? {};
    t.match(one, { requests: 1, errors: 0, clientErrors: 0 });
    t.match(two, { requests: 7, errors: 6, clientErrors: 3 });
    t.equal(one?.latency[latencyBucket(30)], 1);
    t.equal(two?.latency[latencyBucket(30)], 1, 'only what was answered');
    t.match(shadow, { same: 1 });
    t.equal(passed.length, 12, 'who waits is told in any case');
  },
);

t.test('what is not judged is neither wrapped nor reported; what is, in a period, until it is no more', async (t) => {
  const clock = new FakeClock(t);
  const told: string[][] = [];
  const { splits } = open((counts) => told.push(Object.keys(counts)));
  const plain = split([1, 1]);
  splits.follow([serving({ s: plain })]);
  t.equal(splits.watch(plain, plain.targets[0]?.target as never, NOTHING), NOTHING);
  t.equal(splits.watch(undefined, target('0'), NOTHING), NOTHING);
  clock.advance(10_000);
  t.same(told, []);
  const judged = split([1, 1], 'app/s@1');
  splits.follow([serving({ s: judged })]);
  clock.advance(1000);
  t.same(told, [['app/s@1'], ['app/s@1'], ['app/s@1'], ['app/s@1']]);
  const late = splits.watch(judged, judged.targets[1]?.target as never, NOTHING);
  splits.follow([serving({ s: split([1, 1], 'app/s@2') })]);
  late.end();
  t.match(splits.read(), { 'app/s@2': { canary: { requests: 0 } } }, 'what began with another canary says nothing of this one');
  splits.follow([]);
  clock.advance(1000);
  t.equal(told.length, 4);
});

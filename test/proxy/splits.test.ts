import fc from 'fast-check';
import t, { type Test } from 'tap';
import type { Sink } from '../../src/dispatch/pending.ts';
import { ServeError } from '../../src/domain/errors.ts';
import type { Split } from '../../src/domain/graph.ts';
import { latencyBucket } from '../../src/domain/latency.ts';
import type { SplitCounts } from '../../src/domain/snapshot.ts';
import { compileGraph, type GraphSource } from '../../src/graph/compile.ts';
import { choose, pointOf } from '../../src/graph/split.ts';
import { Shadows } from '../../src/proxy/shadow.ts';
import { type Asked, Splits } from '../../src/proxy/splits.ts';
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
const NEVER = Number.POSITIVE_INFINITY;
const VALUE = { skeleton: '1', segments: [] };

/** A split that is judged: `call` begins a call at 0 ms, `at` says what time it is. */
const judging = (t: Test) => {
  const { now, shadows, splits } = open();
  t.teardown(() => splits.close());
  const judged = split([90, 10], 'app/s@1');
  splits.follow([serving({ s: judged })]);
  const passed: string[] = [];
  const sink: Sink = {
    result: () => passed.push('result'),
    error: () => passed.push('error'),
    open: () => passed.push('open'),
    chunk: () => passed.push('chunk'),
    end: () => passed.push('end'),
  };
  const watch = (index: number, asked: Partial<Asked> = {}) => {
    now.ms = 0;
    const each = judged.targets[index]?.target ?? target('none');
    const limits = { ownDeadlineAt: NEVER, clientDeadlineAt: NEVER, streams: false };
    return splits.watch('app/s@1', judged.targets[0]?.target, { target: each, ...limits, ...asked }, sink);
  };
  const call = (index: number, asked?: Partial<Asked>, at = 30) => {
    const watched = watch(index, asked);
    if (watched === undefined) throw new Error('expected it to be counted');
    now.ms = at;
    return watched;
  };
  const counts = () => splits.read()['app/s@1'] as SplitCounts;
  return { now, shadows, passed, watch, call, counts };
};
const sum = (counts: readonly number[]) => counts.reduce((all, each) => all + each, 0);

t.test(
  'calls of a split that is judged are counted by target, by whose fault they failed, and by how long they took',
  async (t) => {
    const { shadows, passed, call, counts } = judging(t);
    call(0).result(VALUE, undefined);
    call(1).end();
    for (const code of ['USER_ERROR', 'REPLICA_DIED', 'QUEUE_FULL', 'DEADLINE_EXCEEDED', 'UNAVAILABLE'] as const)
      call(1).error(new ServeError(code, ''));
    call(1).error(new ServeError('QUEUE_FULL', '', { status: 429 }));
    for (const error of [
      new ServeError('INVALID_INPUT', ''),
      new ServeError('HTTP_ERROR', '', { status: 422 }),
      new ServeError('HTTP_ERROR', '', { status: 429 }),
    ])
      call(1).error(error);
    call(1).error(new ServeError('CLIENT_CLOSED', ''));
    shadows.count('app/s', 'same');
    const { stable, canary, shadow } = counts();
    t.match(stable, { requests: 1, errors: 0, clientErrors: 0, abandoned: 0 });
    t.match(canary, { requests: 7, errors: 6, clientErrors: 3, abandoned: 0 });
    t.equal(stable.latency[latencyBucket(30)], 1);
    t.equal(canary.latency[latencyBucket(30)], 1, 'only what was answered');
    t.match(shadow, { same: 1 });
    t.equal(passed.length, 12, 'who waits is told in any case');
  },
);

t.test('a call that nobody waits for any more is counted with the time that it has taken', async (t) => {
  const { call, counts } = judging(t);
  call(1, {}, 9000).left();
  const { canary } = counts();
  t.match(canary, { requests: 0, errors: 0, clientErrors: 0, abandoned: 1 });
  t.equal(canary.waited[latencyBucket(9000)], 1);
  t.equal(sum(canary.latency), 0);
});

t.test('a missed deadline is the fault of the target, unless the client gave the time', async (t) => {
  const late = (source?: string) => {
    const error = new ServeError('DEADLINE_EXCEEDED', '');
    error.source = source;
    return error;
  };
  const cases: readonly (readonly [what: string, asked: Partial<Asked>, at: number, error: ServeError, isFault: boolean])[] = [
    ['that of the file is over', { ownDeadlineAt: 100 }, 100, late(), true],
    ['that of the file comes first', { ownDeadlineAt: 100, clientDeadlineAt: 200 }, 100, late(), true],
    ['both are the same', { ownDeadlineAt: 100, clientDeadlineAt: 100 }, 100, late(), true],
    ['that of the client comes first', { ownDeadlineAt: 200, clientDeadlineAt: 100 }, 100, late(), false],
    ['it is dropped as it cannot be done in the client’s time', { clientDeadlineAt: 100 }, 20, late(), false],
    ['the replica’s clock is ahead', { clientDeadlineAt: 100 }, 70, late('app/1'), false],
    ['what it called itself was too late', { clientDeadlineAt: 1000 }, 100, late('app/1'), true],
  ];
  for (const [what, asked, at, error, isFault] of cases) {
    const { call, counts, passed } = judging(t);
    call(1, asked, at).error(error);
    const { errors, abandoned, waited } = counts().canary;
    t.same([errors, abandoned, waited[latencyBucket(at)]], isFault ? [1, 0, 0] : [0, 1, 1], what);
    t.same(passed, ['error']);
  }
});

t.test('a call for which no time was left when it began is nobody’s fault', async (t) => {
  const { watch } = judging(t);
  t.equal(watch(1, { ownDeadlineAt: 0 }), undefined);
  t.equal(watch(1, { clientDeadlineAt: 0 }), undefined);
  t.ok(watch(1, { clientDeadlineAt: 1 }));
});

t.test('of a stream that goes to the client the time to its first item counts, however slowly that reads', async (t) => {
  const { now, call, counts, passed } = judging(t);
  const stream = call(1, { streams: true });
  stream.open(undefined);
  stream.chunk(VALUE, 1);
  now.ms = 60_000;
  stream.chunk(VALUE, 1);
  stream.end();
  t.same(passed, ['open', 'chunk', 'chunk', 'end']);
  const { requests, latency } = counts().canary;
  t.same([requests, sum(latency), latency[latencyBucket(30)]], [1, 1, 1]);
  const left = call(1, { streams: true });
  left.chunk(VALUE, 1);
  now.ms = 60_000;
  left.left();
  t.match(counts().canary, { requests: 1, abandoned: 1 });
  t.equal(sum(counts().canary.waited), 0, 'its time is known');
});

t.test('of a stream that is collected for the next step the whole time counts', async (t) => {
  const { now, call, counts } = judging(t);
  const stream = call(1);
  stream.chunk(VALUE, 1);
  now.ms = 5000;
  stream.end();
  const { latency } = counts().canary;
  t.same([sum(latency), latency[latencyBucket(5000)]], [1, 1]);
});

t.test('what is not judged is neither watched nor reported; what is, in a period, until it is no more', async (t) => {
  const clock = new FakeClock(t);
  const told: string[][] = [];
  const { splits } = open((counts) => told.push(Object.keys(counts)));
  splits.follow([serving({ s: split([1, 1]) })]);
  const asked = { target: target('1'), ownDeadlineAt: NEVER, clientDeadlineAt: NEVER, streams: false };
  t.equal(splits.watch('app/s@1', target('0'), asked, NOTHING), undefined);
  clock.advance(10_000);
  t.same(told, []);
  splits.follow([serving({ s: split([1, 1], 'app/s@1') })]);
  clock.advance(1000);
  t.same(told, [['app/s@1'], ['app/s@1'], ['app/s@1'], ['app/s@1']]);
  const late = splits.watch('app/s@1', target('0'), asked, NOTHING);
  splits.follow([serving({ s: split([1, 1], 'app/s@2') })]);
  late?.end();
  t.match(splits.read(), { 'app/s@2': { canary: { requests: 0 } } }, 'what began with another canary says nothing of this one');
  splits.follow([]);
  clock.advance(1000);
  t.equal(told.length, 4);
});

import fc from 'fast-check';
import t from 'tap';
import type { VerdictBounds, VerdictSpec } from '../../src/domain/graph.ts';
import { decide, type Standing } from '../../src/verdict/judge.ts';
import type { Figures, TargetFigures } from '../../src/verdict/window.ts';

/** Evenly spread: doubles of their own are tiny, most of them. */
const upTo = (most: number) => fc.integer({ min: 0, max: 100 }).map((percent) => (percent * most) / 100);

const bounds: fc.Arbitrary<VerdictBounds> = fc
  .record({ errorRate: upTo(1), p99Ms: upTo(600), p99Ratio: upTo(10), difference: upTo(1) }, { requiredKeys: [] })
  .filter((all) => Object.keys(all).length > 0);

const specs: fc.Arbitrary<VerdictSpec> = fc.record({
  steps: fc.uniqueArray(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 6 }).map((all) => all.sort((a, b) => a - b)),
  windowMs: fc.integer({ min: 1000, max: 100_000 }),
  minRequests: fc.integer({ min: 1, max: 100 }),
  isSticky: fc.boolean(),
  promoteWhen: fc.option(bounds, { nil: undefined }),
  abortWhen: fc.option(bounds, { nil: undefined, freq: 1 }),
});

const target = fc
  .record({
    requests: fc.nat(400),
    failing: fc.constantFrom(0, 0, 0.01, 0.1, 0.5, 1),
    p99Ms: fc.integer({ min: 1, max: 300 }),
    clientErrors: fc.oneof(fc.constant(0), fc.nat(400)),
    abandoned: fc.oneof(fc.constant(0), fc.nat(400)),
  })
  .map(({ requests, failing, p99Ms, ...more }) => {
    const errors = Math.floor(requests * failing);
    return { requests, errors, ...more, timed: requests - errors, p99Ms: requests > errors ? p99Ms : undefined };
  });

const figures: fc.Arbitrary<Figures> = fc
  .record({ stable: target, canary: target, compared: fc.nat(400), differing: fc.constantFrom(0, 0, 0.01, 0.1, 0.5, 1) })
  .map((given) => ({ ...given, differing: Math.floor(given.compared * given.differing) }));

const standings: fc.Arbitrary<Standing> = fc.record({
  state: fc.constantFrom('progressing', 'promoted', 'aborted'),
  percent: fc.integer({ min: 0, max: 100 }),
});

const held = fc.integer({ min: 0, max: 400_000 });

/** What each figure is, told without the code under test; undefined: too few to tell. */
const valuesOf = ({ canary, stable, compared, differing }: Figures, { minRequests: min, isSticky }: VerdictSpec) => {
  const surplus = isSticky ? 0 : refusedTooOften(canary, stable, min);
  const requests = canary.requests + surplus;
  return {
    errorRate: requests >= min ? (canary.errors + surplus) / requests : undefined,
    p99Ms: canary.timed >= min ? canary.p99Ms : undefined,
    p99Ratio: canary.timed >= min && stable.timed >= min ? (canary.p99Ms ?? 0) / (stable.p99Ms ?? 1) : undefined,
    difference: compared >= min ? differing / compared : undefined,
  };
};

/** Beyond the share of the other and three standard errors of the difference, in whole calls. */
const refusedTooOften = (canary: TargetFigures, stable: TargetFigures, min: number): number => {
  const [a, b] = [canary.requests + canary.clientErrors, stable.requests + stable.clientErrors];
  if (a < min || b < min) return 0;
  const pooled = (canary.clientErrors + stable.clientErrors) / (a + b);
  const error = Math.sqrt(pooled * (1 - pooled) * (1 / a + 1 / b));
  return Math.max(0, Math.floor(canary.clientErrors - (stable.clientErrors / b + 3 * error) * a));
};

/** Whether the canary has so much more of it than the stable target that it gets no more, or nobody can say. */
const isWorse = ({ canary, stable }: Figures, of: 'clientErrors' | 'abandoned', min: number): boolean => {
  const [a, b] = [canary, stable].map(({ requests, clientErrors, abandoned }) => requests + clientErrors + abandoned);
  if (a === undefined || b === undefined || a < min || canary[of] / a <= 0.02) return false;
  return b < min || canary[of] / a - stable[of] / b > 0.02;
};

const KEYS = ['errorRate', 'p99Ms', 'p99Ratio', 'difference'] as const;

t.test('it aborts when, and only when, a bound to abort is passed by a figure of which enough is known', async () => {
  fc.assert(
    fc.property(specs, figures, fc.nat(100), held, (spec, seen, percent, heldMs) => {
      const values = valuesOf(seen, spec);
      const passed = KEYS.some((key) => (values[key] ?? -1) > (spec.abortWhen?.[key] ?? Number.POSITIVE_INFINITY));
      return (decide(spec, { state: 'progressing', percent }, seen, heldMs).type === 'abort') === passed;
    }),
    { numRuns: 2000 },
  );
});

t.test(
  'it promotes only upwards, to a step, after a window, with requests enough, every bound kept and none passed',
  async () => {
    let promoted = 0;
    fc.assert(
      fc.property(specs, figures, fc.nat(100), held, (spec, seen, percent, heldMs) => {
        const decision = decide(spec, { state: 'progressing', percent }, seen, heldMs);
        if (decision.type !== 'promote') return true;
        promoted += 1;
        const values = valuesOf(seen, spec);
        const wanted = KEYS.filter((key) => spec.promoteWhen?.[key] !== undefined && (percent > 0 || key === 'difference'));
        return (
          decision.percent === spec.steps.find((step) => step > percent) &&
          decision.isLast === (decision.percent === spec.steps.at(-1)) &&
          heldMs >= spec.windowMs &&
          (percent === 0 || seen.canary.requests >= spec.minRequests) &&
          (percent === 0 || !(['clientErrors', 'abandoned'] as const).some((of) => isWorse(seen, of, spec.minRequests))) &&
          wanted.length > 0 &&
          wanted.every((key) => values[key] !== undefined && (values[key] as number) < (spec.promoteWhen?.[key] as number)) &&
          KEYS.every((key) => (values[key] ?? -1) <= (spec.abortWhen?.[key] ?? Number.POSITIVE_INFINITY))
        );
      }),
      { numRuns: 2000 },
    );
    t.ok(promoted > 50, `${promoted} of them were promoted`);
  },
);

t.test('what has ended stays, and every answer says why', async () => {
  fc.assert(
    fc.property(specs, figures, standings, held, (spec, seen, standing, heldMs) => {
      const decision = decide(spec, standing, seen, heldMs);
      return decision.why !== '' && (standing.state === 'progressing' || decision.type === 'hold');
    }),
  );
});

t.test('refusals abort no canary that refuses no larger share than the stable target, whatever their number', async () => {
  fc.assert(
    fc.property(specs, figures, fc.nat(100), held, (spec, seen, percent, heldMs) => {
      const [a, b] = [seen.canary, seen.stable].map(
        ({ requests, clientErrors }) => clientErrors / (requests + clientErrors || 1),
      );
      if (a === undefined || b === undefined || a > b) return true;
      const without = { ...seen, canary: { ...seen.canary, clientErrors: 0 } };
      const [one, other] = [seen, without].map((each) => decide(spec, { state: 'progressing', percent }, each, heldMs));
      return (one?.type === 'abort') === (other?.type === 'abort');
    }),
  );
});

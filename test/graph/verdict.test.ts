import { readFileSync } from 'node:fs';
import t from 'tap';
import { compileGraph, type StepSource, type VerdictSource } from '../../src/graph/compile.ts';

const PROMOTES = { error_rate_below: 0.01 };

/** A step that sends a tenth of its requests to B, with this verdict. */
const compiled = (verdict: VerdictSource, more: Partial<StepSource> = {}, weights = [90, 10]) => {
  const targets = ['A', 'B', 'C'].slice(0, weights.length).map((call, index) => ({ call, weight: weights[index] as number }));
  const steps = { a: { split: { targets, verdict }, input: 1, ...more } };
  const { ingress, mistakes } = compileGraph({ steps }, { name: 'app', deployments: ['A', 'B', 'C'] }, []);
  const verdictOf = ingress?.kind === 'graph' ? ingress.graph.steps[0]?.split?.verdict : undefined;
  return { verdict: verdictOf, mistakes: mistakes.filter(({ severity }) => severity === 'error') };
};

t.test('a verdict is read with its units, and what it does not say is what the schema says', async (t) => {
  const given: VerdictSource = {
    steps: [20, 100],
    window_s: 1.5,
    min_requests: 7,
    promote_when: { error_rate_below: 0.01, p99_below_s: 0.25, p99_ratio_below: 1.2, difference_below: 0.1 },
    abort_when: { error_rate_above: 0.05, p99_above_s: 1, p99_ratio_above: 2, difference_above: 0.5 },
  };
  t.same(compiled(given, { shadow: { call: 'B' } }), {
    verdict: {
      steps: [20, 100],
      windowMs: 1500,
      minRequests: 7,
      isSticky: false,
      promoteWhen: { errorRate: 0.01, p99Ms: 250, p99Ratio: 1.2, difference: 0.1 },
      abortWhen: { errorRate: 0.05, p99Ms: 1000, p99Ratio: 2, difference: 0.5 },
    },
    mistakes: [],
  });
  const schema = JSON.parse(readFileSync(new URL('../../schemas/config.schema.json', import.meta.url), 'utf8'));
  const fields = schema.$defs.step.properties.split.properties.verdict.properties;
  t.same(compiled({ promote_when: PROMOTES }).verdict, {
    steps: fields.steps.default,
    windowMs: fields.window_s.default * 1000,
    minRequests: fields.min_requests.default,
    isSticky: false,
    promoteWhen: { errorRate: 0.01 },
    abortWhen: undefined,
  });
  t.same(compiled({ abort_when: { error_rate_above: 0 }, promote_when: null }).mistakes, [], 'one that only guards');
  t.same(compiled({ promote_when: { difference_below: 0.1 } }, { shadow: { call: 'B' } }, [1, 0]).mistakes, []);
});

t.test('what can never come of it is told, where it stands', async (t) => {
  const shadow = { shadow: { call: 'B' } };
  const told: readonly [VerdictSource, Partial<StepSource>, number[] | undefined, (string | number)[], RegExp][] = [
    [{ promote_when: PROMOTES }, {}, [1, 1, 1], [], /two targets, .*, got 3/],
    [{ promote_when: PROMOTES }, {}, [1], [], /two targets, .*, got 1/],
    [{}, {}, undefined, [], /got neither/],
    [{ promote_when: {} }, {}, undefined, ['promote_when'], /at least one of `error_rate_below`, .*`difference_below`, got none/],
    [{ abort_when: {} }, {}, undefined, ['abort_when'], /at least one of `error_rate_above`/],
    [{ steps: [5, 50, 50], promote_when: PROMOTES }, {}, undefined, ['steps', 2], /rising percents, got 50 behind 50/],
    [{ steps: [5, 50], promote_when: PROMOTES }, {}, [50, 50], ['steps'], /a step above the 50 % .*, got 5, 50/],
    [{ steps: [50], abort_when: { p99_above_s: 1 } }, {}, undefined, ['steps'], /there is none/],
    [
      { promote_when: { p99_below_s: 2 }, abort_when: { p99_above_s: 1 } },
      {},
      undefined,
      ['promote_when', 'p99_below_s'],
      /at most the 1 of `p99_above_s`, got 2/,
    ],
    [{ promote_when: { difference_below: 0.1 } }, {}, undefined, ['promote_when', 'difference_below'], /needs a `shadow`/],
    [
      { abort_when: { difference_above: 0.1 } },
      { shadow: { call: 'A' } },
      undefined,
      ['abort_when', 'difference_above'],
      /needs a `shadow`/,
    ],
    [{ promote_when: PROMOTES }, shadow, [1, 0], [], /with a weight of 0 the canary gets no requests/],
  ];
  for (const [verdict, more, weights, path, message] of told) {
    const { mistakes } = compiled(verdict, more, weights);
    t.match(mistakes, [{ code: 'BAD_VERDICT', path: ['steps', 'a', 'split', 'verdict', ...path], message }]);
    t.equal(mistakes.length, 1, JSON.stringify(verdict));
  }
  const same = { targets: ['A', 'A'].map((call) => ({ call, weight: 1 })), verdict: { promote_when: PROMOTES } };
  const { mistakes } = compileGraph({ steps: { a: { split: same, input: 1 } } }, { name: 'app', deployments: ['A'] }, []);
  t.match(mistakes, [{ code: 'BAD_VERDICT', message: /one and the same/ }]);
});

/** The policy with the schema's defaults, over loads as they come: it reacts within seconds, and does not swing. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { AutoscalingSpec } from '../../src/domain/desired.ts';
import { compiled, withDeployment } from '../config/fixtures/rig.ts';
import { type Outcome, peak, reached, type Scenario, simulate, targetAt, turns, waitOf } from './simulator.ts';

/** What a user gets who names nothing but `more`. */
const defaults = (more = ''): AutoscalingSpec => {
  const { desired } = compiled(withDeployment(`num_replicas: auto, autoscaling_config: {${more}}`));
  return desired?.applications[0]?.deployments[0]?.autoscaling as AutoscalingSpec;
};

const DOWNSCALE_DELAY_S = defaults().downscaleDelayMs / 1000;

/** A replica works on up to five requests at once, each takes a tenth of a second: 20 of a second keep it at its target of 2. */
const runs = (given: Partial<Scenario> & Pick<Scenario, 'rate' | 'seconds'>): readonly Outcome[] =>
  [1, 2, 3].map((seed) => simulate({ spec: defaults(), workMs: 100, slots: 5, startMs: 500, seed, ...given }));

const told = (outcome: Outcome): string => outcome.targets.map(({ second, target }) => `${second} s: ${target}`).join(', ');

const step = (second: number): number => (second < 60 ? 10 : second < 180 ? 100 : 10);

t.test('a constant load, however noisy, is met and then left alone', async (t) => {
  for (const [perSecond, needs] of [
    [5, 1],
    [50, 3],
    [90, 5],
    [130, 7],
  ] as const) {
    for (const outcome of runs({ rate: () => perSecond, seconds: 1200 })) {
      const late = outcome.targets.filter(({ second }) => second > 2 * DOWNSCALE_DELAY_S + 10);
      t.ok(late.length <= 1, `${perSecond}/s is met once: ${told(outcome)}`);
      t.ok(Math.abs(targetAt(outcome, 1199) - needs) <= 1, `${perSecond}/s needs ${needs}: ${told(outcome)}`);
    }
  }
});

t.test('a load that lies between two counts changes between these two only, and seldom', async (t) => {
  for (const outcome of runs({ rate: () => 18, seconds: 1200 })) {
    t.ok(peak(outcome) <= 2, told(outcome));
    // Each time down has to be quiet for the whole delay first.
    t.ok(turns(outcome) <= (2 * 1200) / DOWNSCALE_DELAY_S, told(outcome));
  }
});

t.test('a step to ten times the load is met within 5 s, goes at most to three times what it needs, and comes back', async (t) => {
  for (const outcome of runs({ rate: step, seconds: 800 })) {
    t.ok(reached(outcome, 5, 60) - 60 <= 5, told(outcome));
    t.ok(peak(outcome) <= 15, told(outcome));
    t.equal(turns(outcome), 1, told(outcome));
    t.equal(targetAt(outcome, 799), 1, told(outcome));
    t.ok(waitOf(outcome, 99, 70, 180) <= 50, 'nobody waits any more after 10 s');
  }
});

t.test('with replicas that take 5 s to start it reacts as soon, and comes back as straight', async (t) => {
  for (const outcome of runs({ rate: step, seconds: 800, startMs: 5000 })) {
    t.ok(reached(outcome, 5, 60) - 60 <= 5, told(outcome));
    t.equal(turns(outcome), 1, told(outcome));
    t.ok(waitOf(outcome, 99, 75, 180) <= 50, 'nobody waits any more after 15 s');
  }
});

t.test('a ramp is followed up and down without a turn between, and nobody waits', async (t) => {
  const ramp = (second: number) => (second < 200 ? second : second < 400 ? 400 - second : 0);
  for (const outcome of runs({ rate: ramp, seconds: 900 })) {
    t.ok(peak(outcome) <= 12, `200/s need 10: ${told(outcome)}`);
    t.ok(turns(outcome) <= 1, told(outcome));
    t.ok(waitOf(outcome, 99, 0, 900) <= 50);
  }
});

t.test('a spike of half a second changes nothing', async (t) => {
  for (const outcome of runs({ rate: (second) => (second >= 60 && second < 60.5 ? 40 : 10), seconds: 200 })) {
    const near = outcome.targets.filter(({ second }) => second > 59 && second < 70);
    t.same(near, [], told(outcome));
  }
});

t.test('idle replicas go, down to min_replicas; with 0 the last one too, and it is back for the next request', async (t) => {
  const rate = (second: number) => (second < 30 || second > 800 ? 50 : 0);
  for (const outcome of runs({ spec: defaults('min_replicas: 0'), rate, seconds: 820 })) {
    t.equal(targetAt(outcome, 799), 0, told(outcome));
    t.ok(reached(outcome, 1, 800) <= 801, told(outcome));
    t.equal(outcome.left, 0, 'what waited was served');
  }
});

t.test('target_queue_delay_s: it grows until requests wait no longer, by steps that wait for those that start', async (t) => {
  const rate = (second: number) => (second < 60 ? 10 : second < 180 ? 200 : 10);
  const spec = defaults('target_queue_delay_s: 0.1');
  for (const startMs of [500, 5000]) {
    for (const outcome of runs({ spec, rate, seconds: 800, startMs })) {
      t.ok(reached(outcome, 2, 60) - 60 <= 5, told(outcome));
      t.ok(peak(outcome) <= 16, `200/s fill 4: ${told(outcome)}`);
      t.equal(turns(outcome), 1, told(outcome));
      t.ok(waitOf(outcome, 99, 130, 180) <= 100, 'the delay is met');
      t.equal(targetAt(outcome, 799), 1, told(outcome));
    }
  }
});

const traces = JSON.parse(readFileSync(new URL('./traces/azure-llm-2023.json', import.meta.url), 'utf8')) as {
  readonly perSecond: { readonly code: readonly number[]; readonly conversation: readonly number[] };
};

t.test('recorded loads: it turns no more often than the delays allow, and few requests wait', async (t) => {
  for (const [name, perSecond] of Object.entries(traces.perSecond)) {
    const rate = (second: number) => perSecond[Math.floor(second)] ?? 0;
    for (const [workMs, most] of [
      [500, 2000],
      [2000, 5000],
    ] as const) {
      const recorded = { rate, seconds: perSecond.length, noise: false, workMs };
      for (const outcome of runs(recorded)) {
        t.ok(turns(outcome) <= (2 * perSecond.length) / DOWNSCALE_DELAY_S, `${name}: ${told(outcome)}`);
        t.ok(waitOf(outcome, 99, 0, perSecond.length) <= most, `${name}: ${waitOf(outcome, 99, 0, perSecond.length)} ms`);
        const moves = outcome.targets
          .slice(1)
          .map(({ second, target }, index) => ({ second, down: target < (outcome.targets[index]?.target ?? 0) }));
        const hasty = moves.filter(
          ({ second, down }, index) => down && second - (moves[index - 1]?.second ?? 0) < DOWNSCALE_DELAY_S,
        );
        t.same(hasty, [], 'nothing goes before it was too much for the whole delay');
      }
    }
  }
});

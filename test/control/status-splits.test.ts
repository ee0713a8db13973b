import t from 'tap';
import { shadowsOf, splitsOf } from '../../src/control/status-splits.ts';
import type { VerdictView } from '../../src/control/verdicts.ts';
import { emptyLatency, latencyBucket } from '../../src/domain/latency.ts';
import { compileGraph } from '../../src/graph/compile.ts';
import { applicationSpec, deploymentSpec } from '../support/targets.ts';

const specOf = (weights: readonly number[]) => {
  const calls = ['A', 'B.better', 'other/C'];
  const targets = weights.map((weight, index) => ({ call: calls[index] as string, weight }));
  const known = [
    { name: 'app', deployments: ['A', 'B'] },
    { name: 'other', deployments: ['C'] },
  ] as const;
  const steps = { plain: { call: 'A', input: 1 }, score: { split: { targets }, input: '$plain' } };
  const { ingress } = compileGraph({ steps }, known[0], known);
  if (ingress === undefined) throw new Error('expected a graph');
  return applicationSpec({ deployments: ['A', 'B'].map((name) => deploymentSpec({ name })), ingress });
};

t.test('each split tells who gets which share; without a verdict nothing is counted', async (t) => {
  t.same(
    splitsOf(specOf([6, 3, 3]), () => undefined),
    {
      score: {
        targets: [
          { call: 'A', percent: 50, declared_percent: 50, total: null, window: null },
          { call: 'B.better', percent: 25, declared_percent: 25, total: null, window: null },
          { call: 'other/C', percent: 25, declared_percent: 25, total: null, window: null },
        ],
        verdict: null,
      },
    },
  );
  t.same(
    splitsOf(applicationSpec(), () => undefined),
    {},
  );
});

t.test('with one it tells the share now and in the file, what was counted, and what is waited for', async (t) => {
  const latency = emptyLatency();
  latency[latencyBucket(100)] = 8;
  const counts = { requests: 10, errors: 2, clientErrors: 3, abandoned: 1, latency };
  const figures = { requests: 4, errors: 1, timed: 3, p99Ms: 123.456 };
  const view = {
    standing: { state: 'progressing', percent: 25, identity: 'x', at: '2026-01-01T00:00:00.000Z', why: '' },
    split: { spec: { steps: [25, 100], windowMs: 1500, minRequests: 7, promoteWhen: {}, abortWhen: undefined } },
    figures: { stable: { ...figures, requests: 0, p99Ms: undefined }, canary: figures, compared: 8, differing: 2 },
    counts: { stable: counts, canary: counts, shadow: { same: 0, different: 0, failed: 0, skipped: 0 } },
    message: '4 of 7 requests of the canary',
    next: 100,
  } as unknown as VerdictView;
  const { score } = splitsOf(specOf([90, 10]), (step) => (step === 'score' ? view : undefined));
  const p99 = score?.targets[0]?.total?.p99_s ?? 0;
  t.ok(p99 > 0.095 && p99 < 0.105, `${p99}`);
  const total = { requests: 10, errors: 2, client_errors: 3, abandoned: 1, p99_s: p99 };
  t.same(score, {
    targets: [
      { call: 'A', percent: 75, declared_percent: 90, total, window: { requests: 0, error_rate: null, p99_s: null } },
      { call: 'B.better', percent: 25, declared_percent: 10, total, window: { requests: 4, error_rate: 0.25, p99_s: 0.123 } },
    ],
    verdict: {
      state: 'progressing',
      message: '4 of 7 requests of the canary',
      since: '2026-01-01T00:00:00.000Z',
      next_percent: 100,
      steps: [25, 100],
      window_s: 1.5,
      min_requests: 7,
      difference: 0.25,
    },
  });
});

t.test('of each shadow the share that differs is told, failed copies included, those that were skipped left out', async (t) => {
  const shadows = {
    'app/near': { same: 6, different: 1, failed: 1, skipped: 100 },
    'app/idle': { same: 0, different: 0, failed: 0, skipped: 3 },
    'apple/near': { same: 1, different: 0, failed: 0, skipped: 0 },
  };
  t.match(shadowsOf('app', { ongoing: 0, deployments: {}, replicas: {}, shadows }), {
    near: { same: 6, skipped: 100, share_different: 0.25 },
    idle: { share_different: null },
  });
  t.same(Object.keys(shadowsOf('app', { ongoing: 0, deployments: {}, replicas: {}, shadows })), ['near', 'idle']);
});

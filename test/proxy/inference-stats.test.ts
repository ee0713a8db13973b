import t from 'tap';
import type { RunReport } from '../../src/protocol/run-report.ts';
import { InferenceStats } from '../../src/proxy/inference-stats.ts';

const report = (given: Partial<RunReport> = {}): RunReport => ({
  version: '1',
  rows: 1,
  runRows: 1,
  inputMs: 1,
  inferMs: 2,
  outputMs: 3,
  ...given,
});

const times = (queueMs: number, totalMs: number, cacheMs = 0) => ({ queueMs, totalMs, cacheMs });

t.test('requests that ran together count as one run, and each has all of its time', async (t) => {
  const stats = new InferenceStats();
  for (const rows of [1, 2, 3]) stats.succeeded('a/m', report({ rows, runRows: 6 }), times(10, 20), undefined, 5000);
  stats.succeeded('a/m', report(), times(0, 20), undefined, 6000);
  t.match(stats.read('m', 'a/m', '1'), {
    name: 'm',
    inference_count: 7,
    execution_count: 2,
    last_inference: 6000,
    inference_stats: {
      success: { count: 4, ns: 80_000_000 },
      queue: { count: 4, ns: 30_000_000 },
      compute_input: { count: 4, ns: 4_000_000 },
      compute_infer: { count: 4, ns: 8_000_000 },
      compute_output: { count: 4, ns: 12_000_000 },
      fail: { count: 0, ns: 0 },
    },
    batch_stats: [
      { batch_size: 1, compute_infer: { count: 1, ns: 2_000_000 } },
      { batch_size: 6, compute_infer: { count: 1, ns: 2_000_000 } },
    ],
  });
});

t.test('versions are counted apart, and models that have gone are forgotten', async (t) => {
  const stats = new InferenceStats();
  stats.succeeded('a/m', report({ version: '2' }), times(0, 0), undefined, 1);
  stats.failed('a/m', '1', 4);
  t.match(stats.read('m', 'a/m', '2'), { inference_count: 1, inference_stats: { fail: { count: 0 } } });
  t.match(stats.read('m', 'a/m', '1'), { inference_count: 0, inference_stats: { fail: { count: 1, ns: 4_000_000 } } });
  stats.keep(new Set());
  t.match(stats.read('m', 'a/m', '2'), { inference_count: 0 });
});

t.test('what the response cache answered is a success and no inference', async (t) => {
  const stats = new InferenceStats();
  stats.succeeded('a/m', report(), times(0, 20, 2), 'miss', 5000);
  stats.succeeded('a/m', report(), times(0, 4, 1), 'hit', 6000);
  stats.succeeded('a/m', report(), times(12, 16, 1), 'shared', 7000);
  stats.succeeded('a/m', report(), times(0, 20, 0), 'bypass', 8000);
  t.match(stats.read('m', 'a/m', '1'), {
    inference_count: 2,
    execution_count: 2,
    inference_stats: {
      success: { count: 4, ns: 60_000_000 },
      compute_infer: { count: 2 },
      cache_hit: { count: 2, ns: 2_000_000 },
      cache_miss: { count: 1, ns: 2_000_000 },
    },
    batch_stats: [{ batch_size: 1, compute_infer: { count: 2 } }],
  });
});

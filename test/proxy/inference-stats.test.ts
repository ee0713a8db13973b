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

t.test('requests that ran together count as one run, and each has all of its time', async (t) => {
  const stats = new InferenceStats();
  for (const rows of [1, 2, 3]) stats.succeeded('a/m', report({ rows, runRows: 6 }), 10, 20, 5000);
  stats.succeeded('a/m', report(), 0, 20, 6000);
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
  stats.succeeded('a/m', report({ version: '2' }), 0, 0, 1);
  stats.failed('a/m', '1', 4);
  t.match(stats.read('m', 'a/m', '2'), { inference_count: 1, inference_stats: { fail: { count: 0 } } });
  t.match(stats.read('m', 'a/m', '1'), { inference_count: 0, inference_stats: { fail: { count: 1, ns: 4_000_000 } } });
  stats.keep(new Set());
  t.match(stats.read('m', 'a/m', '2'), { inference_count: 0 });
});

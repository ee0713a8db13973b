/** (c) A small MLP behind HTTP, 64 connections: batching on against off, everything else the same. */
import { mlpModel } from './onnx-mlp.ts';
import { LOAD_TOOL, load, median, startDaemon, versionsText } from './support.ts';

const ROUNDS = 5;
const SECONDS = 4;
const WIDTHS = [784, 1024, 1024, 10];

const HEAD = `http_options: {port: 0}
admin_options: {port: 0}
logging_config: {enable_access_log: false}
applications:
- name: mlp
  deployments:
`;

export const run = async (): Promise<void> => {
  const results: Record<'on' | 'off', number[]> = { on: [], off: [] };
  const p50: Record<'on' | 'off', number[]> = { on: [], off: [] };
  const ratios: number[] = [];
  const body = new Uint8Array(Float32Array.from({ length: WIDTHS[0] as number }, (_, index) => (index % 17) / 17).buffer);
  const file = { 'mlp.onnx': mlpModel(WIDTHS) };
  const measure = async (mode: 'on' | 'off'): Promise<number> => {
    const config = `${HEAD}  - {name: Mlp, model: mlp.onnx, ${mode === 'on' ? 'batching: {max_batch_size: 32}' : 'max_ongoing_requests: 64'}}\n`;
    await using daemon = await startDaemon(config, file);
    await daemon.line('application is serving');
    await load(daemon.port, 64, 1, body, 'application/octet-stream');
    const result = await load(daemon.port, 64, SECONDS, body, 'application/octet-stream');
    if (result.errors > 0) throw new Error(`${result.errors} of ${result.requests} requests failed`);
    results[mode].push(result.rps);
    p50[mode].push(result.p50Ms);
    return result.rps;
  };
  for (let round = 0; round < ROUNDS; round++) {
    const off = await measure('off');
    ratios.push((await measure('on')) / off);
  }
  console.log(
    `(c) MLP ${WIDTHS.join('-')}, 3 KB float32 bodies, one replica, 64 connections, ${LOAD_TOOL}, ${versionsText(['onnxruntime-node'])}`,
  );
  console.log(
    `    batching off ${median(results.off).toFixed(0)}/s (p50 ${median(p50.off).toFixed(2)} ms), on ${median(results.on).toFixed(0)}/s (p50 ${median(p50.on).toFixed(2)} ms); ratio ${median(ratios).toFixed(2)} (${ratios.map((each) => each.toFixed(2)).join(' ')}), wanted ≥ 3`,
  );
};

/**
 * (f) What serving a model adds to running it: p50 of a binary request of the Open Inference Protocol over one connection, against a loop over
 * `session.run` in a process of its own, in turns.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../support/daemon-rig.ts';
import { binaryRequest, little } from '../support/inference.ts';
import { convolutionModel, IMAGE, mlpModel } from './onnx-models.ts';
import { LOAD_TOOL, load, median, ROOT, startDaemon, versionsText } from './support.ts';

const ROUNDS = 5;
const SECONDS = 4;
const WIDTH = 784;

const MODELS = [
  { name: 'perceptron', model: () => mlpModel([WIDTH, 128, 10]), shape: [1, WIDTH], wantedUs: 150 },
  { name: 'image', model: () => convolutionModel(), shape: [1, ...IMAGE], wantedUs: 400 },
] as const;

/** As one would write it by hand: the tensor is there, and is given to the session anew each time. Prints the p50 in milliseconds. */
const LOOP = `const { createRequire } = require('node:module');
const ort = createRequire(${JSON.stringify(join(ROOT, 'package.json'))})('onnxruntime-node');
const [path, seconds, ...shape] = process.argv.slice(2);
const dims = shape.map(Number);
const data = new Float32Array(dims.reduce((product, each) => product * each, 1)).fill(0.5);
(async () => {
  const session = await ort.InferenceSession.create(path, { intraOpNumThreads: 1 });
  const taken = [];
  for (const end = performance.now() + Number(seconds) * 1000; performance.now() < end; ) {
    const began = performance.now();
    await session.run({ x: new ort.Tensor('float32', data, dims) });
    taken.push(performance.now() - began);
  }
  console.log(taken.sort((a, b) => a - b)[taken.length >> 1]);
})();
`;

const looped = async (program: string, model: string, shape: readonly number[]): Promise<number> => {
  const child = spawn(process.execPath, [program, model, String(SECONDS), ...shape.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  for await (const chunk of child.stdout) text += String(chunk);
  return Number(text);
};

export const run = async (): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), 'serve-bench-model-'));
  try {
    const program = join(folder, 'loop.cjs');
    writeFileSync(program, LOOP);
    const files = Object.fromEntries(MODELS.map(({ name, model }) => [`${name}.onnx`, model()]));
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
    const applications = MODELS.map(
      ({ name }) => `- {name: ${name}, route_prefix: /${name}, deployments: [{name: ${name}, model: ./${name}.onnx}]}\n`,
    );
    const config = `http_options: {port: 0}\nadmin_options: {port: 0}\nlogging_config: {enable_access_log: false}\napplications:\n${applications.join('')}`;
    await using daemon = await startDaemon(config, files);
    const health = async () => (await fetch(`http://127.0.0.1:${daemon.port}/-/healthz`)).text();
    await until('every application serves', async () => (await health()) === 'success');
    console.log(`(f) a model served against \`session.run\` in a loop, ${LOAD_TOOL}, ${versionsText(['onnxruntime-node'])}`);
    for (const { name, shape, wantedUs } of MODELS) {
      const data = new Float32Array(shape.reduce((product: number, each) => product * each, 1)).fill(0.5);
      const tensor = { name: 'x', datatype: 'FP32', shape, bytes: little(data) };
      const { headers, body } = binaryRequest([tensor], { parameters: { binary_data_output: true } });
      const serve = async (): Promise<number> => {
        const path = `/v2/models/${name}/infer`;
        const { 'content-type': type = '', ...more } = headers;
        const result = await load(daemon.port, 1, SECONDS, body, type, path, more);
        if (result.errors > 0) throw new Error(`${result.errors} of ${result.requests} requests failed`);
        return result.p50Ms;
      };
      await serve();
      const rounds: { readonly loop: number; readonly served: number }[] = [];
      for (let round = 0; round < ROUNDS; round++)
        rounds.push({ loop: await looped(program, join(folder, `${name}.onnx`), shape), served: await serve() });
      const added = rounds.map(({ loop, served }) => (served - loop) * 1000);
      const ms = (side: 'loop' | 'served') => median(rounds.map((each) => each[side])).toFixed(3);
      console.log(
        `    ${name}, ${tensor.bytes.byteLength} bytes: p50 ${ms('loop')} ms in the loop, ${ms('served')} ms served; added ${median(added).toFixed(0)} µs (${added.map((each) => each.toFixed(0)).join(' ')}), wanted ≤ ${wantedUs}`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

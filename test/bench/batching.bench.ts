/**
 * (c) Batching as it comes (`batching: {}`) against none and against every fixed size, one replica each, in turns; and four replicas
 * against two on the same cores. CPU time a row is of daemon and replica together: on a shared machine it says more than rows a second.
 */
import { until } from '../support/daemon-rig.ts';
import { convolutionModel, ENCODER, encoderModel, IMAGE, mlpModel } from './onnx-models.ts';
import {
  type BenchDaemon,
  cpuMs,
  LOAD_TOOL,
  type LoadResult,
  load,
  loadAt,
  median,
  startDaemon,
  versionsText,
} from './support.ts';

const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 5);
const SECONDS = 4;
const WIDTHS = [784, 1024, 1024, 10];
const FIXED = [1, 2, 4, 8, 16];

const HEAD = `http_options: {port: 0}
admin_options: {port: 0}
logging_config: {enable_access_log: false}
resources: {num_cpus: 64}
applications:
`;

const application = (name: string, deployment: string): string =>
  `- {name: ${name}, route_prefix: /${name}, deployments: [{name: Model, ${deployment}}]}\n`;

interface Measured {
  readonly rowsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuMsPerRow: number;
}

class Rig {
  readonly #daemon: BenchDaemon;
  readonly #pids: number[];
  readonly #seen = new Map<string, Measured[]>();

  private constructor(daemon: BenchDaemon, pids: number[]) {
    this.#daemon = daemon;
    this.#pids = pids;
  }

  static async start(applications: readonly string[], model: Uint8Array): Promise<Rig & AsyncDisposable> {
    const daemon = await startDaemon(HEAD + applications.join(''), { 'm.onnx': model });
    const health = async () => (await fetch(`http://127.0.0.1:${daemon.port}/-/healthz`)).text();
    await until('every application serves', async () => (await health()) === 'success');
    const rig = new Rig(daemon, [daemon.pid, ...(await daemon.pids())]);
    return Object.assign(rig, { [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose]() });
  }

  async measure(name: string, path: string, connections: number, row: Float32Array, seconds = SECONDS): Promise<void> {
    const before = cpuMs(this.#pids);
    const result = await load(
      this.#daemon.port,
      connections,
      seconds,
      new Uint8Array(row.buffer),
      'application/octet-stream',
      `/${path}`,
    );
    if (result.errors > 0) throw new Error(`${name}: ${result.errors} of ${result.requests} requests failed`);
    const cpuMsPerRow = (cpuMs(this.#pids) - before) / result.requests;
    const seen = this.#seen.get(name) ?? [];
    seen.push({ rowsPerSecond: result.rps, p50Ms: result.p50Ms, p99Ms: result.p99Ms, cpuMsPerRow });
    this.#seen.set(name, seen);
  }

  async measureAt(path: string, perSecond: number, row: Float32Array, seconds: number): Promise<LoadResult> {
    const body = new Uint8Array(row.buffer);
    const result = await loadAt(this.#daemon.port, perSecond, seconds, body, 'application/octet-stream', `/${path}`);
    if (result.errors > 0) throw new Error(`${path}: ${result.errors} of ${result.requests} requests failed`);
    return result;
  }

  /** Rows a batch, on average over all that left. */
  async batchOf(name: string): Promise<string> {
    const metrics = await (await fetch(`${this.#daemon.admin}/metrics`)).text();
    const value = (what: string) =>
      Number(new RegExp(`^serve_batch_size_${what}\\{application="${name}"[^}]*\\} (\\S+)`, 'm').exec(metrics)?.[1]);
    return (value('sum') / value('count')).toFixed(1);
  }

  forget(): void {
    this.#seen.clear();
  }

  of(name: string): Measured {
    const seen = this.#seen.get(name) ?? [];
    const of = (key: keyof Measured) => median(seen.map((each) => each[key]));
    return { rowsPerSecond: of('rowsPerSecond'), p50Ms: of('p50Ms'), p99Ms: of('p99Ms'), cpuMsPerRow: of('cpuMsPerRow') };
  }

  /** Median over the rounds of one against the other, rows a second. */
  ratio(one: string, other: string): number {
    const [ones, others] = [this.#seen.get(one) ?? [], this.#seen.get(other) ?? []];
    return median(ones.map(({ rowsPerSecond }, at) => rowsPerSecond / (others[at]?.rowsPerSecond ?? Number.NaN)));
  }
}

const text = ({ rowsPerSecond, p50Ms, cpuMsPerRow }: Measured): string =>
  `${rowsPerSecond.toFixed(0)}/s, p50 ${p50Ms.toFixed(2)} ms, ${cpuMsPerRow.toFixed(3)} ms CPU a row`;

const rowOf = (length: number): Float32Array => Float32Array.from({ length }, (_, index) => (index % 17) / 17);

const perceptron = async (): Promise<void> => {
  const row = rowOf(WIDTHS[0] as number);
  await using rig = await Rig.start(
    [application('none', 'model: m.onnx, max_ongoing_requests: 64'), application('learned', 'model: m.onnx, batching: {}')],
    mlpModel(WIDTHS),
  );
  for (const name of ['none', 'learned']) await rig.measure(name, name, 64, row, 2);
  rig.forget();
  for (let round = 0; round < ROUNDS; round++) for (const name of ['none', 'learned']) await rig.measure(name, name, 64, row);
  const [none, learned] = [rig.of('none'), rig.of('learned')];
  console.log(
    `(c) MLP ${WIDTHS.join('-')}, 3 KB a row, 64 connections\n    none: ${text(none)}\n    batching: {}: ${text(learned)}`,
  );
  console.log(
    `    ratio ${rig.ratio('learned', 'none').toFixed(2)} (wanted ≥ 3), CPU a row ${(none.cpuMsPerRow / learned.cpuMsPerRow).toFixed(2)} × less`,
  );
};

/** A window that is named, however short, makes the size one that is not learned. */
const fixed = (size: number): string =>
  `batching: {max_batch_size: ${size}, batch_wait_timeout_s: 0.0001}, max_ongoing_requests: 64`;

const computeBound = async (title: string, model: Uint8Array, row: Float32Array): Promise<void> => {
  const names = [...FIXED.map((size) => `fixed${size}`), 'learned'];
  await using rig = await Rig.start(
    [
      ...FIXED.map((size) => application(`fixed${size}`, `model: m.onnx, ${fixed(size)}`)),
      application('learned', 'model: m.onnx, batching: {}'),
    ],
    model,
  );
  for (const name of names) await rig.measure(name, name, 32, row, name === 'learned' ? 10 : 1);
  rig.forget();
  for (let round = 0; round < ROUNDS; round++) for (const name of names) await rig.measure(name, name, 32, row);
  const best = (key: 'rowsPerSecond' | 'cpuMsPerRow', sign: 1 | -1): number =>
    FIXED.reduce((found, size) => (sign * rig.of(`fixed${size}`)[key] > sign * rig.of(`fixed${found}`)[key] ? size : found));
  const [fastest, cheapest] = [best('rowsPerSecond', 1), best('cpuMsPerRow', -1)];
  const learned = rig.of('learned');
  console.log(`(c) ${title}, 32 rows under way\n    batching: {}: ${text(learned)}, batches of ${await rig.batchOf('learned')}`);
  for (const size of FIXED) console.log(`    fixed ${size}: ${text(rig.of(`fixed${size}`))}`);
  console.log(
    `    rows a second ${rig.ratio('learned', `fixed${fastest}`).toFixed(3)} of the best (${fastest}), by CPU ${(rig.of(`fixed${cheapest}`).cpuMsPerRow / learned.cpuMsPerRow).toFixed(3)} of the best (${cheapest}); wanted ≥ 0.97`,
  );
};

const replicas = async (): Promise<void> => {
  const { length, width } = ENCODER;
  const row = rowOf(length * width);
  await using rig = await Rig.start(
    [
      application('two', 'model: m.onnx, num_replicas: 2, batching: {}'),
      application('four', 'model: m.onnx, num_replicas: 4, batching: {}'),
    ],
    encoderModel(),
  );
  for (const name of ['two', 'four']) await rig.measure(name, name, 32, row, 2);
  rig.forget();
  for (let round = 0; round < ROUNDS; round++) for (const name of ['two', 'four']) await rig.measure(name, name, 32, row);
  const [two, four] = [rig.of('two'), rig.of('four')];
  console.log(`(c) encoder, 32 connections\n    2 replicas: ${text(two)}\n    4 replicas: ${text(four)}`);
  console.log(
    `    rows a second ${rig.ratio('four', 'two').toFixed(3)}, by CPU ${(two.cpuMsPerRow / four.cpuMsPerRow).toFixed(3)}; wanted ≥ 0.95`,
  );
};

/**
 * The best that a search over batch sizes and connections finds with its p99 within the target; then four fifths of that at chance times, with
 * nothing but the target in the file.
 */
const target = async (title: string, model: Uint8Array, row: Float32Array, targetMs: number): Promise<void> => {
  const sizes = [...FIXED, 32, 64];
  await using rig = await Rig.start(
    [
      ...sizes.map((size) => application(`fixed${size}`, `model: m.onnx, ${fixed(size)}`)),
      application('target', `model: m.onnx, batching: {latency_target_s: ${targetMs / 1000}}`),
    ],
    model,
  );
  let best = { rowsPerSecond: 0, name: 'nothing' };
  for (const size of sizes) {
    await rig.measure('warm', `fixed${size}`, 16, row, 1);
    for (const connections of [2, 8, 16, 32, 64]) {
      const name = `size ${size}, ${connections} connections`;
      await rig.measure(name, `fixed${size}`, connections, row, 2);
      const { rowsPerSecond, p99Ms } = rig.of(name);
      if (p99Ms <= targetMs && rowsPerSecond > best.rowsPerSecond) best = { rowsPerSecond, name };
    }
  }
  console.log(`(c) ${title}, latency_target_s ${targetMs / 1000}, one replica`);
  console.log(`    the best within it of a search: ${best.rowsPerSecond.toFixed(0)}/s (${best.name})`);
  for (const share of [0.2, 0.8, 0.4, 0.8]) {
    const { rps, p50Ms, p99Ms } = await rig.measureAt('target', share * best.rowsPerSecond, row, 3 * SECONDS);
    console.log(
      `    ${share} of that at chance times: ${rps.toFixed(0)}/s, p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms, wanted ≤ ${targetMs}`,
    );
  }
  console.log(`    batches of ${await rig.batchOf('target')}`);
};

export const run = async (): Promise<void> => {
  console.log(`    ${LOAD_TOOL}, ${versionsText(['onnxruntime-node'])}, medians of ${ROUNDS} rounds of ${SECONDS} s`);
  const { length, width, layers } = ENCODER;
  const pixels = IMAGE.reduce((product, each) => product * each, 1);
  const parts: Readonly<Record<string, () => Promise<void>>> = {
    perceptron,
    encoder: () => computeBound(`encoder of ${layers} layers, 64 KB a row`, encoderModel(), rowOf(length * width)),
    convolution: () => computeBound('4 convolutions, 602 KB a row', convolutionModel(), rowOf(pixels)),
    replicas,
    target: async () => {
      const widths = [784, 3072, 3072, 10];
      await target(`MLP ${widths.join('-')}`, mlpModel(widths), rowOf(widths[0] as number), 20);
      await target(`encoder of ${layers} layers`, encoderModel(), rowOf(length * width), 50);
    },
  };
  const wanted = process.env['BENCH_PARTS']?.split(',');
  for (const [name, part] of Object.entries(parts)) if (wanted?.includes(name) ?? true) await part();
};

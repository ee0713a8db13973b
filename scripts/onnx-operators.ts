/**
 * `npm run build && npx tsx scripts/onnx-operators.ts [--only TEXT]`: serves every model of ONNX's own test data (Debian's `libonnx-testdata`, or the folder that
 * ONNX_TESTDATA names) and compares what clients of the Open Inference Protocol get with what onnxruntime gives in this process, byte by byte. Where the
 * data is absent it says so and ends with 0.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { segmentOfTensor } from '../src/protocol/codec.ts';
import { DATATYPES } from '../src/protocol/datatypes.ts';
import { Tensor, type TensorData } from '../src/protocol/tensor.ts';
import { DTYPES, type Dtype } from '../src/protocol/value.ts';
import { configOf } from '../test/e2e/configs.ts';
import { type DaemonRig, startDaemon } from '../test/support/daemon-rig.ts';
import { binaryRequest, type InferenceAnswer, infer } from '../test/support/inference.ts';
import { readTensorFile } from '../test/support/onnx-tensor-file.ts';

const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof import('onnxruntime-node');

const DATA = process.env['ONNX_TESTDATA'] ?? '/usr/share/libonnx-testdata/data';
/** A version of a model has a thread and a session; so many are in one replica, and so many replicas in one daemon. */
const VERSIONS = 40;
const DEPLOYMENTS = 3;

type Tensors = Readonly<Record<string, Tensor>>;

interface Case {
  readonly name: string;
  readonly model: Buffer;
  readonly inputs: Tensors;
  /** What onnxruntime gives here, twice; undefined: it refuses. */
  readonly expected: readonly [Tensors, Tensors] | undefined;
}

const { values: options } = parseArgs({ options: { only: { type: 'string' } } });
const skipped = new Map<string, string[]>();
const skip = (why: string, name: string): void => void skipped.set(why, [...(skipped.get(why) ?? []), name]);

const foldersOf = (root: string): string[] =>
  readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => {
      const folder = join(root, name);
      return existsSync(join(folder, 'model.onnx')) ? [folder] : name.startsWith('test_') ? [] : foldersOf(folder);
    });

const tensorsOf = (results: InferenceSession.OnnxValueMapType): Tensors =>
  Object.fromEntries(
    Object.entries(results).map(([name, value]) => {
      const { type, dims, data } = value as OrtTensor;
      return [name, new Tensor(type as Dtype, [...dims], data as TensorData)];
    }),
  );

/** @returns undefined: it is skipped, and noted why */
const caseOf = async (folder: string): Promise<Case | undefined> => {
  const name = folder.slice(DATA.length + 1);
  const set = join(folder, 'test_data_set_0');
  const model = readFileSync(join(folder, 'model.onnx'));
  let session: InferenceSession;
  try {
    session = await ort.InferenceSession.create(model, {
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      logSeverityLevel: 4,
    });
  } catch {
    skip('onnxruntime does not load it', name);
    return undefined;
  }
  const isServed = (meta: InferenceSession.ValueMetadata) => meta.isTensor && Object.hasOwn(DTYPES, meta.type);
  if (![...session.inputMetadata, ...session.outputMetadata].every(isServed)) {
    skip('it has inputs or outputs that are no tensors', name);
    return undefined;
  }
  const inputs: Record<string, Tensor> = {};
  try {
    for (const [index, own] of session.inputNames.entries()) {
      const { name: told, tensor } = readTensorFile(readFileSync(join(set, `input_${index}.pb`)));
      inputs[session.inputNames.includes(told) ? told : own] = tensor;
    }
  } catch {
    skip('its test data has other inputs', name);
    return undefined;
  }
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([input, { dtype, shape, data }]) => [
      input,
      new ort.Tensor(dtype as 'float32', data as Float32Array, shape as number[]),
    ]),
  );
  try {
    const run = async () => tensorsOf(await session.run(feeds));
    return { name, model, inputs, expected: [await run(), await run()] };
  } catch {
    return { name, model, inputs, expected: undefined };
  } finally {
    await session.release();
  }
};

const bytesOf = (tensor: Tensor): Buffer => Buffer.from(segmentOfTensor(tensor).bytes);

/** @returns what is not as it should be */
const differenceOf = ({ name: model, expected }: Case, answer: InferenceAnswer): string | undefined => {
  if (expected === undefined) return answer.status === 200 ? 'answered, where onnxruntime refuses' : undefined;
  if (answer.status !== 200) return `${answer.status} ${answer.json.error}`;
  const [first, second] = expected;
  for (const [name, tensor] of Object.entries(first)) {
    const output = answer.json.outputs.find((each) => each.name === name);
    if (output?.datatype !== DATATYPES[tensor.dtype] || output.shape.join() !== tensor.shape.join())
      return `${name}: expected ${DATATYPES[tensor.dtype]} [${tensor.shape}], got ${output?.datatype} [${output?.shape}]`;
    const wanted = bytesOf(tensor);
    // Of chance: it differs from run to run here too.
    if (!wanted.equals(bytesOf(second[name] as Tensor))) continue;
    const got = answer.raw[name] ?? Buffer.alloc(0);
    if (wanted.equals(got)) continue;
    if (!isRounded(tensor, got)) return `${name}: other bytes`;
    rounded.add(model);
  }
  return undefined;
};

/** Models whose sums depend on where in memory their inputs stand, which the runtime's kernels let decide the order of additions. */
const rounded = new Set<string>();

const isRounded = ({ dtype, data }: Tensor, got: Buffer): boolean => {
  const Type = dtype === 'float32' ? Float32Array : dtype === 'float64' ? Float64Array : undefined;
  if (Type === undefined || got.length !== data.length * DTYPES[dtype]) return false;
  const values = new Type(Uint8Array.from(got).buffer);
  return values.every((value, index) => {
    const wanted = data[index] as number;
    return Object.is(value, wanted) || Math.abs(value - wanted) <= 1e-6 * Math.max(1, Math.abs(wanted));
  });
};

const ask = async (daemon: DaemonRig, path: string, { inputs }: Case): Promise<InferenceAnswer> => {
  const tensors = Object.entries(inputs).map(([name, tensor]) => ({
    name,
    datatype: DATATYPES[tensor.dtype],
    shape: tensor.shape,
    bytes: bytesOf(tensor),
  }));
  const { headers, body } = binaryRequest(tensors, { parameters: { binary_data_output: true } });
  return infer(daemon, path, body, headers);
};

/** A deployment of many versions, each of which is another model. */
const serve = async (cases: readonly Case[], told: (difference: string) => void): Promise<void> => {
  const files: Record<string, Uint8Array> = {};
  const names: string[] = [];
  for (const [index, { model }] of cases.entries()) {
    const deployment = `m${Math.floor(index / VERSIONS)}`;
    if (index % VERSIONS === 0) names.push(deployment);
    files[`${deployment}/${(index % VERSIONS) + 1}/model.onnx`] = model;
  }
  const deployments = names.map((name) => ({
    name,
    model: { path: `./${name}`, version_policy: 'all' },
    startup_timeout_s: 600,
  }));
  await using daemon = await startDaemon(
    configOf([{ name: 'models', route_prefix: '/', deployments, graph: { ingress: names[0] } }]),
    { files, ready: false },
  );
  await daemon.when('all run', ({ applications }) => applications['models']?.status === 'RUNNING', 600_000);
  for (const [index, each] of cases.entries()) {
    const path = `m${Math.floor(index / VERSIONS)}/versions/${(index % VERSIONS) + 1}/infer`;
    const difference = differenceOf(each, await ask(daemon, path, each));
    if (difference !== undefined) told(`${each.name}: ${difference}`);
  }
};

if (!existsSync(DATA)) console.log(`skipped: ONNX's test data (${DATA} is absent: apt install libonnx-testdata)`);
else {
  const cases: Case[] = [];
  for (const folder of foldersOf(DATA)) {
    const each = !folder.includes(options.only ?? '') ? undefined : await caseOf(folder);
    if (each !== undefined) cases.push(each);
  }
  const differences: string[] = [];
  for (let from = 0; from < cases.length; from += VERSIONS * DEPLOYMENTS) {
    await serve(cases.slice(from, from + VERSIONS * DEPLOYMENTS), (difference) => {
      differences.push(difference);
      console.log(difference);
    });
    console.log(`${Math.min(cases.length, from + VERSIONS * DEPLOYMENTS)} of ${cases.length} served`);
  }
  for (const [why, names] of skipped) console.log(`not compared, as ${why}: ${names.length} (${names.slice(0, 4).join(', ')} …)`);
  const refused = cases.filter(({ expected }) => expected === undefined).length;
  console.log(
    `${cases.length} models: ${cases.length - differences.length} as in process (${refused} refused by both, ${rounded.size} in all but the last digits), ${differences.length} otherwise`,
  );
  if (differences.length > 0) process.exitCode = 1;
}

/**
 * The session thread: `run()` holds the loop of its thread while it computes, so it has one of its own, and the replica's socket,
 * heartbeat and cancellation go on answering.
 */
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import type { InferenceSession, Tensor as OrtTensor, TypedTensor } from 'onnxruntime-node';
import { ServeError, shapeOfError } from '../../domain/errors.ts';
import { decodeValue, encodeValue } from '../../protocol/codec.ts';
import { Tensor, type TensorData } from '../../protocol/tensor.ts';
import { DTYPES, type Dtype } from '../../protocol/value.ts';
import { runBodies } from './onnx-bodies.ts';
import { portsWithoutRank } from './onnx-file.ts';
import { runInference } from './onnx-infer.ts';
import type { FromSession, Job, SessionOptions } from './onnx-jobs.ts';
import { loadSession } from './onnx-load.ts';
import { type Feeds, feedsOf, isStackable, type Port, type Signature } from './onnx-signature.ts';
import { concat, type Outputs, rowsOf } from './onnx-stack.ts';
import { warmupFeeds } from './onnx-warmup.ts';

if (parentPort === null) throw new Error('onnx-session runs on a worker thread');
const port = parentPort;
const options = workerData as SessionOptions;
const post = (message: FromSession, transfer: readonly ArrayBuffer[] = []): void =>
  port.postMessage(message, transfer as ArrayBuffer[]);

const portOf = (meta: InferenceSession.ValueMetadata, withoutRank: ReadonlySet<string>): Port => {
  if (!meta.isTensor) throw new ServeError('INVALID_INPUT', `\`${meta.name}\` is no tensor: sequences and maps are not served`);
  if (!Object.hasOwn(DTYPES, meta.type))
    throw new ServeError('INVALID_INPUT', `\`${meta.name}\` has dtype ${meta.type}, which is not served`);
  return { name: meta.name, dtype: meta.type as Dtype, shape: withoutRank.has(meta.name) ? null : meta.shape };
};

/** Only what is told as a scalar may be of any rank instead, so the file of most models is not read twice. */
const signatureOf = ({ inputMetadata, outputMetadata }: InferenceSession): Signature => {
  const all = [...inputMetadata, ...outputMetadata];
  const withoutRank = all.some((meta) => meta.isTensor && meta.shape.length === 0)
    ? portsWithoutRank(options.path)
    : new Set<string>();
  const port = (meta: InferenceSession.ValueMetadata) => portOf(meta, withoutRank);
  return { inputs: inputMetadata.map(port), outputs: outputMetadata.map(port) };
};

const load = async () => {
  const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof import('onnxruntime-node');
  const { session, provider, instead } = await loadSession(ort, options);
  const signature = signatureOf(session);
  const names = signature.outputs.map(({ name }) => name);
  const run = async (feeds: Feeds, wanted: readonly string[] = names): Promise<Outputs> => {
    const given: Record<string, OrtTensor> = {};
    for (const [name, tensor] of Object.entries(feeds))
      given[name] = new ort.Tensor(tensor.dtype as 'float32', tensor.data as Float32Array, tensor.shape as number[]);
    const results = await session.run(given, wanted);
    const outputs: Record<string, Tensor> = {};
    for (const name of wanted) {
      const { type, dims, data } = results[name] as TypedTensor<'float32'>;
      outputs[name] = new Tensor(type as Dtype, [...dims], data as TensorData);
    }
    return outputs;
  };
  for (const warmup of options.model?.warmup ?? []) {
    const feeds = warmupFeeds(warmup, signature, Math.random);
    for (let done = 0; done < warmup.count; done++) await run(feeds);
  }
  return { signature, run, provider, instead };
};

type Model = Awaited<ReturnType<typeof load>>;

/** Runs tensors, which may be a stack of several requests; a model whose axis 0 is fixed runs them one by one. */
const runTensors = async (model: Model, job: Extract<Job, { kind: 'tensors' }>): Promise<void> => {
  const feeds = feedsOfStack(decodeValue({ skeleton: job.skeleton, segments: job.segments }), job.rows, model.signature);
  const parts = await Promise.all(feeds.map((each) => model.run(each)));
  const outputs = parts.length === 1 ? (parts[0] as Outputs) : concat(parts);
  const value = encodeValue(outputs);
  // Texts are written into memory that Node shares among small buffers: they are copied.
  const own = value.segments.filter(({ dtype }) => dtype !== 'string');
  const buffers = own.map((segment) => segment.bytes.buffer as ArrayBuffer);
  post({ id: job.id, kind: 'tensors', skeleton: value.skeleton as string, segments: value.segments }, [...new Set(buffers)]);
};

const feedsOfStack = (value: unknown, rows: readonly number[], signature: Signature): Feeds[] => {
  if (rows.length <= 1 || isStackable(signature)) return [feedsOf(value, signature)];
  let from = 0;
  return rows.map((count) => {
    const start = from;
    from += count;
    const slice =
      value instanceof Tensor
        ? rowsOf(value, start, from)
        : Object.fromEntries(Object.entries(value as Outputs).map(([name, tensor]) => [name, rowsOf(tensor, start, from)]));
    return feedsOf(slice, signature);
  });
};

const answerBodies = async (model: Model, job: Extract<Job, { kind: 'bodies' }>): Promise<void> => {
  const answer = await runBodies(model.signature, model.run, job);
  post(answer);
};

const answerInference = async (model: Model, job: Extract<Job, { kind: 'infer' }>): Promise<void> => {
  const { answer, transfer } = await runInference(model.signature, model.run, job);
  post(answer, transfer);
};

const work = (model: Model, job: Job): Promise<void> => {
  switch (job.kind) {
    case 'bodies':
      return answerBodies(model, job);
    case 'infer':
      return answerInference(model, job);
    case 'tensors':
      return runTensors(model, job);
    default:
      return job satisfies never;
  }
};

try {
  const model = await load();
  port.on('message', (job: Job) => {
    work(model, job).catch((error: unknown) => post({ id: job.id, kind: 'error', error: shapeOfError(error) }));
  });
  post({ kind: 'ready', signature: model.signature, provider: model.provider, instead: model.instead });
} catch (error) {
  post({ kind: 'failed', error: shapeOfError(error) });
}

/**
 * The session thread: `run()` holds the loop of its thread while it computes, so it has one of its own, and the replica's socket,
 * heartbeat and cancellation go on answering.
 */
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import type { InferenceSession, Tensor as OrtTensor, TypedTensor } from 'onnxruntime-node';
import { type ErrorShape, ServeError, shapeOfError } from '../../domain/errors.ts';
import { decodeValue, encodeValue } from '../../protocol/codec.ts';
import { Tensor, type TensorData } from '../../protocol/tensor.ts';
import { DTYPES, type Dtype } from '../../protocol/value.ts';
import { type BatchRules, runBatch } from './onnx-batch.ts';
import { runBodies } from './onnx-bodies.ts';
import { portsWithoutRank } from './onnx-file.ts';
import { runInference } from './onnx-infer.ts';
import {
  type FromSession,
  hasError,
  type Job,
  type JobResult,
  type SessionOptions,
  type TensorValue,
  type ToSession,
} from './onnx-jobs.ts';
import { loadSession } from './onnx-load.ts';
import { checkPad } from './onnx-pad.ts';
import { tried } from './onnx-rows.ts';
import { type Feeds, feedsOf, isStackable, needsTrial, type Port, type Signature } from './onnx-signature.ts';
import { type Outputs, rowsOf } from './onnx-stack.ts';
import { States, withStates } from './onnx-states.ts';
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
  const signature = withStates(signatureOf(session), options.states);
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
const runTensors = async (rules: BatchRules, { id, value, rows }: Extract<Job, { kind: 'tensors' }>): Promise<JobResult> => {
  const parts = await runBatch(feedsOfStack(decodeValue(value), rows, rules.signature), rules);
  // What did not run together is not put together: how many rows each has is for it alone to say.
  if (parts.length > 1) return { id, kind: 'each', answers: parts.map(answerOf) };
  const [part] = parts;
  if (part instanceof Error) throw part;
  return { id, kind: 'tensors', value: tensorValueOf(part as Outputs) };
};

/** Runs tensors of several calls, ragged ones among them; each has an answer of its own. */
const runValues = async (rules: BatchRules, { id, values }: Extract<Job, { kind: 'each' }>): Promise<JobResult> => {
  const read = values.map((value): Feeds | Error => {
    try {
      return feedsOf(decodeValue(value), rules.signature);
    } catch (error) {
      return error as Error;
    }
  });
  const ran = await runBatch(
    read.filter((each): each is Feeds => !(each instanceof Error)),
    rules,
  );
  let next = 0;
  return {
    id,
    kind: 'each',
    answers: read.map((each) => answerOf(each instanceof Error ? each : (ran[next++] as Outputs | Error))),
  };
};

const answerOf = (answer: Outputs | Error): TensorValue | ErrorShape =>
  answer instanceof Error ? shapeOfError(answer) : tensorValueOf(answer);

const tensorValueOf = (outputs: Outputs): TensorValue => {
  const { skeleton, segments } = encodeValue(outputs);
  return { skeleton: skeleton as string, segments };
};

/** Buffers that go along instead of being copied. */
const buffersOf = (answer: JobResult): readonly ArrayBuffer[] => {
  if (answer.kind === 'http') return [answer.bytes.buffer as ArrayBuffer];
  const values = answer.kind === 'tensors' ? [answer.value] : answer.kind === 'each' ? answer.answers : [];
  const segments = values.flatMap((value) => ('segments' in value ? value.segments : []));
  // Texts are written into memory that Node shares among small buffers: they are copied.
  const own = segments.filter(({ dtype }) => dtype !== 'string');
  return [...new Set(own.map(({ bytes }) => bytes.buffer as ArrayBuffer))];
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

let trial: Promise<Signature> | undefined;

/** Before the first job of several requests it is tried whether they may be stacked, where the model does not say so. */
const signatureFor = async ({ signature, run }: Model, job: Job): Promise<Signature> => {
  if (membersOf(job) < 2 || !needsTrial(signature)) return signature;
  trial ??= tried(signature, run, Math.random);
  return trial;
};

const membersOf = (job: Job): number => {
  switch (job.kind) {
    case 'bodies':
      return job.bodies.length;
    case 'infer':
      return job.requests.length;
    case 'tensors':
      return job.rows.length;
    case 'each':
      return job.values.length;
    default:
      return job satisfies never;
  }
};

const work = async (whole: Model, states: States, job: Job): Promise<JobResult> => {
  const { sequence } = job;
  if (sequence === undefined) return answerOfJob(whole, job);
  const { keep, ...model } = states.modelOf(sequence, whole);
  const result = await answerOfJob({ ...whole, ...model }, job);
  if (!hasError(result)) keep();
  return result;
};

const answerOfJob = async (model: Model, job: Job): Promise<JobResult> => {
  const rules: BatchRules = { ...model, signature: await signatureFor(model, job), maxRows: job.maxRows, pad: options.pad };
  switch (job.kind) {
    case 'bodies':
      return runBodies(rules, job);
    case 'infer':
      return runInference(rules, model.run, job);
    case 'tensors':
      return runTensors(rules, job);
    case 'each':
      return runValues(rules, job);
    default:
      return job satisfies never;
  }
};

try {
  const model = await load();
  checkPad(options.pad, model.signature);
  let freeAt = 0;
  const answer = (result: JobResult, takenUpAt: number): void => {
    const now = performance.now();
    const ms = now - Math.max(takenUpAt, freeAt);
    freeAt = now;
    post({ ...result, ms }, buffersOf(result));
  };
  const states = new States(options.states, options.maxStateBytes);
  port.on('message', (job: ToSession) => {
    if (job.kind === 'forget') return states.forget(job.sequences);
    const takenUpAt = performance.now();
    work(model, states, job).then(
      (result) => answer(result, takenUpAt),
      (error: unknown) => answer({ id: job.id, kind: 'error', error: shapeOfError(error) }, takenUpAt),
    );
  });
  post({ kind: 'ready', signature: model.signature, provider: model.provider, instead: model.instead });
} catch (error) {
  post({ kind: 'failed', error: shapeOfError(error) });
}

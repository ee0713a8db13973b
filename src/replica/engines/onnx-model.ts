/** A model that is loaded: jobs in, answers out. It knows nothing of the thread that it is on. */
import { createRequire } from 'node:module';
import type { InferenceSession, Tensor as OrtTensor, TypedTensor } from 'onnxruntime-node';
import { type ErrorShape, ServeError, shapeOfError } from '../../domain/errors.ts';
import { decodeValue, encodeValue } from '../../protocol/codec.ts';
import { Tensor, type TensorData } from '../../protocol/tensor.ts';
import { DTYPES, type Dtype } from '../../protocol/value.ts';
import { type BatchRules, runBatch } from './onnx-batch.ts';
import { runBodies } from './onnx-bodies.ts';
import { portsWithoutRank } from './onnx-file.ts';
import { runInference } from './onnx-infer.ts';
import { hasError, type Job, type JobAnswer, type JobResult, type SessionOptions, type TensorValue } from './onnx-jobs.ts';
import { loadSession } from './onnx-load.ts';
import { checkPad } from './onnx-pad.ts';
import { tried } from './onnx-rows.ts';
import { type Feeds, feedsOf, isStackable, needsTrial, type Port, type Signature } from './onnx-signature.ts';
import { type Outputs, rowsOf } from './onnx-stack.ts';
import { States, withStates } from './onnx-states.ts';
import { warmupFeeds } from './onnx-warmup.ts';

export interface OpenModel {
  readonly signature: Signature;
  /** The execution provider that it runs on. */
  readonly provider: string;
  /** Those that were wanted rather, and why they do not work. */
  readonly instead: readonly string[];
  readonly run: (feeds: Feeds) => Promise<Outputs>;
  /** Never rejects: what fails is answered with its error. */
  answer(job: Job): Promise<JobAnswer>;
  /** The states that come of these starts are of no use any more. */
  forget(sequences: readonly number[]): void;
}

const portOf = (meta: InferenceSession.ValueMetadata, withoutRank: ReadonlySet<string>): Port => {
  if (!meta.isTensor) throw new ServeError('INVALID_INPUT', `\`${meta.name}\` is no tensor: sequences and maps are not served`);
  if (!Object.hasOwn(DTYPES, meta.type))
    throw new ServeError('INVALID_INPUT', `\`${meta.name}\` has dtype ${meta.type}, which is not served`);
  return { name: meta.name, dtype: meta.type as Dtype, shape: withoutRank.has(meta.name) ? null : meta.shape };
};

/** Only what is told as a scalar may be of any rank instead, so the file of most models is not read twice. */
const signatureOf = ({ inputMetadata, outputMetadata }: InferenceSession, path: string): Signature => {
  const all = [...inputMetadata, ...outputMetadata];
  const withoutRank = all.some((meta) => meta.isTensor && meta.shape.length === 0) ? portsWithoutRank(path) : new Set<string>();
  const port = (meta: InferenceSession.ValueMetadata) => portOf(meta, withoutRank);
  return { inputs: inputMetadata.map(port), outputs: outputMetadata.map(port) };
};

const load = async (options: SessionOptions) => {
  const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof import('onnxruntime-node');
  const { session, provider, instead } = await loadSession(ort, options);
  const signature = withStates(signatureOf(session, options.path), options.states);
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

/** @throws ServeError or Error of the runtime: the file is no model that it can load, or what the config says of it is not so */
export const openModel = async (options: SessionOptions): Promise<OpenModel> => {
  const model = await load(options);
  checkPad(options.pad, model.signature);
  const states = new States(options.states, options.maxStateBytes);
  let trial: Promise<Signature> | undefined;
  let freeAt = 0;

  /** Before the first job of several requests it is tried whether they may be stacked, where the model does not say so. */
  const signatureFor = async ({ signature, run }: Pick<Model, 'signature' | 'run'>, job: Job): Promise<Signature> => {
    if (membersOf(job) < 2 || !needsTrial(signature)) return signature;
    trial ??= tried(signature, run, Math.random);
    return trial;
  };

  const resultOf = async (seen: Pick<Model, 'signature' | 'run'>, job: Job): Promise<JobResult> => {
    const signature = await signatureFor(seen, job);
    const rules: BatchRules = { run: seen.run, signature, maxRows: job.maxRows, pad: options.pad };
    switch (job.kind) {
      case 'bodies':
        return runBodies(rules, job);
      case 'infer':
        return runInference(rules, seen.run, job);
      case 'tensors':
        return runTensors(rules, job);
      case 'each':
        return runValues(rules, job);
      default:
        return job satisfies never;
    }
  };

  const work = async (job: Job): Promise<JobResult> => {
    const { sequence } = job;
    if (sequence === undefined) return resultOf(model, job);
    const { keep, ...seen } = states.modelOf(sequence, model);
    const result = await resultOf(seen, job);
    if (!hasError(result)) keep();
    return result;
  };

  const answer = async (job: Job): Promise<JobAnswer> => {
    const takenUpAt = performance.now();
    let result: JobResult;
    try {
      result = await work(job);
    } catch (error) {
      result = { id: job.id, kind: 'error', error: shapeOfError(error) };
    }
    const now = performance.now();
    const ms = now - Math.max(takenUpAt, freeAt);
    freeAt = now;
    return { ...result, ms };
  };

  const { signature, provider, instead, run } = model;
  return { signature, provider, instead, run, answer, forget: (sequences) => states.forget(sequences) };
};

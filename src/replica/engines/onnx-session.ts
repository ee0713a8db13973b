/**
 * The session thread: `run()` holds the loop of its thread while it computes, so it has one of its own, and the replica's socket,
 * heartbeat and cancellation go on answering.
 */
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import type { InferenceSession, Tensor as OrtTensor, TypedTensor } from 'onnxruntime-node';
import { ServeError, shapeOfError } from '../../domain/errors.ts';
import { decodeValue, encodeValue } from '../../protocol/codec.ts';
import { jsonOf, parseJson } from '../../protocol/http-value.ts';
import { Tensor, type TensorData, TYPED_ARRAYS } from '../../protocol/tensor.ts';
import { DTYPES, type Dtype } from '../../protocol/value.ts';
import type { FromSession, Job, SessionOptions } from './onnx-jobs.ts';
import { type Feeds, feedsOf, feedsOfBytes, feedsOfJson, isStackable, type Port, type Signature } from './onnx-signature.ts';

if (parentPort === null) throw new Error('onnx-session runs on a worker thread');
const port = parentPort;
const options = workerData as SessionOptions;
const post = (message: FromSession, transfer: readonly ArrayBuffer[] = []): void =>
  port.postMessage(message, transfer as ArrayBuffer[]);

type Outputs = Readonly<Record<string, Tensor>>;

const portOf = (meta: InferenceSession.ValueMetadata): Port => {
  if (!meta.isTensor) throw new ServeError('INVALID_INPUT', `\`${meta.name}\` is no tensor: sequences and maps are not served`);
  if (!Object.hasOwn(DTYPES, meta.type))
    throw new ServeError('INVALID_INPUT', `\`${meta.name}\` has dtype ${meta.type}, which is not served`);
  return { name: meta.name, dtype: meta.type as Dtype, shape: meta.shape };
};

const load = async () => {
  const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof import('onnxruntime-node');
  const session = await ort.InferenceSession.create(options.path, {
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
  });
  const signature: Signature = { inputs: session.inputMetadata.map(portOf), outputs: session.outputMetadata.map(portOf) };
  const run = async (feeds: Feeds): Promise<Outputs> => {
    const given: Record<string, OrtTensor> = {};
    for (const [name, tensor] of Object.entries(feeds))
      given[name] = new ort.Tensor(tensor.dtype as 'float32', tensor.data as Float32Array, tensor.shape as number[]);
    const results = await session.run(given);
    const outputs: Record<string, Tensor> = {};
    for (const { name } of signature.outputs) {
      const { type, dims, data } = results[name] as TypedTensor<'float32'>;
      outputs[name] = new Tensor(type as Dtype, [...dims], data as TensorData);
    }
    return outputs;
  };
  return { signature, run };
};

type Model = Awaited<ReturnType<typeof load>>;

/** Runs tensors, which may be a stack of several requests; a model whose axis 0 is fixed runs them one by one. */
const runTensors = async (model: Model, job: Extract<Job, { kind: 'tensors' }>): Promise<void> => {
  const feeds = feedsOfStack(decodeValue({ skeleton: job.skeleton, segments: job.segments }), job.rows, model.signature);
  const parts = await Promise.all(feeds.map((each) => model.run(each)));
  const outputs = parts.length === 1 ? (parts[0] as Outputs) : concat(parts);
  const value = encodeValue(outputs);
  const buffers = value.segments.map((segment) => segment.bytes.buffer as ArrayBuffer);
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

const rowsOf = (tensor: Tensor, from: number, to: number): Tensor => {
  const perRow = tensor.shape.slice(1).reduce((product, extent) => product * extent, 1);
  const data = (tensor.data as Float32Array).subarray(from * perRow, to * perRow);
  return new Tensor(tensor.dtype, [to - from, ...tensor.shape.slice(1)], data);
};

/** Joins tensors of equal shapes behind axis 0. */
const concat = (parts: readonly Outputs[]): Outputs => {
  const joined: Record<string, Tensor> = {};
  for (const name of Object.keys(parts[0] as Outputs)) {
    const tensors = parts.map((part) => part[name] as Tensor);
    const [first] = tensors as [Tensor];
    if (tensors.some(({ shape }) => shape.slice(1).join() !== first.shape.slice(1).join())) {
      throw new ServeError(
        'USER_ERROR',
        `the output \`${name}\` has another shape for each request of the batch: it cannot be batched`,
      );
    }
    const shape = [tensors.reduce((sum, tensor) => sum + (tensor.shape[0] ?? 0), 0), ...first.shape.slice(1)];
    if (first.dtype === 'string') {
      joined[name] = new Tensor(
        'string',
        shape,
        tensors.flatMap((tensor) => tensor.data as readonly string[]),
      );
      continue;
    }
    const data = new TYPED_ARRAYS[first.dtype](shape.reduce((product, extent) => product * extent, 1));
    let at = 0;
    for (const tensor of tensors) {
      (data as Float32Array).set(tensor.data as Float32Array, at);
      at += tensor.data.length;
    }
    joined[name] = new Tensor(first.dtype, shape, data);
  }
  return joined;
};

const decoder = new TextDecoder('utf-8');

/** Bodies of HTTP requests: each read and checked for itself, those of one shape run together. */
const runBodies = async (model: Model, job: Extract<Job, { kind: 'bodies' }>): Promise<void> => {
  const answers: (Uint8Array | ReturnType<typeof shapeOfError>)[] = new Array(job.bodies.length);
  const groups = new Map<string, { index: number; feeds: Feeds; rows: number }[]>();
  const stackable = isStackable(model.signature);
  job.bodies.forEach(({ json, bytes }, index) => {
    try {
      const feeds = json ? feedsOfJson(parseJson(decoder.decode(bytes)), model.signature) : feedsOfBytes(bytes, model.signature);
      const rows = Object.values(feeds).map((tensor) => tensor.shape[0] ?? 0);
      const alike = stackable && rows.every((each) => each === rows[0]);
      const key = alike
        ? Object.values(feeds)
            .map((tensor) => tensor.shape.slice(1).join())
            .join('|')
        : `alone ${index}`;
      const member = { index, feeds, rows: rows[0] ?? 0 };
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [member]);
      else group.push(member);
    } catch (error) {
      answers[index] = shapeOfError(error);
    }
  });
  for (const group of groups.values()) {
    try {
      const outputs = await model.run(group.length === 1 ? (group[0]?.feeds as Feeds) : concat(group.map(({ feeds }) => feeds)));
      let from = 0;
      const total = group.reduce((sum, { rows }) => sum + rows, 0);
      for (const { index, rows } of group) {
        const own =
          group.length === 1
            ? outputs
            : Object.fromEntries(
                Object.entries(outputs).map(([name, tensor]) => [name, rowsChecked(name, tensor, total, from, from + rows)]),
              );
        from += rows;
        answers[index] = Buffer.from(jsonOf(own), 'utf8');
      }
    } catch (error) {
      for (const { index } of group) answers[index] = shapeOfError(error);
    }
  }
  post({ id: job.id, kind: 'json', answers });
};

const rowsChecked = (name: string, tensor: Tensor, total: number, from: number, to: number): Tensor => {
  if (tensor.shape[0] !== total)
    throw new ServeError(
      'USER_ERROR',
      `expected ${total} rows in the output \`${name}\` of a batch, got shape [${tensor.shape.join(', ')}]`,
    );
  return rowsOf(tensor, from, to);
};

try {
  const model = await load();
  port.on('message', (job: Job) => {
    const work = job.kind === 'bodies' ? runBodies(model, job) : runTensors(model, job);
    work.catch((error: unknown) => post({ id: job.id, kind: 'error', error: shapeOfError(error) }));
  });
  post({ kind: 'ready', signature: model.signature });
} catch (error) {
  post({ kind: 'failed', error: shapeOfError(error) });
}

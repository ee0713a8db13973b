/** Serves an ONNX model with no code: calls in, jobs to the session thread, answers out. */
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { errorFromShape, ServeError } from '../../domain/errors.ts';
import type { Json } from '../../domain/json.ts';
import { headerOf, isJsonType } from '../../protocol/http-value.ts';
import type { MethodShape } from '../../protocol/messages.ts';
import { type DeploymentRun, threadsOf } from '../../protocol/start.ts';
import { type Segment, skeletonText } from '../../protocol/value.ts';
import type { Engine, IncomingBatch, IncomingCall, Reply } from '../engine.ts';
import type { FromSession, Job, JobAnswer, SessionOptions } from './onnx-jobs.ts';
import { describe, type Signature } from './onnx-signature.ts';

/** Jobs handed to the session thread at once: one runs, the next is there when it ends. */
const WINDOW = 2;

/** @throws ServeError when onnxruntime-node is not installed, or the file is no model that it can load */
export const startOnnx = async (run: DeploymentRun, reply: Reply): Promise<Engine> => {
  if (run.runs.kind !== 'model') throw new TypeError('expected a model');
  try {
    createRequire(import.meta.url).resolve('onnxruntime-node');
  } catch {
    throw new ServeError(
      'INVALID_INPUT',
      'a `model` deployment needs onnxruntime-node, which is not installed: npm install onnxruntime-node',
    );
  }
  const options: SessionOptions = { path: run.runs.path, threads: threadsOf(run.numCpus) };
  const worker = new Worker(new URL('./onnx-session.js', import.meta.url), { workerData: options });
  const signature = await new Promise<Signature>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (message: FromSession) => {
      if (message.kind === 'ready') resolve(message.signature);
      else if (message.kind === 'failed') reject(errorFromShape(message.error));
    });
  });
  // A session thread that ends is the end of this replica: the daemon starts another.
  worker.on('error', (error) => {
    throw error;
  });
  return new OnnxEngine(worker, signature, reply);
};

interface Queued {
  readonly calls: readonly IncomingCall[];
  readonly job: () => { job: Job; transfer: ArrayBuffer[] };
}

class OnnxEngine implements Engine {
  readonly methods: Readonly<Record<string, MethodShape>> = { call: { input: 'whole', output: 'whole' } };
  readonly describes: Json;
  readonly #worker: Worker;
  readonly #reply: Reply;
  readonly #queue: Queued[] = [];
  readonly #running = new Map<number, readonly IncomingCall[]>();
  #nextId = 1;

  constructor(worker: Worker, signature: Signature, reply: Reply) {
    this.#worker = worker;
    this.#reply = reply;
    this.describes = describe(signature);
    worker.on('message', (answer: JobAnswer) => this.#answered(answer));
  }

  run(batch: IncomingBatch): void {
    const { method, calls } = batch;
    if (method !== 'call')
      return this.#reply.error(calls, new ServeError('CALL_REFUSED', `a model has no method \`${method}\`: call it without one`));
    const posts: IncomingCall[] = [];
    for (const call of calls) {
      if (call.http === undefined || call.http.method === 'POST') posts.push(call);
      else this.#describeTo(call, call.http.method);
    }
    if (posts.length === 0) return;
    const id = this.#nextId++;
    this.#queue.push({ calls: posts, job: () => (posts[0]?.http === undefined ? tensorsJob(id, posts) : bodiesJob(id, posts)) });
    this.#next();
  }

  #describeTo(call: IncomingCall, method: string): void {
    if (method !== 'GET' && method !== 'HEAD') {
      const error = new ServeError('METHOD_NOT_ALLOWED', `expected POST with inputs, or GET for a description, got ${method}`);
      return this.#reply.error([call], error);
    }
    const bytes = Buffer.from(JSON.stringify(this.describes), 'utf8');
    this.#reply.result([call], { skeleton: '{"$seg":0}', segments: [{ dtype: 'bytes', shape: null, bytes }] }, JSON_HEAD);
  }

  #next(): void {
    while (this.#running.size < WINDOW) {
      const queued = this.#queue.shift();
      if (queued === undefined) return;
      if (queued.calls.every((call) => call.cancelled)) {
        this.#reply.error(queued.calls, new ServeError('CLIENT_CLOSED', 'cancelled before it ran'));
        continue;
      }
      const { job, transfer } = queued.job();
      this.#running.set(job.id, queued.calls);
      this.#worker.postMessage(job, transfer);
    }
  }

  #answered(answer: JobAnswer): void {
    const calls = this.#running.get(answer.id);
    this.#running.delete(answer.id);
    // The next run begins before this answer is written: the session is what is scarce.
    this.#next();
    if (calls === undefined) return;
    switch (answer.kind) {
      case 'tensors':
        return this.#reply.result(calls, { skeleton: answer.skeleton, segments: answer.segments });
      case 'error':
        return this.#reply.error(calls, errorFromShape(answer.error));
      case 'json': {
        let at = 0;
        for (const [index, call] of calls.entries()) {
          const each = answer.answers[index];
          if (typeof each === 'number') {
            const bytes = answer.bytes.subarray(at, at + each);
            at += each;
            this.#reply.result([call], { skeleton: '{"$seg":0}', segments: [{ dtype: 'bytes', shape: null, bytes }] }, JSON_HEAD);
          } else this.#reply.error([call], each === undefined ? new Error('no answer') : errorFromShape(each));
        }
        return;
      }
      default:
        return answer satisfies never;
    }
  }

  async reconfigure(): Promise<void> {
    throw new ServeError('INVALID_INPUT', 'a `model` takes no user_config');
  }

  async check(): Promise<void> {}

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

const JSON_HEAD = { status: 200, headers: ['content-type', 'application/json'] };

/** The bytes in a buffer of their own, which can go to the session thread without a further copy. */
const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => {
  const copy = new Uint8Array(bytes.byteLength);
  copy.set(bytes);
  return copy;
};

const tensorsJob = (id: number, calls: readonly IncomingCall[]): { job: Job; transfer: ArrayBuffer[] } => {
  const [first] = calls as [IncomingCall];
  const transfer: ArrayBuffer[] = [];
  const segments: Segment[] = first.value.segments.map((segment) => {
    const bytes = own(segment.bytes);
    transfer.push(bytes.buffer);
    return { ...segment, bytes };
  });
  return {
    job: { id, kind: 'tensors', skeleton: skeletonText(first.value), segments, rows: calls.map((call) => call.rows) },
    transfer,
  };
};

/** All bodies in one buffer: a message of many small ones would cost more than the model's run. */
const bodiesJob = (id: number, calls: readonly IncomingCall[]): { job: Job; transfer: ArrayBuffer[] } => {
  const parts = calls.map((call) => call.value.segments[0]?.bytes ?? NO_BYTES);
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  const bodies = calls.map((call, index) => {
    const part = parts[index] as Uint8Array;
    bytes.set(part, at);
    at += part.byteLength;
    const contentType = call.http === undefined ? undefined : headerOf(call.http.headers, 'content-type');
    return {
      json: contentType === undefined || isJsonType(contentType) || !/^application\/octet-stream\b/i.test(contentType),
      length: part.byteLength,
    };
  });
  return { job: { id, kind: 'bodies', bytes, bodies }, transfer: [bytes.buffer] };
};

const NO_BYTES = new Uint8Array(0);

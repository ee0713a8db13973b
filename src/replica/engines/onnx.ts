/** Serves an ONNX model with no code: calls in, jobs to its versions, answers out. */
import { createRequire } from 'node:module';
import { errorFromShape, ServeError } from '../../domain/errors.ts';
import type { Json } from '../../domain/json.ts';
import type { ModelDescription } from '../../domain/model.ts';
import { headerOf } from '../../protocol/http-value.ts';
import { modelPathOf } from '../../protocol/inference-path.ts';
import type { HttpAnswerHead, HttpHead, MethodShape } from '../../protocol/messages.ts';
import { type DeploymentRun, threadsOf } from '../../protocol/start.ts';
import type { Engine, IncomingBatch, IncomingCall, Reply } from '../engine.ts';
import { bodiesJob, type InferCall, inferJob, tensorsJob, valuesJob } from './onnx-job-makers.ts';
import type { JobAnswer } from './onnx-jobs.ts';
import { describe } from './onnx-signature.ts';
import type { JobListener, MakeJob } from './onnx-thread.ts';
import { ModelVersion } from './onnx-version.ts';

/** @throws ServeError when onnxruntime-node is not installed, or a file is no model that it can load */
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
  const threads = threadsOf(run.numCpus);
  const { maxStateBytes = Number.POSITIVE_INFINITY } = run;
  const listener = listenerOf(reply);
  const versions: ModelVersion[] = [];
  // One after the other: loading takes memory of its own beside what the model takes in the end.
  for (const { version, path } of run.runs.versions)
    versions.push(
      await ModelVersion.start(
        version,
        { path, threads, model: run.runs.options, pad: run.pad ?? {}, states: run.states ?? {}, maxStateBytes },
        listener,
      ),
    );
  return new OnnxEngine(versions, reply);
};

class OnnxEngine implements Engine {
  readonly methods: Readonly<Record<string, MethodShape>> = {
    call: { input: 'whole', output: 'whole' },
    infer: { input: 'whole', output: 'whole' },
  };
  readonly describes: Json;
  readonly #versions: ReadonlyMap<string, ModelVersion>;
  readonly #newest: ModelVersion;
  readonly #reply: Reply;
  #maxRows = Number.POSITIVE_INFINITY;

  constructor(versions: readonly ModelVersion[], reply: Reply) {
    this.#versions = new Map(versions.map((each) => [each.version, each]));
    this.#newest = versions.at(-1) as ModelVersion;
    this.#reply = reply;
    this.describes = toJson({
      versions: versions.map(({ version, thread: { signature, provider, instead } }) => ({
        version,
        ...describe(signature),
        provider,
        instead,
      })),
    });
  }

  run(batch: IncomingBatch): void {
    const { method, calls } = batch;
    const memory = calls.length === 1 ? memoryOf(calls[0] as IncomingCall) : undefined;
    if (method === 'infer') return this.#infer(calls, memory);
    if (method !== 'call')
      return this.#reply.error(calls, new ServeError('CALL_REFUSED', `a model has no method \`${method}\`: call it without one`));
    const posts: IncomingCall[] = [];
    for (const call of calls) {
      if (call.http === undefined || call.http.method === 'POST') posts.push(call);
      else this.#describeTo(call, call.http.method);
    }
    if (posts.length === 0) return;
    const jobOf = posts[0]?.http !== undefined ? bodiesJob : batch.form === 'items' ? valuesJob : tensorsJob;
    const make: MakeJob = (id, moves) => jobOf(id, posts, this.#maxRows, moves);
    this.#newest.run({ calls: posts, make, memory }, false);
  }

  /** The versions that clients name have a thread each. */
  #infer(calls: readonly IncomingCall[], memory: Uint8Array | undefined): void {
    const asked = new Map<ModelVersion, InferCall[]>();
    for (const call of calls) {
      try {
        const { served, ...infer } = this.#askedOf(call);
        const others = asked.get(served);
        if (others === undefined) asked.set(served, [{ call, ...infer }]);
        else others.push({ call, ...infer });
      } catch (error) {
        this.#reply.error([call], error);
      }
    }
    for (const [served, own] of asked) {
      const make: MakeJob = (id, moves) => inferJob(id, served.version, own, this.#maxRows, moves);
      served.run({ calls: own.map(({ call }) => call), make, memory }, true);
    }
  }

  /** @throws ServeError what is asked for is not there, or could be read in two ways */
  #askedOf({ http }: IncomingCall): { served: ModelVersion; model: string; headerLength: string | undefined } {
    const path = http === undefined ? undefined : modelPathOf(http.path);
    if (http === undefined || path === undefined)
      throw new ServeError('CALL_REFUSED', 'the method `infer` of a model is for requests of the Open Inference Protocol');
    const served = path.version === undefined ? this.#newest : this.#versions.get(path.version);
    if (served === undefined) {
      const all = [...this.#versions.keys()].join(', ');
      throw new ServeError('ROUTE_NOT_FOUND', `Model '${path.model}' has no version '${path.version}'. There is ${all}.`);
    }
    return { served, model: path.model, headerLength: headerLengthOf(http) };
  }

  #describeTo(call: IncomingCall, method: string): void {
    if (method !== 'GET' && method !== 'HEAD') {
      const error = new ServeError('METHOD_NOT_ALLOWED', `expected POST with inputs, or GET for a description, got ${method}`);
      return this.#reply.error([call], error);
    }
    this.#bodyTo(call, Buffer.from(JSON.stringify(describe(this.#newest.thread.signature)), 'utf8'), JSON_HEAD);
  }

  #bodyTo(call: IncomingCall, bytes: Uint8Array, head: HttpAnswerHead): void {
    this.#reply.result([call], { skeleton: '{"$seg":0}', segments: [{ dtype: 'bytes', shape: null, bytes }] }, head);
  }

  limitRows(maxRows: number): void {
    this.#maxRows = maxRows;
  }

  forget(sequences: readonly number[]): void {
    for (const version of this.#versions.values()) version.forget(sequences);
  }

  async reconfigure(): Promise<void> {
    throw new ServeError('INVALID_INPUT', 'a `model` takes no user_config');
  }

  async check(): Promise<void> {}

  async close(): Promise<void> {
    await Promise.all([...this.#versions.values()].map((each) => each.close()));
  }
}

/** In which a request came alone, that an engine reads and nobody else. A state that it leaves may be part of it. */
const memoryOf = ({ http, sequence, value }: IncomingCall): Uint8Array | undefined =>
  http === undefined || sequence !== undefined ? undefined : value.segments[0]?.bytes;

/** A description has nothing that JSON cannot say. */
const toJson = (model: ModelDescription): Json => model as unknown as Json;

const JSON_HEAD: HttpAnswerHead = { status: 200, headers: ['content-type', 'application/json'] };

const LENGTH_HEADER = 'inference-header-content-length';

const headerLengthOf = ({ headers }: HttpHead): string | undefined => {
  const lines = headers.filter((name, index) => index % 2 === 0 && name === LENGTH_HEADER);
  if (lines.length > 1) throw new ServeError('INVALID_INPUT', `expected one ${LENGTH_HEADER} header, got more`);
  return headerOf(headers, LENGTH_HEADER);
};

const listenerOf = (reply: Reply): JobListener => ({
  failed: (calls, error) => reply.error(calls, error),
  answered: (calls, answer) => {
    switch (answer.kind) {
      case 'tensors':
        return reply.result(calls, answer.value, undefined, answer.ms);
      case 'each':
        return answerValues(reply, calls, answer);
      case 'error':
        return reply.error(calls, errorFromShape(answer.error));
      case 'json':
      case 'http':
        return answerEach(reply, calls, answer);
      default:
        return answer satisfies never;
    }
  },
});

const answerValues = (reply: Reply, calls: readonly IncomingCall[], answer: JobAnswer & { kind: 'each' }): void => {
  for (const [index, call] of calls.entries()) {
    const each = answer.answers[index];
    if (each !== undefined && 'segments' in each) reply.result([call], each, undefined, answer.ms);
    else reply.error([call], each === undefined ? new Error('no answer') : errorFromShape(each));
  }
};

const answerEach = (reply: Reply, calls: readonly IncomingCall[], answer: JobAnswer & { kind: 'json' | 'http' }): void => {
  let at = 0;
  for (const [index, call] of calls.entries()) {
    const each = answer.answers[index];
    const length = typeof each === 'number' ? each : each !== undefined && 'length' in each ? each.length : undefined;
    if (length === undefined) {
      reply.error([call], each === undefined ? new Error('no answer') : errorFromShape(each));
      continue;
    }
    const bytes = answer.bytes.subarray(at, at + length);
    at += length;
    const head = typeof each === 'object' && 'headers' in each ? { status: 200, headers: each.headers } : JSON_HEAD;
    reply.result([call], { skeleton: '{"$seg":0}', segments: [{ dtype: 'bytes', shape: null, bytes }] }, head, answer.ms);
  }
};

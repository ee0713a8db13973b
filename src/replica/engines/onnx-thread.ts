/** The session thread of one version of a model, as the replica sees it: jobs in, one after the other, and their answers out. */
import { Worker } from 'node:worker_threads';
import { errorFromShape, ServeError } from '../../domain/errors.ts';
import { LARGE_BUFFERS } from '../../protocol/buffer-pool.ts';
import type { IncomingCall } from '../engine.ts';
import type { FromSession, Job, JobAnswer, SessionOptions, ToSession } from './onnx-jobs.ts';
import type { Signature } from './onnx-signature.ts';

/** Jobs handed to the session thread at once: one runs, the next is there when it ends. */
const WINDOW = 2;

/** @param moves the buffers go to another thread: they must be the job's own */
export type MakeJob = (id: number, moves: boolean) => { readonly job: Job; readonly transfer: readonly ArrayBuffer[] };

export interface Queued {
  readonly calls: readonly IncomingCall[];
  /** Makes the job when it is its turn: what is cancelled before is never copied. */
  readonly make: MakeJob;
  /** What the job is made of, if it is of use to nothing else. */
  readonly memory: Uint8Array | undefined;
}

type Ready = Extract<FromSession, { kind: 'ready' }>;

export interface JobListener {
  answered(calls: readonly IncomingCall[], answer: JobAnswer): void;
  failed(calls: readonly IncomingCall[], error: ServeError): void;
}

export class SessionThread {
  readonly signature: Signature;
  /** The execution provider that it runs on. */
  readonly provider: string;
  /** Those that were wanted rather, and why they do not work. */
  readonly instead: readonly string[];
  /** What one row takes, where that can be said. */
  readonly rowMs: number | undefined;
  readonly #worker: Worker;
  readonly #listener: JobListener;
  readonly #queue: Queued[] = [];
  readonly #running = new Map<number, readonly IncomingCall[]>();
  #nextId = 1;

  /** Resolves when the model is loaded. @throws ServeError when the file is no model that onnxruntime can load */
  static async start(options: SessionOptions, listener: JobListener): Promise<SessionThread> {
    const worker = new Worker(new URL('./onnx-session.js', import.meta.url), { workerData: options });
    const ready = await new Promise<Ready>((resolve, reject) => {
      worker.once('error', reject);
      worker.once('message', (message: FromSession) => {
        if (message.kind === 'ready') resolve(message);
        else if (message.kind === 'failed') reject(errorFromShape(message.error));
      });
    });
    // A session thread that ends is the end of this replica: the daemon starts another.
    worker.on('error', (error) => {
      throw error;
    });
    return new SessionThread(ready, worker, listener);
  }

  private constructor({ signature, provider, instead, rowMs }: Ready, worker: Worker, listener: JobListener) {
    this.signature = signature;
    this.provider = provider;
    this.instead = instead;
    this.rowMs = rowMs;
    this.#worker = worker;
    this.#listener = listener;
    worker.on('message', (answer: JobAnswer) => this.#answered(answer));
  }

  run(queued: Queued): void {
    this.#queue.push(queued);
    this.#next();
  }

  forget(sequences: readonly number[]): void {
    this.#post({ kind: 'forget', sequences });
  }

  #post(message: ToSession, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer as ArrayBuffer[]);
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #next(): void {
    while (this.#running.size < WINDOW) {
      const queued = this.#queue.shift();
      if (queued === undefined) return;
      if (isForNobody(queued, this.#listener)) continue;
      const id = this.#nextId++;
      const { job, transfer } = queued.make(id, true);
      if (queued.memory !== undefined) LARGE_BUFFERS.give(queued.memory);
      this.#running.set(id, queued.calls);
      this.#post(job, transfer);
    }
  }

  #answered(answer: JobAnswer): void {
    const calls = this.#running.get(answer.id);
    this.#running.delete(answer.id);
    // The next run begins before this answer is written: the session is what is scarce.
    this.#next();
    if (calls !== undefined) this.#listener.answered(calls, answer);
  }
}

/** Every caller has gone before it ran. */
export const isForNobody = ({ calls }: Queued, listener: JobListener): boolean => {
  if (!calls.every((call) => call.cancelled)) return false;
  listener.failed(calls, new ServeError('CLIENT_CLOSED', 'cancelled before it ran'));
  return true;
};

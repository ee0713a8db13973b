/** One version of a model, as the replica sees it: work that takes a moment is done on this thread, any other in the session thread. */
import { LARGE_BUFFERS } from '../../protocol/buffer-pool.ts';
import type { SessionOptions } from './onnx-jobs.ts';
import { type OpenModel, openModel } from './onnx-model.ts';
import { areShort, isShortModel } from './onnx-short.ts';
import { isForNobody, type JobListener, type Queued, SessionThread } from './onnx-thread.ts';

export class ModelVersion {
  readonly version: string;
  readonly thread: SessionThread;
  readonly #here: Here | undefined;
  readonly #rowMs: number;

  /** Resolves when the model is loaded. @throws ServeError when the file is no model that onnxruntime can load */
  static async start(version: string, options: SessionOptions, listener: JobListener): Promise<ModelVersion> {
    const thread = await SessionThread.start(options, listener);
    const { rowMs } = thread;
    if (!isShortModel(rowMs)) return new ModelVersion(version, thread);
    return new ModelVersion(version, thread, new Here(await openModel(options), listener), rowMs);
  }

  private constructor(version: string, thread: SessionThread, here?: Here, rowMs = Number.POSITIVE_INFINITY) {
    this.version = version;
    this.thread = thread;
    this.#here = here;
    this.#rowMs = rowMs;
  }

  /** @param inferences they are of the Open Inference Protocol */
  run(queued: Queued, inferences: boolean): void {
    const { calls } = queued;
    const here = this.#here;
    const isShort = () => areShort(calls, this.#rowMs, this.thread.signature, inferences);
    // The state of a sequence is in one place.
    const isHere = here !== undefined && (calls[0]?.sequence !== undefined || isShort());
    (isHere ? here : this.thread).run(queued);
  }

  forget(sequences: readonly number[]): void {
    if (this.#here === undefined) this.thread.forget(sequences);
    else this.#here.forget(sequences);
  }

  close(): Promise<void> {
    return this.thread.close();
  }
}

/** A session on this thread: one job after the other. Between two, whatever else came has its turn. */
class Here {
  readonly #model: OpenModel;
  readonly #listener: JobListener;
  readonly #queue: Queued[] = [];
  #isAtWork = false;

  constructor(model: OpenModel, listener: JobListener) {
    this.#model = model;
    this.#listener = listener;
  }

  run(queued: Queued): void {
    this.#queue.push(queued);
    if (!this.#isAtWork) void this.#work();
  }

  forget(sequences: readonly number[]): void {
    this.#model.forget(sequences);
  }

  async #work(): Promise<void> {
    this.#isAtWork = true;
    for (let queued = this.#queue.shift(); queued !== undefined; queued = this.#queue.shift()) {
      if (isForNobody(queued, this.#listener)) continue;
      const { job } = queued.make(0, false);
      this.#listener.answered(queued.calls, await this.#model.answer(job));
      const { memory } = queued;
      if (memory === undefined) continue;
      LARGE_BUFFERS.give(memory);
      if ('bytes' in job) LARGE_BUFFERS.give(job.bytes);
    }
    this.#isAtWork = false;
  }
}

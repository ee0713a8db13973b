/** The main thread's end of the data plane: starts the worker thread, speaks to it, and gets it closed before the process may end. */
import { Worker } from 'node:worker_threads';
import type { DataPlaneMetrics } from '../domain/metrics.ts';
import type { DataPlaneLoad, DataPlaneSettings, FromDataPlane, RoutingSnapshot, ToDataPlane } from '../domain/snapshot.ts';
import { giveDataPlaneSpace, keepYoungSpaces } from '../young-space.ts';

/** How long the worker may take to close before the process is ended without it. */
const CLOSE_WITHIN_MS = 1000;
const REPORT_WITHIN_MS = 1000;
/** What the worker answers a question with. */
type Reply = Extract<FromDataPlane, { type: 'report' | 'metrics' }>;
const NO_LOAD: DataPlaneLoad = { ongoing: 0, deployments: {}, replicas: {} };

export class DataPlane {
  readonly #worker: Worker;
  readonly #questions = new Map<number, (reply: Reply) => void>();
  readonly #onMessage: (message: FromDataPlane) => void;
  #nextQuestion = 1;
  #drained: (() => void) | undefined;
  #closed: (() => void) | undefined;
  #isClosed = false;

  private constructor(worker: Worker, onMessage: (message: FromDataPlane) => void) {
    this.#worker = worker;
    this.#onMessage = onMessage;
  }

  /** @param onEnd the worker ended without having been asked: nothing can be served any more */
  static async start(
    entry: URL,
    settings: DataPlaneSettings,
    onMessage: (message: FromDataPlane) => void,
    onEnd: (error: Error | undefined) => void,
  ): Promise<DataPlane> {
    giveDataPlaneSpace();
    const worker = new Worker(entry, { workerData: settings, name: 'data-plane' });
    const plane = new DataPlane(worker, onMessage);
    await new Promise<void>((resolve, reject) => {
      worker.once('error', reject);
      worker.on('message', (message: FromDataPlane) => {
        if (message.type === 'started') resolve();
        else plane.#take(message);
      });
    });
    keepYoungSpaces();
    let error: Error | undefined;
    worker.on('error', (thrown) => {
      error = thrown as Error;
    });
    worker.on('exit', () => {
      if (!plane.#isClosed) onEnd(error);
    });
    return plane;
  }

  publish(snapshot: RoutingSnapshot): void {
    this.#post({ type: 'snapshot', snapshot });
  }

  encodeAccessLog(encoding: 'TEXT' | 'JSON'): void {
    this.#post({ type: 'access-log', encoding });
  }

  /** What is under way; nothing when the data plane is too busy to say. */
  async load(): Promise<DataPlaneLoad> {
    return (await this.#ask('report', REPORT_WITHIN_MS))?.load ?? NO_LOAD;
  }

  /** What has been counted; undefined when the data plane is too busy to say. */
  async metrics(): Promise<DataPlaneMetrics | undefined> {
    return (await this.#ask('metrics', REPORT_WITHIN_MS))?.metrics;
  }

  /** Whether the thread that serves answers in time. */
  async responds(withinMs: number): Promise<boolean> {
    return (await this.#ask('report', withinMs)) !== undefined;
  }

  #ask<T extends Reply['type']>(type: T, withinMs: number): Promise<Extract<Reply, { type: T }> | undefined> {
    const id = this.#nextQuestion++;
    return new Promise((resolve) => {
      const give = (reply?: Reply) => {
        clearTimeout(timer);
        this.#questions.delete(id);
        resolve(reply as Extract<Reply, { type: T }> | undefined);
      };
      const timer = setTimeout(give, withinMs);
      this.#questions.set(id, give);
      this.#post({ type, id });
    });
  }

  /** Stops accepting, and resolves when every request was answered. */
  drain(graceMs: number, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#drained = resolve;
      this.#post({ type: 'drain', graceMs, timeoutMs });
    });
  }

  /** @returns false when the worker did not confirm: the process must then end by SIGKILL, any other end would abort it */
  async close(): Promise<boolean> {
    if (this.#isClosed) return true;
    const confirmed = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), CLOSE_WITHIN_MS);
      this.#closed = () => {
        clearTimeout(timer);
        resolve(true);
      };
      this.#post({ type: 'close' });
    });
    if (confirmed) await this.#worker.terminate();
    return confirmed;
  }

  #post(message: ToDataPlane): void {
    this.#worker.postMessage(message);
  }

  #take(message: FromDataPlane): void {
    switch (message.type) {
      case 'report':
      case 'metrics':
        return this.#questions.get(message.id)?.(message);
      case 'drained':
        return this.#drained?.();
      case 'closed':
        this.#isClosed = true;
        this.#onMessage(message);
        return this.#closed?.();
      default:
        return this.#onMessage(message);
    }
  }
}

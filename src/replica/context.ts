/** What user code gets beside its input; costly parts are built on first use. */
import { createRequire } from 'node:module';
import type { Logger } from 'pino';
import { ServeError } from '../domain/errors.ts';
import { headerOf } from '../protocol/http-value.ts';
import type { HttpHead } from '../protocol/messages.ts';
import { modelIdOf, sessionIdOf, traceparentOf } from '../protocol/routing-headers.ts';
import type { MetricsMeta } from '../protocol/user-metrics.ts';
import type { CallContext, DeploymentContext, RequestInfo } from '../sdk/index.ts';
import type { Metrics } from '../sdk/metrics.ts';
import type { IncomingCall } from './engine.ts';
import { ReplicaMetrics } from './metrics.ts';
import type { Models, ModelUse } from './models.ts';

export class ReplicaContext implements DeploymentContext {
  readonly application: string;
  readonly deployment: string;
  readonly replicaId: string;
  readonly rank: number;
  readonly #stop = new AbortController();
  #log: Logger | undefined;
  #metrics: ReplicaMetrics | undefined;
  readonly #tellMetrics: ((meta: MetricsMeta) => void) | undefined;
  #level = 'info';

  /** @param tellMetrics undefined: nobody wants them */
  constructor(application: string, deployment: string, replicaId: string, rank = 0, tellMetrics?: (meta: MetricsMeta) => void) {
    this.application = application;
    this.deployment = deployment;
    this.replicaId = replicaId;
    this.rank = rank;
    this.#tellMetrics = tellMetrics;
  }

  /** JSON lines on stdout, which the daemon collects. Loaded on first use: most replicas never log. */
  get log(): Logger {
    if (this.#log === undefined) {
      const { pino } = createRequire(import.meta.url)('pino') as typeof import('pino');
      this.#log = pino({ base: null, level: this.#level }, pino.destination({ fd: 1, sync: true }));
    }
    return this.#log;
  }

  /** Made on first use. */
  get metrics(): Metrics {
    this.#metrics ??= new ReplicaMetrics(this.#tellMetrics, (fields, message) => this.log.warn(fields, message));
    return this.#metrics;
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** That of the daemon. */
  setLogLevel(level: string): void {
    this.#level = level;
    if (this.#log !== undefined) this.#log.level = level;
  }

  stop(): void {
    this.#stop.abort();
  }
}

export class RunningCall implements CallContext {
  readonly #replica: ReplicaContext;
  readonly #call: IncomingCall;
  readonly #models: Models;
  #request: RequestInfo | undefined;
  #use: Promise<ModelUse> | undefined;
  #over = false;

  constructor(replica: ReplicaContext, call: IncomingCall, models: Models) {
    this.#replica = replica;
    this.#call = call;
    this.#models = models;
  }

  get modelId(): string | undefined {
    const { http, modelId } = this.#call;
    return http === undefined ? modelId : modelIdOf(http.headers);
  }

  get sessionId(): string | undefined {
    const { http, sessionId } = this.#call;
    return http === undefined ? sessionId : sessionIdOf(http.headers);
  }

  async model<M>(): Promise<M> {
    if (this.#over) throw new TypeError('`context.model()` was called after the call was answered: ask for the model before');
    this.#use ??= this.#models.use(this.modelId, () => this.#call.signal);
    return (await this.#use).model as M;
  }

  /** The call has been answered: what it used may go. */
  close(): void {
    this.#over = true;
    this.#use?.then(
      (use) => use.release(),
      () => {},
    );
  }

  get application(): string {
    return this.#replica.application;
  }

  get deployment(): string {
    return this.#replica.deployment;
  }

  get replicaId(): string {
    return this.#replica.replicaId;
  }

  get rank(): number {
    return this.#replica.rank;
  }

  get metrics(): Metrics {
    return this.#replica.metrics;
  }

  get traceparent(): string | undefined {
    const { http, traceparent } = this.#call;
    return http === undefined ? traceparent : traceparentOf(http.headers);
  }

  get log(): Logger {
    return this.#replica.log.child({ requestId: this.#call.requestId });
  }

  get requestId(): string {
    return this.#call.requestId;
  }

  get deadline(): number | undefined {
    return this.#call.deadline;
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  get request(): RequestInfo | undefined {
    const { http } = this.#call;
    if (http !== undefined) this.#request ??= infoOf(http);
    return this.#request;
  }
}

const infoOf = (head: HttpHead): RequestInfo => {
  let query: URLSearchParams | undefined;
  let headers: Headers | undefined;
  return {
    method: head.method,
    path: head.path,
    get query() {
      query ??= new URLSearchParams(head.query);
      return query;
    },
    get headers() {
      headers ??= headersOf(head);
      return headers;
    },
  };
};

const headersOf = (head: HttpHead): Headers => {
  const headers = new Headers();
  for (let index = 0; index + 1 < head.headers.length; index += 2)
    headers.append(head.headers[index] as string, byteString(head.headers[index + 1] as string));
  return headers;
};

/** `Headers` takes a character for each byte; what a client sent as UTF-8 is handed on as those bytes. */
const byteString = (value: string): string => {
  for (let index = 0; index < value.length; index++) {
    if (value.charCodeAt(index) > 0xff) return Buffer.from(value, 'utf8').toString('latin1');
  }
  return value;
};

/**
 * The web-standard request, for code that has `fetch`.
 * @throws ServeError METHOD_NOT_ALLOWED or INVALID_INPUT for what HTTP lets pass and a `Request` cannot be
 */
export const requestOf = (head: HttpHead, body: Uint8Array | ReadableStream<Uint8Array>, signal: AbortSignal): Request => {
  const host = headerOf(head.headers, 'host') ?? 'localhost';
  const query = head.query === '' ? '' : `?${head.query}`;
  const hasBody = head.method !== 'GET' && head.method !== 'HEAD' && !(body instanceof Uint8Array && body.byteLength === 0);
  try {
    return new Request(`${head.secure ? 'https' : 'http'}://${host}${head.path}${query}`, {
      method: head.method,
      headers: headersOf(head),
      body: hasBody ? (body as Uint8Array<ArrayBuffer> | ReadableStream) : undefined,
      // Asked for with a stream; without one it says nothing.
      duplex: 'half',
      signal,
    } as RequestInit);
  } catch (cause) {
    if (head.method === 'TRACE') throw new ServeError('METHOD_NOT_ALLOWED', 'TRACE is not served', {}, { cause });
    const message = `expected host and path to make a URL, got host ${host} and path ${head.path}`;
    throw new ServeError('INVALID_INPUT', message, {}, { cause });
  }
};

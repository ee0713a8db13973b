/** One HTTP request from its head to the end of its answer: the call or the graph that it becomes, and what is made of what comes back. */
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import type { Generation } from '../dispatch/generation.ts';
import type { CacheUse, CallTrace, CallUnderWay, Sink } from '../dispatch/pending.ts';
import { RequestBody } from '../dispatch/request-body.ts';
import { ServeError } from '../domain/errors.ts';
import type { Graph } from '../domain/graph.ts';
import type { Json } from '../domain/json.ts';
import type { ApplicationRouting } from '../domain/snapshot.ts';
import { LARGE_BUFFERS } from '../protocol/buffer-pool.ts';
import { answerOfWire, headerOf, itemOf, itemOfWire } from '../protocol/http-value.ts';
import type { HttpAnswerHead, HttpHead } from '../protocol/messages.ts';
import { priorityOfHeaders, sessionIdOf, traceparentOf } from '../protocol/routing-headers.ts';
import type { WireValue } from '../protocol/value.ts';
import type { AccessRecord } from './access-log.ts';
import { codingFor, codingOf, type Decodes, type Encodes } from './content-coding.ts';
import { errorAnswer } from './error-answer.ts';
import { GraphRun } from './graph-run.ts';
import type { HttpCounts } from './http-counts.ts';
import { type Refusal, statusOf } from './http-framing.ts';
import type { HttpExchange } from './http-server.ts';
import type { Inference, InferenceOutcome } from './inference.ts';
import type { ServedModel } from './inference-models.ts';
import { readParameters } from './inference-parameters.ts';
import { newRequestId } from './request-id.ts';
import { requestScope } from './request-scope.ts';
import type { RetryBudgets } from './retry-budget.ts';
import type { Shadows } from './shadow.ts';
import type { Splits } from './splits.ts';

export interface IngressOptions {
  readonly dispatcher: Dispatcher;
  readonly now: () => number;
  readonly shadows: Shadows;
  readonly splits: Splits;
  readonly retries: RetryBudgets;
  readonly counts: HttpCounts;
  /** Called for each finished request of an application that has its access log on. */
  readonly logged: (record: AccessRecord) => void;
  /** For errors that are not the client's: the detail that clients do not get. */
  readonly failed: (requestId: string, application: string | undefined, error: ServeError) => void;
}

/** Credit is given back in portions, so that not each small chunk costs a frame. */
const CREDIT_PORTION = 65_536;
/** One request from its head to the end of its answer. */
export class IngressRequest implements Sink {
  readonly #exchange: HttpExchange;
  readonly #options: IngressOptions;
  readonly #over: () => void;
  readonly #id: string;
  readonly #isOurId: boolean;
  readonly #startedAt: number;
  readonly #traces: CallTrace[] = [];
  #application: ApplicationRouting | undefined;
  #call: CallUnderWay | undefined;
  #run: GraphRun | undefined;
  /** Where it comes in pieces. */
  #body: RequestBody | undefined;
  /** As it came, where it came whole. */
  #whole: Uint8Array | undefined;
  #finished = false;
  /** Its client has gone, and wanted the work to go on: it still counts. */
  #goesOn = false;
  #begun = false;
  #status = 200;
  #owedCredit = 0;
  #stalled = false;
  readonly #errorForm: typeof errorAnswer;
  /** Of a request of the Open Inference Protocol: what becomes of its answer. */
  #answered: ((http: HttpAnswerHead, body: Uint8Array) => void) | undefined;
  #failed: (() => void) | undefined;
  /** Where its body is compressed, and not yet out. */
  #stopDecoding: (() => void) | undefined;

  constructor(exchange: HttpExchange, options: IngressOptions, over: () => void, errorForm = errorAnswer) {
    this.#exchange = exchange;
    this.#options = options;
    this.#over = over;
    this.#errorForm = errorForm;
    this.#startedAt = options.now();
    const given = givenId(exchange);
    this.#isOurId = given === undefined;
    this.#id = given ?? newRequestId();
    exchange.onAborted((refusal) => this.#aborted(refusal));
  }

  /** Calls the ingress before the body has come, unless all of it came along with the head. */
  stream(application: ApplicationRouting, proxyTimeoutMs: number | null): void {
    const body = new RequestBody(() => this.#exchange.readOn());
    this.#body = body;
    let called = false;
    const call = (input: RequestBody | Uint8Array) => {
      if (called) return;
      called = true;
      this.serve(application, input, proxyTimeoutMs);
    };
    this.#exchange.stream({
      piece: (bytes) => body.push(bytes),
      end: () => {
        body.end();
        if (!called) call(body.takeWhole());
      },
    });
    setImmediate(call, body);
  }

  serve(application: ApplicationRouting, body: RequestBody | Uint8Array, proxyTimeoutMs: number | null): void {
    if (this.#finished) return;
    const generation = this.#enter(application);
    if (generation === undefined) return;
    const { name, ingress } = generation.routing;
    const { method, path, query, headers, isSecure } = this.#exchange;
    const head: HttpHead = { method, path, query, headers, secure: isSecure || undefined };
    const whole = body instanceof RequestBody ? undefined : body;
    this.#whole = whole;
    if (ingress.kind === 'graph') return this.#runGraph(generation, ingress.graph, head, whole, proxyTimeoutMs);
    if (ingress.kind === 'models') return this.error(ingressChanged(name));
    this.#call = this.#options.dispatcher.call({
      generation,
      target: { application: name, deployment: ingress.deployment, method: 'call' },
      requestId: this.#id,
      value: whole === undefined ? NO_VALUE : { skeleton: SEGMENT_0, segments: [{ dtype: 'bytes', shape: null, bytes: whole }] },
      body: body instanceof RequestBody ? body : undefined,
      http: head,
      deadlineAt: this.#deadlineAt(proxyTimeoutMs),
      movable: true,
      traces: this.#traces,
      sink: this,
    });
  }

  /** Sends an inference to its model as it came, save for its compression. */
  infer(
    outcome: Extract<InferenceOutcome, { kind: 'infer' }>,
    path: string,
    sent: Uint8Array,
    { timeoutMs, maxBodyBytes }: { timeoutMs: number | null; maxBodyBytes: number },
    { inference, decodes, encodes }: { inference: Inference; decodes: Decodes; encodes: Encodes },
  ): void {
    this.#failed = () => inference.failed(outcome.model, outcome.version, this.#totalMs());
    this.#whole = sent;
    try {
      const coding = codingOf(this.#exchange.header('content-encoding'));
      if (coding === undefined) return this.#inferPlain(outcome.model, path, sent, timeoutMs, { inference, encodes });
      this.#stopDecoding = decodes.decode(sent, coding, maxBodyBytes, (body) => {
        this.#stopDecoding = undefined;
        if (body instanceof ServeError) return this.error(body);
        try {
          this.#inferPlain(outcome.model, path, body, timeoutMs, { inference, encodes });
        } catch (error) {
          this.error(thrown(error));
        }
      });
    } catch (error) {
      this.error(thrown(error));
    }
  }

  #inferPlain(
    model: ServedModel,
    path: string,
    body: Uint8Array,
    timeoutMs: number | null,
    { inference, encodes }: { inference: Inference; encodes: Encodes },
  ): void {
    const { application, deployment } = model;
    const generation = this.#finished ? undefined : this.#enter(application);
    if (generation === undefined) return;
    this.#answered = (http, bytes) => {
      const { queueMs, cache, cacheMs = 0 } = this.#traces[0] ?? { queueMs: 0 };
      const { status, headers } = inference.answered(model, http, { queueMs, totalMs: this.#totalMs(), cacheMs }, cache);
      void this.#respondCoded(status, withCacheUse(headers, cache), bytes, encodes);
    };
    const { query, headers, isSecure } = this.#exchange;
    const keepsSequences = generation.deployment(deployment)?.sequence !== undefined;
    const said = readParameters(body, this.#exchange.header('inference-header-content-length'), keepsSequences);
    const leftMs = said?.timeoutMs ?? Number.POSITIVE_INFINITY;
    this.#call = this.#options.dispatcher.call({
      generation,
      target: { application: application.name, deployment, method: 'infer' },
      requestId: this.#id,
      value: { skeleton: SEGMENT_0, segments: [{ dtype: 'bytes', shape: null, bytes: body }] },
      http: { method: 'POST', path, query, headers, secure: isSecure || undefined },
      deadlineAt: Math.min(this.#deadlineAt(timeoutMs), this.#startedAt + leftMs),
      // The header wins: a proxy that knows its clients sets it.
      priority: said?.priority === undefined || priorityOfHeaders(headers) !== undefined ? undefined : said.priority,
      sequence: said?.sequence,
      movable: true,
      traces: this.#traces,
      sink: this,
    });
  }

  /** Compressed where the client takes that. */
  async #respondCoded(status: number, headers: readonly string[], body: Uint8Array, encodes: Encodes): Promise<void> {
    const coding = codingFor(this.#exchange.header('accept-encoding'), body.byteLength);
    if (coding === undefined) return this.#respond(status, headers, body);
    try {
      const coded = await encodes.encode(body, coding);
      this.#respond(status, [...headers, 'content-encoding', coding, 'vary', 'accept-encoding'], coded);
    } catch (error) {
      this.error(thrown(error));
    }
  }

  /** The generation that it runs in; undefined: it has been refused. */
  #enter(application: ApplicationRouting): Generation | undefined {
    const generation = this.#options.dispatcher.generation(application.name);
    // What is in force when the body is there may be another than when its head came.
    const { name, unavailable } = generation?.routing ?? application;
    this.#application = generation?.routing ?? application;
    if (unavailable === null && generation !== undefined) return generation;
    const why = unavailable ?? `Application ${name} is not in the config any more.`;
    this.error(new ServeError('UNAVAILABLE', why, { retryAfterS: 1 }));
    return undefined;
  }

  #totalMs(): number {
    return this.#options.now() - this.#startedAt;
  }

  #deadlineAt(proxyTimeoutMs: number | null): number {
    return Math.min(this.#ownDeadlineAt(proxyTimeoutMs), this.#clientDeadlineAt());
  }

  #ownDeadlineAt(proxyTimeoutMs: number | null): number {
    return proxyTimeoutMs === null ? Number.POSITIVE_INFINITY : this.#startedAt + proxyTimeoutMs;
  }

  #clientDeadlineAt(): number {
    return this.#startedAt + clientTimeoutMs(this.#exchange.header('x-request-timeout-seconds'));
  }

  text(status: number, text: string): void {
    this.#respond(status, ['content-type', 'text/plain; charset=utf-8'], text);
  }

  json(value: Json): void {
    this.#respond(200, ['content-type', 'application/json'], JSON.stringify(value));
  }

  error(error: ServeError): void {
    if (this.#finished) return this.#worked();
    if (error.status >= 500 && error.code !== 'UNAVAILABLE' && error.code !== 'QUEUE_FULL')
      this.#options.failed(this.#id, this.#application?.name, error);
    if (this.#begun) {
      // The head is out: all that is left to say is that this answer is not whole.
      this.#finish(error.status, error.code);
      this.#exchange.abort();
      return;
    }
    this.#failed?.();
    const answer = this.#errorForm(error, this.#exchange.header('accept'));
    this.#respond(answer.status, answer.headers, answer.body, error.code);
  }

  /** @param body undefined: it comes in pieces, for code that was the ingress a moment ago */
  #runGraph(
    generation: Generation,
    graph: Graph,
    head: HttpHead,
    body: Uint8Array | undefined,
    proxyTimeoutMs: number | null,
  ): void {
    if (body === undefined) return this.error(ingressChanged(generation.application));
    this.#run = new GraphRun(
      this.#options.dispatcher,
      {
        graph,
        generation,
        scope: requestScope(head, body),
        requestId: this.#id,
        sessionId: sessionIdOf(head.headers),
        traceparent: traceparentOf(head.headers),
        priority: priorityOfHeaders(head.headers),
        ownDeadlineAt: this.#ownDeadlineAt(proxyTimeoutMs),
        clientDeadlineAt: this.#clientDeadlineAt(),
        traces: this.#traces,
        splits: this.#options.splits,
        shadows: this.#options.shadows,
        retries: this.#options.retries,
        done: (output) => {
          if (output instanceof ServeError) return this.error(output);
          try {
            const { contentType, body: bytes } = answerOfWire(output);
            this.#respond(200, contentType === null ? [] : ['content-type', contentType], bytes);
          } catch (error) {
            this.error(thrown(error));
          }
        },
        item: (value, bytes) => {
          if (this.#finished) return this.#taken(undefined, bytes);
          const item = itemOfWire(value);
          if (!this.#begun) this.#begin(200, ['content-type', item.contentType]);
          this.#taken(item.bytes, bytes);
        },
        end: () => {
          if (!this.#finished && !this.#begun) this.#begin(200, ['content-type', itemOf('').contentType]);
          this.end();
        },
      },
      this.#options.now,
    );
    this.#run.begin();
  }

  result(value: WireValue, http: HttpAnswerHead | undefined): void {
    if (http === undefined) return this.error(new ServeError('INTERNAL', 'a replica answered an HTTP call without an HTTP head'));
    const body = value.segments[0]?.bytes ?? EMPTY;
    if (this.#whole !== undefined && this.#call?.isValueFree === true) LARGE_BUFFERS.give(this.#whole);
    this.#whole = undefined;
    if (this.#answered !== undefined) return this.#answered(http, body);
    this.#respond(http.status, withCacheUse(http.headers, this.#traces[0]?.cache), body);
  }

  open(http: HttpAnswerHead | undefined): void {
    if (this.#finished) return;
    this.#begin(http?.status ?? 200, withCacheUse(http?.headers ?? [], this.#traces[0]?.cache));
  }

  #begin(status: number, headers: readonly string[]): void {
    this.#begun = true;
    this.#status = status;
    this.#exchange.begin(status, this.#withId(headers));
  }

  chunk(value: WireValue, bytes: number): void {
    this.#taken(value.segments[0]?.bytes, bytes);
  }

  /**
   * A piece of a stream has come.
   * @param bytes what its producer counts it as
   */
  #taken(piece: Uint8Array | undefined, bytes: number): void {
    this.#owedCredit += bytes;
    // The client has gone and wanted the work to go on: nobody reads, and the producer must not wait for it.
    if (this.#finished) return this.#giveCredit(CREDIT_PORTION);
    if (piece !== undefined && piece.byteLength > 0 && !this.#exchange.write(piece) && !this.#stalled) {
      this.#stalled = true;
      this.#exchange.onDrain(() => {
        this.#stalled = false;
        this.#giveCredit(1);
      });
    }
    if (!this.#stalled) this.#giveCredit(CREDIT_PORTION);
  }

  /** Lets the producer go on, as far as the client has taken what it sent. */
  #giveCredit(atLeast: number): void {
    if (this.#owedCredit < atLeast) return;
    (this.#call ?? this.#run)?.credit(this.#owedCredit);
    this.#owedCredit = 0;
  }

  end(): void {
    if (this.#finished) return this.#worked();
    this.#finish(this.#status);
    this.#exchange.end();
  }

  #respond(status: number, headers: readonly string[], body: Uint8Array | string, error?: string): void {
    if (this.#finished) return this.#worked();
    this.#body?.drop();
    this.#finish(status, error);
    // Behind headers that are like those of other answers, which drivers know by sight.
    if (this.#isOurId && headerOf(headers, ID_HEADER) === undefined) this.#exchange.respond(status, headers, body, this.#id);
    else this.#exchange.respond(status, this.#withId(headers), body);
  }

  /** The id of the request, unless code has set one. */
  #withId(headers: readonly string[]): readonly string[] {
    return headerOf(headers, ID_HEADER) === undefined ? [...headers, ID_HEADER, this.#id] : headers;
  }

  /** @param refusal the driver has refused the rest of it; undefined: the client has gone */
  #aborted(refusal?: Refusal): void {
    if (this.#finished) return;
    const mayGoOn = refusal === undefined && (this.#call !== undefined || this.#run !== undefined);
    this.#goesOn = mayGoOn && this.#exchange.header('x-request-disconnect-disabled') === '?1';
    if (refusal === undefined) this.#finish(499, 'CLIENT_CLOSED');
    else this.#finish(statusOf(refusal.code), refusal.code);
    if (this.#goesOn) {
      this.#body?.fail();
      // What the client had not taken, it will not: its producer waits for nobody.
      this.#stalled = false;
      return this.#giveCredit(1);
    }
    this.#body?.drop();
    this.#stopDecoding?.();
    this.#call?.abandon(undefined);
    this.#run?.cancel();
  }

  /** What went on without its client has come to its end. */
  #worked(): void {
    if (!this.#goesOn) return;
    this.#goesOn = false;
    this.#over();
  }

  #finish(status: number, error?: string): void {
    this.#finished = true;
    if (!this.#goesOn) this.#over();
    const application = this.#application;
    const totalMs = this.#totalMs();
    this.#options.counts.finished(application?.name, status, totalMs);
    if (application === undefined || !application.accessLog) return;
    this.#options.logged({
      time: Date.now(),
      requestId: this.#id,
      method: this.#exchange.method,
      path: this.#exchange.path,
      application: application.name,
      route: application.routePrefix ?? '',
      status,
      totalMs,
      error,
      traces: this.#traces,
    });
  }
}

export const thrown = (error: unknown): ServeError =>
  error instanceof ServeError ? error : new ServeError('INTERNAL', (error as Error).message);

const ingressChanged = (application: string): ServeError =>
  new ServeError('UNAVAILABLE', `The ingress of application ${application} has changed while the request came.`, {
    retryAfterS: 1,
  });

const SEGMENT_0 = '{"$seg":0}';
const NO_VALUE: WireValue = { skeleton: 'null', segments: [] };
const EMPTY = new Uint8Array(0);

const ID_HEADER = 'x-request-id';
const CACHE_HEADER = 'x-serve-cache';

/** What the response cache did for the request, where there is one. */
const withCacheUse = (headers: readonly string[], use: CacheUse | undefined): readonly string[] =>
  use === undefined || headerOf(headers, CACHE_HEADER) !== undefined ? headers : [...headers, CACHE_HEADER, use];

/** undefined: the client gave none that could be one. */
export const givenId = (exchange: HttpExchange): string | undefined => {
  const given = exchange.header(ID_HEADER);
  return given !== undefined && given !== '' && given.length <= 256 ? given : undefined;
};
/** What a client allows; 0 or less, and what is no number: no limit from the client. */
export const clientTimeoutMs = (header: string | undefined): number => {
  if (header === undefined) return Number.POSITIVE_INFINITY;
  const seconds = Number(header);
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : Number.POSITIVE_INFINITY;
};

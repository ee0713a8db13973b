/** One HTTP request of a test and its answer, with no socket between: what a driver does for the ingress, in web-standard terms. */
import {
  INTERNAL_BODY,
  INTERNAL_HEADERS,
  isBodyless,
  isFinalStatus,
  refusalBody,
  refusalHeaders,
  soundHeaders,
} from '../proxy/http-answer.ts';
import { BodyBuffer, BodyFlow } from '../proxy/http-body.ts';
import { CHUNKED, type Refusal, readFraming, statusOf } from '../proxy/http-framing.ts';
import type { BodySink, HttpExchange, HttpHandler } from '../proxy/http-server.ts';
import type { LocalRequest } from './request.ts';

/** Bytes of a streamed answer that are held for a test that does not read them. */
const HELD_BYTES = 65_536;
/** Pieces in which a body that is there is given to code that reads it as it comes. */
const PIECE_BYTES = 65_536;

export class LocalExchange implements HttpExchange {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: readonly string[];
  readonly isSecure: boolean;
  readonly bodyBytes: number;
  /** Resolves with the head; rejects when the request was given up before. */
  readonly answer: Promise<Response>;
  readonly #body: LocalRequest['body'];
  readonly #maxBodyBytes: number;
  #settle!: { readonly resolve: (response: Response) => void; readonly reject: (reason: unknown) => void };
  #stream: ReadableStreamDefaultController<Uint8Array> | undefined;
  #state: 'waits' | 'streams' | 'over' = 'waits';
  #isAborted = false;
  #aborted: ((refusal?: Refusal) => void) | undefined;
  #refusal: Refusal | undefined;
  #drained: (() => void) | undefined;
  #readOn: (() => void) | undefined;

  readonly #onOver: () => void;

  /** @param onOver called when nothing more comes of it */
  constructor(
    { method, path, query, headers, isSecure, body }: LocalRequest,
    maxBodyBytes: number,
    onOver: (exchange: LocalExchange) => void,
  ) {
    this.#onOver = () => onOver(this);
    this.method = method;
    this.path = path;
    this.query = query;
    this.headers = headers;
    this.isSecure = isSecure;
    this.bodyBytes = body instanceof ReadableStream ? CHUNKED : body.byteLength;
    this.#body = body;
    this.#maxBodyBytes = maxBodyBytes;
    this.answer = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
  }

  /** Hands it on, where a driver would not refuse it by its head. */
  enter(handler: HttpHandler): void {
    const { refusal } = readFraming(this.headers, this.#maxBodyBytes);
    if (refusal === undefined) handler(this);
    else this.#answer(statusOf(refusal.code), refusalHeaders(refusal), refusalBody(refusal));
  }

  header(name: string): string | undefined {
    const at = this.headers.findIndex((each, index) => index % 2 === 0 && each === name);
    return at < 0 ? undefined : this.headers[at + 1];
  }

  body(done: (bytes: Uint8Array) => void): void {
    if (this.#body instanceof Uint8Array) return done(this.#body);
    const whole = new BodyBuffer(CHUNKED, this.#maxBodyBytes);
    void this.#read(this.#body, (piece) => whole.add(piece)).then((isWhole) => isWhole && done(whole.take()));
  }

  stream(sink: BodySink): void {
    const flow = new BodyFlow(sink, this.#maxBodyBytes);
    const isFull = () => flow.isFull;
    void this.#read(streamOf(this.#body), (piece) => flow.add(piece), isFull).then((isWhole) => isWhole && flow.end());
  }

  readOn(): void {
    this.#readOn?.();
  }

  onAborted(listener: (refusal?: Refusal) => void): void {
    this.#aborted = listener;
    if (this.#isAborted) listener(this.#refusal);
  }

  respond(status: number, headers: readonly string[], body: Uint8Array | string, id?: string): void {
    if (this.#state !== 'waits') return;
    const sound = isFinalStatus(status) ? soundHeaders(headers) : undefined;
    const own = id === undefined ? [] : ['x-request-id', id];
    if (sound === undefined) this.#answer(500, [...INTERNAL_HEADERS, ...own], INTERNAL_BODY);
    else this.#answer(status, [...sound, ...own], body);
  }

  begin(status: number, headers: readonly string[]): void {
    if (this.#state !== 'waits') return;
    const sound = isFinalStatus(status) ? soundHeaders(headers) : undefined;
    if (sound === undefined) return this.#answer(500, INTERNAL_HEADERS, INTERNAL_BODY);
    if (hasNullBody(this.method, status)) {
      this.#end();
      return this.#give(null, status, sound);
    }
    this.#state = 'streams';
    const body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#stream = controller;
        },
        pull: () => this.#drained?.(),
        cancel: () => this.#leave(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: HELD_BYTES }),
    );
    this.#give(body, status, sound);
  }

  write(chunk: Uint8Array | string): boolean {
    if (this.#state !== 'streams' || chunk.length === 0) return true;
    this.#stream?.enqueue(bytesOf(chunk));
    return (this.#stream?.desiredSize ?? 1) > 0;
  }

  onDrain(listener: () => void): void {
    this.#drained = listener;
  }

  end(): void {
    if (this.#state !== 'streams') return;
    this.#end();
    this.#stream?.close();
  }

  abort(): void {
    this.#giveUp(new TypeError('terminated'));
  }

  /** The client goes, for this reason. */
  leave(reason: unknown): void {
    this.#giveUp(reason);
    this.#leave();
  }

  #leave(refusal?: Refusal): void {
    if (this.#isAborted) return;
    this.#isAborted = true;
    this.#refusal = refusal;
    this.#end();
    this.#aborted?.(refusal);
  }

  #end(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    // The rest of the body is let go.
    this.#readOn?.();
    this.#onOver();
  }

  #giveUp(reason: unknown): void {
    if (this.#state === 'streams') this.#stream?.error(reason);
    if (this.#state === 'waits') this.#settle.reject(reason);
    this.#end();
  }

  /** @param add what it returns is why the rest is refused @returns true when all of it has come */
  async #read(
    body: ReadableStream<Uint8Array>,
    add: (piece: Uint8Array) => Refusal | undefined,
    isFull = () => false,
  ): Promise<boolean> {
    const reader = body.getReader();
    try {
      for (let next = await reader.read(); !next.done; next = await reader.read()) {
        const refusal = this.#state === 'over' ? undefined : add(new Uint8Array(next.value));
        if (refusal !== undefined) this.#refuse(refusal);
        if (isFull() && this.#state !== 'over') {
          await new Promise<void>((resolve) => {
            this.#readOn = resolve;
          });
        }
        if (this.#state === 'over') {
          await reader.cancel();
          return false;
        }
      }
      return true;
    } catch (error) {
      // What was to be sent could not be: the client has gone in the middle of it.
      this.leave(error);
      return false;
    }
  }

  #refuse(refusal: Refusal): void {
    if (this.#state === 'waits') this.#answer(statusOf(refusal.code), refusalHeaders(refusal), refusalBody(refusal));
    else this.#giveUp(new TypeError('terminated'));
    this.#leave(refusal);
  }

  /** With its length, as a driver frames it. */
  #answer(status: number, headers: readonly string[], body: Uint8Array | string): void {
    this.#end();
    const bytes = bytesOf(body);
    const length = status === 204 || status === 304 ? [] : ['content-length', String(bytes.byteLength)];
    this.#give(hasNullBody(this.method, status) ? null : bytes, status, [...headers, ...length]);
  }

  /** What a `Response` refuses, as a test's own may, fails this one request: nothing is thrown into the link that all calls of a replica share. */
  #give(body: BodyInit | null, status: number, headers: readonly string[]): void {
    try {
      this.#settle.resolve(new Response(body, { status, headers: headersOf(headers) }));
    } catch (error) {
      this.#settle.reject(error);
      // Whoever began it is not done with it yet.
      queueMicrotask(() => this.#leave());
    }
  }
}

/** Beside answers that have no body on the wire: `fetch` drops that of a 205, and no `Response` may be made with one. */
const hasNullBody = (method: string, status: number): boolean => isBodyless(method, status) || status === 205;

/** Bytes of its own: what came over a link is a view of a larger read. */
const bytesOf = (body: Uint8Array | string): Uint8Array<ArrayBuffer> =>
  typeof body === 'string' ? new TextEncoder().encode(body) : new Uint8Array(body);

const streamOf = (body: LocalRequest['body']): ReadableStream<Uint8Array> => {
  if (body instanceof ReadableStream) return body;
  let at = 0;
  return new ReadableStream({
    pull: (controller) => {
      if (at < body.byteLength) controller.enqueue(body.subarray(at, at + PIECE_BYTES));
      else controller.close();
      at += PIECE_BYTES;
    },
  });
};

const headersOf = (headers: readonly string[]): Headers => {
  const all = new Headers();
  for (let index = 0; index + 1 < headers.length; index += 2) all.append(headers[index] as string, headers[index + 1] as string);
  return all;
};

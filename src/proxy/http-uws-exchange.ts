/** One request on uWebSockets.js and its answer: everything that touches the library's `res`, and when it may be touched. */

import {
  INTERNAL_BODY,
  INTERNAL_HEADERS,
  isBodyless,
  isFinalStatus,
  refusalBody,
  refusalHeaders,
  soundHeaders,
} from './http-answer.ts';
import { BodyBuffer, BodyFlow, LINGER_MS, NO_BYTES } from './http-body.ts';
import { type Framing, type Refusal, statusOf } from './http-framing.ts';
import type { BodySink, HttpExchange } from './http-server.ts';
import { endBareHead, endStreamOpen, pushBodyOpen, writeHead } from './http-uws-answer.ts';
import { CORK_BYTES, UwsStream, type UwsStreamOwner } from './http-uws-stream.ts';
import type { UwsResponse } from './uws-types.ts';

/** How long a client that was told `close` has for the rest of its streamed answer, counted from the last that it took. */
const CLOSE_MS = 1000;

/** What the exchanges of one server share. */
export interface UwsConnectionRules {
  readonly isSecure: boolean;
  closing(): boolean;
  /** Called once for each exchange, when nothing more will happen to it. */
  done(): void;
}

type Phase = 'open' | 'answering' | 'streaming' | 'done';

export class UwsExchange implements HttpExchange, UwsStreamOwner {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: readonly string[];
  refusesWithObject = false;
  readonly #res: UwsResponse;
  readonly #rules: UwsConnectionRules;
  readonly bodyBytes: number;
  readonly #maxBodyBytes: number;
  readonly #mustClose: boolean;
  #phase: Phase = 'open';
  #aborted: ((refusal?: Refusal) => void) | undefined;
  #wasAborted = false;
  /** The library has taken the whole answer or closed the connection: `res` must not be touched. */
  #dead = false;
  #deliver: ((bytes: Uint8Array) => void) | undefined;
  #received: BodyBuffer | undefined;
  /** The body, where it is passed on as it comes. */
  #flow: BodyFlow | undefined;
  #isPaused = false;
  #close = false;
  #status = 0;
  #answerHeaders: readonly string[] = [];
  #id = '';
  #body: Uint8Array | string = NO_BYTES;
  /** False for HEAD where a GET would be streamed. */
  #tellsLength = true;
  #stream: UwsStream | undefined;
  #lingering: NodeJS.Timeout | undefined;

  constructor(
    rules: UwsConnectionRules,
    res: UwsResponse,
    method: string,
    path: string,
    query: string,
    headers: readonly string[],
    framing: Framing,
    maxBodyBytes: number,
  ) {
    this.#rules = rules;
    this.#res = res;
    this.method = method;
    this.path = path;
    this.query = query;
    this.headers = headers;
    this.bodyBytes = framing.bodyBytes;
    this.#maxBodyBytes = maxBodyBytes;
    // The library does not check what ends a chunk and takes trailers for a request: nothing after a chunked body can be trusted.
    this.#mustClose = framing.close || framing.bodyBytes < 0;
  }

  /**
   * The connection becomes something else than HTTP: nothing of this exchange is called any more, its end included.
   * @returns undefined where the client has gone, or has its answer
   */
  takeOver(): UwsResponse | undefined {
    if (this.#phase !== 'open' || this.#dead) return undefined;
    this.#phase = 'done';
    this.#dead = true;
    return this.#res;
  }

  /** Called by the driver when the handler has returned: the library ends the process for an answer neither whole nor watched. */
  watch(): void {
    if (!this.#dead) this.#res.onAborted(() => this.#gone());
  }

  get isSecure(): boolean {
    return this.#rules.isSecure;
  }

  header(name: string): string | undefined {
    const headers = this.headers;
    for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) return headers[i + 1];
    return undefined;
  }

  body(done: (bytes: Uint8Array) => void): void {
    if (this.#phase === 'done') return;
    if (this.bodyBytes === 0) {
      done(NO_BYTES);
      return;
    }
    this.#deliver = done;
    this.#res.onData((chunk, isLast) => this.#arrived(chunk, isLast));
  }

  stream(sink: BodySink): void {
    if (this.#phase === 'done') return;
    if (this.bodyBytes === 0) {
      sink.end();
      return;
    }
    this.#flow = new BodyFlow(sink, this.#maxBodyBytes);
    this.#res.onData((chunk, isLast) => this.#flowed(chunk, isLast));
  }

  readOn(): void {
    if (!this.#isPaused || this.#phase === 'done') return;
    this.#isPaused = false;
    this.#res.resume();
  }

  onAborted(listener: (refusal?: Refusal) => void): void {
    this.#aborted = listener;
    if (this.#wasAborted) this.#tellAborted();
  }

  respond(status: number, headers: readonly string[], body: Uint8Array | string, id = ''): void {
    if (this.#phase !== 'open') return;
    this.#id = id;
    this.#setHead(status, headers);
    this.#sendWhole(this.#answerHeaders === INTERNAL_HEADERS ? INTERNAL_BODY : body);
  }

  begin(status: number, headers: readonly string[]): void {
    if (this.#phase !== 'open') return;
    this.#setHead(status, headers);
    if (this.#answerHeaders === INTERNAL_HEADERS) {
      this.#sendWhole(INTERNAL_BODY);
      return;
    }
    this.#tellsLength = false;
    if (isBodyless(this.method, this.#status)) {
      this.#sendWhole(NO_BYTES);
      return;
    }
    let headBytes = 0;
    for (const text of this.#answerHeaders) headBytes += text.length + 2;
    this.#phase = 'streaming';
    this.#stream = new UwsStream(this.#res, this, headBytes);
  }

  write(chunk: Uint8Array | string): boolean {
    return this.#phase === 'streaming' && this.#stream !== undefined ? this.#stream.write(chunk) : true;
  }

  onDrain(listener: () => void): void {
    this.#stream?.onDrain(listener);
  }

  end(): void {
    if (this.#phase === 'streaming') this.#stream?.end();
  }

  abort(): void {
    if (this.#phase === 'done') return;
    this.#finish();
    // Not at once: the library goes on with what it has read of a chunked body, whether its connection is there or not.
    setImmediate(closeNow, this);
  }

  /** The library closed the connection: `res` is dead from here on. */
  #gone(): void {
    this.#dead = true;
    if (this.#phase === 'done') return;
    this.#wasAborted = true;
    this.#finish();
    this.#tellAborted();
  }

  #tellAborted(refusal?: Refusal): void {
    const listener = this.#aborted;
    this.#aborted = undefined;
    try {
      listener?.(refusal);
    } catch {
      // The connection is gone: there is nobody left to tell.
    }
  }

  /** The library has the whole answer. */
  #sent(): void {
    this.#dead = true;
    this.#finish();
  }

  #finish(): void {
    this.#phase = 'done';
    this.#deliver = undefined;
    this.#received = undefined;
    this.#flow?.letGo();
    this.#stream?.drop();
    clearTimeout(this.#lingering);
    this.#rules.done();
  }

  #sendWhole(body: Uint8Array | string): void {
    this.#body = body;
    this.#deliver = undefined;
    this.#letBodyGo();
    this.#phase = 'answering';
    // In the parser nothing can be closed; and while no answer is written, the library executes nothing behind this request.
    if (this.#close) setImmediate(sendAndClose, this);
    else this.#send();
  }

  #setHead(status: number, headers: readonly string[]): void {
    const sound = isFinalStatus(status) ? soundHeaders(headers) : undefined;
    this.#status = sound ? status : 500;
    this.#answerHeaders = sound ?? INTERNAL_HEADERS;
    this.#close = this.#mustClose || this.#rules.closing();
  }

  // ---- the request's body

  #arrived(chunk: ArrayBuffer, isLast: boolean): void {
    const deliver = this.#deliver;
    if (deliver === undefined) return;
    try {
      // While this runs the library holds the cork and its parser: a stream's chunks wait until it is out again.
      this.#stream?.hold();
      let bytes: Uint8Array;
      if (isLast && this.#received === undefined && chunk.byteLength <= this.#maxBodyBytes) {
        // From the pool where it is small: a buffer of its own for each request keeps the collector busy.
        bytes = Buffer.from(new Uint8Array(chunk));
      } else {
        if (chunk.byteLength > 0) {
          this.#received ??= new BodyBuffer(this.bodyBytes, this.#maxBodyBytes);
          const refusal = this.#received.add(new Uint8Array(chunk));
          if (refusal !== undefined) {
            this.#refuseBody(refusal);
            return;
          }
        }
        if (!isLast) return;
        bytes = this.#received?.take() ?? NO_BYTES;
      }
      this.#deliver = undefined;
      this.#received = undefined;
      deliver(bytes);
    } catch {
      this.abort();
    }
  }

  #flowed(lent: ArrayBuffer, isLast: boolean): void {
    const flow = this.#flow;
    if (flow === undefined || this.#phase === 'done') return;
    try {
      this.#stream?.hold();
      const chunk = new Uint8Array(lent);
      const refusal = flow.add(flow.isWanted ? Buffer.from(chunk) : chunk);
      if (refusal !== undefined) this.#refuseBody(refusal);
      else if (isLast) {
        flow.end();
        // A whole answer that is out waits for this only.
        if (this.#lingering !== undefined && this.#stream === undefined) setImmediate(closeNow, this);
      } else if (flow.isFull) this.#pause();
      else this.#lingering?.refresh();
    } catch {
      this.abort();
    }
  }

  #pause(): void {
    // Without a listener the library begins its idle time-out anew as soon as the socket is writable, which is at once.
    if (!this.#isPaused && !this.#stream?.isWatched) this.#res.onWritable(() => true);
    this.#isPaused = true;
    // Again where it is paused already: a piece that comes all the same has begun the time-out anew.
    this.#res.pause();
  }

  /** The answer needs no more of it. */
  #letBodyGo(): void {
    this.#flow?.letGo();
    this.readOn();
  }

  /** Some of the body is still to come behind the answer. */
  #isUnread(): boolean {
    return this.#flow?.isOver === false;
  }

  #refuseBody(refusal: Refusal): void {
    this.#deliver = undefined;
    this.#received = undefined;
    this.#flow = undefined;
    if (this.#phase === 'open') {
      this.#close = true;
      this.#status = statusOf(refusal.code);
      const told = { ...refusal, isObject: this.refusesWithObject };
      this.#answerHeaders = refusalHeaders(told);
      this.#sendWhole(refusalBody(told));
    } else {
      this.abort();
    }
    this.#tellAborted(refusal);
  }

  // ---- a whole answer

  /** Under cork, nothing of this answer written yet, and the connection stays open. */
  writeWhole(): void {
    const { method } = this;
    const body = this.#body;
    this.#writeHead();
    if (isBodyless(method, this.#status)) {
      // The length must not be given to `endWithoutBody`: 20.51 then waits for that many bytes.
      if (this.#hasLength()) this.#res.writeHeader('Content-Length', String(byteLength(body)));
      this.#res.endWithoutBody();
    } else if (typeof body === 'string' ? body.length * 3 <= CORK_BYTES : body.length <= CORK_BYTES) {
      this.#res.end(body);
    } else {
      this.#writeLarge(typeof body === 'string' ? Buffer.from(body) : body);
      return;
    }
    this.#sent();
  }

  #writeLarge(body: Uint8Array): void {
    const push = (written: number): boolean => {
      const [took, whole] = this.#res.tryEnd(body.subarray(written), body.length);
      if (whole) this.#sent();
      return took;
    };
    push(0);
    if (!this.#dead) this.#res.onWritable((written) => this.#guard(() => this.#phase !== 'answering' || push(written)));
  }

  /** Nothing may be thrown into the library: the connection is cut instead. */
  #guard(step: () => boolean): boolean {
    try {
      return step();
    } catch {
      this.abort();
      return true;
    }
  }

  /** Out of the parser. What the client sends behind finds an answer under way, and the library closes the connection. */
  sendAndClose(): void {
    if (this.#phase !== 'answering') return;
    const body = this.#body;
    try {
      if (isBodyless(this.method, this.#status) || (this.#isUnread() && body.length === 0)) {
        this.#res.cork(() => this.#writeBareHead());
        this.closeWhenRead();
      } else if (!this.#isUnread() && byteLength(body) <= CORK_BYTES) {
        this.#res.cork(() => this.#writeLast(body));
        this.#sent();
      } else {
        this.#sendLargeAndClose(typeof body === 'string' ? Buffer.from(body) : body);
      }
    } catch {
      this.abort();
    }
  }

  #writeLast(body: Uint8Array | string): void {
    this.#writeHead();
    if (this.#libraryCloses()) this.#res.writeHeader('Connection', 'close');
    this.#res.end(body, true);
  }

  #writeBareHead(): void {
    this.#writeHead();
    if (this.#hasLength() || !isBodyless(this.method, this.#status))
      this.#res.writeHeader('Content-Length', String(byteLength(this.#body)));
    endBareHead(this.#res);
  }

  #sendLargeAndClose(body: Uint8Array): void {
    let whole = false;
    this.#res.cork(() => {
      this.#writeHead();
      this.#res.writeHeader('Connection', 'close');
      whole = pushBodyOpen(this.#res, body, 0);
    });
    if (whole) {
      this.closeWhenRead();
      return;
    }
    this.#res.onWritable((written) =>
      this.#guard(() => {
        if (this.#phase !== 'answering') return true;
        const all = pushBodyOpen(this.#res, body, written);
        if (all) setImmediate(closeWhenRead, this);
        return all;
      }),
    );
  }

  // ---- a streamed answer

  writeStreamHead(): void {
    this.#writeHead();
    if (this.#close) this.#res.writeHeader('Connection', 'close');
  }

  streamEnded(wroteHead: boolean): void {
    if (!wroteHead) {
      this.#sendWhole(NO_BYTES);
    } else if (!this.#close || (this.#libraryCloses() && !this.#isUnread())) {
      this.#letBodyGo();
      this.#res.cork(() => this.#res.end());
      this.#sent();
    } else {
      this.#letBodyGo();
      this.#phase = 'answering';
      this.#aborted = undefined;
      this.#res.cork(() => endStreamOpen(this.#res));
      this.#lingering = setTimeout(closeNow, CLOSE_MS, this).unref();
      this.#res.onWritable(() =>
        this.#guard(() => {
          if (this.#dead) return true;
          this.#lingering?.refresh();
          this.#res.cork(nothing);
          return true;
        }),
      );
    }
  }

  /** The answer is with the kernel. */
  closeWhenRead(): void {
    if (this.#dead) return;
    if (!this.#isUnread()) return this.closeNow();
    this.#aborted = undefined;
    this.#lingering ??= setTimeout(closeNow, LINGER_MS, this).unref();
  }

  closeNow(): void {
    if (this.#dead) return;
    if (this.#phase !== 'done') this.#finish();
    this.#dead = true;
    this.#res.close();
  }

  /** uWebSockets.js closes by itself, and leaves the header to us, where the first `connection` of the request has five characters. */
  #libraryCloses(): boolean {
    return this.header('connection')?.length === 5;
  }

  #hasLength(): boolean {
    return this.method === 'HEAD' && this.#tellsLength && this.#status !== 204 && this.#status !== 304;
  }

  #writeHead(): void {
    writeHead(this.#res, this.#status, this.#answerHeaders, this.#id);
  }

  #send(): void {
    if (this.#phase !== 'answering') return;
    current = this;
    try {
      this.#res.cork(writeCurrent);
    } catch {
      this.abort();
    }
  }
}

/** `cork` calls back at once: one function for all answers spares each of them a closure. */
let current: UwsExchange | undefined;
const writeCurrent = (): void => {
  const exchange = current;
  current = undefined;
  exchange?.writeWhole();
};
const sendAndClose = (exchange: UwsExchange): void => exchange.sendAndClose();
const nothing = (): void => {};
const closeWhenRead = (exchange: UwsExchange): void => exchange.closeWhenRead();
const closeNow = (exchange: UwsExchange): void => exchange.closeNow();
const byteLength = (body: Uint8Array | string): number => (typeof body === 'string' ? Buffer.byteLength(body) : body.length);

/** One request on node:http and its answer. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  INTERNAL_BODY,
  INTERNAL_HEADERS,
  isAscii,
  isBodyless,
  isFinalStatus,
  refusalBody,
  refusalHeaders,
  soundHeaders,
} from './http-answer.ts';
import { BodyBuffer, BodyFlow, LINGER_MS, NO_BYTES } from './http-body.ts';
import { type Framing, type Refusal, statusOf } from './http-framing.ts';
import type { BodySink, HttpExchange } from './http-server.ts';

/** What the exchanges of one connection share; with pipelining there may be several at a time. */
export interface NodeConnection {
  readonly open: Set<NodeExchange>;
  /** The youngest: only its answer may close the connection. */
  last: NodeExchange | undefined;
  readonly isSecure: boolean;
  closing(): boolean;
  /** The parser gave up: what is open is answered, nothing more comes. */
  isBroken: boolean;
  /** A request was refused: its answer closes, what comes behind it is not executed. */
  isRefused: boolean;
}

export class NodeExchange implements HttpExchange {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: readonly string[];
  refusesWithObject = false;
  readonly #connection: NodeConnection;
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly bodyBytes: number;
  readonly #maxBodyBytes: number;
  readonly #expectsContinue: boolean;
  readonly #clientCloses: boolean;
  #isDone = false;
  #wasAborted = false;
  #hasBegun = false;
  #ended = false;
  #aborted: ((refusal?: Refusal) => void) | undefined;
  #drained: (() => void) | undefined;
  #stopReading: (() => void) | undefined;
  /** The body, where it is passed on as it comes. */
  #flow: BodyFlow | undefined;
  #lingering: NodeJS.Timeout | undefined;

  constructor(
    connection: NodeConnection,
    req: IncomingMessage,
    res: ServerResponse,
    target: { path: string; query: string },
    headers: readonly string[],
    framing: Framing,
    maxBodyBytes: number,
    expectsContinue: boolean,
  ) {
    this.#connection = connection;
    this.#req = req;
    this.#res = res;
    this.method = req.method ?? '';
    this.path = target.path;
    this.query = target.query;
    this.headers = headers;
    this.bodyBytes = framing.bodyBytes;
    this.#maxBodyBytes = maxBodyBytes;
    this.#expectsContinue = expectsContinue;
    this.#clientCloses = framing.close || req.httpVersion === '1.0';
    connection.open.add(this);
    connection.last = this;
    res.once('finish', () => this.#finish());
  }

  /** All of the request has been read. */
  get isReceived(): boolean {
    return this.#req.complete;
  }

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  get isSecure(): boolean {
    return this.#connection.isSecure;
  }

  header(name: string): string | undefined {
    const headers = this.headers;
    for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) return headers[i + 1];
    return undefined;
  }

  body(done: (bytes: Uint8Array) => void): void {
    if (this.#isDone) return;
    if (this.bodyBytes === 0) {
      done(NO_BYTES);
      return;
    }
    if (this.#expectsContinue) this.#res.writeContinue();
    let whole: Uint8Array | undefined;
    let received: BodyBuffer | undefined;
    const onData = (chunk: Buffer): void => {
      if (chunk.length === this.bodyBytes) {
        whole = chunk;
        return;
      }
      received ??= new BodyBuffer(this.bodyBytes, this.#maxBodyBytes);
      const refusal = received.add(chunk);
      if (refusal !== undefined) this.#refuseBody(refusal);
    };
    const onEnd = (): void => {
      stop();
      try {
        done(whole ?? received?.take() ?? NO_BYTES);
      } catch {
        this.abort();
      }
    };
    const stop = (): void => {
      this.#stopReading = undefined;
      this.#req.off('data', onData).off('end', onEnd);
    };
    this.#stopReading = stop;
    this.#req.on('data', onData).on('end', onEnd);
    // A connection that breaks is told by `gone`.
    this.#req.on('error', () => {});
  }

  stream(sink: BodySink): void {
    if (this.#isDone) return;
    if (this.bodyBytes === 0) {
      sink.end();
      return;
    }
    if (this.#expectsContinue) this.#res.writeContinue();
    const flow = new BodyFlow(sink, this.#maxBodyBytes);
    this.#flow = flow;
    this.#req.on('data', (chunk: Buffer) => {
      try {
        const refusal = flow.add(chunk);
        if (refusal !== undefined) this.#refuseBody(refusal);
        else if (flow.isFull) this.#req.pause();
        else this.#lingering?.refresh();
      } catch {
        this.abort();
      }
    });
    this.#req.on('end', () => {
      try {
        flow.end();
        if (this.#lingering !== undefined) this.#res.end();
      } catch {
        this.abort();
      }
    });
    this.#req.on('error', () => {});
  }

  readOn(): void {
    if (this.#flow !== undefined) this.#req.resume();
  }

  onAborted(listener: (refusal?: Refusal) => void): void {
    this.#aborted = listener;
    if (this.#wasAborted) this.#tellAborted();
  }

  respond(status: number, headers: readonly string[], body: Uint8Array | string, id?: string): void {
    if (this.#isDone || this.#hasBegun) return;
    const sound = isFinalStatus(status) ? soundHeaders(headers) : undefined;
    const own = id === undefined ? [] : ['x-request-id', id];
    if (sound === undefined) this.#send(500, [...INTERNAL_HEADERS, ...own], INTERNAL_BODY);
    else this.#send(status, [...sound, ...own], body);
  }

  begin(status: number, headers: readonly string[]): void {
    if (this.#isDone || this.#hasBegun) return;
    const sound = isFinalStatus(status) ? soundHeaders(headers) : undefined;
    if (sound === undefined) {
      this.#send(500, INTERNAL_HEADERS, INTERNAL_BODY);
      return;
    }
    this.#hasBegun = true;
    this.#res.writeHead(status, this.#withConnection(sound.slice()));
    if (isBodyless(this.method, status)) {
      this.#ended = true;
      this.#letBodyGo();
      this.#end();
      return;
    }
    this.#res.flushHeaders();
    this.#res.on('drain', () => this.#drain());
  }

  write(chunk: Uint8Array | string): boolean {
    if (this.#isDone || !this.#hasBegun || this.#ended || chunk.length === 0) return true;
    return this.#res.write(chunk);
  }

  onDrain(listener: () => void): void {
    this.#drained = listener;
  }

  end(): void {
    if (this.#isDone || !this.#hasBegun || this.#ended) return;
    this.#ended = true;
    this.#letBodyGo();
    this.#end();
  }

  abort(): void {
    if (this.#isDone) return;
    this.#finish();
    this.#req.socket.destroy();
  }

  /** The connection becomes something else than HTTP. @returns false where the client has gone, or has its answer */
  takeOver(): boolean {
    if (this.#isDone || this.#hasBegun) return false;
    this.#finish();
    return true;
  }

  /** The connection is closed, or what comes on it cannot be read. */
  gone(): void {
    if (this.#isDone) return;
    this.#finish();
    this.#wasAborted = true;
    this.#tellAborted();
  }

  #send(status: number, headers: readonly string[], body: Uint8Array | string): void {
    this.#hasBegun = true;
    this.#ended = true;
    this.#letBodyGo();
    const all = headers.slice();
    const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length;
    if (status !== 204 && status !== 304) all.push('content-length', String(length));
    this.#res.writeHead(status, this.#withConnection(all));
    if (isBodyless(this.method, status)) this.#end();
    // Node writes head and text as one string, in the text's encoding: Latin-1 in a header would become UTF-8.
    else this.#end(typeof body === 'string' && !all.every(isAscii) ? Buffer.from(body) : body);
  }

  /** Node closes with the end of the answer, where it closes; so the end waits for the rest of the request. */
  #end(body: Uint8Array | string = NO_BYTES): void {
    if (this.#flow?.isOver !== false || !(this.#clientCloses || this.#connection.closing())) {
      this.#res.end(body.length === 0 ? undefined : body);
      return;
    }
    this.#res.flushHeaders();
    if (body.length > 0) this.#res.write(body);
    this.#lingering = setTimeout(() => this.#res.end(), LINGER_MS).unref();
  }

  #withConnection(headers: string[]): string[] {
    if (this.#connection.last === this && this.#connection.closing()) headers.push('connection', 'close');
    return headers;
  }

  /** The answer needs no more of it: it is read and counted, so that the connection can go on. */
  #letBodyGo(): void {
    this.#flow?.letGo();
    this.readOn();
  }

  #refuseBody(refusal: Refusal): void {
    this.#stopReading?.();
    if (this.#isDone || this.#ended) {
      // It has its answer, and goes on sending beyond all bounds.
      this.#req.socket.destroy();
      return;
    }
    this.#flow = undefined;
    this.#connection.isRefused = true;
    this.#connection.isBroken = true;
    if (this.#hasBegun) {
      if (!this.#ended) this.abort();
    } else {
      this.#req.pause();
      const told = { ...refusal, isObject: this.refusesWithObject };
      this.#send(statusOf(refusal.code), refusalHeaders(told), refusalBody(told));
    }
    this.#tellAborted(refusal);
  }

  #drain(): void {
    try {
      this.#drained?.();
    } catch {
      this.abort();
    }
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

  #finish(): void {
    this.#isDone = true;
    clearTimeout(this.#lingering);
    this.#stopReading?.();
    this.#connection.open.delete(this);
  }
}

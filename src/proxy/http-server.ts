/** The small interface that both HTTP drivers (uWebSockets.js, node:http) stand behind. A driver frames and limits; it knows no routes. */

export interface HttpServerOptions {
  host: string;
  /** 0: a free port. */
  port: number;
  /** Read at each request, so that a reload changes them without a new listener. */
  limits: () => HttpLimits;
}

export interface HttpLimits {
  /** Beyond it: 413 without reading the rest, then close. */
  maxRequestBodyBytes: number;
  keepAliveTimeoutMs: number;
  /** While true every answer carries `connection: close`. */
  draining: boolean;
}

/** Called once for each request whose head is complete and sound, before its body has come. */
export type HttpHandler = (exchange: HttpExchange) => void;

/**
 * One request and its answer. Whoever handles it calls `body` at once (in the same turn), then `respond` or
 * `begin` … `end` exactly once, at any time, unless `onAborted` was called: after that every call is a no-op.
 */
export interface HttpExchange {
  /** Upper case. */
  readonly method: string;
  /** As sent, percent-encoding kept, without the query: `/ocr/x`. */
  readonly path: string;
  /** Without the `?`; empty when there is none. */
  readonly query: string;
  /** All headers in order, names in lower case, flat: `[name, value, name, value, …]`. Copied; valid for ever. */
  readonly headers: readonly string[];
  /** First value of a header (lower-case name); undefined when it was not sent. */
  header(name: string): string | undefined;
  /** Delivers the whole body once it is there (never after an abort or a 413). The bytes are the receiver's to keep. */
  body(done: (bytes: Uint8Array) => void): void;
  /** The client went away before the answer was complete. Called at most once. */
  onAborted(listener: () => void): void;
  /** A whole answer with `content-length` (none of it for HEAD, 204, 304). */
  respond(status: number, headers: readonly string[], body: Uint8Array | string): void;
  /** Starts a streamed answer (chunked). */
  begin(status: number, headers: readonly string[]): void;
  /** One chunk. False: the socket is full, wait for `onDrain` before the next. */
  write(chunk: Uint8Array | string): boolean;
  /** The socket takes data again after `write` gave false. One listener; a new one replaces it. */
  onDrain(listener: () => void): void;
  end(): void;
  /** Cuts the connection: a streamed answer failed midway and the client must see that it is not whole. */
  abort(): void;
}

export interface HttpServer {
  readonly driver: 'uWebSockets.js' | 'node:http';
  /** The port that was bound. */
  readonly port: number;
  /** Stops accepting; connections with a request in work live on, idle ones are closed. */
  stopAccepting(): void;
  /** Closes everything at once. */
  destroy(): void;
}

/** The address is taken or not ours: `code` is the system's (`EADDRINUSE`, …) where the driver tells it. */
export class ListenError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.name = 'ListenError';
    this.code = code;
  }
}

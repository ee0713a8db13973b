/** The small interface that both HTTP drivers (uWebSockets.js, node:http) stand behind. A driver frames and limits; it knows no routes. */

import type { TlsSpec } from '../domain/desired.ts';
import type { HttpDriver } from '../domain/listener.ts';
import type { Door } from './connections.ts';
import type { Refusal } from './http-framing.ts';

export interface HttpServerOptions extends HttpRenewal {
  host: string;
  /** 0: a free port. */
  port: number;
  /** Read at each request, so that a reload changes them without a new listener. */
  limits: () => HttpLimits;
  door: Door;
}

/** What `renew` can change while the socket stays. */
export interface HttpRenewal {
  /** null: plain HTTP. */
  tls: TlsSpec | null;
  /**
   * Bytes of a request's head. uWebSockets.js reads its own limit once, from the environment, when it is loaded: there this can only lower it,
   * and does so without being renewed.
   */
  maxHeaderBytes: number;
}

export interface HttpLimits {
  maxHeaderBytes: number;
  /** Beyond it: 413 without reading the rest, then close. */
  maxRequestBodyBytes: number;
  keepAliveTimeoutMs: number;
  /** While true every answer carries `connection: close`. */
  draining: boolean;
  /** Paths on which a refusal is told as `{"error": …}`. Absent: none. */
  isObjectPath?: (path: string) => boolean;
}

/** Called once for each request whose head is complete and sound, before its body has come. */
export type HttpHandler = (exchange: HttpExchange) => void;

export interface BodySink {
  /** The bytes are the receiver's to keep. @returns false: no more for now */
  piece(bytes: Uint8Array): boolean;
  end(): void;
}

/**
 * One request and its answer. Whoever handles it calls `body` or `stream` at once (in the same turn), then `respond` or
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
  /** Set where the client asks for a WebSocket, and its handshake is sound: answered by `accept`, or by `respond` as any other. */
  readonly upgrade?: HttpUpgrade | undefined;
  /** First value of a header (lower-case name); undefined when it was not sent. */
  header(name: string): string | undefined;
  /** What the driver refuses of its body is told as `{"error": …}`. For its handler to set. */
  refusesWithObject?: boolean;
  /** It came over TLS. */
  readonly isSecure: boolean;
  /** Of the body, as the client declared them; below 0: only its end tells. */
  readonly bodyBytes: number;
  /** Delivers the whole body once it is there (never after an abort or a refusal). The bytes are the receiver's to keep. */
  body(done: (bytes: Uint8Array) => void): void;
  /**
   * Delivers the body as it comes, in place of `body`; with the answer it stops, and the rest is let go. After a `piece` that gave false
   * the client's socket is left unread until `readOn`; what had been read of it already comes all the same.
   */
  stream(sink: BodySink): void;
  readOn(): void;
  /**
   * The client went away before the answer was complete, or the driver refused the rest of the request (a chunked body beyond the
   * limit, broken chunks) and answered for itself. Called at most once; at once when it has happened already. One listener.
   * @param listener told why, where it was the driver
   */
  onAborted(listener: (refusal?: Refusal) => void): void;
  /**
   * A whole answer with `content-length` (no body for HEAD, 204, 304). The driver frames: `content-length`, `transfer-encoding`,
   * `connection`, `keep-alive` and `date` among the headers are left out. A status that is not final, a header with a line end in it or
   * a head over 12 KiB becomes a 500 INTERNAL.
   * @param id visible ASCII, goes out as `x-request-id` behind the headers, which must not have one
   */
  respond(status: number, headers: readonly string[], body: Uint8Array | string, id?: string): void;
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

export interface HttpUpgrade {
  /**
   * Completes the handshake in place of an answer.
   * @param headers beside those of the handshake
   * @returns undefined: the client has gone, as `onAborted` tells
   */
  accept(protocol: string | undefined, headers: readonly string[], listener: WebSocketListener): WebSocketPeer | undefined;
}

export interface WebSocketListener {
  /** A whole message; the bytes are the receiver's to keep. Text is UTF-8. */
  message(payload: Uint8Array, isText: boolean): void;
  /** The socket takes data again after `send` gave false. */
  drained(): void;
  /** Closed by the client, by the driver (a message over `maxRequestBodyBytes`: 1009), or cut (1006). Once, and not after `close`. */
  closed(code: number, reason: string): void;
}

export interface WebSocketPeer {
  /** False: the socket is full, wait for `drained` before the next. */
  send(payload: Uint8Array, isText: boolean): boolean;
  /** What was sent before still arrives, where the client reads. */
  close(code: number, reason: string): void;
}

export interface HttpServer {
  readonly driver: HttpDriver;
  /** Why `auto` did not get the faster driver: for a warning in the log. */
  readonly fallbackReason: string | undefined;
  /** The port that was bound. */
  readonly port: number;
  /**
   * New connections meet these; those of before live on, and each is told `connection: close` with its next answer.
   * @throws Error when they cannot be met, also plain HTTP for TLS on uWebSockets.js: what was in force stays
   */
  renew(options: HttpRenewal): Promise<void>;
  /** Accepts on, and tells every client that its connection closes: another listener takes over. `renew` takes it back. */
  retire(): void;
  /**
   * Accepts no more, and cuts nothing: a connection ends with its next answer, or when it is idle for too long.
   * @returns when none is left, and all is closed
   */
  leave(): Promise<void>;
  /** For the end of the process. Stops accepting; connections with a request in work live on and get `connection: close`, idle ones are closed. */
  stopAccepting(): void;
  /** Closes everything at once. Not to be called from inside a handler's own turn. */
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

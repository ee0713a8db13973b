/** The few types of uWebSockets.js that we use; its binary comes in packages that carry none. */

/** Valid until the answer is whole or `onAborted` was called; after that every call throws. */
export interface UwsResponse {
  writeStatus(status: string): this;
  /** Writes `name: value` and CRLF as given: nothing is checked. */
  writeHeader(name: string | Uint8Array, value: string | Uint8Array): this;
  /** Ends with `Content-Length`. With `close` it adds `Connection: close` unless the request's own header was five characters long. */
  end(body?: string | Uint8Array, close?: boolean): this;
  endWithoutBody(reportedLength?: number, close?: boolean): this;
  /** Writes what the socket takes now. `[everything was taken, the answer is whole]`. */
  tryEnd(part: Uint8Array, totalBytes: number): [boolean, boolean];
  /** One chunk (chunked). False: the socket is full. Nothing is dropped only while the chunk fits the cork buffer (16 KiB). */
  write(chunk: Uint8Array): boolean;
  onWritable(listener: (bodyBytesWritten: number) => boolean): this;
  onAborted(listener: () => void): this;
  /** `chunk` is detached when the listener returns: copy it. */
  onData(listener: (chunk: ArrayBuffer, isLast: boolean) => void): this;
  /** Reads no more from the socket, and does not see that the client leaves; what has been read already is still delivered. */
  pause(): this;
  resume(): this;
  cork(write: () => void): this;
  close(): this;
  /**
   * Completes the handshake, with what was written before among its headers; `res` is dead then, and `open` has been called. Not under the
   * cork of `res` (`Bystander`).
   */
  upgrade<T>(userData: T, key: string, protocol: string, extensions: string, context: UwsSocketContext): void;
  /** PEM; empty where the client showed none. On TLS only. */
  getX509Certificate?(): string;
}

/** Dead when the request listener returns. */
export interface UwsRequest {
  getCaseSensitiveMethod(): string;
  getUrl(): string;
  getQuery(): string | undefined;
  /** Every header in order, repeated ones included, names in lower case. */
  forEach(listener: (name: string, value: string) => void): void;
}

/** Only handed back to the library. */
export type UwsSocketContext = unknown;

/** After `close` of its behaviour was called, every call throws. */
export interface UwsWebSocket<T> {
  getUserData(): T;
  /** 1: sent; 0: buffered, `drain` will be called; 2: dropped. */
  send(message: Uint8Array, isBinary: boolean, compress: boolean): number;
  getBufferedAmount(): number;
  /** Sends a close frame, and calls `close` before it returns. */
  end(code: number, reason: string): void;
  /** Cuts the connection. */
  close(): void;
}

/** Messages are detached when the listener returns: copy them. */
export interface UwsWebSocketBehavior<T> {
  /** A longer message cuts the connection. */
  maxPayloadLength: number;
  /** 0: no bound. */
  maxBackpressure: number;
  /** Seconds; a ping goes out before, and the connection is cut where nothing comes. 8 to 960, or the process ends. */
  idleTimeout: number;
  sendPingsAutomatically: boolean;
  compression: number;
  upgrade(res: UwsResponse, req: UwsRequest, context: UwsSocketContext): void;
  open(ws: UwsWebSocket<T>): void;
  message(ws: UwsWebSocket<T>, message: ArrayBuffer, isBinary: boolean): void;
  drain(ws: UwsWebSocket<T>): void;
  close(ws: UwsWebSocket<T>, code: number, reason: ArrayBuffer): void;
}

/** An address inside the library, as text or number; only handed back to it. */
export type UwsDescriptor = unknown;
/** A listening socket inside the library. */
export type UwsListenSocket = object;

export interface UwsApp {
  any(pattern: string, listener: (res: UwsResponse, req: UwsRequest) => void): UwsApp;
  /** A GET whose `sec-websocket-key` has 24 characters comes to `upgrade`, before it comes to `any`. */
  ws<T>(pattern: string, behavior: UwsWebSocketBehavior<T>): UwsApp;
  /** Told of each connection: 1, and -1 at its end, unless it became a WebSocket. `res` may be closed there, and nothing else. */
  filter(listener: (res: UwsResponse, change: number) => void): UwsApp;
  listen(host: string, port: number, options: number, done: (socket: UwsListenSocket | false) => void): UwsApp;
  listen_unix(done: (socket: UwsListenSocket | false) => void, path: string): UwsApp;
  /** Closes its listeners and every connection that it holds. */
  close(): UwsApp;
  getDescriptor(): UwsDescriptor;
  addChildAppDescriptor(descriptor: UwsDescriptor): UwsApp;
  removeChildAppDescriptor(descriptor: UwsDescriptor): UwsApp;
}

/** Paths of PEM files. */
export interface UwsTlsOptions {
  key_file_name: string;
  cert_file_name: string;
  passphrase?: string;
  ca_file_name?: string;
}

export interface UwsModule {
  App(): UwsApp;
  /** @throws Error without a reason when a file cannot be read or does not fit */
  SSLApp(options: UwsTlsOptions): UwsApp;
  us_listen_socket_close(socket: UwsListenSocket): void;
  us_socket_local_port(socket: UwsListenSocket): number;
  LIBUS_LISTEN_EXCLUSIVE_PORT: number;
  /** Undocumented switches of this thread; one of them takes the library's own header out of every answer. */
  _cfg?(key: string): void;
}

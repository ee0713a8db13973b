/** The connections of one certificate on uWebSockets.js, behind the acceptor: their requests, and how they come to an end. */

import type { TlsSpec } from '../domain/desired.ts';
import type { Door } from './connections.ts';
import { checkRequestLine, inFormOf, type Refusal, readFraming } from './http-framing.ts';
import type { HttpHandler, HttpLimits, HttpServerOptions } from './http-server.ts';
import { asksForWebSocket, checkHandshake } from './http-upgrade.ts';
import { refuseRequest } from './http-uws-answer.ts';
import type { Bystander } from './http-uws-bystander.ts';
import { UwsExchange } from './http-uws-exchange.ts';
import { socketBehavior, UwsUpgradeExchange } from './http-uws-websocket.ts';
import type { UwsApp, UwsRequest, UwsResponse, UwsSocketContext } from './uws-types.ts';

/** What the library has read from the environment when it was loaded; it refuses more by itself. */
const MAX_HEADER_BYTES = Number(process.env.UWS_HTTP_MAX_HEADERS_SIZE) || 4096;
/** The library closes an idle connection after 10 s, to which its clock of 4 s adds. After so long without a request none is left. */
const NONE_LEFT_MS = 20_000;

const NO_CERTIFICATE: Refusal = { code: 'INVALID_INPUT', message: 'expected a client certificate' };
const HANDSHAKE_ODD: Refusal = { code: 'INVALID_INPUT', message: 'expected a sound handshake for a WebSocket' };
const HEADERS_LARGE: Refusal = {
  code: 'HEADERS_TOO_LARGE',
  message: 'expected fewer bytes of headers: they are over http_options.max_header_size',
};

export class UwsChild {
  readonly app: UwsApp;
  readonly isSecure: boolean;
  readonly #limits: () => HttpLimits;
  /** The library asks for a client's certificate and checks it, but takes clients that have none. */
  readonly #needsCertificate: boolean;
  readonly #handler: HttpHandler;
  readonly #bystander: Bystander;
  readonly #door: Door;
  #inWork = 0;
  #isRetired = false;
  #isStopping = false;
  #isClosed = false;
  #waiting: NodeJS.Timeout | undefined;
  #over!: () => void;
  readonly #left = new Promise<void>((resolve) => {
    this.#over = resolve;
  });

  constructor(
    app: UwsApp,
    { limits, door }: Pick<HttpServerOptions, 'limits' | 'door'>,
    tls: TlsSpec | null,
    handler: HttpHandler,
    bystander: Bystander,
  ) {
    this.app = app;
    this.isSecure = tls !== null;
    this.#limits = limits;
    this.#needsCertificate = tls !== null && tls.caFile !== null;
    this.#handler = handler;
    this.#bystander = bystander;
    this.#door = door;
    const { maxRequestBodyBytes } = limits();
    app.filter((res, change) => this.#connection(res, change));
    app.ws(
      '/*',
      socketBehavior(maxRequestBodyBytes, (res, req, context) => this.#upgrade(res, req, context)),
    );
    app.any('/*', (res, req) => this.#request(res, req));
  }

  /** Its clients are told with the next answer that the connection closes. */
  retire(): void {
    this.#isRetired = true;
  }

  /** It gets no more connections. @returns when it has none any more, and is closed */
  leave(): Promise<void> {
    if (this.#waiting === undefined && !this.#isClosed) {
      this.#isRetired = true;
      this.#waiting = setTimeout(() => this.#closeWhenLeft(), NONE_LEFT_MS).unref();
    }
    return this.#left;
  }

  /** The library tells no connection from another, so idle ones can only be closed all together: when none has a request in work. */
  closeWhenIdle(): void {
    this.#isStopping = true;
    if (this.#inWork > 0 || this.#isClosed) return;
    setImmediate(() => {
      if (this.#inWork === 0) this.close();
    });
  }

  /** Cuts what it holds. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#waiting);
    this.app.close();
    // A connection may be on its way from the acceptor.
    setImmediate(() => this.app.close());
    this.#over();
  }

  /** The library does not say that a connection has ended which became a WebSocket. */
  socketClosed(): void {
    this.#door.closed();
    this.done();
  }

  closing(): boolean {
    return this.#isStopping || this.#isRetired || this.#limits().draining;
  }

  done(): void {
    this.#inWork--;
    if (this.#isStopping) this.closeWhenIdle();
    else if (this.#waiting !== undefined) this.#waiting.refresh();
  }

  /** With a request in work its end begins the wait anew. */
  #closeWhenLeft(): void {
    if (this.#inWork === 0) this.close();
  }

  #connection(res: UwsResponse, change: number): void {
    if (change < 0) this.#door.closed();
    else if (!this.#door.opened()) res.close();
  }

  /** A GET with a key: a request for a WebSocket if it is one in all else too. */
  #upgrade(res: UwsResponse, req: UwsRequest, context: UwsSocketContext): void {
    const headers: string[] = [];
    collected = headers;
    req.forEach(collect);
    this.#request(res, req, asksForWebSocket(req.getCaseSensitiveMethod(), headers) ? context : undefined);
  }

  /** @param context of a request for a WebSocket */
  #request(res: UwsResponse, req: UwsRequest, context?: UwsSocketContext): void {
    let exchange: UwsExchange | undefined;
    try {
      const method = req.getCaseSensitiveMethod();
      const path = req.getUrl();
      const query = req.getQuery() ?? '';
      const headers: string[] = [];
      collected = headers;
      req.forEach(collect);
      const { maxRequestBodyBytes, maxHeaderBytes } = this.#limits();
      const framing = readFraming(headers, maxRequestBodyBytes);
      let refusal = framing.refusal ?? checkRequestLine(method, path, query);
      if (maxHeaderBytes < MAX_HEADER_BYTES) refusal ??= checkSize(method, path, query, headers, maxHeaderBytes);
      if (this.#needsCertificate && !res.getX509Certificate?.()) refusal = NO_CERTIFICATE;
      if (framing.upgrade && asksForWebSocket(method, headers)) {
        refusal ??= checkHandshake(headers, framing);
        if (context === undefined) refusal ??= HANDSHAKE_ODD;
      }
      if (refusal !== undefined) {
        refuseRequest(res, method, inFormOf(refusal, path, this.#limits().isObjectPath));
        return;
      }
      this.#inWork++;
      exchange =
        context === undefined
          ? new UwsExchange(this, res, method, path, query, headers, framing, maxRequestBodyBytes)
          : new UwsUpgradeExchange(
              this,
              res,
              path,
              query,
              headers,
              framing,
              () => this.#limits().maxRequestBodyBytes,
              context,
              this.#bystander,
            );
      this.#handler(exchange);
    } catch {
      if (exchange === undefined) res.close();
      else exchange.abort();
    }
    exchange?.watch();
  }
}

/** The library lends one listener at a time: one function for all requests spares each of them a closure. */
let collected: string[] = [];
const collect = (name: string, value: string): void => {
  collected.push(name, value);
};

/** About as many bytes as the head had on the wire: two for what ends a header's name, two for what ends its line. */
const checkSize = (
  method: string,
  path: string,
  query: string,
  headers: readonly string[],
  maxBytes: number,
): Refusal | undefined => {
  let bytes = method.length + path.length + query.length + ' ? HTTP/1.1\r\n\r\n'.length;
  for (const text of headers) bytes += text.length + 2;
  return bytes > maxBytes ? HEADERS_LARGE : undefined;
};

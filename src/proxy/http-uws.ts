/**
 * The HTTP driver on uWebSockets.js. One acceptor keeps the port; the connections live in a child app behind it, so that handlers and
 * certificates can be swapped without a new listener. Acceptor and child share this thread: a connection that was accepted is handed
 * over on the next turn of the event loop.
 */

import { createServer } from 'node:net';
import { checkRequestLine, readFraming } from './http-framing.ts';
import { type HttpHandler, type HttpServer, type HttpServerOptions, ListenError } from './http-server.ts';
import { refuseRequest } from './http-uws-answer.ts';
import { UwsExchange } from './http-uws-exchange.ts';
import type { UwsApp, UwsModule, UwsRequest, UwsResponse } from './uws-types.ts';

/** Sums to what the library takes for "do not write my name into answers". */
const SILENT = '999999990007';

export const startUwsServer = async (uws: UwsModule, options: HttpServerOptions, handler: HttpHandler): Promise<HttpServer> => {
  uws._cfg?.(SILENT);
  const acceptor = uws.App();
  const server = new UwsServer(uws.App(), acceptor, options, handler);
  const port = await listen(uws, acceptor, options).catch((error: unknown) => {
    server.destroy();
    throw error;
  });
  return Object.assign(server, { driver: 'uWebSockets.js' as const, fallbackReason: undefined, port });
};

class UwsServer {
  readonly #child: UwsApp;
  readonly #acceptor: UwsApp;
  readonly #options: HttpServerOptions;
  readonly #handler: HttpHandler;
  #inWork = 0;
  #stopping = false;
  #closed = false;

  constructor(child: UwsApp, acceptor: UwsApp, options: HttpServerOptions, handler: HttpHandler) {
    this.#child = child;
    this.#acceptor = acceptor;
    this.#options = options;
    this.#handler = handler;
    child.any('/*', (res, req) => this.#request(res, req));
    acceptor.addChildAppDescriptor(child.getDescriptor());
  }

  stopAccepting(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#acceptor.close();
    this.#closeWhenIdle();
  }

  destroy(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopping = true;
    this.#acceptor.removeChildAppDescriptor(this.#child.getDescriptor());
    this.#acceptor.close();
    this.#child.close();
    // A connection may be on its way from the acceptor to the child.
    setImmediate(() => this.#child.close());
  }

  closing(): boolean {
    return this.#stopping || this.#options.limits().draining;
  }

  done(): void {
    this.#inWork--;
    if (this.#stopping) this.#closeWhenIdle();
  }

  /** The library tells no connection from another, so idle ones can only be closed all together: when none has a request in work. */
  #closeWhenIdle(): void {
    if (this.#inWork > 0 || this.#closed) return;
    setImmediate(() => {
      if (this.#inWork === 0) this.destroy();
    });
  }

  #request(res: UwsResponse, req: UwsRequest): void {
    let exchange: UwsExchange | undefined;
    try {
      const method = req.getCaseSensitiveMethod();
      const path = req.getUrl();
      const query = req.getQuery() ?? '';
      const headers: string[] = [];
      collected = headers;
      req.forEach(collect);
      const { maxRequestBodyBytes } = this.#options.limits();
      const framing = readFraming(headers, maxRequestBodyBytes);
      const refusal = framing.refusal ?? checkRequestLine(method, path, query);
      if (refusal !== undefined) {
        refuseRequest(res, method, refusal);
        return;
      }
      this.#inWork++;
      exchange = new UwsExchange(this, res, method, path, query, headers, framing, maxRequestBodyBytes);
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

const listen = (uws: UwsModule, acceptor: UwsApp, { host, port }: HttpServerOptions): Promise<number> =>
  new Promise((resolve, reject) => {
    acceptor.listen(host, port, uws.LIBUS_LISTEN_EXCLUSIVE_PORT, (socket) => {
      if (socket) resolve(uws.us_socket_local_port(socket));
      else whyNot(host, port).then(reject, reject);
    });
  });

/** The library says only that it could not listen; node:net tells the system's reason for the same address. */
const whyNot = (host: string, port: number): Promise<ListenError> =>
  new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(new ListenError(error.code ?? 'UNKNOWN', error.message)));
    probe.listen({ host, port, exclusive: true }, () => {
      probe.close(() => resolve(new ListenError('UNKNOWN', `uWebSockets.js could not listen on ${host}:${port}`)));
    });
  });

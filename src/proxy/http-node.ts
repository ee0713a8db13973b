/**
 * The HTTP driver on node:http: slower than uWebSockets.js, stricter in what it reads, and complete (HTTP/1.0, pipelining, trailers).
 * One acceptor keeps the port; behind it a server that listens nowhere has the connections, so that certificates and limits are swapped, and
 * HTTP becomes HTTPS, without a new listener.
 */

import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { NodeChild } from './http-node-child.ts';
import { type HttpHandler, type HttpRenewal, type HttpServer, type HttpServerOptions, ListenError } from './http-server.ts';

/** @throws ListenError when the address cannot be had; Error when the certificate cannot be served */
export const startNodeServer = async (
  options: HttpServerOptions,
  handler: HttpHandler,
  fallbackReason?: string,
): Promise<HttpServer> => {
  const child = await NodeChild.make(options, options, handler);
  const acceptor = createServer({ allowHalfOpen: true, noDelay: true });
  const server = new NodeServer(acceptor, child, options, handler, fallbackReason);
  const port = await new Promise<number>((resolve, reject) => {
    acceptor.once('error', (error: NodeJS.ErrnoException) => {
      child.close();
      reject(new ListenError(error.code ?? 'UNKNOWN', error.message));
    });
    acceptor.listen({ host: options.host, port: options.port, exclusive: true }, () =>
      resolve((acceptor.address() as AddressInfo).port),
    );
  });
  return Object.assign(server, { port });
};

class NodeServer {
  readonly driver = 'node:http';
  readonly fallbackReason: string | undefined;
  readonly #acceptor: Server;
  readonly #options: HttpServerOptions;
  readonly #handler: HttpHandler;
  #child: NodeChild;
  /** Of before a renewal; their connections end with their next answer. */
  readonly #leaving = new Set<NodeChild>();

  constructor(
    acceptor: Server,
    child: NodeChild,
    options: HttpServerOptions,
    handler: HttpHandler,
    fallbackReason: string | undefined,
  ) {
    this.#acceptor = acceptor;
    this.#child = child;
    this.#options = options;
    this.#handler = handler;
    this.fallbackReason = fallbackReason;
    acceptor.on('connection', (socket: Socket) => this.#child.accept(socket));
  }

  async renew(options: HttpRenewal): Promise<void> {
    const child = await NodeChild.make(options, this.#options, this.#handler);
    if (!this.#acceptor.listening) return child.close();
    const before = this.#child;
    this.#child = child;
    this.#leaving.add(before);
    void before.leave().then(() => this.#leaving.delete(before));
  }

  retire(): void {
    this.#child.retire();
  }

  async leave(): Promise<void> {
    this.#acceptor.close();
    await Promise.all([this.#child, ...this.#leaving].map((child) => child.leave()));
  }

  stopAccepting(): void {
    this.#acceptor.close();
    for (const child of [this.#child, ...this.#leaving]) child.closeIdle();
  }

  destroy(): void {
    this.#acceptor.close();
    for (const child of [this.#child, ...this.#leaving]) child.close();
  }
}

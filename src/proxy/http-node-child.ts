/** The connections of one certificate and one limit of headers on node:http, behind the acceptor. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Door } from './connections.ts';
import { rawRefusal, refusalBody, refusalHeaders } from './http-answer.ts';
import { checkRequestLine, inFormOf, isHost, type Refusal, readFraming, statusOf } from './http-framing.ts';
import { type NodeConnection, NodeExchange } from './http-node-exchange.ts';
import { answerOn, NodeUpgradeExchange, UpgradableMessage } from './http-node-websocket.ts';
import type { HttpHandler, HttpLimits, HttpRenewal, HttpServerOptions } from './http-server.ts';
import { readTls } from './http-tls.ts';
import { checkHandshake } from './http-upgrade.ts';

/** As uWebSockets.js has it, which cannot be told otherwise. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 300_000;

/** What all the children of one server share. */
type Shared = Pick<HttpServerOptions, 'limits' | 'door'>;

export class NodeChild {
  readonly #http: Server;
  readonly #limits: () => HttpLimits;
  readonly #door: Door;
  readonly #handler: HttpHandler;
  readonly #isSecure: boolean;
  readonly #connections = new Map<Socket, NodeConnection>();
  /** As they were accepted: with TLS, some are still shaking hands. */
  readonly #accepted = new Set<Socket>();
  #isRetired = false;
  #left: (() => void) | undefined;

  /** @throws Error when the certificate cannot be served */
  static async make(options: HttpRenewal, shared: Shared, handler: HttpHandler): Promise<NodeChild> {
    const { tls, maxHeaderBytes } = options;
    const settings = {
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: 2000,
      // Ours answers as every other refusal does, and lets HTTP/1.0 through.
      requireHostHeader: false,
      IncomingMessage: UpgradableMessage,
    };
    if (tls === null) return new NodeChild(createServer(settings), 'connection', shared, handler);
    const { key, cert, ca } = await readTls(tls);
    const secure = createSecureServer({
      ...settings,
      key,
      cert,
      ca,
      passphrase: tls.password ?? undefined,
      requestCert: ca !== undefined,
      rejectUnauthorized: ca !== undefined,
      minVersion: 'TLSv1.2',
      handshakeTimeout: HEADERS_TIMEOUT_MS,
    });
    return new NodeChild(secure, 'secureConnection', shared, handler);
  }

  private constructor(http: Server, opened: 'connection' | 'secureConnection', { limits, door }: Shared, handler: HttpHandler) {
    this.#http = http;
    this.#isSecure = opened === 'secureConnection';
    this.#limits = limits;
    this.#door = door;
    this.#handler = handler;
    // Node would leave out the headers beyond its limit and say nothing; ours counts them.
    http.maxHeadersCount = 0;
    http.on(opened, (socket: Socket) => this.#opened(socket));
    http.on('request', (req, res) => this.#request(req, res, false));
    http.on('checkContinue', (req, res) => this.#request(req, res, true));
    http.on('checkExpectation', (req, res) => this.#request(req, res, false));
    http.on('upgrade', (req: IncomingMessage, socket: Socket, head: Buffer) => this.#upgrade(req, socket, head));
    http.on('connect', (_req, socket: Socket) =>
      sendRaw(socket, { code: 'INVALID_INPUT', message: 'expected another method than CONNECT' }),
    );
    http.on('clientError', (error: NodeJS.ErrnoException, socket) => this.#broken(error, socket as Socket));
    // It listens nowhere itself; being told so starts the clock of its time-outs.
    http.emit('listening');
  }

  /** A connection that the acceptor has taken. */
  accept(socket: Socket): void {
    this.#accepted.add(socket);
    const isTaken = this.#door.opened();
    socket.once('close', () => {
      this.#door.closed();
      this.#accepted.delete(socket);
      this.#whenLeft();
    });
    if (isTaken) this.#http.emit('connection', socket);
    else socket.destroy();
  }

  /** Its clients are told with the next answer that the connection closes. */
  retire(): void {
    this.#isRetired = true;
  }

  /** It gets no more connections. @returns when it has none any more, and is closed */
  leave(): Promise<void> {
    this.#isRetired = true;
    return new Promise((resolve) => {
      const before = this.#left;
      this.#left = () => {
        before?.();
        resolve();
      };
      this.#whenLeft();
    });
  }

  closeIdle(): void {
    this.#isRetired = true;
    this.#http.closeIdleConnections();
  }

  close(): void {
    this.#isRetired = true;
    this.#http.close();
    this.#http.closeAllConnections();
    for (const socket of this.#accepted) socket.destroy();
  }

  #whenLeft(): void {
    if (this.#left === undefined || this.#accepted.size > 0) return;
    this.#http.close();
    this.#left();
  }

  #opened(socket: Socket): void {
    const connection: NodeConnection = {
      open: new Set(),
      last: undefined,
      isSecure: this.#isSecure,
      closing: () => this.#isRetired || connection.isBroken || this.#limits().draining,
      isBroken: false,
      isRefused: false,
    };
    this.#connections.set(socket, connection);
    // Node takes its own listener away where it hands the socket over (CONNECT); an error is followed by `close` in any case.
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#connections.delete(socket);
      for (const exchange of connection.open) exchange.gone();
    });
  }

  #request(req: IncomingMessage, res: ServerResponse, expectsContinue: boolean): void {
    const connection = this.#connections.get(req.socket);
    // Behind a request that was refused nothing is executed: its answer closes the connection.
    if (connection === undefined || connection.isRefused) return;
    try {
      const limits = this.#limits();
      this.#http.keepAliveTimeout = limits.keepAliveTimeoutMs;
      const headers = lowerCaseNames(req.rawHeaders);
      const target = splitTarget(req.url ?? '', headers);
      const framing = readFraming(headers, limits.maxRequestBodyBytes, req.httpVersion === '1.0');
      const method = req.method ?? '';
      let refusal = framing.refusal ?? (target === undefined ? TARGET_ODD : checkRequestLine(method, target.path, target.query));
      // Node takes a line without a version for 0.9, and any version at its word.
      if (req.httpVersion !== '1.1' && req.httpVersion !== '1.0') refusal = VERSION_ODD;
      else if (target?.path === '*' && method !== 'OPTIONS') refusal = TARGET_ODD;
      if (refusal !== undefined || target === undefined) {
        connection.isRefused = true;
        refuse(res, inFormOf(refusal ?? TARGET_ODD, target?.path ?? '', limits.isObjectPath));
        return;
      }
      const exchange = new NodeExchange(
        connection,
        req,
        res,
        target,
        headers,
        framing,
        limits.maxRequestBodyBytes,
        expectsContinue,
      );
      try {
        this.#handler(exchange);
      } catch {
        exchange.abort();
      }
    } catch {
      req.socket.destroy();
    }
  }

  /** A request for a WebSocket; the parser has let go of the connection. */
  #upgrade(req: IncomingMessage, socket: Socket, head: Buffer): void {
    const connection = this.#connections.get(socket);
    // Behind a request that is still in work there is no place for a handshake.
    if (connection === undefined || connection.isRefused || connection.open.size > 0) {
      socket.destroy();
      return;
    }
    try {
      const limits = this.#limits();
      const headers = lowerCaseNames(req.rawHeaders);
      const target = splitTarget(req.url ?? '', headers);
      const framing = readFraming(headers, limits.maxRequestBodyBytes, req.httpVersion === '1.0');
      let refusal = framing.refusal ?? (target === undefined ? TARGET_ODD : checkRequestLine('GET', target.path, target.query));
      if (req.httpVersion !== '1.1' && req.httpVersion !== '1.0') refusal = VERSION_ODD;
      else if (target?.path === '*') refusal = TARGET_ODD;
      refusal ??= checkHandshake(headers, framing, req.httpVersion === '1.0');
      connection.isRefused = true;
      // The connection ends with an answer, or is no connection of HTTP any more.
      connection.isBroken = true;
      if (refusal !== undefined || target === undefined) {
        refuse(answerOn(req, socket), refusal ?? TARGET_ODD);
        return;
      }
      const exchange = new NodeUpgradeExchange(connection, req, target, headers, framing, limits.maxRequestBodyBytes, head);
      try {
        this.#handler(exchange);
      } catch {
        exchange.abort();
      }
    } catch {
      socket.destroy();
    }
  }

  /** What the parser could not read. Requests before it on the same connection are answered first, then it is closed. */
  #broken(error: NodeJS.ErrnoException, socket: Socket): void {
    const connection = this.#connections.get(socket);
    if (connection === undefined || !socket.writable || error.code === 'ECONNRESET') {
      socket.destroy();
      return;
    }
    // Its answer closes the connection; what is wrong behind it interests nobody.
    if (connection.isRefused) return;
    connection.isBroken = true;
    const last = connection.last;
    if (connection.open.size > 0 && last !== undefined && connection.open.has(last)) {
      if (last.isReceived) return;
      // It is the body of the last one that is broken; behind answers not yet given there is no place for a refusal.
      const canAnswer = connection.open.size === 1 && !last.hasBegun;
      last.gone();
      if (!canAnswer) {
        socket.destroy();
        return;
      }
    } else if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && socket.bytesRead === 0) {
      socket.destroy();
      return;
    }
    sendRaw(socket, REFUSALS[error.code ?? ''] ?? MALFORMED);
  }
}

const MALFORMED: Refusal = { code: 'INVALID_INPUT', message: 'expected a well-formed HTTP/1.1 message' };
const VERSION_ODD: Refusal = { code: 'INVALID_INPUT', message: 'expected HTTP/1.1 or HTTP/1.0' };
const TARGET_ODD: Refusal = {
  code: 'INVALID_INPUT',
  message: 'expected a request target in origin-form, absolute-form, or * for OPTIONS',
};
const REFUSALS: Readonly<Record<string, Refusal>> = {
  HPE_HEADER_OVERFLOW: {
    code: 'HEADERS_TOO_LARGE',
    message: 'expected fewer bytes of headers: they are over http_options.max_header_size',
  },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: { code: 'PAYLOAD_TOO_LARGE', message: 'expected shorter chunk extensions' },
  ERR_HTTP_REQUEST_TIMEOUT: { code: 'DEADLINE_EXCEEDED', message: 'expected the whole request in time' },
};

const sendRaw = (socket: Socket, refusal: Refusal): void => {
  socket.write(`HTTP/1.1 ${rawRefusal(refusal)}`);
  socket.destroySoon();
};

const refuse = (res: ServerResponse, refusal: Refusal): void => {
  const body = refusalBody(refusal);
  const own = ['content-length', String(body.length), 'connection', 'close'];
  res.writeHead(statusOf(refusal.code), [...refusalHeaders(refusal), ...own]);
  res.end(body);
};

const lowerCaseNames = (raw: readonly string[]): string[] => {
  const headers = raw.slice();
  for (let i = 0; i < headers.length; i += 2) headers[i] = (headers[i] as string).toLowerCase();
  return headers;
};

/** Path and query of a target. The host of an absolute one takes the place of the Host header (RFC 9112, 3.2.2). */
const splitTarget = (url: string, headers: string[]): { path: string; query: string } | undefined => {
  let target = url;
  if (!url.startsWith('/')) {
    if (url === '*') return { path: '*', query: '' };
    const start = /^https?:\/\//i.exec(url)?.[0].length;
    if (start === undefined) return undefined;
    const rest = url.slice(start).search(/[/?]/);
    const end = rest < 0 ? url.length : start + rest;
    const authority = url.slice(start, end);
    if (!isHost(authority)) return undefined;
    for (let i = 0; i < headers.length; i += 2) if (headers[i] === 'host') headers[i + 1] = authority;
    target = url[end] === '/' ? url.slice(end) : `/${url.slice(end)}`;
  }
  const mark = target.indexOf('?');
  return mark < 0 ? { path: target, query: '' } : { path: target.slice(0, mark), query: target.slice(mark + 1) };
};

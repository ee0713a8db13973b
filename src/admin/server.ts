/** The admin API's listener: who may ask, how much, and how answers and errors look. What can be asked is in `routes.ts`. */
import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { AdminSpec } from '../domain/desired.ts';
import { type AdminAnswer, AdminError, findRoute, type Route, type Sink } from './route.ts';

/** As much as a config may have. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;
const MAX_STREAMS = 32;
/** A reader that is so far behind is cut off. */
const MAX_BEHIND_BYTES = 1024 * 1024;

export class AdminServer {
  readonly #server: Server;
  readonly #routes: readonly Route[];
  #spec: AdminSpec;
  #streams = 0;

  private constructor(spec: AdminSpec, routes: readonly Route[]) {
    this.#spec = spec;
    this.#routes = routes;
    this.#server = createServer({ requestTimeout: 30_000, maxHeaderSize: 16_384 }, (request, response) => {
      this.#handle(request, response).catch((error: Error) => fail(request, response, error));
    });
  }

  /** @throws the system's error when the address cannot be had */
  static async start(spec: AdminSpec, routes: readonly Route[]): Promise<AdminServer> {
    const admin = new AdminServer(spec, routes);
    await new Promise<void>((resolve, reject) => {
      admin.#server.once('error', reject);
      admin.#server.listen(spec.port, spec.host, () => {
        admin.#server.off('error', reject);
        resolve();
      });
    });
    return admin;
  }

  get address(): string {
    const { address, port, family } = this.#server.address() as AddressInfo;
    return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`;
  }

  /** For what needs no new listener. */
  configure(spec: AdminSpec): void {
    this.#spec = spec;
  }

  /** Accepts nothing more; what is being answered is, unless it takes longer than `withinMs`. */
  close(withinMs = 0): void {
    this.#server.close();
    this.#server.closeIdleConnections();
    if (withinMs === 0) this.#server.closeAllConnections();
    else setTimeout(() => this.#server.closeAllConnections(), withinMs).unref();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#checkOrigin(request);
    const url = request.url ?? '/';
    const cut = url.indexOf('?');
    const path = cut < 0 ? url : url.slice(0, cut);
    const allowed = this.#isAllowed(request.headers.authorization);
    // Without the token nobody learns what there is.
    const routes = allowed ? this.#routes : this.#routes.filter((route) => route.open === true);
    const refused = new AdminError(
      401,
      'expected `authorization: Bearer <admin_options.token>`',
      {},
      { 'www-authenticate': 'Bearer' },
    );
    let found: ReturnType<typeof findRoute>;
    try {
      found = findRoute(routes, request.method ?? 'GET', path);
    } catch (error) {
      throw allowed ? error : refused;
    }
    const body = await readBody(request);
    const query = new URLSearchParams(cut < 0 ? '' : url.slice(cut + 1));
    const answer = await found.route.handle({ params: found.params, query, body });
    if ('follow' in answer) this.#follow(request, response, answer);
    else if ('text' in answer) sendText(response, 200, answer.text, { 'content-type': answer.type });
    else send(response, answer.status, answer.body, answer.headers);
  }

  /** A page of another origin, or a name that was rebound to this address, must not reach what only operators may. */
  #checkOrigin({ headers }: IncomingMessage): void {
    const { host, origin } = headers;
    const own = origin === undefined || origin === `http://${host}` || origin === `https://${host}`;
    if (!own || !this.#knowsHost(host)) throw new AdminError(403, 'this origin or host is not allowed');
  }

  #knowsHost(header: string | undefined): boolean {
    const name = (header ?? '')
      .replace(/:\d+$/, '')
      .replace(/^\[|\]$/g, '')
      .toLowerCase();
    return (
      ['localhost', '127.0.0.1', '::1', this.#spec.host.toLowerCase()].includes(name) ||
      (this.#spec.token !== null && name !== '')
    );
  }

  #isAllowed(authorization: string | undefined): boolean {
    if (this.#spec.token === null) return true;
    const expected = Buffer.from(`Bearer ${this.#spec.token}`);
    const given = Buffer.from(authorization ?? '');
    return given.length === expected.length && timingSafeEqual(given, expected);
  }

  #follow(request: IncomingMessage, response: ServerResponse, { type, follow }: Extract<AdminAnswer, { follow: unknown }>): void {
    if (this.#streams >= MAX_STREAMS)
      throw new AdminError(503, `${MAX_STREAMS} streams are open, and more are not`, {}, { 'retry-after': '1' });
    response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' });
    if (request.method === 'HEAD') return void response.end();
    response.flushHeaders();
    this.#streams += 1;
    const sink: Sink = {
      write: (text) => {
        if (response.writableEnded || response.destroyed) return;
        if (response.writableLength > MAX_BEHIND_BYTES) response.destroy();
        else response.write(text);
      },
      end: () => void response.end(),
    };
    const stop = follow(sink);
    response.once('close', () => {
      this.#streams -= 1;
      stop();
    });
  }
}

const readBody = async (request: IncomingMessage): Promise<Uint8Array> => {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new AdminError(413, `expected at most ${MAX_BODY_BYTES} bytes`, {}, { connection: 'close' });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
};

const fail = (request: IncomingMessage, response: ServerResponse, error: Error): void => {
  if (response.headersSent) return void response.destroy();
  if (!(error instanceof AdminError)) return request.destroyed ? undefined : send(response, 500, { error: error.message });
  send(response, error.status, { error: error.message, ...error.details }, error.headers);
};

const send = (
  response: ServerResponse,
  status: number,
  body: object | undefined,
  headers: Readonly<Record<string, string>> = {},
): void => {
  if (body === undefined) return sendText(response, status, '', headers);
  sendText(response, status, `${JSON.stringify(body, undefined, 2)}\n`, { 'content-type': 'application/json', ...headers });
};

const sendText = (response: ServerResponse, status: number, text: string, headers: Readonly<Record<string, string>>): void => {
  response.writeHead(status, { 'content-length': Buffer.byteLength(text), 'cache-control': 'no-store', ...headers });
  response.end(text);
};

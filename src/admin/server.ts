/** The admin API: status and health, on a listener of its own that browsers of other origins cannot use. */
import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { AdminSpec } from '../domain/desired.ts';
import { answerScale, isScalePath, type Scale } from './scale.ts';

export interface AdminSources {
  readonly status: () => Promise<object>;
  /** undefined: ready; else why not. */
  readonly notReady: () => string | undefined;
  readonly scale: Scale;
}

/** How long an answer may still take on a listener that has moved. */
const RETIRE_MS = 5000;

export class AdminServer {
  readonly #server: Server;
  #spec: AdminSpec;
  readonly #sources: AdminSources;

  private constructor(spec: AdminSpec, sources: AdminSources) {
    this.#spec = spec;
    this.#sources = sources;
    this.#server = createServer((request, response) => {
      this.#handle(request, response).catch((error: Error) => send(response, 500, { error: error.message }));
    });
  }

  /** @throws the system's error when the address cannot be had */
  static async start(spec: AdminSpec, sources: AdminSources): Promise<AdminServer> {
    const admin = new AdminServer(spec, sources);
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

  /** Where it was asked to listen; the port may be 0. */
  get spec(): AdminSpec {
    return this.#spec;
  }

  /** For what needs no new listener. */
  configure(spec: AdminSpec): void {
    this.#spec = spec;
  }

  /** Accepts no more: another listener takes over. What is under way has a moment to end. */
  retire(): void {
    this.#server.close();
    setTimeout(() => this.#server.closeAllConnections(), RETIRE_MS).unref();
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?')[0] ?? '/';
    // A page of another origin, or a name that was rebound to this address, must not reach what only operators may.
    if (request.headers.origin !== undefined || !this.#knowsHost(request.headers.host))
      return send(response, 403, { error: 'this origin or host is not allowed' });
    const verb = isScalePath(path) ? 'POST' : 'GET';
    if (request.method !== verb && !(verb === 'GET' && request.method === 'HEAD'))
      return send(response, 405, { error: `expected ${verb}, got ${request.method}` });
    if (path === '/healthz') return send(response, 200, { status: 'alive' });
    if (path === '/readyz') {
      const why = this.#sources.notReady();
      return why === undefined
        ? send(response, 200, { status: 'ready' })
        : send(response, 503, { status: 'not ready', reason: why });
    }
    if (!this.#isAllowed(request.headers.authorization))
      return send(response, 401, { error: 'expected `authorization: Bearer <admin_options.token>`' });
    if (isScalePath(path)) {
      const { status, body } = await answerScale(path, request, this.#sources.scale);
      return send(response, status, body);
    }
    if (path === '/api/serve/applications/' || path === '/api/serve/applications')
      return send(response, 200, await this.#sources.status());
    send(response, 404, { error: `there is no ${path}: try /api/serve/applications/, /healthz or /readyz` });
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
}

const send = (response: ServerResponse, status: number, body: object): void => {
  const text = `${JSON.stringify(body, undefined, 2)}\n`;
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  });
  response.end(text);
};

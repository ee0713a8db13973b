/**
 * The HTTP driver on uWebSockets.js. One acceptor keeps the port; the connections live in a child app behind it, so that handlers and
 * certificates are swapped without a new listener. Acceptor and child share this thread: a connection that was accepted is handed
 * over on the next turn of the event loop.
 */

import { createServer } from 'node:net';
import type { TlsSpec } from '../domain/desired.ts';
import { type HttpHandler, type HttpRenewal, type HttpServer, type HttpServerOptions, ListenError } from './http-server.ts';
import { readTls } from './http-tls.ts';
import { Bystander } from './http-uws-bystander.ts';
import { UwsChild } from './http-uws-child.ts';
import type { UwsApp, UwsModule } from './uws-types.ts';

/** Sums to what the library takes for "do not write my name into answers". */
const SILENT = '999999990007';

/** @throws ListenError when the address cannot be had; Error when the certificate cannot be served */
export const startUwsServer = async (uws: UwsModule, options: HttpServerOptions, handler: HttpHandler): Promise<HttpServer> => {
  uws._cfg?.(SILENT);
  const [acceptor, child] = await appsFor(uws, options.tls, 2);
  const bystander = await Bystander.make(uws);
  const server = new UwsServer(uws, child as UwsApp, acceptor as UwsApp, bystander, options, handler);
  const port = await listen(uws, acceptor as UwsApp, options).catch((error: unknown) => {
    server.destroy();
    throw error;
  });
  return Object.assign(server, { driver: 'uWebSockets.js' as const, fallbackReason: undefined, port });
};

class UwsServer {
  readonly #uws: UwsModule;
  readonly #acceptor: UwsApp;
  readonly #bystander: Bystander;
  readonly #options: HttpServerOptions;
  readonly #handler: HttpHandler;
  readonly #isSecure: boolean;
  #child: UwsChild;
  /** Of before a renewal; their connections end with their next answer. */
  readonly #leaving = new Set<UwsChild>();
  #accepts = true;

  constructor(
    uws: UwsModule,
    child: UwsApp,
    acceptor: UwsApp,
    bystander: Bystander,
    options: HttpServerOptions,
    handler: HttpHandler,
  ) {
    this.#uws = uws;
    this.#acceptor = acceptor;
    this.#bystander = bystander;
    this.#options = options;
    this.#handler = handler;
    this.#isSecure = options.tls !== null;
    this.#child = this.#childOf(child, options.tls);
  }

  async renew({ tls }: HttpRenewal): Promise<void> {
    if ((tls !== null) !== this.#isSecure) throw new Error('uWebSockets.js cannot exchange HTTP and HTTPS on one socket');
    const [app] = (await appsFor(this.#uws, tls, 1)) as [UwsApp];
    if (!this.#accepts) {
      app.close();
      return;
    }
    const before = this.#child;
    this.#child = this.#childOf(app, tls);
    this.#acceptor.removeChildAppDescriptor(before.app.getDescriptor());
    this.#leaving.add(before);
    void before.leave().then(() => this.#leaving.delete(before));
  }

  retire(): void {
    this.#child.retire();
  }

  async leave(): Promise<void> {
    this.#stopListening();
    await Promise.all([this.#child, ...this.#leaving].map((child) => child.leave()));
    this.#bystander.close();
  }

  stopAccepting(): void {
    this.#stopListening();
    for (const child of [this.#child, ...this.#leaving]) child.closeWhenIdle();
  }

  destroy(): void {
    this.#stopListening();
    for (const child of [this.#child, ...this.#leaving]) child.close();
    this.#bystander.close();
  }

  #childOf(app: UwsApp, tls: TlsSpec | null): UwsChild {
    const child = new UwsChild(app, this.#options, tls, this.#handler, this.#bystander);
    this.#acceptor.addChildAppDescriptor(app.getDescriptor());
    return child;
  }

  #stopListening(): void {
    if (!this.#accepts) return;
    this.#accepts = false;
    this.#acceptor.removeChildAppDescriptor(this.#child.app.getDescriptor());
    this.#acceptor.close();
  }
}

/** The library reads the files by itself: they are looked at before and after, so that what it has read is what was checked. */
const appsFor = async (uws: UwsModule, tls: TlsSpec | null, count: number): Promise<UwsApp[]> => {
  if (tls === null) return Array.from({ length: count }, () => uws.App());
  await readTls(tls);
  const apps: UwsApp[] = [];
  try {
    while (apps.length < count) apps.push(secureApp(uws, tls));
    await readTls(tls);
    return apps;
  } catch (error) {
    for (const app of apps) app.close();
    throw error;
  }
};

const secureApp = (uws: UwsModule, { keyFile, certFile, password, caFile }: TlsSpec): UwsApp => {
  const passphrase = password === null ? {} : { passphrase: password };
  const authorities = caFile === null ? {} : { ca_file_name: caFile };
  try {
    return uws.SSLApp({ key_file_name: keyFile, cert_file_name: certFile, ...passphrase, ...authorities });
  } catch {
    throw new Error(
      'uWebSockets.js cannot read the certificate or its key: write the key anew with `openssl pkcs8 -topk8`, or set http_options.server to node',
    );
  }
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

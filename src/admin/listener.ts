/** Where the admin API listens: moves when the config says so, and stays where it is when it cannot. */
import type { AdminSpec } from '../domain/desired.ts';
import { adminMoves } from '../domain/listener.ts';
import type { Route } from './route.ts';
import { AdminServer } from './server.ts';

/** How long an answer may still take on a listener that has moved. */
const RETIRE_MS = 5000;

export class AdminListener {
  readonly #routes: readonly Route[];
  readonly #explain: (spec: AdminSpec, code: string) => string;
  #server: AdminServer | undefined;
  /** Where it was asked to listen; the port may be 0. */
  #spec: AdminSpec | undefined;

  /** @param explain what to change when an address cannot be had */
  constructor(routes: readonly Route[], explain: (spec: AdminSpec, code: string) => string) {
    this.#routes = routes;
    this.#explain = explain;
  }

  get url(): string {
    return `http://${this.#server?.address ?? ''}`;
  }

  /** @throws Error whose message says what to change */
  async start(spec: AdminSpec): Promise<void> {
    this.#server = await AdminServer.start(spec, this.#routes).catch((error: NodeJS.ErrnoException) => {
      throw new Error(this.#explain(spec, error.code ?? error.message));
    });
    this.#spec = spec;
  }

  /**
   * The new listener is there before the old one goes, but for one port that two addresses share.
   * @returns whether it has moved; @throws as `start`, and then listens where it was; that is tried again with the next config
   */
  async configure(wanted: AdminSpec): Promise<boolean> {
    const [server, spec] = [this.#server, this.#spec];
    if (server === undefined || spec === undefined) throw new Error('it was not started');
    if (!adminMoves(spec, wanted)) {
      server.configure(wanted);
      return false;
    }
    const isSamePort = wanted.port !== 0 && server.address.endsWith(`:${wanted.port}`);
    if (isSamePort) server.close(RETIRE_MS);
    try {
      await this.start(wanted);
    } catch (error) {
      if (isSamePort) await this.start(spec);
      throw error;
    }
    if (!isSamePort) server.close(RETIRE_MS);
    return true;
  }

  close(): void {
    this.#server?.close();
  }
}

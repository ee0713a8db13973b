/** Where the admin API listens: moves when the config says so, and stays where it is when it cannot. */
import type { AdminSpec } from '../domain/desired.ts';
import { adminListener, listenText } from '../domain/listener.ts';
import type { Route } from './route.ts';
import { AdminServer } from './server.ts';

/** The answer to the request that moved it is still given by the old one. */
const MOVED_WITHIN_MS = 1000;

export class AdminListener {
  readonly #routes: readonly Route[];
  #server: AdminServer | undefined;

  constructor(routes: readonly Route[]) {
    this.#routes = routes;
  }

  get url(): string {
    return `http://${this.#server?.address ?? ''}`;
  }

  /** @throws Error whose message says what to change */
  async start(spec: AdminSpec): Promise<void> {
    const server = await AdminServer.start(spec, this.#routes).catch((error: NodeJS.ErrnoException) => {
      throw new Error(listenText('admin_options', spec.host, spec.port, error.code ?? error.message));
    });
    this.#server?.close(MOVED_WITHIN_MS);
    this.#server = server;
  }

  /** @returns whether it has moved; @throws as `start`, and then listens on where it was, by its old rules */
  async configure(before: AdminSpec, after: AdminSpec): Promise<boolean> {
    if (adminListener(before) === adminListener(after)) {
      this.#server?.configure(after);
      return false;
    }
    await this.start(after);
    return true;
  }

  close(): void {
    this.#server?.close();
  }
}

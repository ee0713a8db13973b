/** Where the data plane listens for HTTP, or why it does not, as it has told last. */
import type { ProxySpec } from '../domain/desired.ts';
import { listenText } from '../domain/listener.ts';
import type { FromDataPlane } from '../domain/snapshot.ts';

type Told = Extract<FromDataPlane, { type: 'listening' | 'listen-failed' }>;

export class HttpListening {
  url: string | undefined;
  driver: string | undefined;
  /** Why it is not where the config wants it. */
  error: string | undefined;
  #first!: (failure: string | undefined) => void;
  /** How the first attempt ended: undefined, or what to change. */
  readonly first = new Promise<string | undefined>((resolve) => {
    this.#first = resolve;
  });

  /** @param proxy what the config wants now */
  observe(message: Told, proxy: ProxySpec): void {
    if (message.type === 'listening') {
      this.url = `http://${message.host.includes(':') ? `[${message.host}]` : message.host}:${message.port}`;
      this.driver = message.driver;
      this.error = undefined;
    } else {
      this.error = listenText(
        'http_options',
        proxy.host,
        proxy.port,
        message.code === 'UNKNOWN' ? message.message : message.code,
      );
    }
    this.#first(this.error);
  }

  /** The config wants none. */
  disable(): void {
    this.url = undefined;
    this.driver = undefined;
    this.error = undefined;
  }
}

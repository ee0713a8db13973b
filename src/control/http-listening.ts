/** Where the data plane listens for HTTP, or why it does not, as it has told last. */
import type { Listening } from '../domain/listener.ts';

type Known = Pick<Listening, 'host' | 'askedPort' | 'port' | 'driver'> & { readonly secure: boolean };

export class HttpListening {
  /** undefined: nowhere. */
  at: Known | undefined;
  /** Why it is not where the config wants it. */
  error: string | undefined;
  #first!: (failure: string | undefined) => void;
  /** How the first attempt ended: undefined, or what to change. */
  readonly first = new Promise<string | undefined>((resolve) => {
    this.#first = resolve;
  });

  get url(): string | undefined {
    if (this.at === undefined) return undefined;
    const { secure, host, port } = this.at;
    return `${secure ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
  }

  /** @param at undefined: nothing listens any more, as the config wants it */
  moved(at: Known | undefined): void {
    this.at = at;
    this.error = undefined;
    this.#first(undefined);
  }

  /** What listened before goes on. */
  failed(error: string): void {
    this.error = error;
    this.#first(error);
  }
}

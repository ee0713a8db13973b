/** Talks to a daemon's admin API for the commands that need one: where it is, who asks, and what it means when nobody answers. */
import type { Diagnostic } from '../domain/diagnostic.ts';

export const DEFAULT_ADDRESS = 'http://127.0.0.1:8265';

export const CLIENT_OPTIONS = { address: { type: 'string' }, token: { type: 'string' } } as const;

export const CLIENT_HELP = `  --address URL   the daemon's admin API (${DEFAULT_ADDRESS}, or $SERVE_DAEMON_ADDRESS)
  --token TOKEN   admin_options.token of its config, or $SERVE_DAEMON_TOKEN`;

/** Nobody answers, or the answer is no: exit code 1. */
export class ClientError extends Error {
  /** undefined: nobody answered. */
  readonly status: number | undefined;
  readonly diagnostics: readonly Diagnostic[];

  constructor(message: string, status?: number, diagnostics: readonly Diagnostic[] = []) {
    super(message);
    this.name = 'ClientError';
    this.status = status;
    this.diagnostics = diagnostics;
  }
}

export class Client {
  readonly base: string;
  readonly #token: string | undefined;

  constructor(given: { readonly address?: string | undefined; readonly token?: string | undefined }) {
    const address = given.address ?? process.env['SERVE_DAEMON_ADDRESS'] ?? DEFAULT_ADDRESS;
    this.base = /^https?:\/\//.test(address) ? address : `http://${address}`;
    this.#token = given.token ?? process.env['SERVE_DAEMON_TOKEN'];
  }

  /** @returns the answer's text; @throws ClientError */
  async ask(path: string, method: 'GET' | 'PUT' | 'POST' | 'DELETE' = 'GET', body?: string | Uint8Array): Promise<string> {
    return (await this.open(path, method, body)).text();
  }

  /** @returns the answer, whose body is to be read; @throws ClientError */
  async open(path: string, method = 'GET', body?: string | Uint8Array): Promise<Response> {
    let answer: Response;
    try {
      answer = await fetch(new URL(path, this.base), {
        method,
        ...(body === undefined ? {} : { body: body as BodyInit }),
        headers: this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` },
      });
    } catch (error) {
      const { cause, message } = error as Error & { cause?: Error };
      throw new ClientError(
        `no daemon answers at ${this.base} (${cause?.message || message}): is it running, and is this its admin address? Name another with --address`,
      );
    }
    if (answer.ok) return answer;
    const text = await answer.text();
    const { error, diagnostics } = shapeOf(text);
    const hint = answer.status === 401 ? '; give it with --token or $SERVE_DAEMON_TOKEN' : '';
    throw new ClientError(`${this.base} answered ${answer.status}: ${error}${hint}`, answer.status, diagnostics);
  }
}

/** Something else than a daemon may listen there. */
const shapeOf = (text: string): { error: string; diagnostics: readonly Diagnostic[] } => {
  try {
    const { error, diagnostics } = JSON.parse(text) as { error?: unknown; diagnostics?: readonly Diagnostic[] };
    if (typeof error === 'string') return { error, diagnostics: diagnostics ?? [] };
  } catch {
    // Told below.
  }
  return { error: text.trim().split('\n')[0]?.slice(0, 200) || 'nothing', diagnostics: [] };
};

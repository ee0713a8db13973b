/** Edits of a config file, of every class, each of which really changes something; and the code that they go with. */
import { configOf, single } from '../e2e/configs.ts';
import { code, QUIET } from './parts.ts';

export const CLASSES = [
  'num_replicas',
  'user_config',
  'batching',
  'limits',
  'route',
  'init_args',
  'code',
  'application',
  'http_options',
  'rejected',
  'same',
] as const;

export interface Edit {
  readonly class: (typeof CLASSES)[number];
  /** What the daemon logs when it has taken it; undefined: nothing, for nothing has changed. */
  readonly told: 'config applied' | 'the config was rejected: what served before goes on serving' | undefined;
  readonly file: 'config.yaml' | 'code.ts';
  readonly content: string;
}

export interface EditsOptions {
  /** Requests may be repeated when their replica dies. */
  readonly idempotent: boolean;
  /** Of each of the two deployments that are asked. */
  readonly leastReplicas: number;
  readonly rand: () => number;
}

export class Edits {
  readonly #options: EditsOptions;
  #replicas: number;
  #userConfig = 0;
  #batch = 4;
  #ongoing = 20;
  #route = 'a';
  #initArgs = 0;
  #code = 0;
  #extra = false;
  #timeout = 60;
  #last = '';

  constructor(options: EditsOptions) {
    this.#options = options;
    this.#replicas = options.leastReplicas;
  }

  get code(): string {
    return code(this.#code);
  }

  config(): string {
    const retry = { idempotent: this.#options.idempotent };
    const least = this.#options.leastReplicas;
    const moving = single('moving', `/moving-${this.#route}`, { import_path: './moving.ts:Echo' });
    const extra = single('extra', '/extra', { import_path: './moving.ts:Echo' });
    return configOf(
      [
        single('echo', '/echo', {
          import_path: './code.ts:Echo',
          num_replicas: this.#replicas,
          user_config: { value: this.#userConfig },
          init_args: { value: this.#initArgs },
          max_ongoing_requests: this.#ongoing,
          retry,
        }),
        single('many', '/many', {
          import_path: './code.ts:Many',
          num_replicas: least,
          max_ongoing_requests: 64,
          batching: { max_batch_size: this.#batch, method: 'call', batch_wait_timeout_s: 0.002 },
          retry,
        }),
        moving,
        ...(this.#extra ? [extra] : []),
      ],
      QUIET.replace('port: 0}', `port: 0, request_timeout_s: ${this.#timeout}}`),
    );
  }

  next(what: Edit['class']): Edit {
    const applied = (): Edit => ({ class: what, told: 'config applied', file: 'config.yaml', content: this.config() });
    switch (what) {
      case 'num_replicas':
        this.#replicas = this.#options.leastReplicas + (this.#replicas === this.#options.leastReplicas ? 1 : 0);
        return applied();
      case 'user_config':
        this.#userConfig += 1;
        return applied();
      case 'batching':
        this.#batch = 2 + ((this.#batch + 3) % 14);
        return applied();
      case 'limits':
        this.#ongoing = this.#ongoing === 20 ? 30 : 20;
        return applied();
      case 'route':
        this.#route = this.#route === 'a' ? 'b' : 'a';
        return applied();
      case 'init_args':
        this.#initArgs += 1;
        return applied();
      case 'code':
        this.#code += 1;
        return { class: what, told: 'config applied', file: 'code.ts', content: this.code };
      case 'application':
        this.#extra = !this.#extra;
        return applied();
      case 'http_options':
        this.#timeout += 1;
        return applied();
      case 'rejected':
        return {
          class: what,
          told: 'the config was rejected: what served before goes on serving',
          file: 'config.yaml',
          content: `${this.config()}${this.#mistake()}`,
        };
      case 'same':
        return { class: what, told: undefined, file: 'config.yaml', content: `${this.config()}# ${this.#options.rand()}\n` };
      default:
        return what satisfies never;
    }
  }

  /** Never the one before it: an unchanged mistake is told once. */
  #mistake(): string {
    const text = `mistake_${Math.floor(this.#options.rand() * 1e9)}: true\n`;
    this.#last = text === this.#last ? `${text}more: 1\n` : text;
    return this.#last;
  }
}

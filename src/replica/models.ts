/**
 * The models of a multiplexed replica: loaded when a call asks for one, at most as many as the daemon allows, the least recently used going
 * first. A model is loaded once however many calls ask for it, and never goes while a call uses it.
 *
 *     wanted ──a place is free──▶ loading ──▶ held ⇄ used ──least recently used──▶ going ──▶ (gone)
 *
 * Models that load, are held, or are going take a place each, so that no more than the limit are ever in memory together.
 */
import { ServeError } from '../domain/errors.ts';
import { MAX_MODEL_ID, type ModelsMeta } from '../protocol/messages.ts';

export interface ModelLoader {
  load(id: string): Promise<unknown>;
  unload(model: unknown, id: string): Promise<void>;
}

/** A model in use by a call. */
export interface ModelUse {
  readonly model: unknown;
  /** The call has ended: the model may go. */
  release(): void;
}

interface Waiter {
  readonly resolve: (use: ModelUse) => void;
  readonly reject: (error: unknown) => void;
}

interface Held {
  readonly id: string;
  /** undefined: it loads. A model itself may be anything, `undefined` too. */
  loaded: { readonly model: unknown } | undefined;
  users: number;
  /** Calls that wait for it to load. */
  readonly waiters: Set<Waiter>;
}

export class Models {
  #limit = 0;
  #loader: ModelLoader | undefined;
  #tell: (change: ModelsMeta) => void = () => {};
  readonly #failed: (id: string, error: unknown) => void;
  /** Least recently used first. */
  readonly #held = new Map<string, Held>();
  readonly #going = new Set<string>();
  /** Models that wait for a place, in the order in which they were asked for. */
  readonly #wanted = new Map<string, Set<Waiter>>();
  #onQuiet: (() => void) | undefined;

  /** @param failed told of a model that could not be unloaded: nobody waits for that */
  constructor(failed: (id: string, error: unknown) => void) {
    this.#failed = failed;
  }

  connect(tell: (change: ModelsMeta) => void): void {
    this.#tell = tell;
  }

  serve(loader: ModelLoader): void {
    this.#loader = loader;
  }

  /** From now on at most so many. What is above it goes as soon as nothing uses it. */
  allow(limit: number): void {
    this.#limit = limit;
    if (limit === 0) {
      for (const [id, waiters] of this.#wanted) for (const { reject } of waiters) reject(notMultiplexed(id));
      this.#wanted.clear();
    }
    this.#advance();
  }

  /**
   * Resolves when the model is there; it stays until it is released.
   * @throws what `loadModel` threw (an error without a code as the cause of one that names the model); ServeError where no model can be asked for
   */
  async use(id: string | undefined, signal: () => AbortSignal): Promise<ModelUse> {
    if (this.#loader === undefined)
      throw new ServeError('USER_ERROR', '`context.model()` needs a method `loadModel(id)` on the class, and there is none');
    if (this.#limit === 0) throw notMultiplexed(id);
    if (id === undefined)
      throw new ServeError(
        'INVALID_INPUT',
        'expected the id of a model, got none; name it in the header `serve_multiplexed_model_id` (or with hyphens), or as the option `modelId` of a handle',
      );
    if (id.length > MAX_MODEL_ID)
      throw new ServeError('INVALID_INPUT', `expected a model id of at most ${MAX_MODEL_ID} characters, got ${id.length}`);
    const held = this.#held.get(id);
    if (held?.loaded !== undefined) return this.#used(held, held.loaded.model);
    return this.#wait(id, held, signal());
  }

  /** Resolves when all that nothing uses has gone, and nothing loads. */
  async close(): Promise<void> {
    this.allow(0);
    while (this.#going.size > 0 || [...this.#held.values()].some(({ loaded }) => loaded === undefined)) {
      await new Promise<void>((resolve) => {
        this.#onQuiet = resolve;
      });
    }
  }

  #wait(id: string, held: Held | undefined, signal: AbortSignal): Promise<ModelUse> {
    return new Promise<ModelUse>((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const waiters = held?.waiters ?? this.#wanted.get(id) ?? new Set();
      const left = () => {
        waiters.delete(waiter);
        // A load that has begun goes on: the next who asks will be glad of it.
        if (waiters.size === 0 && this.#wanted.get(id) === waiters) this.#wanted.delete(id);
        reject(signal.reason);
      };
      const over = () => signal.removeEventListener('abort', left);
      const waiter: Waiter = {
        resolve: (use) => {
          over();
          resolve(use);
        },
        reject: (error) => {
          over();
          reject(error);
        },
      };
      signal.addEventListener('abort', left, { once: true });
      waiters.add(waiter);
      if (held !== undefined) return;
      this.#wanted.set(id, waiters);
      this.#advance();
    });
  }

  #used(held: Held, model: unknown): ModelUse {
    held.users += 1;
    this.#touch(held);
    let released = false;
    return {
      model,
      release: () => {
        if (released) return;
        released = true;
        held.users -= 1;
        this.#touch(held);
        this.#advance();
      },
    };
  }

  #touch(held: Held): void {
    this.#held.delete(held.id);
    this.#held.set(held.id, held);
  }

  /** Makes places for what is wanted, and fills those that are free. */
  #advance(): void {
    let tooMany = this.#held.size + this.#wanted.size - this.#limit;
    for (const held of this.#held.values()) {
      if (tooMany <= 0) break;
      if (held.loaded === undefined || held.users > 0) continue;
      void this.#unload(held, held.loaded.model);
      tooMany -= 1;
    }
    for (const [id, waiters] of this.#wanted) {
      if (this.#held.size + this.#going.size >= this.#limit) break;
      // Asked for again while it goes: not before it has gone.
      if (this.#going.has(id)) continue;
      this.#wanted.delete(id);
      void this.#load({ id, loaded: undefined, users: 0, waiters });
    }
    this.#onQuiet?.();
  }

  async #load(held: Held): Promise<void> {
    const { id, waiters } = held;
    this.#held.set(id, held);
    this.#tell({ added: [id] });
    try {
      const model = await (this.#loader as ModelLoader).load(id);
      held.loaded = { model };
      for (const { resolve } of waiters) resolve(this.#used(held, model));
    } catch (error) {
      this.#held.delete(id);
      this.#tell({ removed: [id] });
      const told = couldNotLoad(id, error);
      for (const { reject } of waiters) reject(told);
    }
    waiters.clear();
    this.#advance();
  }

  async #unload({ id }: Held, model: unknown): Promise<void> {
    this.#held.delete(id);
    this.#going.add(id);
    this.#tell({ removed: [id] });
    try {
      await this.#loader?.unload(model, id);
    } catch (error) {
      this.#failed(id, error);
    }
    this.#going.delete(id);
    this.#advance();
  }
}

const notMultiplexed = (id: string | undefined): ServeError =>
  new ServeError(
    'USER_ERROR',
    `${id === undefined ? 'a model' : `the model \`${id}\``} was asked for, and this deployment is not multiplexed: add \`multiplexing: {max_num_models_per_replica: 3}\` to it in the config`,
  );

/** One with a code, `HttpError` for instance, was chosen for the caller. */
const couldNotLoad = (id: string, error: unknown): unknown =>
  error instanceof ServeError
    ? error
    : new ServeError(
        'USER_ERROR',
        `the model \`${id}\` could not be loaded: ${error instanceof Error ? error.message : String(error)}`,
        {},
        { cause: error },
      );

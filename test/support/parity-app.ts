/** Applications that are asked the same in a test process and in the daemon. Imports nothing but `serve-daemon`: the daemon compiles this very text. */
import { type CallContext, deployment, type Handle, HttpError, Tensor } from 'serve-daemon';

export class Target {
  /** What it is given is its own. */
  async echo(value: unknown): Promise<unknown> {
    return value;
  }
  async spoil(list: number[]): Promise<number> {
    return list.push(99);
  }
  async kinds(value: Record<string, unknown>): Promise<string> {
    return Object.entries(value)
      .map(([key, each]) => `${key}: ${(each as object).constructor.name}`)
      .join(', ');
  }
  async pair(left: number, right: number): Promise<number> {
    return left - right;
  }
  async fail(how: 'typed' | 'http' | 'text' | 'invalid'): Promise<never> {
    if (how === 'http') throw new HttpError(451, 'not for you', { 'x-why': 'law' });
    if (how === 'text') throw 'only a text';
    if (how === 'invalid') return (() => {}) as never;
    throw new RangeError('too far', { cause: new TypeError('no ruler', { cause: new Error('lost') }) });
  }
  async *count(to: number): AsyncGenerator<number> {
    for (let number = 1; number <= to; number++) yield number;
  }
  async *breaks(): AsyncGenerator<string> {
    yield 'one';
    throw new SyntaxError('midway');
  }
  async about(_input: null, { application, deployment, requestId, modelId, sessionId, request }: CallContext): Promise<unknown> {
    return { application, deployment, hasId: requestId !== '', modelId, sessionId, hasRequest: request !== undefined };
  }
  async _hidden(): Promise<string> {
    return 'not to be had';
  }
}

export class Batched {
  async call(items: unknown[], contexts: CallContext[]): Promise<unknown[]> {
    if (items.includes('all')) throw new Error('all of them');
    if (items.includes('less')) return items.slice(1);
    return items.map((item, index) =>
      item === 'one' ? new RangeError('only this one') : { item, of: items.length, own: contexts[index]?.signal.aborted },
    );
  }
}

/** One at a time, and one waits. */
export class Gate {
  readonly #ended: string[] = [];
  async hold(_input: null, { signal }: CallContext): Promise<void> {
    await this.#until(signal);
  }
  async *held(_input: null, { signal }: CallContext): AsyncGenerator<string> {
    // It has begun: whoever reads this may leave.
    yield 'held';
    await this.#until(signal);
  }
  async ended(): Promise<readonly string[]> {
    return this.#ended;
  }
  async #until(signal: AbortSignal): Promise<void> {
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    this.#ended.push((signal.reason as Error & { code: string }).code);
    signal.throwIfAborted();
  }
}

interface LoadedModel {
  readonly id: string;
  readonly nth: number;
}

/** Of two replicas. */
export class Pair {
  async rank(_input: null, { rank, metrics }: CallContext): Promise<number> {
    metrics.counter('parity_calls_total', { labels: ['rank'] }).inc(1, { rank: String(rank) });
    return rank;
  }
}

export class Library {
  #loads = 0;
  async loadModel(id: string): Promise<LoadedModel> {
    if (id === 'missing') throw new HttpError(404, `there is no ${id}`);
    this.#loads += 1;
    return { id, nth: this.#loads };
  }
  async call(_input: unknown, context: CallContext): Promise<LoadedModel> {
    return context.model();
  }
}

interface Handles {
  readonly target: Handle<Target>;
  readonly batched: Handle<{ call(item: unknown): Promise<unknown> }>;
  readonly gate: Handle<Gate>;
  readonly library: Handle<Library>;
  readonly pair: Handle<Pair>;
}
export type Outcome = { readonly value: unknown } | { readonly error: Told };
interface Told {
  readonly name: string;
  readonly message: string;
  readonly code?: unknown;
  readonly source?: unknown;
  readonly status?: unknown;
  readonly cause?: Told;
}

const told = (error: unknown): Told => {
  const { name, message, code, source, status, cause } = error as Error & Record<'code' | 'source' | 'status', unknown>;
  return { name, message, code, source, status, ...(cause === undefined ? {} : { cause: told(cause) }) };
};
const outcome = async (work: () => PromiseLike<unknown>): Promise<Outcome> => {
  try {
    return { value: await work() };
  } catch (error) {
    return { error: told(error) };
  }
};

/** What is done with handles, by name: each says what came of it. */
export const PROBES: Readonly<Record<string, (handles: Handles) => Promise<unknown>>> = {
  values: async ({ target }) => [
    await target.echo({ text: 'ä', list: [1, null, true] }),
    await target.pair(5, 3),
    await target.kinds({ when: new Date(0), bytes: new Uint8Array(2), floats: new Float32Array(1), map: new Map([[1, 2]]) }),
    await target.echo(undefined),
  ],
  isCopied: async ({ target }) => {
    const list = [1, 2];
    const length = await target.spoil(list);
    const bytes = new Uint8Array(3).fill(7);
    const echo = target.echo(bytes);
    bytes.fill(8);
    return [list, length, [...((await echo) as Uint8Array)]];
  },
  refused: async ({ target }) => [
    await outcome(() => target.echo({ deep: [() => {}] })),
    await outcome(() => target.echo({ deep: new (class Odd {})() })),
    await outcome(() => target.echo({ handle: target })),
    await outcome(() => target.fail('invalid')),
    await outcome(() => (target as unknown as Handle<{ none(): Promise<void> }>).none()),
    await outcome(() => (target as unknown as Handle<{ _hidden(): Promise<void> }>)._hidden()),
    await outcome(() => target.options({ priority: 8 }).pair(1, 2)),
    await outcome(() => target.options({ modelId: '' }).pair(1, 2)),
  ],
  ranks: async ({ pair }) => (await pair.broadcast.rank(null)).map((each) => each.status === 'fulfilled' && each.value),
  errors: async ({ target }) => [
    await outcome(() => target.fail('typed')),
    await outcome(() => target.fail('http')),
    await outcome(() => target.fail('text')),
  ],
  batches: async ({ batched }) => {
    const all = (items: readonly unknown[]) => Promise.all(items.map((item) => outcome(() => batched.call(item))));
    return [await all(['a', 'b', 'one']), await all(['all']), await all(['less'])];
  },
  streams: async ({ target }) => {
    const items: unknown[] = [];
    for await (const item of target.count(3)) items.push(item);
    const first: unknown[] = [];
    for await (const item of target.count(1_000_000)) {
      first.push(item);
      if (first.length === 2) break;
    }
    const broken: unknown[] = [];
    const end = await outcome(async () => {
      for await (const item of target.breaks()) broken.push(item);
    });
    return [await target.count(3), items, first, broken, end];
  },
  /** With room for one in work and one that waits, the third is refused. */
  isFull: async ({ gate }) => {
    const calls = [gate.hold(null), gate.hold(null), gate.hold(null)];
    const third = await outcome(() => calls[2] as PromiseLike<unknown>);
    for (const call of calls) call.cancel();
    return [third, await outcome(() => calls[0] as PromiseLike<unknown>), await outcome(() => calls[1] as PromiseLike<unknown>)];
  },
  isCancelled: async ({ gate }) => {
    // The place of a call that was cancelled is free when its code has ended.
    const before = (await gate.ended()).length;
    for await (const _held of gate.held(null)) break;
    return (await gate.ended()).slice(before);
  },
  isAborted: async ({ gate }) => {
    const leave = new AbortController();
    const before = (await gate.ended()).length;
    const end = await outcome(async () => {
      for await (const _held of gate.options({ signal: leave.signal }).held(null)) leave.abort();
    });
    return [end, (await gate.ended()).slice(before)];
  },
  isLate: async ({ gate }) => {
    const before = (await gate.ended()).length;
    const late = await outcome(() => gate.options({ timeoutS: 0.05 }).hold(null));
    return [late, (await gate.ended()).slice(before)];
  },
  models: async ({ library }) => {
    const of = (modelId: string) => library.options({ modelId }).call(null);
    const [a, b, again] = [await of('a'), await of('b'), await of('a')];
    return [
      { value: [a.id, b.id] },
      { value: a.nth === again.nth ? 'loaded once' : 'loaded anew' },
      await outcome(() => of('missing')),
      await outcome(() => library.call(null)),
    ];
  },
  context: async ({ target }) => target.options({ sessionId: 's1' }).about(null),
};

/** What comes in over HTTP, and what is made of it. */
export class Probe {
  readonly #handles: Handles;
  constructor(handles: Handles) {
    this.#handles = handles;
  }
  async call(input: unknown, { request, signal }: CallContext): Promise<unknown> {
    const asked = request?.path.slice(1) ?? '';
    const probe = PROBES[asked];
    if (probe !== undefined) return { came: await probe(this.#handles) };
    switch (asked) {
      case 'kind':
        return input === null ? 'null' : input instanceof Uint8Array ? `${input.byteLength} bytes` : typeof input;
      case 'request':
        return [request?.method, request?.path, request?.query.getAll('q'), request?.headers.get('x-own')];
      case 'null':
        return null;
      case 'bytes':
        return new Uint8Array([1, 2, 3]);
      case 'tensor':
        return new Map([['t', new Tensor('float32', [1, 2], Float32Array.of(1, 2))]]);
      case 'stream':
        return this.#words(['one', 'two']);
      case 'lines':
        return this.#words([{ a: 1 }, { a: 2 }]);
      case 'breaks':
        return this.#breaks();
      case 'teapot':
        throw new HttpError(418, 'short and stout', { 'x-tea': 'earl grey' });
      case 'throws':
        throw new Error('a secret');
      case 'child-http':
        return this.#handles.target.fail('http');
      case 'child-throws':
        return this.#handles.target.fail('typed');
      case 'late':
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        return 'never seen';
      default:
        return `echo of ${JSON.stringify(input)}`;
    }
  }
  async *#words(words: readonly unknown[]): AsyncGenerator<unknown> {
    yield* words;
  }
  async *#breaks(): AsyncGenerator<string> {
    yield 'one';
    throw new Error('midway');
  }
}

export const app = deployment(Probe).bind({
  target: deployment(Target).bind(),
  batched: deployment(Batched as unknown as new () => { call(item: unknown): Promise<unknown> }, {
    batching: { maxBatchSize: 8, batchWaitTimeoutS: 0.05 },
  }).bind(),
  gate: deployment(Gate, { maxOngoingRequests: 1, maxQueuedRequests: 1, backpressureConfig: { statusCode: 429 } }).bind(),
  pair: deployment(Pair, { numReplicas: 2 }).bind(),
  library: deployment(Library, { multiplexing: { maxNumModelsPerReplica: 2 } }).bind(),
});

/** Takes requests as the web has them. */
export const site = {
  async fetch(request: Request): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    if (pathname.endsWith('/upload')) {
      let [bytes, sum] = [0, 0];
      for await (const piece of request.body ?? []) {
        bytes += piece.byteLength;
        for (const byte of piece) sum += byte;
      }
      return Response.json({ bytes, sum });
    }
    if (pathname.endsWith('/moved')) return new Response(null, { status: 303, headers: { location: '/site/there' } });
    if (pathname.endsWith('/empty')) return new Response(null, { status: 204 });
    if (pathname.endsWith('/reset')) return new Response(null, { status: 205 });
    if (pathname.endsWith('/cookies'))
      return new Response('two', {
        headers: [
          ['set-cookie', 'a=1'],
          ['set-cookie', 'b=2'],
        ] as [string, string][],
      });
    if (pathname.endsWith('/odd')) return 'no Response' as never;
    return new Response(`${request.method} ${pathname}${search} ${await request.text()}`, { headers: { 'x-site': 'yes' } });
  },
};

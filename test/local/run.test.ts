/** The life of an application in a test process: what it may be, how its instances begin, and how all of it ends. */
import { type CallContext, type DeploymentContext, deployment, type Handle, HttpError, run } from 'serve-daemon';
import t from 'tap';

const QUIET = { logLevel: 'silent' };

class Translator {
  readonly to: string;
  constructor({ to }: { to: string }) {
    this.to = to;
  }
  async translate(text: string, _context: CallContext): Promise<string> {
    return `${this.to}: ${text}`;
  }
}

class Everyone {
  readonly #translators: readonly Handle<Translator>[];
  constructor({ main, others }: { main: Handle<Translator>; others: readonly Handle<Translator>[] }) {
    this.#translators = [main, ...others];
  }
  async call(text: string): Promise<readonly string[]> {
    return Promise.all(this.#translators.map((each) => each.translate(text)));
  }
}

const fr = deployment(Translator).bind({ to: 'fr' });
const de = deployment(Translator).bind({ to: 'de' });

t.test('a bound deployment runs with handles wherever deployments were bound', async (t) => {
  await using client = await run(deployment(Everyone).bind({ main: fr, others: [de, fr] }));
  t.same(await client.call('hello'), ['fr: hello', 'de: hello', 'fr: hello']);
  t.equal(await client.handleOf<Translator>('Translator_1').translate('x'), 'de: x');
  t.throws(() => client.handleOf('Other'), { message: /expected a deployment .*Everyone, Translator, Translator_1.*got Other/ });
});

t.test('so do a builder with args, a class, a function and an object with fetch', async (t) => {
  const built = await run(({ to }: { to: string }) => deployment(Translator).bind({ to }), { args: { to: 'it' } });
  t.equal(await built.handle.translate('a'), 'it: a');
  await built.close();
  const later = await run(async () => fr);
  t.equal(await later.handle.translate('a'), 'fr: a');
  await later.close();
  const classy = await run(Translator, { args: { to: 'es' } });
  t.equal(await classy.handle.translate('a'), 'es: a');
  await classy.close();
  const plain = await run(async (text: string, { application }: CallContext) => `${application} ${text}`, { name: 'mine' });
  t.equal(await plain.call('a'), 'mine a');
  await plain.close();
  const site = await run({ fetch: (request: Request) => new Response(new URL(request.url).pathname) });
  t.equal(await (await site.fetch('/a/b')).text(), '/a/b');
  await site.close();
});

t.test('what cannot be served is refused as the config would say it', async (t) => {
  await t.rejects(run(deployment(Translator, { maxOngoingRequests: 0 }).bind({ to: 'fr' })), {
    code: 'INVALID_INPUT',
    message: /^the application cannot be served\. Translator max_ongoing_requests: expected .*got 0/,
  });
  await t.rejects(run({ call: 5 } as never), { code: 'INVALID_INPUT', message: /^expected `app` to be an application/ });
  await t.rejects(run(fr, { args: { to: 'x' } } as object), { code: 'INVALID_INPUT', message: /takes no args, got to/ });
  const Empty = class Empty {};
  await t.rejects(run(Empty), { code: 'INVALID_INPUT', message: /Empty has no method to call/ });
});

class Recorded {
  readonly #args: { readonly say: (what: string) => void; readonly fails?: string };
  readonly #name: string;
  constructor(args: { say: (what: string) => void; fails?: string }, { replicaId, deployment: name }: DeploymentContext) {
    this.#args = args;
    this.#name = name;
    this.#say(`made ${replicaId}`);
  }
  reconfigure({ words }: { words: number }) {
    this.#say(`configured ${words}`);
  }
  async checkHealth() {
    this.#say('checked');
  }
  async call(_input: unknown, { replicaId }: CallContext) {
    return replicaId;
  }
  async close() {
    this.#say('closed');
  }
  #say(what: string) {
    this.#args.say(what);
    if (this.#args.fails === what.split(' ')[0]) throw new RangeError(`${this.#name} ${what}`);
  }
}

t.test('each instance is made, configured, checked and in the end closed, once', async (t) => {
  const log: string[] = [];
  const client = await run(
    deployment(Recorded, { numReplicas: 2, userConfig: { words: 3 } }).bind({ say: (what) => log.push(what) }),
  );
  const each = ['made default/Recorded/0', 'made default/Recorded/1', 'configured 3', 'configured 3', 'checked', 'checked'];
  t.same([...log].sort(), [...each].sort());
  const answered = new Set(await Promise.all(Array.from({ length: 8 }, () => client.call(null))));
  t.equal(answered.size, 2, 'both take calls');
  await Promise.all([client.close(), client.close()]);
  await client[Symbol.asyncDispose]();
  t.same(log.slice(6), ['closed', 'closed']);
});

t.test('instances are as many as the code says, at least one, and no more than the test wants', async (t) => {
  const count = async (options: object, maxReplicas?: number) => {
    const log: string[] = [];
    const client = await run(deployment(Recorded, options).bind({ say: (what) => log.push(what) }), {
      ...(maxReplicas === undefined ? {} : { maxReplicas }),
    });
    await client.close();
    return log.filter((line) => line.startsWith('made')).length;
  };
  t.equal(await count({ numReplicas: 3 }, 2), 2);
  t.equal(await count({ autoscalingConfig: { min_replicas: 0, max_replicas: 5 } }), 1);
});

t.test('instances count from 0, and are asked all at once in that order, whichever was there first', async (t) => {
  const ready = new Map<number, () => void>();
  class Ranked {
    readonly #rank: number;
    constructor(_args: unknown, { rank, metrics }: DeploymentContext) {
      this.#rank = rank;
      metrics.gauge('rank').set(rank);
    }
    async reconfigure() {
      // The last is there first.
      if (this.#rank < 2) await new Promise<void>((resolve) => ready.set(this.#rank, resolve));
      ready.get(this.#rank - 1)?.();
    }
    async call(_input: null, { rank }: CallContext): Promise<number> {
      return rank;
    }
  }
  await using client = await run(deployment(Ranked, { numReplicas: 3, userConfig: {} }).bind({}));
  const all = await client.handle.broadcast.call(null);
  t.same(
    all.map((each) => [each.replica, each.status === 'fulfilled' && each.value]),
    [0, 1, 2].map((rank) => [`default/Ranked/${rank}`, rank]),
  );
});

t.test('metrics of code take values, and no harm comes of many', async (t) => {
  await using client = await run(async (_input: unknown, { metrics }: CallContext) => {
    const counter = metrics.counter('asked_total', { labels: ['who'] });
    for (let who = 0; who < 5000; who++) counter.inc(1, { who: String(who) });
    metrics.histogram('took_seconds').observe(0.1);
    metrics.gauge('open').dec();
    return 'taken';
  }, QUIET);
  t.equal(await client.call(null), 'taken');
  t.equal(await client.call(null), 'taken');
});

t.test('what fails at the start is thrown as it is, and what had started is closed', async (t) => {
  class Broken {
    constructor() {
      throw new HttpError(418, 'no');
    }
    async call() {}
  }
  const log: string[] = [];
  const pair = (fails: string | undefined) => {
    const good = deployment(Recorded).bind({ say: (what) => log.push(what) });
    const bad =
      fails === undefined
        ? deployment(Broken).bind()
        : deployment(Recorded, { name: 'Bad', userConfig: { words: 1 } }).bind({ say: () => {}, fails });
    class Both {
      readonly args: unknown;
      constructor(args: unknown) {
        this.args = args;
      }
      async call() {}
    }
    return deployment(Both).bind({ good, bad } as never);
  };
  await t.rejects(run(pair(undefined)), HttpError);
  t.same(log, ['made default/Recorded/0', 'checked', 'closed']);
  for (const fails of ['made', 'configured', 'checked'])
    await t.rejects(run(pair(fails)), { name: 'RangeError', message: new RegExp(`^Bad ${fails}`) });
});

t.test('an instance that is refused what it needs to start is closed, and its error is that of the start', async (t) => {
  for (const fails of ['configured', 'checked']) {
    const log: string[] = [];
    const say = (what: string) => log.push(what);
    await t.rejects(run(deployment(Recorded, { userConfig: { words: 1 } }).bind({ say, fails })), {
      name: 'RangeError',
      message: new RegExp(`^Recorded ${fails}`),
    });
    const checked = fails === 'checked' ? ['checked'] : [];
    t.same(log, ['made default/Recorded/0', 'configured 1', ...checked, 'closed']);
  }
  let signal: AbortSignal | undefined;
  class Sick {
    constructor(_args: unknown, context: DeploymentContext) {
      signal = context.signal;
    }
    async checkHealth() {
      throw new RangeError('sick');
    }
    async call() {}
    async close() {
      throw new TypeError('nor can it be closed');
    }
  }
  await t.rejects(run(deployment(Sick).bind({}), QUIET), { name: 'RangeError', message: 'sick' });
  t.equal(signal?.aborted, true);
});

class Waits {
  static ended: string[] = [];
  async *call(_input: unknown, context: CallContext): AsyncGenerator<string> {
    yield 'begun';
    const { signal } = context;
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    Waits.ended.push('aborted');
  }
  async close() {
    Waits.ended.push('closed');
  }
}

t.test('closing ends what is under way: who waits is told, and code has ended before it is closed', async (t) => {
  const client = await run(deployment(Waits, { maxOngoingRequests: 2 }).bind());
  const under = client.call(null)[Symbol.asyncIterator]();
  t.same(await under.next(), { value: 'begun', done: false });
  const answer = await client.fetch('/');
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  t.equal(Buffer.from((await reader.read()).value as Uint8Array).toString(), 'begun');
  let asked = () => {};
  const isAsked = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const comes = new ReadableStream({ pull: () => asked() }, { highWaterMark: 0 });
  const waits = t.rejects(client.fetch('/', { method: 'POST', body: comes }), { code: 'UNAVAILABLE' });
  await isAsked;
  const refusal = t.rejects(under.next(), { code: 'UNAVAILABLE', message: 'The application was closed.' });
  const cut = t.rejects(reader.read(), { name: 'TypeError', message: 'terminated' });
  await client.close();
  await Promise.all([refusal, cut, waits]);
  t.same(Waits.ended, ['aborted', 'aborted', 'closed']);
  await t.rejects(async () => await client.call(null), { code: 'UNAVAILABLE' });
  await t.rejects(client.fetch('/'), { message: 'fetch failed', cause: { code: 'UNAVAILABLE' } });
});

t.test('what `close` of the code throws is thrown', async (t) => {
  const client = await run(deployment(Recorded).bind({ say: () => {}, fails: 'closed' }));
  await t.rejects(client.close(), { name: 'RangeError', message: 'Recorded closed' });
  const two = await run(deployment(Recorded, { numReplicas: 2 }).bind({ say: () => {}, fails: 'closed' }));
  await t.rejects(two.close(), { name: 'AggregateError' });
});

t.test('code that a test has called may call back into it, and each call is a request of its own', async (t) => {
  class Inner {
    async call(text: string, { requestId }: CallContext): Promise<string> {
      return `${text} ${requestId}`;
    }
  }
  class Outer {
    readonly #args: { readonly inner: Handle<Inner>; readonly back: () => PromiseLike<string> };
    constructor(args: { inner: Handle<Inner>; back: () => PromiseLike<string> }) {
      this.#args = args;
    }
    async call(_input: unknown, { requestId }: CallContext): Promise<readonly string[]> {
      return [`outer ${requestId}`, await this.#args.inner.call('inner'), await this.#args.back()];
    }
  }
  let back = (): PromiseLike<string> => Promise.reject(new Error('too early'));
  await using client = await run(deployment(Outer).bind({ inner: deployment(Inner).bind(), back: () => back() }));
  back = () => client.handleOf<Inner>('Inner').call('back');
  const ids = (await client.call(null)).map((each) => each.split(' ')[1]);
  t.equal(ids[0], ids[1], 'what a call makes in its work is of its request');
  t.not(ids[2], ids[0]);
});

t.test('an error has the stack of the code that threw it', async (t) => {
  await using client = await run(async function throws(_input: unknown, _context: CallContext) {
    throw new RangeError('here');
  }, QUIET);
  await t.rejects(async () => await client.call(null), { name: 'RangeError', stack: /run\.test\.ts/ });
});

/** What the types of the SDK promise: checked by the compiler (`npm run check`), so that each line here that should not compile says so. */
import { batch, type Call, type CallContext, type DeploymentContext, type Handle, type Settled } from 'serve-daemon';
import t from 'tap';

class Translator {
  async translate(text: string, _context: CallContext): Promise<string> {
    return text;
  }
  async many(texts: string[], _contexts: CallContext[]): Promise<(number | Error)[]> {
    return texts.map((text) => text.length);
  }
  about(context: CallContext): string {
    return context.requestId;
  }
  async *words(text: string): AsyncGenerator<string> {
    yield* text.split(' ');
  }
}

/** Neither is this. */
export const loads = async (context: CallContext): Promise<unknown> => {
  const model = await context.model<Translator>();
  const id: string | undefined = context.modelId;
  // @ts-expect-error a model is what the code says it is
  model.missing();
  return [model.translate, id];
};

/** Never run: the compiler is the test. */
export const uses = async (handle: Handle<Translator>): Promise<unknown> => {
  const translated: string = await handle.translate('text');
  const length: number = await handle.many('one text');
  const words: string[] = await handle.words('two words');
  for await (const word of handle.words('two words')) word.toUpperCase();
  const call: Call<string> = handle.options({ timeoutS: 1 }).translate('text');
  // @ts-expect-error a number is no text
  handle.translate(5);
  // @ts-expect-error callers of a batched method pass one
  handle.many(['one', 'two']);
  // @ts-expect-error there is no such method
  handle.missing('text');
  // @ts-expect-error it would get no context, which is the second parameter
  handle.about();
  return [translated, length, words, call];
};

interface Document {
  readonly text: string;
  readonly tags: readonly string[];
  readonly at: Date;
}
type Tree = { readonly [name: string]: Tree } | readonly Tree[] | string;

class Store {
  async add(_document: Document, _weight?: number): Promise<number> {
    return 1;
  }
  async grow(_tree: Tree): Promise<void> {}
  async anything(_value: unknown, _context: CallContext): Promise<string> {
    return '';
  }
  async call(_id: number): Promise<boolean> {
    return true;
  }
}

/** A call in the place of its result. */
export const composes = async (store: Handle<Store>, translator: Handle<Translator>): Promise<unknown> => {
  const text = translator.translate('text');
  const id = text.requestId satisfies string;
  await store.add({ text, tags: ['a', text], at: new Date() }, translator.many('two'));
  await store.add({ text: 'a', tags: translator.words('b c'), at: new Date() });
  await store.grow({ a: [text, { b: text }] });
  await store.anything({ text });
  await translator.translate(store.anything(translator));
  // @ts-expect-error a call for a text is no number
  store.call(text);
  // @ts-expect-error nor is it one inside an object
  store.add({ text: translator.many('one'), tags: [], at: new Date() });
  // @ts-expect-error a promise is awaited first
  store.call(Promise.resolve(1));
  return id;
};

/** A method that is named by an option. */
export const named = async (store: Handle<Store>, translator: Handle<Translator>): Promise<unknown> => {
  const length: number = await translator.options({ method: 'many', timeoutS: 1 }).call('one');
  const text: string = await store.options({ method: 'anything' }).options({ timeoutS: 1 }).call(5);
  const is: boolean = await store.options({ timeoutS: 1 }).call(5);
  // @ts-expect-error there is no such method
  store.options({ method: 'missing' });
  // @ts-expect-error `call` is the method that was named
  store.options({ method: 'anything' }).call(5) satisfies Call<number>;
  return [length, text, is];
};

/** A call of all replicas. */
export const broadcasts = async (store: Handle<Store>, translator: Handle<Translator>): Promise<unknown> => {
  const settled: Settled<number>[] = await translator.broadcast.many('one');
  for (const each of settled) if (each.status === 'fulfilled') each.value.toFixed();
  const [first] = await store.options({ timeoutS: 1 }).broadcast.call(5);
  const replica: string | undefined = first?.replica;
  // @ts-expect-error what streams cannot be broadcast
  translator.broadcast.words('one');
  // @ts-expect-error the arguments are those of the method
  store.broadcast.call('5');
  return replica;
};

/** What code is told of its replica, and counts. */
export const counts = (context: DeploymentContext, call: CallContext): unknown => {
  const rank: number = context.rank;
  const trace: string | undefined = call.traceparent;
  call.metrics.counter('hits_total', { labels: ['model'] }).inc(1, { model: 'a' });
  context.metrics.histogram('seconds', { buckets: [1, 2] }).observe(rank);
  // @ts-expect-error a counter is not set
  context.metrics.counter('hits_total').set(1);
  return trace;
};

/** A batched function inside a replica. */
export const batched = async (context: CallContext): Promise<unknown> => {
  const lengths = batch({ name: 'lengths', maxBatchSize: 8, waitS: 0.01 }, (texts: string[], { signal }) =>
    texts.map((text) => (signal.aborted ? new Error('nobody waits') : text.length)),
  );
  const length: number = await lengths('text', context);
  const alone: number = await lengths('text', { signal: context.signal });
  // @ts-expect-error one item, not many
  lengths(['text']);
  // @ts-expect-error an array comes in, an array goes out
  batch({ name: 'one' }, (texts: string[]) => texts.length);
  // @ts-expect-error it has a name
  batch({ maxBatchSize: 5 }, (texts: string[]) => texts);
  return [length, alone];
};

t.test('handles are typed by the class behind them', async (t) => {
  t.type(uses, 'function');
});

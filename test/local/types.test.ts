/** What the types of `run` promise: checked by the compiler (`npm run check`), so that each line here that should not compile says so. */
import { type Call, type CallContext, deployment, type Handle, type LocalClient, run } from 'serve-daemon';
import t from 'tap';

class Translator {
  readonly to: string;
  constructor({ to }: { to: string }) {
    this.to = to;
  }
  async call(text: string, _context: CallContext): Promise<string> {
    return `${this.to}: ${text}`;
  }
  async *words(text: string): AsyncGenerator<string> {
    yield* text.split(' ');
  }
}
const build = ({ to }: { to: string }) => deployment(Translator).bind({ to });
class Site {
  async fetch(_request: Request): Promise<Response> {
    return new Response();
  }
}

/** Never run: the compiler is the test. */
export const uses = async (): Promise<unknown> => {
  const client: LocalClient<Translator> = await run(build({ to: 'fr' }));
  const text: string = await client.call('hello');
  const call: Call<string> = client.handle.options({ timeoutS: 1 }).call('hello');
  for await (const word of client.handle.words('a b')) word.toUpperCase();
  const other: Handle<Site> = client.handleOf<Site>('Site');
  // @ts-expect-error a number is no text
  client.call(5);
  // @ts-expect-error there is no such method
  client.handle.missing('text');
  await run(build, { args: { to: 'fr' } });
  await run(async (args: { to: string }) => build(args), { args: { to: 'fr' }, maxReplicas: 1 });
  await run(() => build({ to: 'fr' }));
  // @ts-expect-error the builder takes arguments
  await run(build);
  // @ts-expect-error of this kind
  await run(build, { args: { to: 5 } });
  const classy: LocalClient<Translator> = await run(Translator, { args: { to: 'fr' } });
  // @ts-expect-error the constructor takes arguments
  await run(Translator);
  const site = await run(Site);
  // @ts-expect-error it has no `call`
  site.call('x');
  await site.fetch('/', { method: 'POST' });
  const plain = await run(async (input: { a: number }, _context: CallContext) => input.a);
  const number: number = await plain.call({ a: 1 });
  // @ts-expect-error its input
  plain.call({ a: 'x' });
  const streamed = await run(async function* count(_input: unknown) {
    yield 1;
  });
  for await (const item of streamed.call(null)) item.toFixed();
  const mistaken = await run(async (context: CallContext) => context.requestId);
  // @ts-expect-error the context comes second: what it takes for one is its input
  mistaken.call();
  class Mistaken {
    async call(context: CallContext): Promise<string> {
      return context.requestId;
    }
    async *ids({ requestId }: CallContext): AsyncGenerator<string> {
      yield requestId;
    }
  }
  const both = await run(Mistaken);
  // @ts-expect-error here too
  both.call();
  // @ts-expect-error nor is null a way
  both.handle.ids(null);
  const object = await run({ fetch: () => new Response() });
  return [text, call, other, classy, number, object];
};

t.test('a client is typed by the class behind the application', async (t) => {
  t.type(uses, 'function');
});

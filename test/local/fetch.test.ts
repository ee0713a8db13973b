/** What a driver does for the ingress, where there is none: framing, limits, streams both ways, and clients that leave. */
import { type CallContext, HttpError, run } from 'serve-daemon';
import t from 'tap';

const QUIET = { logLevel: 'silent' };

/** Bytes that it is asked for, piece by piece, and what became of it. */
const pieces = (texts: readonly string[]) => {
  const seen = { pulled: 0, cancelled: false };
  const stream = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        const text = texts[seen.pulled++];
        if (text === undefined) controller.close();
        else controller.enqueue(new TextEncoder().encode(text));
      },
      cancel: () => {
        seen.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { seen, stream };
};

t.test('a request has what fetch would send, and nothing that the test said of its framing', async (t) => {
  await using client = await run(async (_input: unknown, { request }: CallContext) => Object.fromEntries(request?.headers ?? []));
  const headersOf = async (path: string, init?: RequestInit) => (await client.fetch(path, init)).json();
  t.same(await headersOf('/'), { host: 'localhost', accept: '*/*' });
  t.same(
    await headersOf('http://example.test:81/', { method: 'POST', body: 'ä', headers: { 'content-length': '77', 'X-Own': 'a' } }),
    {
      host: 'example.test:81',
      accept: '*/*',
      'content-type': 'text/plain;charset=UTF-8',
      'x-own': 'a',
      'content-length': '2',
    },
  );
  t.same(await headersOf('/', { method: 'DELETE', headers: { host: 'other', accept: 'text/html' } }), {
    host: 'other',
    accept: 'text/html',
  });
  const form = await client.fetch('/', { method: 'POST', body: new URLSearchParams({ a: 'b' }) });
  t.match(await form.json(), { 'content-type': 'application/x-www-form-urlencoded;charset=UTF-8', 'content-length': '3' });
  const { stream } = pieces(['a', 'b']);
  t.match(await headersOf('/', { method: 'POST', body: stream }), { 'transfer-encoding': 'chunked' });
  const request = new Request('https://example.test/x', { method: 'PUT', body: 'abc' });
  t.match(await (await client.fetch(request)).json(), { host: 'example.test', 'content-length': '3' });
});

t.test('what fetch refuses to send is refused', async (t) => {
  await using client = await run(async (input: unknown) => input);
  await t.rejects(client.fetch('http://'), { name: 'TypeError' });
  await t.rejects(client.fetch('/', { method: 'GET', body: 'x' }), { name: 'TypeError' });
  await t.rejects(client.fetch('/', { signal: AbortSignal.abort() }), { name: 'AbortError' });
});

t.test('a body over the limit is refused: at once where its length is told, else where it is passed', async (t) => {
  let calls = 0;
  await using client = await run(async (_input: unknown, _context: CallContext) => ++calls);
  const limit = 100 * 1024 * 1024;
  const long = await client.fetch('/', { method: 'POST', body: new Uint8Array(limit + 1) });
  t.equal(long.status, 413);
  t.match(await long.text(), /^expected a body of at most \d+ bytes/);
  t.equal(long.headers.get('x-serve-error'), 'PAYLOAD_TOO_LARGE');
  const piece = new Uint8Array(10 * 1024 * 1024);
  let cancelled = false;
  const endless = new ReadableStream({
    pull: (controller) => controller.enqueue(piece),
    cancel: () => {
      cancelled = true;
    },
  });
  t.equal((await client.fetch('/', { method: 'POST', body: endless })).status, 413);
  t.equal(cancelled, true, 'the rest is not asked for');
  t.equal(calls, 0);
});

t.test('too many headers are refused', async (t) => {
  await using client = await run(async (input: unknown) => input);
  const headers = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`x-${index}`, 'a']));
  t.equal((await client.fetch('/', { headers })).status, 431);
});

t.test('an answer that no client could read is a 500', async (t) => {
  await using client = await run(async (_input: unknown) => {
    throw new HttpError(418, 'x', { 'x-long': 'a'.repeat(20_000) });
  }, QUIET);
  const answer = await client.fetch('/');
  t.same([answer.status, await answer.text(), answer.headers.get('x-serve-error')], [500, 'Internal Server Error', 'INTERNAL']);
});

const bodyOf = (body: string | readonly string[]) => (typeof body === 'string' ? body : pieces(body).stream);

/** A library may say a status with a body that `Response` itself would not be made with. */
const heads = (status: number, body: string | readonly string[]) => ({
  fetch: async () => {
    const answer = new Response(bodyOf(body));
    return Object.defineProperty(answer, 'status', { value: status });
  },
});

t.test('an answer of a status that has no body is one, whatever was sent with it, and its replica serves on', async (t) => {
  for (const body of ['text', ['a', 'b']]) {
    for (const [status, seen] of [
      [204, 204],
      [205, 205],
      [304, 304],
      [101, 500],
      [103, 500],
    ] as const) {
      await using client = await run(heads(status, body), QUIET);
      for (let again = 0; again < 2; again++) {
        const answer = await client.fetch('/');
        t.same([answer.status, await answer.text()], [seen, seen === 500 ? 'Internal Server Error' : '']);
      }
    }
  }
});

t.test('an answer that cannot be made fails its fetch alone: calls of the same replica go on', async (t) => {
  await using client = await run(
    {
      fetch: async (request: Request) => new Response(bodyOf(request.url.endsWith('/stream') ? ['a', 'b'] : 'whole')),
    },
    QUIET,
  );
  t.equal(await (await client.fetch('/')).text(), 'whole');
  const { Response: own } = globalThis;
  for (const path of ['/', '/stream']) {
    globalThis.Response = class extends own {
      constructor(body?: BodyInit | null, init?: ResponseInit) {
        // That of the code says nothing of its headers.
        if (init?.headers !== undefined) throw new RangeError('not this one');
        super(body, init);
      }
    };
    try {
      await t.rejects(client.fetch(path), { name: 'RangeError', message: 'not this one' }, path);
    } finally {
      globalThis.Response = own;
    }
    t.equal(await (await client.fetch('/stream')).text(), 'ab');
  }
});

t.test('a body that is read as it comes is asked for no faster than it is read', async (t) => {
  const piece = 'x'.repeat(65_536);
  const { stream, seen } = pieces(Array.from({ length: 64 }, () => piece));
  let ask = (_go: () => void) => {};
  const asked = new Promise<() => void>((resolve) => {
    ask = resolve;
  });
  await using client = await run({
    fetch: async (request: Request) => {
      const reader = (request.body as ReadableStream<Uint8Array>).getReader();
      const first = await reader.read();
      await new Promise<void>(ask);
      let bytes = first.value?.byteLength ?? 0;
      for (let next = await reader.read(); !next.done; next = await reader.read()) bytes += next.value.byteLength;
      return Response.json(bytes);
    },
  });
  const answer = client.fetch('/', { method: 'POST', body: stream });
  const go = await asked;
  // Whatever was on its way has come when a message has gone there and back.
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  const before = seen.pulled;
  t.ok(before < 16, `${before} pieces were asked for`);
  go();
  t.equal(await (await answer).json(), 64 * piece.length);
});

t.test('code may answer before it has read its body: the rest is let go', async (t) => {
  const { stream, seen } = pieces(Array.from({ length: 1000 }, () => 'x'.repeat(65_536)));
  await using client = await run({ fetch: async () => new Response('enough') });
  t.equal(await (await client.fetch('/', { method: 'POST', body: stream })).text(), 'enough');
  t.ok(seen.pulled < 20);
});

t.test('a body that fails midway fails the request, and the code that reads it', async (t) => {
  let heard: unknown;
  await using client = await run(
    {
      fetch: async (request: Request) => {
        try {
          await request.text();
        } catch (error) {
          heard = error;
        }
        return new Response();
      },
    },
    QUIET,
  );
  let pulls = 0;
  const broken = new ReadableStream({
    pull: (controller) =>
      pulls++ < 3 ? controller.enqueue(new Uint8Array(65_536)) : controller.error(new RangeError('no more')),
  });
  await t.rejects(client.fetch('/', { method: 'POST', body: broken }), { name: 'RangeError', message: 'no more' });
  await client.close();
  t.match(heard, { name: 'Error' });
});

class Endless {
  static yields = 0;
  static ended: Promise<void>;
  static #end = () => {};
  static reset() {
    Endless.yields = 0;
    Endless.ended = new Promise((resolve) => {
      Endless.#end = resolve;
    });
  }
  async *call(): AsyncGenerator<string> {
    try {
      for (;;) {
        Endless.yields += 1;
        yield 'x'.repeat(32_768);
      }
    } finally {
      Endless.#end();
    }
  }
}

t.test('an answer that nobody reads holds its producer back; a client that leaves ends it', async (t) => {
  await using client = await run(Endless);
  Endless.reset();
  const answer = await client.fetch('/');
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  t.equal((await reader.read()).value?.byteLength, 32_768);
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  const produced = Endless.yields;
  t.ok(produced < 20, `${produced} pieces`);
  for (let read = 0; read < produced + 5; read++) await reader.read();
  t.ok(Endless.yields > produced, 'and goes on when it is read');
  await reader.cancel();
  await Endless.ended;

  Endless.reset();
  let calls = 0;
  // So many pieces only come where what was taken is told.
  for await (const piece of client.handle.call()) if (piece !== '' && ++calls === 40) break;
  await Endless.ended;

  Endless.reset();
  const leave = new AbortController();
  const other = await client.fetch('/', { signal: leave.signal });
  leave.abort(new RangeError('enough'));
  await t.rejects(other.text(), { message: 'enough' });
  await Endless.ended;
});

t.test('a client that leaves before the answer aborts the code', async (t) => {
  let begun = () => {};
  const hasBegun = new Promise<void>((resolve) => {
    begun = resolve;
  });
  let over = (_reason: unknown) => {};
  const aborted = new Promise<unknown>((resolve) => {
    over = resolve;
  });
  await using client = await run(async (_input: unknown, { signal }: CallContext) => {
    signal.addEventListener('abort', () => over(signal.reason));
    begun();
    return aborted;
  });
  const leave = new AbortController();
  const left = client.fetch('/', { signal: leave.signal });
  await hasBegun;
  leave.abort();
  await t.rejects(left, { name: 'AbortError' });
  t.match(await aborted, { code: 'CLIENT_CLOSED' });
});

/** Small tools over HTTP: routes, middleware, checked JSON, streamed answers, and uploads of any size that are read as they come. */
import { createHash } from 'node:crypto';
import { type Context, Hono } from 'hono';
import { cors } from 'hono/cors';
import { HTTPException } from 'hono/http-exception';
import { stream, streamSSE } from 'hono/streaming';
import { timing } from 'hono/timing';
import { validator } from 'hono/validator';
import type { CallContext } from 'serve-daemon';

/** `c.env` is what the daemon gives beside the request: its id, deadline, signal and log. */
type Env = { Bindings: CallContext };

const HASHES = new Set(['md5', 'sha1', 'sha256', 'sha512']);
const TELL_EVERY_BYTES = 1024 * 1024;

export const app = new Hono<Env>().basePath('/tools');

app.use(timing());
app.use(cors({ origin: '*', allowMethods: ['GET', 'POST'] }));
app.use(async (c, next) => {
  await next();
  c.env.log.info({ method: c.req.method, path: c.req.path, status: c.res.status }, 'tools');
});

app.onError((error, c) => {
  if (error instanceof HTTPException) return c.json({ error: error.message }, error.status);
  c.env.log.error({ error: { message: error.message, stack: error.stack } }, 'tools failed');
  return c.json({ error: 'internal error', requestId: c.env.requestId }, 500);
});
app.notFound((c) => c.json({ error: `there is no ${c.req.method} ${c.req.path}` }, 404));

/** The words of a text that come most often. */
app.post(
  '/words',
  validator('json', (body: unknown, c) => {
    const { text, top = 10 } = (typeof body === 'object' && body !== null ? body : {}) as { text?: unknown; top?: unknown };
    if (typeof text !== 'string') return c.json({ error: `expected \`text\` to be a string, got ${typeof text}` }, 400);
    if (typeof top !== 'number' || !Number.isInteger(top) || top < 1 || top > 1000)
      return c.json({ error: `expected \`top\` to be a whole number from 1 to 1000, got ${JSON.stringify(top)}` }, 400);
    return { text, top };
  }),
  (c) => {
    const { text, top } = c.req.valid('json');
    const counts = new Map<string, number>();
    for (const [word] of text.toLowerCase().matchAll(/[\p{L}\p{N}]+/gu)) counts.set(word, (counts.get(word) ?? 0) + 1);
    const words = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).slice(0, top);
    return c.json({ total: [...counts.values()].reduce((sum, count) => sum + count, 0), words: Object.fromEntries(words) });
  },
);

/** The prime numbers below a bound, a line each, as they are found. A client that reads slowly holds the search back. */
app.get('/primes/:below{[0-9]{1,9}}', (c) => {
  const below = Number(c.req.param('below'));
  c.header('content-type', 'text/plain; charset=utf-8');
  return stream(c, async (out) => {
    let lines = '';
    for (let number = 2; number < below && !out.aborted; number++) {
      if (isPrime(number)) lines += `${number}\n`;
      if (lines.length < 4096) continue;
      await out.write(lines);
      lines = '';
    }
    await out.write(lines);
  });
});

const isPrime = (number: number): boolean => {
  for (let divisor = 2; divisor * divisor <= number; divisor++) if (number % divisor === 0) return false;
  return true;
};

/** The digest and the size of what is sent: `curl -T film.mkv localhost:8000/tools/digest/sha256 -X POST`. */
app.post('/digest/:hash', async (c) => {
  const { hash, bytes } = await digested(c);
  return c.json({ bytes, [c.req.param('hash')]: hash });
});

/** The same, and how far it is while the upload is still under way, as server-sent events. */
app.post('/digest/:hash/progress', (c) =>
  streamSSE(c, async (events) => {
    try {
      const { hash, bytes } = await digested(c, (progress) =>
        events.writeSSE({ event: 'progress', data: JSON.stringify({ bytes: progress }) }),
      );
      await events.writeSSE({ event: 'done', data: JSON.stringify({ bytes, [c.req.param('hash')]: hash }) });
    } catch (error) {
      await events.writeSSE({ event: 'error', data: (error as Error).message });
    }
  }),
);

/** Reads the body piece by piece; only one of them is ever in memory. */
const digested = async (
  c: Context<Env>,
  tell: (bytes: number) => Promise<void> = async () => {},
): Promise<{ readonly hash: string; readonly bytes: number }> => {
  const name = c.req.param('hash') ?? '';
  if (!HASHES.has(name)) throw new HTTPException(400, { message: `expected a hash of ${[...HASHES].join(', ')}, got ${name}` });
  const hash = createHash(name);
  let bytes = 0;
  let toldAt = 0;
  for await (const piece of c.req.raw.body ?? []) {
    hash.update(piece);
    bytes += piece.byteLength;
    if (bytes - toldAt < TELL_EVERY_BYTES) continue;
    toldAt = bytes;
    await tell(bytes);
  }
  return { hash: hash.digest('hex'), bytes };
};

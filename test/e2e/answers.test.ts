/** What clients get: every kind of answer, errors, time-outs, limits. */
import { request } from 'node:http';
import t from 'tap';
import { ask, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, ECHO, HEAD, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `import { HttpError } from 'serve-daemon';
export async function echo(input) { return input; }
export async function kind(input) { return input === null ? 'null' : input instanceof Uint8Array ? 'bytes ' + input.length : typeof input; }
export async function bytes(input) { return new Uint8Array([0, 255, 10, 13]); }
export async function nothing() { return null; }
export async function response() { return new Response('made by hand', { status: 418, headers: { 'x-mine': 'yes', 'content-type': 'text/x-own' } }); }
export async function* stream(input) { for (let i = 0; i < input.count; i++) yield 'part ' + i + '\\n'; }
export async function* items() { yield { a: 1 }; yield { a: 2 }; }
export async function* breaks() { yield 'begun'; throw new Error('the secret of the stream'); }
/** Fills one buffer again and again, as code that reads files does. */
export async function* refills(input) { const buffer = Buffer.alloc(input.size); for (let i = 0; i < 6; i++) { buffer.fill(97 + i); yield buffer; } }
export class Refilled {
  async fetch() {
    const buffer = new Uint8Array(8192);
    let i = 0;
    const pull = (controller) => { if (i === 6) return controller.close(); buffer.fill(97 + i++); controller.enqueue(buffer); };
    return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));
  }
}
export async function throws() { const error = new Error('the secret detail'); throw error; }
export async function http() { throw new HttpError(422, 'expected more', { 'x-why': 'less' }); }
export async function context(input, { request, requestId }) {
  return { requestId, path: request.path, method: request.method, q: request.query.get('q'), header: request.headers.get('x-mine') };
}
export class Slow {
  seen = [];
  async call(input, { signal }) {
    if (input === 'seen') return this.seen;
    this.seen.push('began ' + input);
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    this.seen.push('aborted ' + input);
    return 'too late';
  }
}
export class Fetcher {
  async fetch(request, context) {
    const url = new URL(request.url);
    return Response.json({ method: request.method, path: url.pathname, q: url.searchParams.get('q'), body: await request.text() });
  }
}
`;

const names = [
  'echo',
  'kind',
  'bytes',
  'nothing',
  'response',
  'stream',
  'items',
  'breaks',
  'throws',
  'http',
  'context',
  'Fetcher',
  'refills',
  'Refilled',
];
const CONFIG = configOf(
  [
    ...names.map((name) => single(name, `/${name.toLowerCase()}`, { import_path: `./code.ts:${name}` })),
    single('slow', '/slow', { import_path: './code.ts:Slow', max_ongoing_requests: 2 }),
    single('one', '/one', { import_path: './code.ts:Slow', max_ongoing_requests: 1 }),
  ],
  HEAD.replace('port: 0}', 'port: 0, max_request_body: 100KB}'),
);

t.test('one daemon with many kinds of code', async (t) => {
  await using daemon = await startDaemon(CONFIG, { files: { 'code.ts': CODE } });

  await t.test('JSON, text and bytes come back as what they were', async (t) => {
    const value = { a: [1, 2.5, null, true], b: { c: 'ü€😀' } };
    const json = await daemon.post('/echo', value);
    t.same(JSON.parse(json.text), value);
    t.equal(json.headers['content-type'], 'application/json');
    const text = await daemon.ask('/echo', { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'grüße' });
    t.equal(text.text, 'grüße');
    t.equal(text.headers['content-type'], 'text/plain; charset=utf-8');
    const body = new Uint8Array(50_000).map((_, index) => index * 7);
    const bytes = await daemon.ask('/echo', { method: 'POST', headers: { 'content-type': 'image/png' }, body });
    t.same(bytes.body, Buffer.from(body));
    t.equal(bytes.headers['content-type'], 'application/octet-stream');
    t.equal(bytes.headers['content-length'], '50000');
  });

  await t.test('an empty body is null to the code, and null is an empty answer', async (t) => {
    t.equal((await daemon.ask('/kind', { method: 'POST' })).text, 'null');
    t.equal((await daemon.ask('/kind')).text, 'null');
    const nothing = await daemon.ask('/nothing');
    t.equal(nothing.status, 200);
    t.equal(nothing.body.length, 0);
    t.same((await daemon.ask('/bytes')).body, Buffer.from([0, 255, 10, 13]));
  });

  await t.test('a Response is sent as it is', async (t) => {
    const answer = await daemon.ask('/response');
    t.match(answer, { status: 418, text: 'made by hand', headers: { 'x-mine': 'yes', 'content-type': 'text/x-own' } });
  });

  await t.test('a class with fetch sees method, path, query and body', async (t) => {
    const answer = await daemon.ask('/fetcher/deep?q=1%202', { method: 'PUT', body: 'sent' });
    t.same(JSON.parse(answer.text), { method: 'PUT', path: '/fetcher/deep', q: '1 2', body: 'sent' });
  });

  await t.test('a generator is streamed: strings as text, objects as lines of JSON', async (t) => {
    const text = await daemon.post('/stream', { count: 1000 });
    t.equal(text.text, Array.from({ length: 1000 }, (_, index) => `part ${index}\n`).join(''));
    const lines = await daemon.ask('/items');
    t.equal(lines.headers['content-type'], 'application/x-ndjson');
    t.equal(lines.text, '{"a":1}\n{"a":2}\n');
  });

  await t.test('a generator that throws after its first item cuts the answer off, and tells the client no reason', async (t) => {
    await t.rejects(daemon.ask('/breaks', { headers: { 'x-request-id': 'broken-stream' } }), /cut off|hang up|reset|aborted/);
    const line = await daemon.waitForLog((line) => line.msg === 'request failed' && line['requestId'] === 'broken-stream');
    t.match(line, { error: { message: 'the secret of the stream' } });
    t.match(await daemon.access('broken-stream'), { status: 500 });
  });

  await t.test('a stream is what the code gave, also where it fills its buffer anew for each piece', async (t) => {
    const pieces = (size: number) => [...'abcdef'].map((letter) => letter.repeat(size)).join('');
    for (const size of [100, 8192]) t.ok((await daemon.post('/refills', { size })).text === pieces(size), `${size} bytes`);
    t.ok((await daemon.ask('/refilled')).text === pieces(8192));
  });

  await t.test('code that throws is 500 without detail, and the detail is in the log', async (t) => {
    const answer = await daemon.ask('/throws', { headers: { 'x-request-id': 'thrown' } });
    t.match(answer, { status: 500, text: 'Internal Server Error', headers: { 'x-serve-error': 'USER_ERROR' } });
    t.notMatch(JSON.stringify(answer.headers), /secret/);
    const line = await daemon.waitForLog((line) => line.msg === 'request failed' && line['requestId'] === 'thrown');
    t.match(line, { source: 'throws/Only', error: { message: 'the secret detail', stack: /code\.ts:\d+/ } });
  });

  await t.test('an HttpError reaches the client with its status, message and headers', async (t) => {
    t.match(await daemon.ask('/http'), { status: 422, text: 'expected more', headers: { 'x-why': 'less' } });
  });

  await t.test('errors are problem+json for clients that accept JSON', async (t) => {
    const answer = await daemon.ask('/http', { headers: { accept: 'application/json' } });
    t.equal(answer.headers['content-type'], 'application/problem+json');
    t.match(JSON.parse(answer.text), { status: 422, detail: 'expected more' });
    const unknown = await daemon.ask('/nowhere', { headers: { accept: 'text/html, application/json;q=0.5' } });
    t.match(JSON.parse(unknown.text), { status: 404, code: 'ROUTE_NOT_FOUND' });
  });

  await t.test('bad JSON is 400 with the place', async (t) => {
    const answer = await daemon.ask('/echo', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"a": 1,\n "b": oops}',
    });
    t.match(answer, { status: 400, text: /unexpected "o" at line 2, column 7/ });
  });

  await t.test('an unknown route is 404 and says where to look; prefixes end at slashes', async (t) => {
    t.match(await daemon.ask('/nowhere'), {
      status: 404,
      text: /^Path '\/nowhere' not found\. Ping http:\/\/127\.0\.0\.1:\d+\/-\/routes/,
    });
    t.equal((await daemon.ask('/echoes')).status, 404);
    t.equal((await daemon.post('/echo/below', 1)).text, '1');
  });

  await t.test('/-/routes tells routes and applications, /-/healthz that all is well', async (t) => {
    t.match(JSON.parse((await daemon.ask('/-/routes')).text), { '/echo': 'echo', '/slow': 'slow' });
    t.match(await daemon.ask('/-/healthz'), { status: 200, text: 'success' });
  });

  await t.test('a request id is taken over, or made, and reaches code and log', async (t) => {
    const given = await daemon.ask('/context/x?q=ü', { headers: { 'x-request-id': 'my-id', 'x-mine': 'here' } });
    t.equal(given.headers['x-request-id'], 'my-id');
    t.match(JSON.parse(given.text), { requestId: 'my-id', path: '/context/x', method: 'GET', header: 'here' });
    t.match(await daemon.access('my-id'), {
      application: 'context',
      route: '/context',
      status: 200,
      deployments: [{ deployment: 'context/Only', batch: 1 }],
    });
    t.match((await daemon.ask('/context')).headers['x-request-id'], /^[0-9a-f-]{36}$/);
  });

  await t.test('x-request-timeout-seconds gives 408 in work, and the signal aborts', async (t) => {
    const answer = await daemon.post('/slow', 'timed', { 'x-request-timeout-seconds': '0.2' });
    t.match(answer, { status: 408, headers: { 'x-serve-error': 'DEADLINE_EXCEEDED' } });
    await until('the signal was aborted', async () => (await daemon.post('/slow', 'seen')).text.includes('aborted timed'));
  });

  await t.test('what code answers because its time is over does not make a 200 of the 408', async (t) => {
    const statuses = new Set<number>();
    for (let n = 0; n < 40; n++)
      statuses.add((await daemon.post('/slow', `late ${n}`, { 'x-request-timeout-seconds': '0.02' })).status);
    t.same([...statuses], [408]);
  });

  await t.test('x-request-timeout-seconds gives 408 in the queue, and what waited is never begun', async (t) => {
    const gone = new AbortController();
    const first = daemon
      .ask('/one', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '"first"', signal: gone.signal })
      .catch(() => {});
    await daemon.when('the first is in work', ({ applications }) => applications['one']?.deployments['Only']?.ongoing === 1);
    t.equal((await daemon.post('/one', 'second', { 'x-request-timeout-seconds': '0.1' })).status, 408);
    gone.abort();
    await first;
    t.same(JSON.parse((await daemon.post('/one', 'seen')).text), ['began first', 'aborted first']);
  });

  await t.test('a client that leaves aborts the signal of its request, and is logged as 499', async (t) => {
    const gone = new AbortController();
    const lost = daemon.ask('/slow', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': 'left' },
      body: '"left"',
      signal: gone.signal,
    });
    await until('it began', async () => (await daemon.post('/slow', 'seen')).text.includes('began left'));
    gone.abort();
    await t.rejects(lost);
    await until('the signal was aborted', async () => (await daemon.post('/slow', 'seen')).text.includes('aborted left'));
    t.match(await daemon.access('left'), { status: 499 });
  });

  await t.test('a body that is too large is 413, whether its length is told or not', async (t) => {
    const told = await ask(`${daemon.url}/echo`, { method: 'POST', body: 'x'.repeat(100_001) });
    t.match(told, { status: 413, headers: { 'x-serve-error': 'PAYLOAD_TOO_LARGE' } });
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const outgoing = request(
        `${daemon.url}/echo`,
        { method: 'POST', headers: { 'transfer-encoding': 'chunked' } },
        (incoming) => {
          incoming.resume();
          resolve(incoming.statusCode);
        },
      );
      outgoing.on('error', reject);
      const more = () => {
        for (let count = 0; count < 8; count++) if (!outgoing.destroyed) outgoing.write('y'.repeat(20_000));
      };
      more();
    });
    t.equal(status, 413);
    t.equal((await daemon.ask('/echo', { method: 'POST', body: 'x'.repeat(100_000) })).body.length, 100_000);
  });

  await t.test('it ends with 0 when asked', async (t) => {
    t.same(await daemon.stop(), { code: 0, signal: null });
    t.same(daemon.processes(), []);
  });
});

t.test('/-/healthz and a route say 503 until the application has come up, then it serves', async (t) => {
  const slow = `import { existsSync } from 'node:fs';
    export class Late { constructor({ file }) { this.file = file; return (async () => { while (!existsSync(file)) await new Promise((r) => setTimeout(r, 10)); return this; })(); }
    call() { return 'here'; } }`;
  const config = configOf([
    single('late', '/late', { import_path: './late.ts:Late', init_args: { file: 'go' } }),
    single('echo', '/echo', { import_path: './echo.ts:echo' }),
  ]);
  await using daemon = await startDaemon(config, { files: { 'late.ts': slow, 'echo.ts': ECHO }, ready: false });
  await until('the other one serves', async () => (await daemon.post('/echo', 7)).text === '7');
  t.match(await daemon.ask('/-/healthz'), { status: 503, text: /not every application is ready/ });
  t.match(await daemon.ask('/late'), { status: 503, text: 'Application late is starting.', headers: { 'retry-after': '1' } });
  await daemon.write('go', '');
  await daemon.running();
  t.equal((await daemon.ask('/late')).text, 'here');
  t.match(await daemon.ask('/-/healthz'), { status: 200, text: 'success' });
});

/** One set of assertions on one application, in this process and in the daemon. */
import { readFile } from 'node:fs/promises';
import { run } from 'serve-daemon';
import t from 'tap';
import { configOf, HEAD } from '../e2e/configs.ts';
import { startDaemon } from '../support/daemon-rig.ts';
import { app, PROBES, site } from '../support/parity-app.ts';

t.setTimeout(120_000);

/** One that serves `app` at `/`, and `site` at `/site`. */
interface World extends AsyncDisposable {
  readonly title: string;
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Each does a probe and tells what came of it. */
  readonly probes: readonly { readonly title: string; readonly of: (name: string) => Promise<unknown> }[];
}

const overHttp = (fetch: World['fetch']) => ({
  title: 'a deployment that has the handles',
  of: async (name: string) => {
    const answer = await fetch(`/${name}`);
    if (answer.status !== 200) throw new Error(`${answer.status}: ${await answer.text()}`);
    return ((await answer.json()) as { came: unknown }).came;
  },
});

const inThisProcess = async (): Promise<World> => {
  const options = { logLevel: 'silent' };
  const local = await run(app, options);
  const localSite = await run(site, { name: 'site', ...options });
  const fetch: World['fetch'] = (path, init) => (path.startsWith('/site') ? localSite : local).fetch(path, init);
  const handles = {
    target: local.handleOf('Target'),
    batched: local.handleOf('Batched'),
    gate: local.handleOf('Gate'),
    library: local.handleOf('Library'),
    pair: local.handleOf('Pair'),
  } as Parameters<NonNullable<(typeof PROBES)[string]>>[0];
  const direct = {
    title: 'the test, which has handles itself',
    // As an answer would say it.
    of: async (name: string) => JSON.parse(JSON.stringify(await PROBES[name]?.(handles))) as unknown,
  };
  return {
    title: 'in this process',
    fetch,
    probes: [overHttp(fetch), direct],
    [Symbol.asyncDispose]: async () => {
      await local.close();
      await localSite.close();
    },
  };
};

const inTheDaemon = (server: 'node' | 'uws') => async (): Promise<World> => {
  const code = await readFile(new URL('../support/parity-app.ts', import.meta.url), 'utf8');
  const config = configOf(
    [
      { name: 'default', route_prefix: '/', import_path: './app.ts:app' },
      { name: 'site', route_prefix: '/site', import_path: './app.ts:site' },
    ],
    HEAD.replace('port: 0}', `port: 0, server: ${server}}`),
  );
  const daemon = await startDaemon(config, { files: { 'app.ts': code } });
  const send: World['fetch'] = (path, init) => fetch(new URL(path, daemon.url), { redirect: 'manual', ...init });
  return {
    title: `in the daemon (${server})`,
    fetch: send,
    probes: [overHttp(send)],
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  };
};

const error = (code: string, name: string, message: string, source?: string, more: object = {}) => ({
  error: { name, message, code, ...(source === undefined ? {} : { source }), status: 500, ...more },
});
const TARGET = 'default/Target';
const CANCELLED = error('CLIENT_CLOSED', 'ServeError', 'the call was cancelled by its caller', undefined, { status: 499 });

/** By the probe. */
const EXPECTED: Readonly<Record<string, unknown>> = {
  values: [{ text: 'ä', list: [1, null, true] }, 2, 'when: Date, bytes: Buffer, floats: Float32Array, map: Map', null],
  isCopied: [[1, 2], 3, [7, 7, 7]],
  ranks: [0, 1],
  errors: [
    error('USER_ERROR', 'RangeError', 'too far', TARGET, {
      cause: {
        name: 'TypeError',
        message: 'no ruler',
        code: 'USER_ERROR',
        status: 500,
        cause: { name: 'Error', message: 'lost', code: 'USER_ERROR', status: 500 },
      },
    }),
    error('HTTP_ERROR', 'HttpError', 'not for you', TARGET, { status: 451 }),
    error('USER_ERROR', 'Error', 'only a text', TARGET),
  ],
  batches: [
    [
      { value: { item: 'a', of: 3, own: false } },
      { value: { item: 'b', of: 3, own: false } },
      error('USER_ERROR', 'RangeError', 'only this one', 'default/Batched'),
    ],
    [error('USER_ERROR', 'Error', 'all of them', 'default/Batched')],
    [
      error(
        'USER_ERROR',
        'ServeError',
        'expected `call` to return an array of 1 (one result for each input), got an array of 0',
        'default/Batched',
      ),
    ],
  ],
  streams: [[1, 2, 3], [1, 2, 3], [1, 2], ['one'], error('USER_ERROR', 'SyntaxError', 'midway', TARGET)],
  isFull: [
    error(
      'QUEUE_FULL',
      'ServeError',
      'Request dropped due to backpressure (num_queued_requests=1, max_queued_requests=1).',
      'default/Gate',
      { status: 429 },
    ),
    CANCELLED,
    CANCELLED,
  ],
  isCancelled: ['CLIENT_CLOSED'],
  isAborted: [CANCELLED, ['CLIENT_CLOSED']],
  isLate: [
    error('DEADLINE_EXCEEDED', 'ServeError', 'The request was not answered in time.', 'default/Gate', { status: 408 }),
    ['CLIENT_CLOSED'],
  ],
  models: [
    { value: ['a', 'b'] },
    { value: 'loaded once' },
    error('HTTP_ERROR', 'HttpError', 'there is no missing', 'default/Library', { status: 404 }),
    {
      error: {
        name: 'ServeError',
        message:
          'expected the id of a model, got none; name it in the header `serve_multiplexed_model_id` (or with hyphens), or as the option `modelId` of a handle',
        code: 'INVALID_INPUT',
        source: 'default/Library',
        status: 400,
      },
    },
  ],
  context: { application: 'default', deployment: 'Target', hasId: true, sessionId: 's1', hasRequest: false },
};

/** Framing and dates are the driver's, and an id is new each time. */
const VOLATILE = new Set(['connection', 'date', 'keep-alive', 'transfer-encoding', 'x-request-id']);
const answerOf = async (response: Response) => ({
  status: response.status,
  headers: Object.fromEntries([...response.headers].filter(([name]) => !VOLATILE.has(name))),
  text: await response.text(),
});
const TEXT = 'text/plain; charset=utf-8';
const JSON_TYPE = { 'content-type': 'application/json' };

/** What is asked, and what of status, text and headers must be so, with no header beside them but `content-length`. */
const REQUESTS: readonly (readonly [string, string, RequestInit, number, string, Record<string, string>])[] = [
  ['JSON is decoded', '/kind', { method: 'POST', body: '{"a": 1}', headers: JSON_TYPE }, 200, 'object', { 'content-type': TEXT }],
  ['text is text', '/kind', { method: 'POST', body: 'text' }, 200, 'string', { 'content-type': TEXT }],
  ['bytes are bytes', '/kind', { method: 'POST', body: new Uint8Array(3) }, 200, '3 bytes', { 'content-type': TEXT }],
  ['no body is null', '/kind', { method: 'POST' }, 200, 'null', { 'content-type': TEXT }],
  [
    'a mistake in JSON is told with its place',
    '/kind',
    { method: 'POST', body: '{"a": \n 1,}', headers: JSON_TYPE },
    400,
    'expected a JSON body: unexpected "}" at line 2, column 4',
    { 'content-type': TEXT, 'x-serve-error': 'INVALID_INPUT' },
  ],
  [
    'code sees the request',
    '/request?q=1&q=%C3%A4',
    { headers: { 'X-Own': 'mine' } },
    200,
    '["GET","/request",["1","ä"],"mine"]',
    JSON_TYPE,
  ],
  ['null is an empty answer', '/null', {}, 200, '', {}],
  ['bytes are an answer', '/bytes', {}, 200, '\u0001\u0002\u0003', { 'content-type': 'application/octet-stream' }],
  ['a map with a tensor is JSON', '/tensor', {}, 200, '{"t":[[1,2]]}', JSON_TYPE],
  ['strings of a generator are text', '/stream', {}, 200, 'onetwo', { 'content-type': TEXT }],
  ['objects of a generator are lines', '/lines', {}, 200, '{"a":1}\n{"a":2}\n', { 'content-type': 'application/x-ndjson' }],
  [
    'an HttpError keeps status and headers',
    '/teapot',
    {},
    418,
    'short and stout',
    { 'content-type': TEXT, 'x-serve-error': 'HTTP_ERROR', 'x-tea': 'earl grey' },
  ],
  [
    'that of a child too',
    '/child-http',
    {},
    451,
    'not for you',
    { 'content-type': TEXT, 'x-serve-error': 'HTTP_ERROR', 'x-why': 'law' },
  ],
  [
    'of any other error clients learn nothing',
    '/throws',
    {},
    500,
    'Internal Server Error',
    { 'content-type': TEXT, 'x-serve-error': 'USER_ERROR' },
  ],
  [
    'also where a child threw it',
    '/child-throws',
    { headers: { accept: 'application/json' } },
    500,
    '{"type":"about:blank","title":"User error","status":500,"detail":"Internal Server Error","code":"USER_ERROR"}',
    { 'content-type': 'application/problem+json', 'x-serve-error': 'USER_ERROR' },
  ],
  [
    'what takes too long is a 408',
    '/late',
    { headers: { 'x-request-timeout-seconds': '0.05' } },
    408,
    'The request was not answered in time.',
    { 'content-type': TEXT, 'x-serve-error': 'DEADLINE_EXCEEDED' },
  ],
  ['the routes are told', '/-/healthz', {}, 200, 'success', { 'content-type': TEXT }],
  ['HEAD has no body', '/any', { method: 'HEAD' }, 200, '', { 'content-type': TEXT, 'content-length': '12' }],
  [
    'fetch gets the request',
    '/site/a?b=c',
    { method: 'PUT', body: 'd' },
    200,
    'PUT /site/a?b=c d',
    { 'content-type': 'text/plain;charset=UTF-8', 'x-site': 'yes' },
  ],
  ['a redirect is an answer', '/site/moved', {}, 303, '', { location: '/site/there' }],
  ['so is one without a body', '/site/empty', {}, 204, '', {}],
  ['and one that may have none', '/site/reset', {}, 205, '', {}],
  ['both cookies come', '/site/cookies', {}, 200, 'two', { 'content-type': 'text/plain;charset=UTF-8', 'set-cookie': 'b=2' }],
  [
    'fetch must return a Response',
    '/site/odd',
    {},
    500,
    'Internal Server Error',
    { 'content-type': TEXT, 'x-serve-error': 'USER_ERROR' },
  ],
  [
    'a long body comes in pieces',
    '/site/upload',
    { method: 'POST', body: new Uint8Array(1_000_000).fill(1) },
    200,
    '{"bytes":1000000,"sum":1000000}',
    JSON_TYPE,
  ],
];

for (const start of [inThisProcess, inTheDaemon('node'), inTheDaemon('uws')]) {
  t.test(start === inThisProcess ? 'in this process' : 'in the daemon', async (t) => {
    await using world = await start();
    t.comment(world.title);
    for (const { title, of } of world.probes) {
      for (const [name, expected] of Object.entries(EXPECTED)) t.same(await of(name), expected, `${title}: ${name}`);
      const refusals = (await of('refused')) as { error: { code: string; message: string } }[];
      t.match(
        refusals.map(({ error: { code, message } }) => `${code}: ${message}`),
        [
          'USER_ERROR: the value at `deep[0]` cannot be encoded: it is a function',
          'USER_ERROR: the value at `deep` cannot be encoded: it is an instance of Odd',
          'USER_ERROR: the value at `handle` cannot be encoded: it is an instance of Handle',
          /^USER_ERROR: .* cannot be encoded: it is a function/,
          /^CALL_REFUSED: default\/Target has no method `none`; it has echo, spoil/,
          /^CALL_REFUSED: default\/Target has no method `_hidden`/,
          /^CALL_REFUSED: expected `priority` to be a whole number from 0 to 7, got 8/,
          /^CALL_REFUSED: expected `modelId` and `sessionId` to be texts that are not empty/,
        ],
        `${title}: what cannot be`,
      );
    }
    for (const [title, path, init, status, text, headers] of REQUESTS) {
      const answer = await answerOf(await world.fetch(path, init));
      const { 'content-length': _length, ...own } = answer.headers;
      const seen = headers['content-length'] === undefined ? own : answer.headers;
      t.same({ ...answer, headers: seen }, { status, text, headers }, `${title}: ${path}`);
    }
    await t.rejects(
      async () => (await world.fetch('/breaks')).text(),
      { name: 'TypeError' },
      'a stream that breaks is not whole',
    );
    const id = await world.fetch('/any', { headers: { 'x-request-id': 'mine' } });
    t.equal(id.headers.get('x-request-id'), 'mine');
    t.equal(await id.text(), 'echo of null');
    t.match((await world.fetch('/any')).headers.get('x-request-id'), /^[\da-f-]{36}$/);
    const leave = new AbortController();
    const left = world.fetch('/late', { signal: leave.signal });
    leave.abort();
    await t.rejects(left, { name: 'AbortError' });
  });
}

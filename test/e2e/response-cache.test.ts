/** The response cache on a real daemon: what is answered from memory, on both HTTP drivers, in all forms, and what never is. */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import t, { type Test } from 'tap';
import { type Answer, type DaemonRig, runProgram, startDaemon, until } from '../support/daemon-rig.ts';
import { infer } from '../support/inference.ts';
import { addModel } from '../support/onnx-writer.ts';
import { configOf, HEAD } from './configs.ts';

t.setTimeout(180_000);

/** `run` numbers the runs of a replica, so that an answer tells which one it is of. */
const CODE = `
let runs = 0;
const gates = new Map();
const gate = (name) => {
  let each = gates.get(name);
  if (each === undefined) {
    each = {};
    each.opened = new Promise((resolve) => { each.open = resolve; });
    gates.set(name, each);
  }
  return each;
};
export class Work {
  #word = 'none';
  reconfigure({ word }) { this.#word = word; }
  async call(input, context) {
    const run = ++runs;
    if (input?.open) gate(input.open).open();
    if (input?.fail) throw new Error('it failed');
    if (input?.gate) {
      const cancelled = new Promise((resolve) => context.signal.addEventListener('abort', resolve));
      await Promise.race([gate(input.gate).opened, cancelled]);
    }
    return { run, word: this.#word, language: context.request?.headers.get('accept-language') ?? null };
  }
}
export class Front {
  constructor({ work }) { this.work = work; }
  async call(input) { return { front: ++runs, work: await this.work.call(input) }; }
}
export const web = {
  async fetch(request) {
    const headers = new Headers({ run: String(++runs) });
    const url = new URL(request.url);
    for (const [name, value] of url.searchParams) headers.set(name, value);
    if (headers.has('open')) gate(headers.get('open')).open();
    if (headers.has('gate')) await gate(headers.get('gate')).opened;
    if (url.pathname.endsWith('/mine')) headers.set('for', request.headers.get('x-request-id'));
    if (url.pathname.endsWith('/stream')) {
      const later = () => new Promise((resolve) => setTimeout(resolve, 20));
      const pieces = ['A', 'B'];
      const body = new ReadableStream({
        async pull(out) {
          const piece = pieces.shift();
          if (piece === 'B') await later();
          if (piece === undefined) out.close();
          else out.enqueue(new TextEncoder().encode(piece));
        },
      });
      return new Response(body, { headers });
    }
    return new Response(request.method + ' ' + await request.text(), { status: Number(url.searchParams.get('status') ?? 200), headers });
  },
};
`;

const ON = { response_cache: {} };

const config = (server: 'uws' | 'node', { word = 'first', work = ON as object, model = ON as object } = {}) =>
  configOf(
    [
      {
        name: 'code',
        route_prefix: '/code',
        deployments: [
          { name: 'Work', import_path: './work.mjs:Work', user_config: { word }, max_ongoing_requests: 200, ...work },
        ],
      },
      {
        name: 'front',
        route_prefix: '/front',
        deployments: [
          { name: 'Front', import_path: './work.mjs:Front', ...ON },
          { name: 'Work', import_path: './work.mjs:Work', user_config: { word } },
        ],
        graph: { ingress: 'Front', calls: { Front: { work: 'Work' } } },
      },
      {
        name: 'flow',
        route_prefix: '/flow',
        deployments: [{ name: 'Work', import_path: './work.mjs:Work', user_config: { word }, ...ON }],
        graph: { steps: { one: { call: 'Work', input: '$request.json' } }, output: '$one' },
      },
      { name: 'web', route_prefix: '/web', deployments: [{ name: 'Web', import_path: './work.mjs:web', ...ON }] },
      { name: 'off', route_prefix: '/off', deployments: [{ name: 'Work', import_path: './work.mjs:Work' }] },
      { name: 'models', route_prefix: '/add', deployments: [{ name: 'add', model: './add.onnx', ...model }] },
    ],
    HEAD.replace('port: 0}', `port: 0, server: ${server}}`),
  );

const files = { 'work.mjs': CODE, 'add.onnx': addModel([10, 20]) };

const use = ({ headers }: Answer): unknown => headers['x-serve-cache'];
const run = ({ text }: Answer): number => (JSON.parse(text) as { run: number }).run;

/** Calls of a deployment by what the cache did for them, and how many runs there were. */
const counted = async (daemon: DaemonRig, application: string, deployment: string) => {
  const { text } = await daemon.ask('/metrics', {}, daemon.adminUrl);
  const of = `application="${application}",deployment="${deployment}"`;
  const value = (series: string) => {
    const line = text.split('\n').find((each) => each.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1));
  };
  const requests = (result: string) => value(`serve_response_cache_requests_total{${of},result="${result}"}`);
  return {
    hit: requests('hit'),
    shared: requests('shared'),
    miss: requests('miss'),
    bypass: requests('bypass'),
    runs: value(`serve_deployment_processing_seconds_count{${of}}`),
    entries: value(`serve_response_cache_entries{${of}}`),
    bytes: value(`serve_response_cache_bytes{${of}}`),
    evicted: value(`serve_response_cache_evictions_total{${of},reason="size"}`),
    inFlight: value('serve_http_requests_in_flight'),
  };
};

for (const server of ['uws', 'node'] as const) {
  t.test(`on ${server}`, async (t) => {
    await using daemon = await startDaemon(config(server), { files });
    await t.test('plain JSON', (t) => plain(t, daemon));
    await t.test('what must not be answered from memory', (t) => never(t, daemon));
    await t.test('answers of fetch', (t) => web(t, daemon));
    await t.test('the Open Inference Protocol', (t) => inference(t, daemon));
    await t.test('calls of other deployments, and of steps', (t) => calls(t, daemon));
    await t.test('a hundred at once', (t) => atOnce(t, daemon));
    await t.test('an answer for one', (t) => apart(t, daemon));
    await t.test('the first leaves', (t) => leaves(t, daemon));
    await t.test('changes of the config and the files', (t) => changes(t, daemon, server));
  });
}

const plain = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const first = await daemon.post('/code', { a: 1 }, { 'x-request-id': 'one' });
  const again = await daemon.post('/code', { a: 1 }, { 'x-request-id': 'two', traceparent: '00-a-b-01' });
  t.same([use(first), use(again)], ['miss', 'hit']);
  t.equal(again.text, first.text);
  t.equal(again.headers['x-request-id'], 'two', 'each answer has the id of its own request');
  t.equal(again.headers['content-type'], first.headers['content-type']);
  t.match(await daemon.access('two'), { status: 200, deployments: [{ deployment: 'code/Work', replica: '', cache: 'hit' }] });
  t.match(await daemon.access('one'), { deployments: [{ cache: 'miss' }] });
  t.equal(use(await daemon.post('/code', { a: 2 })), 'miss');

  const [de, fr] = ['de', 'fr'].map((language) => daemon.post('/code', { a: 1 }, { 'accept-language': language }));
  t.match(JSON.parse((await de)?.text ?? ''), { language: 'de' }, 'what code may read is asked');
  t.match(JSON.parse((await fr)?.text ?? ''), { language: 'fr' });

  const off = await daemon.post('/off', { a: 1 });
  t.equal(use(off), undefined, 'where there is no cache nothing is said of one');
  t.equal(run(await daemon.post('/off', { a: 1 })), run(off) + 1);
  const { applications } = await daemon.status();
  t.match(applications['code']?.deployments['Work'], {
    response_cache: { requests: { hit: 1 }, entries: 4 },
    deployment_config: { response_cache: { max_bytes: 64 * 2 ** 20, ttl_s: null, vary: null } },
  });
  t.equal(applications['off']?.deployments['Work']?.response_cache, null);
  const { out } = await runProgram(['status', '--address', daemon.adminUrl]);
  t.match(out, /response cache: 1 hit, 0 shared, 4 missed, 0 bypassed, 4 answers in 0\.0 MiB/);
};

const never = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const passes: readonly Record<string, string>[] = [
    { authorization: 'Bearer a' },
    { cookie: 'a=1' },
    { 'cache-control': 'no-cache' },
    { 'cache-control': 'no-store' },
  ];
  for (const headers of passes) {
    const [one, two] = [await daemon.post('/code', { a: 1 }, headers), await daemon.post('/code', { a: 1 }, headers)];
    t.same([use(one), use(two)], ['bypass', 'bypass'], JSON.stringify(headers));
    t.equal(run(two), run(one) + 1);
  }
  const before = await counted(daemon, 'code', 'Work');
  for (let n = 0; n < 2; n++) t.equal((await daemon.post('/code', { fail: true })).status, 500);
  const after = await counted(daemon, 'code', 'Work');
  t.equal((after.runs ?? 0) - (before.runs ?? 0), 2, 'a failure is not kept');
  t.equal(after.entries, before.entries);
};

const web = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const twice = async (path: string, method = 'GET', body?: string) => {
    const ask = () => daemon.ask(`/web${path}`, { method, ...(body === undefined ? {} : { body }) });
    const answers = [await ask(), await ask()];
    return {
      uses: answers.map(use),
      isSame: answers[0]?.headers['run'] === answers[1]?.headers['run'],
      texts: answers.map(({ text }) => text),
    };
  };
  t.same(await twice('/kept'), { uses: ['miss', 'hit'], isSame: true, texts: ['GET ', 'GET '] });
  t.match(await twice('/kept', 'HEAD'), { uses: ['miss', 'hit'], isSame: true });
  t.match(await twice('/kept', 'POST', 'x'), { uses: ['miss', 'hit'], texts: ['POST x', 'POST x'] });
  t.match(await twice('/kept', 'PUT', 'x'), { uses: ['bypass', 'bypass'], isSame: false });
  t.match(await twice('/p?cache-control=max-age%3D60'), { uses: ['miss', 'hit'] });
  for (const query of ['set-cookie=a%3D1', 'cache-control=private', 'cache-control=no-store', 'vary=*'])
    t.match(await twice(`/p?${query}`), { uses: ['miss', 'bypass'], isSame: false }, query);
  t.match(await twice('/p?status=404'), { uses: ['miss', 'miss'], isSame: false });
  t.match(await twice('/stream'), { uses: ['miss', 'bypass'], isSame: false, texts: ['AB', 'AB'] });
  t.equal(await upload(daemon), 'bypass', 'it is never held whole');
};

/** A body whose end comes when its code is at work. @returns what the cache did */
const upload = async (daemon: DaemonRig): Promise<unknown> => {
  const sent = request(`${daemon.url}/web/upload`, { method: 'POST' });
  sent.write('x'.repeat(100_000));
  await until('its code is at work', async () => (await daemon.status()).applications['web']?.deployments['Web']?.ongoing === 1);
  sent.end('y');
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  answer.resume();
  await once(answer, 'end');
  return answer.headers['x-serve-cache'];
};

const inference = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const body = (data: readonly number[]) => JSON.stringify({ inputs: [{ name: 'x', shape: [1, 2], datatype: 'FP32', data }] });
  const first = await infer(daemon, 'add/infer', body([1, 2]));
  const again = await infer(daemon, 'add/infer', body([1, 2]), { authorization: 'Bearer a', 'user-agent': 'another' });
  t.same([use(first.answer), use(again.answer)], ['miss', 'hit'], 'a model reads none of that');
  t.same(again.json, first.json);
  t.equal(again.answer.headers['x-serve-run'], undefined);
  const coded = await daemon.ask('/v2/models/add/infer', {
    method: 'POST',
    body: body([1, 2]),
    headers: { 'accept-encoding': 'gzip' },
  });
  t.equal(use(coded), 'hit');
  t.equal(use((await infer(daemon, 'add/versions/1/infer', body([1, 2]))).answer), 'miss', 'a version is asked for');
  t.equal(use((await infer(daemon, 'add/infer', body([1, 3]))).answer), 'miss');
  t.equal((await infer(daemon, 'add/infer', '{}')).status, 400);
  t.equal((await infer(daemon, 'add/infer', '{}')).status, 400);
  const [stats] = JSON.parse((await daemon.ask('/v2/models/add/stats')).text).model_stats;
  t.match(stats, {
    inference_count: 3,
    execution_count: 3,
    inference_stats: { success: { count: 5 }, fail: { count: 2 }, cache_hit: { count: 2 }, cache_miss: { count: 3 } },
  });
  t.ok(stats.inference_stats.cache_hit.ns > 0 && stats.inference_stats.cache_miss.ns > 0);
  t.match(JSON.parse((await daemon.ask('/v2/models/add/config')).text), { response_cache: { enable: true } });
  const uses = [await daemon.post('/add', [[1, 2]]), await daemon.post('/add', [[1, 2]])].map(use);
  t.same(uses, ['miss', 'hit'], 'as plain JSON it is another question');
};

const calls = async (t: Test, daemon: DaemonRig): Promise<void> => {
  for (const path of ['/flow', '/front']) {
    const first = await daemon.post(path, { via: path });
    t.equal((await daemon.post(path, { via: path })).text, first.text, path);
  }
  t.match(await counted(daemon, 'flow', 'Work'), { hit: 1, miss: 1, runs: 1 });
  t.match(await counted(daemon, 'front', 'Front'), { hit: 1, miss: 1, runs: 1 });
};

const atOnce = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const before = await counted(daemon, 'code', 'Work');
  const answers = Promise.all(Array.from({ length: 100 }, () => daemon.ask('/code', { ...post({ gate: 'all' }), agent: false })));
  await until('all of them have come', async () => ((await counted(daemon, 'code', 'Work')).inFlight ?? 0) >= 100);
  await daemon.post('/code', { open: 'all' });
  const runs = new Set((await answers).map(run));
  const after = await counted(daemon, 'code', 'Work');
  t.equal(runs.size, 1);
  t.equal((after.runs ?? 0) - (before.runs ?? 0), 2, 'one for all, and the one that opened');
  t.equal((after.shared ?? 0) - (before.shared ?? 0), 99);
};

const post = (value: unknown) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(value),
});

/** Two wait for one run, and its answer says that it is for him who asked. */
const apart = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const ask = (id: string) =>
    daemon.ask('/web/mine?cache-control=private&gate=mine', { headers: { 'x-request-id': id }, agent: false });
  const both = Promise.all(['alice', 'bob'].map(ask));
  await until('both are there', async () => ((await counted(daemon, 'web', 'Web')).inFlight ?? 0) >= 2);
  await daemon.ask('/web/open?open=mine');
  const answers = await both;
  t.same(
    answers.map(({ headers }) => headers['for']),
    ['alice', 'bob'],
  );
  t.same(answers.map(use).sort(), ['bypass', 'miss']);
};

const leaves = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const inFlight = async () => (await counted(daemon, 'code', 'Work')).inFlight ?? 0;
  const ongoing = async () => (await daemon.status()).applications['code']?.deployments['Work']?.ongoing ?? -1;
  const [first, second] = [new AbortController(), new AbortController()];
  const ask = (signal: AbortSignal) => daemon.ask('/code', { ...post({ gate: 'left' }), agent: false, signal });
  const gone = ask(first.signal).catch(() => 'gone');
  await until('the first is at work', async () => (await ongoing()) === 1);
  const stays = ask(second.signal);
  await until('both are there', async () => (await inFlight()) === 2);
  first.abort();
  t.equal(await gone, 'gone');
  await until('the first has left', async () => (await inFlight()) === 1);
  t.equal(await ongoing(), 1, 'the work goes on');
  await daemon.post('/code', { open: 'left' });
  t.equal(use(await stays), 'shared');

  const third = new AbortController();
  const alone = daemon.ask('/code', { ...post({ gate: 'never' }), agent: false, signal: third.signal }).catch(() => 'gone');
  await until('it is at work', async () => (await ongoing()) === 1);
  third.abort();
  t.equal(await alone, 'gone');
  await until('nobody is left, and nothing at work', async () => (await ongoing()) === 0);
};

const changes = async (t: Test, daemon: DaemonRig, server: 'uws' | 'node'): Promise<void> => {
  const word = async (path: string) => {
    const answer = await daemon.post(path, { changes: true });
    const said = JSON.parse(answer.text) as { word?: string; work?: { word: string } };
    return { word: said.word ?? said.work?.word, use: use(answer) };
  };
  const added = async () => {
    const answer = await daemon.post('/add', [[0, 0]]);
    return { y: (JSON.parse(answer.text) as { y: unknown[] }).y[0], use: use(answer) };
  };
  const settled = (application: string, deployment: string) =>
    until('its replicas have the new user_config', async () => {
      // Until then each request is worked on.
      const headers = { 'x-probe': String(performance.now()) };
      return use(await daemon.post(`/${application}`, { deployment }, headers)) === 'miss';
    });
  t.match(await word('/code'), { word: 'first', use: 'miss' });
  t.match(await word('/code'), { word: 'first', use: 'hit' });
  t.match(await word('/front'), { word: 'first', use: 'miss' });
  t.match(await word('/front'), { word: 'first', use: 'hit' });
  await daemon.apply(config(server, { word: 'second' }));
  await settled('code', 'Work');
  await settled('front', 'Front');
  t.match(await word('/code'), { word: 'second', use: 'miss' });
  t.match(await word('/front'), { word: 'second', use: 'miss' }, 'what its code calls has changed');

  t.match(await added(), { y: [10, 20] });
  t.match(await added(), { y: [10, 20], use: 'hit' });
  await daemon.write('add.onnx', addModel([30, 40]));
  await until('the new model answers', async () => (await added()).y?.toString() === '30,40');
  t.match(await added(), { y: [30, 40], use: 'hit' });

  const model = { response_cache: { max_bytes: '64KiB' } };
  await daemon.apply(config(server, { word: 'second', model }));
  t.match(await added(), { use: 'hit' }, 'limits change live');
  for (let n = 0; n < 100; n++) await daemon.post('/add', [[n, 1]]);
  const full = await counted(daemon, 'models', 'add');
  t.ok((full.bytes ?? Number.POSITIVE_INFINITY) <= 65_536, String(full.bytes));
  t.ok((full.evicted ?? 0) > 30);
  t.match(await added(), { use: 'miss' }, 'the least recently used has gone');

  await daemon.apply(config(server, { word: 'second', model, work: { response_cache: { ttl_s: 0.001 } } }));
  const { text } = await daemon.post('/code', { ttl: true });
  await until('its time is over', async () => (await daemon.post('/code', { ttl: true })).text !== text);

  await daemon.apply(config(server, { word: 'second', model: {}, work: {} }));
  t.same(await counted(daemon, 'models', 'add').then(({ hit, entries, bytes }) => [hit, entries, bytes]), [
    undefined,
    undefined,
    undefined,
  ]);
  t.equal((await added()).use, undefined);
};

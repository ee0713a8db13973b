import { randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { DeploymentRun } from '../../src/protocol/start.ts';
import { ChildCalls } from '../../src/replica/child-calls.ts';
import { ReplicaContext } from '../../src/replica/context.ts';
import { exportOf, startModule } from '../../src/replica/engines/module.ts';
import { IncomingBody } from '../../src/replica/incoming-body.ts';
import { Models } from '../../src/replica/models.ts';
import { FakeReply, incoming } from '../support/fake-reply.ts';

type Owner = { teardown(done: () => unknown): void; comment(text: string): void };

const textOf = (value: unknown) => Buffer.from(value as Uint8Array).toString();

/** Starts the export `A` of a text. */
const started = async (t: Owner, text: string, given: Partial<DeploymentRun> = {}) => {
  // Of a name of its own: a module is imported once.
  const entry = join(tmpdir(), `module-${randomUUID()}.mjs`);
  t.teardown(() => rm(entry));
  await writeFile(entry, text);
  const reply = new FakeReply();
  const models = new Models((id, error) => t.comment(`${id}: ${error}`));
  const run: DeploymentRun = {
    application: 'app',
    deployment: 'A',
    runs: { kind: 'module', entry, source: '/src/main.ts', export: 'A' },
    initArgs: {},
    handles: [],
    numCpus: null,
    ...given,
  };
  const calls = new ChildCalls();
  const engine = await startModule(run, new ReplicaContext('app', 'A', 'a1'), calls, reply, models);
  const call = (value: unknown, options: Parameters<typeof incoming>[1] & { method?: string } = {}) => {
    const one = incoming(value, options);
    engine.run({ method: options.method ?? 'call', form: 'one', calls: [one] });
    return reply.answer(one);
  };
  const batch = (values: readonly unknown[], options: Parameters<typeof incoming>[1] = {}) => {
    const calls = values.map((value) => incoming(value, options));
    engine.run({ method: 'call', form: 'items', calls });
    return calls.map((one) => reply.answer(one));
  };
  return { engine, reply, call, batch, models, calls };
};

t.test('a class is built with its arguments, and its methods are called', async (t) => {
  const text =
    'export class A { constructor(args, context) { this.n = args.n; this.at = context.deployment; } call(x) { return [x + this.n, this.at]; } twice(x) { return 2 * x; } }';
  const { call } = await started(t, text, { initArgs: { n: 5 } });
  t.same((await call(1)).value, [6, 'A']);
  t.same((await call(4, { method: 'twice' })).value, 8);
});

t.test('a function is `call`', async (t) => {
  const { call, engine } = await started(t, 'export const A = async (x, context) => x + " " + context.deployment;');
  t.equal((await call('a')).value, 'a A');
  t.same(Object.keys(engine.methods), ['call']);
});

t.test('a batched method gets bodies whole that come in pieces; one that breaks fails alone', async (t) => {
  const { engine, reply } = await started(t, 'export class A { call(inputs) { return inputs.map(String); } }');
  const text = { headers: ['content-type', 'text/plain'] };
  const [whole, broken] = [new IncomingBody(() => {}), new IncomingBody(() => {})];
  const calls = [
    incoming(Buffer.from('there'), { http: text }),
    incoming(null, { http: text, body: whole }),
    incoming(null, { http: text, body: broken }),
  ];
  engine.run({ method: 'call', form: 'items', calls });
  for (const piece of ['in ', 'pieces']) whole.push(Buffer.from(piece));
  whole.end('whole');
  broken.end('broken');
  const [first, second, third] = await Promise.all(calls.map((call) => reply.answer(call)));
  t.same([first?.value, second?.value].map(textOf), ['there', 'in pieces']);
  t.equal(third?.error?.code, 'CLIENT_CLOSED');
});

t.test('what CommonJS exports is found by its name, and touched by no other', async (t) => {
  const named = await started(t, 'export default { A: (x) => x + 1, get other() { throw new Error("nobody asked"); } };');
  t.equal((await named.call(1)).value, 2);
  await t.rejects(started(t, 'export default { a: 1, B() {} };'), {
    message: '/src/main.ts has no export `A`; it has default, a, B; did you mean `a`?',
  });
  const compiled = 'export default Object.defineProperty({ default: (x) => x + 2 }, "__esModule", { value: true });';
  const runs = async (name: string) => {
    const entry = join(tmpdir(), `module-${randomUUID()}.mjs`);
    t.teardown(() => rm(entry));
    await writeFile(entry, compiled);
    return exportOf({ entry, source: '/src/main.ts', export: name });
  };
  t.equal(((await runs('default')) as (x: number) => number)(1), 3, 'an ES module that was compiled');
  await t.rejects(runs('app'), { message: /has no export `app`; it has default/ });
});

t.test('an object with fetch answers HTTP', async (t) => {
  const { call } = await started(
    t,
    'export const A = { async fetch(request) { return new Response([request.method, request.url, await request.text()].join(" "), { status: 201 }); } };',
  );
  const { value, http } = await call(Buffer.from('body'), { http: { path: '/a', query: 'b=1', headers: ['host', 'h'] } });
  t.equal(textOf(value), 'POST http://h/a?b=1 body');
  t.match(http, { status: 201 });
});

t.test('methods are listed with their shape; what the daemon calls, and what is private, is not', async (t) => {
  const text =
    'class Base { inherited() {} } export class A extends Base { call() {} async *stream() {} fetch() {} reconfigure() {} checkHealth() {} close() {} _own() {} #hidden() {} get value() { throw new Error("no"); } }';
  const { engine } = await started(t, text);
  t.same(engine.methods, {
    fetch: { input: 'stream', output: 'stream' },
    call: { input: 'whole', output: 'whole' },
    stream: { input: 'whole', output: 'stream' },
    inherited: { input: 'whole', output: 'whole' },
  });
});

const refused: readonly (readonly [string, string, RegExp])[] = [
  ['no such export', 'export const B = 1;', /\/src\/main\.ts has no export `A`; it has B/],
  ['a number', 'export const A = 5;', /expected the export `A` to be a class, a function or an object with `fetch`, got number/],
  ['an object without fetch', 'export const A = {};', /got object/],
  [
    'a class without methods',
    'export class A {}',
    /A has no method to call: add `call\(input\)`, `fetch\(request\)` or `websocket\(socket\)`/,
  ],
  ['a constructor that throws', 'export class A { constructor() { throw new Error("no model"); } call() {} }', /no model/],
];
for (const [what, text, message] of refused) {
  t.test(`what cannot be served says why: ${what}`, async (t) => {
    await t.rejects(started(t, text), { message });
  });
}

t.test('a method that is not there is refused with those that are', async (t) => {
  const { call } = await started(t, 'export class A { call() {} other() {} }');
  for (const method of ['missing', 'constructor', 'toString', '__proto__']) {
    t.match((await call(null, { method })).error, {
      code: 'CALL_REFUSED',
      message: new RegExp(`no method \`${method}\`; it has call, other`),
    });
  }
});

t.test('several arguments are several arguments', async (t) => {
  const { call } = await started(t, 'export class A { call(a, b, context) { return [a, b, typeof context.requestId]; } }');
  t.same((await call([1, 2], { spread: true })).value, [1, 2, 'string']);
});

t.test('what code throws comes back with its name', async (t) => {
  const { call } = await started(t, 'export class A { call() { throw new RangeError("out of range"); } }');
  t.match((await call(null)).error, { code: 'USER_ERROR', name: 'RangeError', message: 'out of range' });
});

t.test('a result that cannot be sent names its path', async (t) => {
  const { call } = await started(t, 'export class A { call() { return { a: [{ run() {} }] }; } }');
  t.match((await call(null)).error, {
    code: 'USER_ERROR',
    message: 'the value at `a[0].run` cannot be encoded: it is a function',
  });
});

const batched =
  'export class A { call(items) { if (items[0] === "short") return items.slice(1); if (items[0] === "none") return undefined; return items.map((x) => (x === "bad" ? new TypeError("bad item") : x === "odd" ? () => 1 : x + "!")); } }';

t.test('a batch is one call with all inputs, and each gets its own result', async (t) => {
  const { batch } = await started(t, batched);
  t.match(await Promise.all(batch(['a', 'b'])), [{ value: 'a!' }, { value: 'b!' }]);
});

t.test('a batch of the wrong length is an error for all of it', async (t) => {
  const { batch } = await started(t, batched);
  t.match(await Promise.all(batch(['short', 'b'])), [
    { error: { message: 'expected `call` to return an array of 2 (one result for each input), got an array of 1' } },
    { error: {} },
  ]);
  t.match(await Promise.all(batch(['none'])), [{ error: { message: /got undefined/ } }]);
});

t.test('an item that is an error, cannot be sent or cannot be read fails alone', async (t) => {
  const { batch } = await started(t, batched);
  t.match(await Promise.all(batch(['a', 'bad', 'odd', 'b'])), [
    { value: 'a!' },
    { error: { name: 'TypeError', message: 'bad item' } },
    { error: { code: 'USER_ERROR' } },
    { value: 'b!' },
  ]);
  const http = { headers: ['content-type', 'application/json'] };
  const [broken, sound] = await Promise.all(batch([Buffer.from('{'), Buffer.from('"x"')], { http }));
  t.match(broken, { error: { code: 'INVALID_INPUT' } });
  t.equal(textOf(sound?.value), 'x!');
});

t.test('a member of a batch whose stream is not read does not hold up the others', async (t) => {
  const { batch, reply } = await started(
    t,
    'export class A { call(items) { return [(async function* () { yield "x"; })(), "whole"]; } }',
  );
  reply.room = () => new Promise(() => {});
  const [, second] = batch([null, null], { http: {} });
  const timer = new Promise((resolve) => setTimeout(resolve, 500, 'it waits'));
  t.match(await Promise.race([second, timer]), { http: { status: 200 } });
});

t.test('an async generator streams, to code and to HTTP', async (t) => {
  const { call } = await started(t, 'export class A { async *call(n) { for (let i = 0; i < 3; i++) yield { i }; } }');
  t.match(await call(3), { chunks: [{ i: 0 }, { i: 1 }, { i: 2 }], ended: true });
  const { http, chunks } = await call(Buffer.from(''), { http: {} });
  t.match(http, { status: 200, headers: ['content-type', 'application/x-ndjson'] });
  t.equal(Buffer.concat(chunks as Uint8Array[]).toString(), '{"i":0}\n{"i":1}\n{"i":2}\n');
});

t.test('a stream that fails midway ends with the error', async (t) => {
  const { call } = await started(t, 'export class A { async *call() { yield 1; throw new Error("midway"); } }');
  t.match(await call(null), { chunks: [1], error: { message: 'midway' } });
});

t.test('a Response goes out as it is, cookies apart', async (t) => {
  const text =
    'export class A { fetch() { const headers = new Headers({ "x-a": "1" }); headers.append("set-cookie", "a=1"); headers.append("set-cookie", "b=2"); return new Response("body", { status: 202, headers }); } }';
  const { value, http } = await (await started(t, text)).call(Buffer.from(''), { http: { method: 'GET' } });
  t.equal(textOf(value), 'body');
  t.equal(http?.status, 202);
  t.same(http?.headers.slice(-4), ['set-cookie', 'a=1', 'set-cookie', 'b=2']);
  t.ok(http?.headers.join().includes('x-a,1'));
});

t.test('a Response without a body, and one in pieces', async (t) => {
  const text =
    'export class A { fetch(request) { if (request.url.endsWith("none")) return new Response(null, { status: 204 }); return new Response(new ReadableStream({ async start(c) { c.enqueue(new TextEncoder().encode("a")); await new Promise(setImmediate); await new Promise(setImmediate); c.enqueue(new TextEncoder().encode("b")); c.close(); } })); } }';
  const { call } = await started(t, text);
  t.match(await call(Buffer.from(''), { http: { path: '/none', method: 'GET' } }), { http: { status: 204 }, value: null });
  const { chunks, ended } = await call(Buffer.from(''), { http: { path: '/', method: 'GET' } });
  t.equal(Buffer.concat((chunks ?? []) as Uint8Array[]).toString(), 'ab');
  t.equal(ended, true);
});

t.test('what `fetch` calls is called in the work of its own request, also where several came together', async (t) => {
  const text =
    'export class A { constructor({ b }) { this.b = b; } async fetch() { await null; this.b.work(); return new Response(); } }';
  const { engine, reply, calls } = await started(t, text, { handles: ['b'] });
  const parents: unknown[] = [];
  calls.connect({ write: () => {}, call: ({ parent }) => parents.push(parent) > 0 });
  const requests = [1, 2].map(() => incoming(null, { http: {} }));
  engine.run({ method: 'call', form: 'items', calls: requests });
  await Promise.all(requests.map((each) => reply.answer(each)));
  t.same(
    parents,
    requests.map(({ id }) => id),
  );
});

t.test('a fetch that returns no Response is an error', async (t) => {
  const { call } = await started(t, 'export class A { fetch() { return "text"; } }');
  t.match((await call(Buffer.from(''), { http: {} })).error, {
    code: 'USER_ERROR',
    message: 'expected fetch to return a Response, got string',
  });
});

t.test('a header that a client wrote in UTF-8 does not fail its request', async (t) => {
  const { call } = await started(t, 'export class A { fetch(request) { return new Response(request.headers.get("x-fine")); } }');
  const { value } = await call(Buffer.from(''), { http: { method: 'GET', headers: ['x-name', 'Žižek', 'x-fine', 'yes'] } });
  t.equal(textOf(value), 'yes');
});

t.test('user_config is given at the start and at each change, and refused where nobody takes it', async (t) => {
  const text =
    'export class A { reconfigure(c) { if (c === "bad") throw new Error("no such language"); this.c = c; } call() { return this.c; } }';
  const { engine, call } = await started(t, text, { userConfig: 'en' });
  t.equal((await call(null)).value, 'en');
  await engine.reconfigure('fr');
  await t.rejects(engine.reconfigure('bad'), { message: 'no such language' });
  t.equal((await call(null)).value, 'fr');
  await t.rejects(started(t, 'export class A { call() {} }', { userConfig: 1 }), {
    message: /user_config is given, but A has no method `reconfigure`/,
  });
});

t.test('checkHealth and close are called where they are', async (t) => {
  const { engine } = await started(
    t,
    'export class A { call() {} checkHealth() { throw new Error("ill"); } close() { globalThis.closedByTest = true; } }',
  );
  await t.rejects(engine.check(), { message: 'ill' });
  await engine.close();
  t.equal((globalThis as Record<string, unknown>)['closedByTest'], true);
  const { engine: plain } = await started(t, 'export class A { call() {} }');
  await plain.check();
  await plain.close();
});

const turns = async () => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
};

const MANY = `
const events = [];
export class A {
  async loadModel(id) { events.push('load ' + id); return { id, [Symbol.asyncDispose]: async () => { events.push('gone ' + id); } }; }
  async call(x, context) { const one = await context.model(); return (await context.model()) === one ? one.id : 'another'; }
  async *stream(x, context) { const { id } = await context.model(); yield id; yield [...events]; }
  async many(xs, contexts) { return Promise.all(contexts.map(async (context) => (await context.model()).id)); }
  async late(x, context) { setImmediate(() => context.model().catch((error) => events.push(error.message))); return 'answered'; }
  events() { return [...events]; }
}`;

t.test('`context.model()` is the model that the call names, as often as it is asked for', async (t) => {
  const { call, models } = await started(t, MANY);
  models.allow(1);
  t.equal((await call(1, { modelId: 'a' })).value, 'a');
  t.equal((await call(1, { modelId: 'b' })).value, 'b');
  t.same((await call(1, { method: 'events' })).value, ['load a', 'gone a', 'load b']);
  const header = { http: { headers: ['serve-multiplexed-model-id', 'c'] } };
  t.equal(textOf((await call(new Uint8Array(0), header)).value), 'c');
  t.match((await call(1)).error, { code: 'INVALID_INPUT', message: /expected the id of a model, got none/ });
});

t.test('a stream uses its model until its end', async (t) => {
  const { call, models, reply } = await started(t, MANY);
  models.allow(1);
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  reply.room = () => opened;
  const streamed = call(1, { method: 'stream', modelId: 'a' });
  await turns();
  const next = call(1, { modelId: 'b' });
  await turns();
  t.same((await call(1, { method: 'events' })).value, ['load a']);
  open();
  t.same((await streamed).chunks, ['a', ['load a']]);
  t.equal((await next).value, 'b');
});

t.test('all members of a batch use their model, and let go of it', async (t) => {
  const { engine, reply, call, models } = await started(t, MANY);
  models.allow(1);
  const calls = [1, 2, 3].map((value) => incoming(value, { modelId: 'a' }));
  engine.run({ method: 'many', form: 'items', calls });
  for (const one of calls) t.equal((await reply.answer(one)).value, 'a');
  t.equal((await call(1, { modelId: 'b' })).value, 'b');
});

t.test('a model that is asked for behind the answer is refused', async (t) => {
  const { call, models } = await started(t, MANY);
  models.allow(1);
  t.equal((await call(1, { method: 'late', modelId: 'a' })).value, 'answered');
  await turns();
  t.match((await call(1, { method: 'events' })).value, [/after the call was answered/]);
});

t.test('models go before the class is closed', async (t) => {
  const text = MANY.replace('events()', 'close() { events.push("closed"); } events()');
  const { engine, call, models } = await started(t, text);
  models.allow(2);
  await call(1, { modelId: 'a' });
  await turns();
  await engine.close();
  t.same((await call(1, { method: 'events' })).value, ['load a', 'gone a', 'closed']);
});

t.test('`context.model()` of a class without `loadModel` says what is missing', async (t) => {
  const { call, models } = await started(t, 'export const A = async (x, context) => context.model();');
  models.allow(1);
  t.match((await call(1, { modelId: 'a' })).error, { code: 'USER_ERROR', message: /needs a method `loadModel\(id\)`/ });
});

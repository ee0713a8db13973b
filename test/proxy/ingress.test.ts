import t from 'tap';
import { compileGraph, type GraphSource } from '../../src/graph/compile.ts';
import type { AccessRecord } from '../../src/proxy/access-log.ts';
import { HttpCounts } from '../../src/proxy/http-counts.ts';
import type { Refusal } from '../../src/proxy/http-framing.ts';
import type { HttpExchange } from '../../src/proxy/http-server.ts';
import { Ingress } from '../../src/proxy/ingress.ts';
import { RetryBudgets } from '../../src/proxy/retry-budget.ts';
import { Shadows } from '../../src/proxy/shadow.ts';
import { Splits } from '../../src/proxy/splits.ts';
import { type FakeCall, FakeDispatcher } from '../support/fake-dispatcher.ts';
import { applicationRouting, routingSnapshot } from '../support/routing.ts';

/** One request, and all that was done with it. */
class FakeExchange implements HttpExchange {
  readonly method = 'POST';
  readonly query = '';
  readonly path: string;
  readonly headers: readonly string[];
  /** `respond 200`, `begin 200`, `end`, `abort`. */
  readonly events: string[] = [];
  body_ = '';
  /** Of the request. */
  readonly content: string;
  answerHeaders: readonly string[] = [];
  aborted: (refusal?: Refusal) => void = () => {};
  drained: (() => void) | undefined;
  full = false;
  /** The body has not come yet: the test says when, by `arrive`. */
  late = false;
  arrive = () => {};

  constructor(path: string, headers: Readonly<Record<string, string>>, content = 'null') {
    this.path = path;
    this.content = content;
    this.headers = Object.entries(headers).flat();
  }

  header(name: string): string | undefined {
    const at = this.headers.findIndex((each, index) => index % 2 === 0 && each === name);
    return at < 0 ? undefined : this.headers[at + 1];
  }
  readonly isSecure = false;
  readonly bodyBytes = 4;
  stream(): void {
    throw new Error('a small body is asked for as a whole');
  }
  readOn(): void {}
  body(done: (bytes: Uint8Array) => void): void {
    this.arrive = () => done(Buffer.from(this.content));
    if (!this.late) this.arrive();
  }
  onAborted(listener: (refusal?: Refusal) => void): void {
    this.aborted = listener;
  }
  respond(status: number, headers: readonly string[], body: Uint8Array | string, id?: string): void {
    this.events.push(`respond ${status}`);
    this.answerHeaders = id === undefined ? headers : [...headers, 'x-request-id', id];
    this.body_ = Buffer.from(body as Uint8Array).toString();
  }
  begin(status: number, headers: readonly string[]): void {
    this.events.push(`begin ${status}`);
    this.answerHeaders = headers;
  }
  write(chunk: Uint8Array | string): boolean {
    this.body_ += Buffer.from(chunk as Uint8Array).toString();
    return !this.full;
  }
  onDrain(listener: () => void): void {
    this.drained = listener;
  }
  end(): void {
    this.events.push('end');
  }
  abort(): void {
    this.events.push('abort');
  }
  /** A header of the answer. */
  told(name: string): string | undefined {
    return this.answerHeaders[this.answerHeaders.indexOf(name) + 1];
  }
}

const start = (given: Parameters<typeof applicationRouting>[0] = {}, proxy: Parameters<typeof routingSnapshot>[2] = {}) => {
  const dispatcher = new FakeDispatcher();
  const records: AccessRecord[] = [];
  const counts = new HttpCounts();
  const shadows = new Shadows();
  const ingress = new Ingress({
    dispatcher: dispatcher.itself,
    shadows,
    splits: new Splits(
      shadows,
      () => 1000,
      () => {},
    ),
    retries: new RetryBudgets(),
    counts,
    now: () => 1000,
    logged: (record) => records.push(record),
    failed: () => {},
  });
  const application = applicationRouting({ accessLog: true, ...given });
  dispatcher.add(application);
  const snapshot = routingSnapshot([application], {}, proxy);
  ingress.apply(snapshot);
  const request = (path = '/', headers: Record<string, string> = {}, content = 'null') => {
    const exchange = new FakeExchange(path, { host: 'h', ...headers }, content);
    ingress.handle(exchange);
    return exchange;
  };
  return { dispatcher, ingress, records, counts, request, snapshot };
};
const head = { status: 200, headers: ['x-a', '1'] };

t.test('an answer goes out with its head, its body and the id of the request', async (t) => {
  const { dispatcher, request, records, ingress } = start();
  const exchange = request('/', { 'x-request-id': 'mine' });
  t.equal(ingress.ongoing, 1);
  dispatcher.calls[0]?.answer(Buffer.from('body'), { status: 201, headers: ['x-a', '1'] });
  t.same(exchange.events, ['respond 201']);
  t.equal(exchange.body_, 'body');
  t.equal(exchange.told('x-request-id'), 'mine');
  t.equal(dispatcher.calls[0]?.request.requestId, 'mine');
  t.match(records, [{ requestId: 'mine', status: 201, application: 'app' }]);
  t.equal(ingress.ongoing, 0);
});

t.test('a request without an id, or with one that is too long, gets one', async (t) => {
  const { dispatcher, request } = start();
  const headers: Record<string, string>[] = [{}, { 'x-request-id': '' }, { 'x-request-id': 'x'.repeat(257) }];
  for (const [index, each] of headers.entries()) {
    const exchange = request('/', each);
    dispatcher.calls[index]?.answer(null, head);
    t.match(exchange.told('x-request-id'), /^[0-9a-f-]{36}$/);
  }
});

const deadlines: readonly (readonly [string, string | undefined, number | null, number])[] = [
  ['none', undefined, null, Number.POSITIVE_INFINITY],
  ['the client’s', '0.5', null, 1500],
  ['the proxy’s', undefined, 2000, 3000],
  ['the sooner of both', '5', 2000, 3000],
  ['zero from the client is none', '0', null, Number.POSITIVE_INFINITY],
  ['what is no number is none', 'soon', 2000, 3000],
];
for (const [what, header, requestTimeoutMs, deadlineAt] of deadlines) {
  t.test(`the deadline of a request: ${what}`, async (t) => {
    const { dispatcher, request } = start({}, { requestTimeoutMs });
    request('/', header === undefined ? {} : { 'x-request-timeout-seconds': header });
    t.equal(dispatcher.calls[0]?.request.deadlineAt, deadlineAt);
  });
}

const ingressOf = (source: GraphSource) => {
  const { ingress } = compileGraph(source, { name: 'app', deployments: ['A', 'B', 'C'] }, []);
  if (ingress === undefined) throw new Error('expected an ingress');
  return { ingress };
};
const ingresses = {
  deployment: ingressOf({ ingress: 'A' }),
  another: ingressOf({ ingress: 'B' }),
  graph: ingressOf({ steps: { s: { call: 'C', input: '$request.json' } } }),
};
for (const [from, to, called] of [
  ['deployment', 'another', 'B'],
  ['deployment', 'graph', 'C'],
  ['graph', 'deployment', 'A'],
] as const) {
  t.test(`a body that is there after a reload goes to what is the ingress now: ${from}, then ${to}`, async (t) => {
    const { dispatcher, ingress } = start(ingresses[from]);
    const exchange = new FakeExchange('/', { host: 'h' });
    exchange.late = true;
    ingress.handle(exchange);
    dispatcher.add(applicationRouting({ accessLog: true, generation: 2, ...ingresses[to] }));
    exchange.arrive();
    t.same(
      dispatcher.calls.map(({ target }) => target),
      [called],
    );
    t.same(exchange.events, []);
  });
}

/** A graph of one step that streams these items, of one byte of credit each. */
const streamed = (items: readonly unknown[]) => {
  const { dispatcher, request, records, ingress } = start(ingresses.graph);
  const exchange = request();
  const call = dispatcher.calls[0] as FakeCall;
  for (const item of items) call.chunk(item);
  return { exchange, call, records, ingress };
};

t.test('a stream of a graph has the form of one of a deployment: its first item decides the content type', async (t) => {
  for (const [items, type, body] of [
    [['one ', 'two'], 'text/plain; charset=utf-8', 'one two'],
    [[Buffer.from([104, 105]), 'text'], 'application/octet-stream', 'hitext'],
    [
      [{ n: 1 }, null, 'text', { at: new Date(0) }],
      'application/x-ndjson',
      '{"n":1}\nnull\ntext{"at":"1970-01-01T00:00:00.000Z"}\n',
    ],
    [[], 'text/plain; charset=utf-8', ''],
  ] as const) {
    const { exchange, call, records, ingress } = streamed(items);
    t.same(exchange.events, items.length === 0 ? [] : ['begin 200'], 'the head goes out with the first item');
    call.end();
    t.same(exchange.events, ['begin 200', 'end']);
    t.equal(exchange.told('content-type'), type);
    t.match(exchange.told('x-request-id'), /^[0-9a-f-]{36}$/);
    t.equal(exchange.body_, body);
    t.match(records, [{ status: 200, error: undefined }]);
    t.equal(ingress.ongoing, 0);
  }
});

t.test('a client that reads slowly holds the stream of a graph back', async (t) => {
  const { exchange, call } = streamed([]);
  exchange.full = true;
  call.chunk('much', 100_000);
  t.same(call.credits, []);
  exchange.drained?.();
  t.same(call.credits, [100_000]);
});

t.test('a stream of a graph that fails behind its head is cut off, and cannot be taken for a whole one', async (t) => {
  const failed = streamed(['one']);
  failed.call.fail();
  t.same(failed.exchange.events, ['begin 200', 'abort']);
  t.match(failed.records, [{ status: 500, error: 'USER_ERROR' }]);
  const { exchange, call } = streamed(['one']);
  call.request.sink.chunk({ skeleton: '{"$seg":7}', segments: [] }, 1);
  t.same(exchange.events, ['begin 200', 'abort']);
  t.equal(call.cancelled, true);
});

t.test('a client that leaves a stream of a graph ends it, or lets it go on for nobody', async (t) => {
  const { exchange, call } = streamed(['one']);
  exchange.aborted();
  t.equal(call.cancelled, true);
  const { dispatcher, request, ingress } = start(ingresses.graph);
  const staying = request('/', { 'x-request-disconnect-disabled': '?1' });
  const [on] = dispatcher.calls as [FakeCall];
  on.chunk('one');
  staying.aborted();
  on.chunk('two', 100_000);
  t.equal(on.cancelled, false);
  t.same(on.credits, [1, 100_000], 'the producer does not wait for anybody');
  t.equal(ingress.ongoing, 1);
  on.end();
  t.equal(ingress.ongoing, 0);
  t.equal(staying.body_, 'one');
});

t.test('a path that nobody serves is told where to look', async (t) => {
  const { request, ingress } = start({ routePrefix: '/a' });
  const exchange = request('/b');
  t.same(exchange.events, ['respond 404']);
  t.equal(exchange.body_, "Path '/b' not found. Ping http://h/-/routes for available routes.");
  t.equal(ingress.ongoing, 0);
});

t.test('routes are listed by prefix', async (t) => {
  const { request } = start({ routePrefix: '/a' });
  t.same(JSON.parse(request('/-/routes').body_), { '/a': 'app' });
  t.same(request('/-/other').events, ['respond 404']);
});

t.test('healthz: 503 before everything is ready and while draining, else 200', async (t) => {
  const { request, ingress, snapshot } = start();
  t.same([request('/-/healthz').events, request('/-/healthz').body_], [['respond 200'], 'success']);
  ingress.apply({ ...snapshot, ready: false });
  t.same(request('/-/healthz').events, ['respond 503']);
  ingress.apply(snapshot);
  ingress.drain();
  t.same(request('/-/healthz').events, ['respond 503']);
});

t.test('root_path is taken off, and a path without it is served too', async (t) => {
  const { request, dispatcher } = start({ routePrefix: '/a' }, { rootPath: '/root' });
  request('/root/a');
  request('/a');
  t.equal(dispatcher.calls.length, 2);
  t.same(request('/roota').events, ['respond 404']);
  t.same(request('/root/-/healthz').events, ['respond 200']);
});

t.test('an application that does not serve answers 503 with the reason', async (t) => {
  const exchange = start({ unavailable: 'it is starting' }).request();
  t.same([exchange.events, exchange.body_, exchange.told('retry-after')], [['respond 503'], 'it is starting', '1']);
});

t.test('a client that goes cancels its call, and is logged as 499', async (t) => {
  const { request, dispatcher, records, ingress } = start();
  const exchange = request();
  exchange.aborted();
  t.equal(dispatcher.calls[0]?.cancelled, true);
  t.match(records, [{ status: 499, error: 'CLIENT_CLOSED' }]);
  dispatcher.calls[0]?.answer(null, head);
  t.same(exchange.events, []);
  t.equal(ingress.ongoing, 0);
});

t.test('a request whose rest the driver refuses is logged and counted with what the client was told', async (t) => {
  const { request, dispatcher, records, counts } = start();
  request('/', { 'x-request-disconnect-disabled': '?1' }).aborted({ code: 'PAYLOAD_TOO_LARGE', message: 'expected less' });
  t.equal(dispatcher.calls[0]?.cancelled, true, 'nobody has left: there is nothing to go on without');
  t.match(records, [{ status: 413, error: 'PAYLOAD_TOO_LARGE' }]);
  t.same(counts.read().find(({ application }) => application === 'app')?.statuses, { 413: 1 });
});

t.test('a client that goes, and asked that its call go on, cancels nothing', async (t) => {
  const { request, dispatcher } = start();
  request('/', { 'x-request-disconnect-disabled': '?1' }).aborted();
  t.equal(dispatcher.calls[0]?.cancelled, false);
});

const ends: Readonly<Record<string, (call: FakeCall | undefined) => void>> = {
  'an answer': (call) => call?.answer(null, head),
  'an error': (call) => call?.fail(),
  'the end of a stream': (call) => {
    call?.request.sink.open(head);
    call?.request.sink.end();
  },
};
for (const [how, end] of Object.entries(ends)) {
  t.test(`work that goes on without its client counts to its end, ${how}: the daemon does not stop before`, async (t) => {
    const { request, dispatcher, records, ingress } = start();
    const exchange = request('/', { 'x-request-disconnect-disabled': '?1' });
    exchange.aborted();
    t.equal(ingress.ongoing, 1);
    const quiet = ingress.quiet();
    end(dispatcher.calls[0]);
    t.equal(ingress.ongoing, 0);
    await quiet;
    t.match(records, [{ status: 499 }]);
    t.same([records.length, exchange.events], [1, []]);
  });
}

t.test('a client that goes before its body is there leaves nothing that could go on', async (t) => {
  const { dispatcher, ingress } = start();
  const exchange = new FakeExchange('/', { host: 'h', 'x-request-disconnect-disabled': '?1' });
  exchange.late = true;
  ingress.handle(exchange);
  exchange.aborted();
  t.same([ingress.ongoing, dispatcher.calls.length], [0, 0]);
});

t.test('a stream that goes on without its client is given credit, so that it comes to its end', async (t) => {
  const { request, dispatcher } = start();
  const exchange = request('/', { 'x-request-disconnect-disabled': '?1' });
  const [call] = dispatcher.calls;
  call?.request.sink.open(head);
  exchange.aborted();
  for (let count = 0; count < 8; count++) call?.request.sink.chunk({ skeleton: 'null', segments: [] }, 65_536);
  t.ok(call !== undefined && call.credits.reduce((sum, bytes) => sum + bytes, 0) >= 7 * 65_536);
});

t.test('a client that holds a stream back and goes gives its producer all that it is owed', async (t) => {
  for (const given of [{}, ingresses.graph]) {
    const { request, dispatcher, ingress } = start(given);
    const exchange = request('/', { 'x-request-disconnect-disabled': '?1' });
    const [call] = dispatcher.calls as [FakeCall];
    if (given !== ingresses.graph) call.request.sink.open(head);
    exchange.full = true;
    call.chunk(Buffer.from('a'), 100);
    call.chunk(Buffer.from('a'), 100_000);
    t.same(call.credits, []);
    exchange.aborted();
    t.same([call.credits, call.cancelled], [[100_100], false], 'it may wait for this alone');
    call.chunk(Buffer.from('a'), 100_000);
    t.same(call.credits, [100_100, 100_000]);
    exchange.drained?.();
    t.same(call.credits, [100_100, 100_000], 'what is given is not given again');
    call.end();
    t.equal(ingress.ongoing, 0);
  }
});

const chunk = (text: string) => ({
  skeleton: '{"$seg":0}',
  segments: [{ dtype: 'bytes' as const, shape: null, bytes: Buffer.from(text) }],
});

t.test('a streamed answer goes out in pieces', async (t) => {
  const { request, dispatcher } = start();
  const exchange = request();
  const sink = dispatcher.calls[0]?.request.sink;
  sink?.open({ status: 206, headers: [] });
  sink?.chunk(chunk('a'), 1);
  sink?.chunk(chunk('b'), 1);
  sink?.end();
  t.same([exchange.events, exchange.body_], [['begin 206', 'end'], 'ab']);
});

t.test('a stream that fails midway is cut, not ended', async (t) => {
  const { request, dispatcher, records } = start();
  const exchange = request();
  dispatcher.calls[0]?.request.sink.open(head);
  dispatcher.calls[0]?.fail('REPLICA_DIED');
  t.same(exchange.events, ['begin 200', 'abort']);
  t.match(records, [{ error: 'REPLICA_DIED' }]);
});

t.test('a producer gets no credit while the client does not read, and what it is owed when it does', async (t) => {
  const { request, dispatcher } = start();
  const exchange = request();
  const [call] = dispatcher.calls;
  call?.request.sink.open(head);
  exchange.full = true;
  call?.request.sink.chunk(chunk('a'), 100_000);
  call?.request.sink.chunk(chunk('a'), 100_000);
  t.same(call?.credits, []);
  exchange.full = false;
  exchange.drained?.();
  t.same(call?.credits, [200_000]);
});

t.test('quiet comes when the last answer is out', async (t) => {
  const { request, dispatcher, ingress } = start();
  await ingress.quiet();
  request();
  let quiet = false;
  const waits = ingress.quiet().then(() => {
    quiet = true;
  });
  await Promise.resolve();
  t.equal(quiet, false);
  dispatcher.calls[0]?.answer(null, head);
  await waits;
});

t.test('compressed bodies hold no more than max_buffered_bytes, and nothing for clients that have gone', async (t) => {
  const { request, ingress } = start({ models: ['A'] }, { maxBufferedBytes: 8 });
  const infer = () => request('/v2/models/A/infer', { 'content-encoding': 'gzip' });
  const first = infer();
  infer();
  const third = infer();
  t.same(third.events, ['respond 503']);
  t.equal(third.told('retry-after'), '1');
  t.match(JSON.parse(third.body_), { error: /max_buffered_bytes/ });
  first.aborted();
  const fourth = infer();
  t.same(fourth.events, [], 'there is room for it');
  await ingress.quiet();
  t.same(fourth.events, ['respond 400'], 'what came was no gzip');
  t.same(first.events, []);
});

t.test(
  'parameters of an inference count as the headers do: the sooner deadline, and the header where both say a priority',
  async (t) => {
    const { request, dispatcher } = start({ models: ['A'] });
    const infer = (parameters: object, headers: Record<string, string> = {}) => {
      request('/v2/models/A/infer', headers, JSON.stringify({ parameters }));
      const { priority, deadlineAt } = dispatcher.calls.at(-1)?.request ?? {};
      return { priority, leftMs: (deadlineAt ?? 0) - 1000 };
    };
    t.same(infer({}), { priority: undefined, leftMs: Number.POSITIVE_INFINITY });
    t.same(infer({ priority: 2, timeout: 3_000_000 }), { priority: 1, leftMs: 3000 });
    t.equal(infer({ timeout: 3_000_000 }, { 'x-request-timeout-seconds': '2' }).leftMs, 2000);
    t.equal(infer({ timeout: 1_000_000 }, { 'x-request-timeout-seconds': '2' }).leftMs, 1000);
    t.equal(infer({ priority: 2 }, { 'x-priority': '5' }).priority, undefined, 'the queue reads the header');
    t.equal(infer({ priority: 2 }, { 'x-priority': 'high' }).priority, 1, 'one that says nothing');
    request('/v2/models/A/infer', { 'inference-header-content-length': '2' }, '{}{"parameters":{"priority":2}}');
    t.equal(dispatcher.calls.at(-1)?.request.priority, undefined, 'a tensor is no JSON');
  },
);

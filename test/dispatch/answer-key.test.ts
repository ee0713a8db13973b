/** What is asked is in the key, to the last byte; what is not asked is not; and what must not be answered from memory has none. */
import fc from 'fast-check';
import t from 'tap';
import { type AskedCall, keyOf } from '../../src/dispatch/answer-key.ts';
import type { HttpHead } from '../../src/protocol/messages.ts';
import type { Segment, WireValue } from '../../src/protocol/value.ts';
import { deploymentRouting } from '../support/routing.ts';

const routing = (kind: 'module' | 'model', vary: readonly string[] | null = null, from: string | null = 'v1') =>
  deploymentRouting({ kind, responseCache: { maxBytes: 2 ** 20, ttlMs: null, vary, from } });

const body = (text: string): WireValue => ({
  skeleton: '{"$seg":0}',
  segments: [{ dtype: 'bytes', shape: null, bytes: Buffer.from(text) }],
});

const asked = (http: Partial<HttpHead> = {}, text = 'body', more: Partial<AskedCall> = {}): AskedCall => ({
  target: { method: 'call' },
  value: body(text),
  http: { method: 'POST', path: '/', query: '', headers: [], ...http },
  ...more,
});

const code = (http: Partial<HttpHead>, vary: readonly string[] | null = null) => keyOf(asked(http), routing('module', vary));
const model = (http: Partial<HttpHead>) => keyOf(asked(http), routing('model'));

t.test('two requests of code that differ in anything that it can see have two keys', async (t) => {
  const keys = [
    code({}),
    code({ method: 'GET' }),
    code({ path: '/other' }),
    code({ query: 'a=1' }),
    code({ secure: true }),
    code({ headers: ['accept-language', 'de'] }),
    code({ headers: ['accept-language', 'fr'] }),
    code({ headers: ['x-anything', 'de'] }),
    code({ headers: ['x-session-id', '1'] }),
    code({ headers: ['serve_multiplexed_model_id', 'a'] }),
    code({ headers: ['a', 'b', 'c', 'd'] }),
    code({ headers: ['c', 'd', 'a', 'b'] }),
    keyOf(asked({}, 'other'), routing('module')),
    keyOf(asked({}, 'body', { target: { method: 'infer' } }), routing('module')),
    keyOf(asked({}), routing('module', null, 'v2')),
    keyOf({ target: { method: 'call' }, value: body('body') }, routing('module')),
  ];
  t.notOk(keys.includes(undefined));
  t.equal(new Set(keys).size, keys.length);
});

t.test('which request it is, and how its answer is waited for, is not asked', async (t) => {
  for (const name of ['x-request-id', 'traceparent', 'tracestate', 'x-request-timeout-seconds', 'x-priority', 'content-length'])
    t.equal(code({ headers: [name, '7'] }), code({}), name);
});

t.test('of a request to a model counts what a model reads', async (t) => {
  t.equal(model({ headers: ['authorization', 'Bearer x', 'cookie', 'a', 'user-agent', 'b'] }), model({}));
  t.not(model({ headers: ['content-type', 'application/octet-stream'] }), model({}));
  t.not(model({ headers: ['inference-header-content-length', '5'] }), model({}));
  t.not(model({ path: '/v2/models/m/versions/2/infer' }), model({ path: '/v2/models/m/infer' }));
});

t.test('with `vary` the headers that it names count, and those that say how to read the rest', async (t) => {
  const keyed = (...headers: string[]) => code({ headers }, ['accept']);
  t.equal(keyed('accept-language', 'de'), keyed());
  for (const name of ['accept', 'content-type', 'content-encoding', 'host', 'x-session-id', 'serve-multiplexed-model-id'])
    t.not(keyed(name, 'x'), keyed(), name);
});

t.test('with another `vary` what was kept under the one before is not found', async (t) => {
  t.equal(new Set([code({}), code({}, []), code({}, ['accept'])]).size, 3, 'it may be the answer to headers that count now');
});

t.test('who shows who he is is answered by the code itself, unless `vary` keeps him apart', async (t) => {
  for (const name of ['authorization', 'proxy-authorization', 'cookie', 'x-api-key', 'x-auth-token']) {
    t.equal(code({ headers: [name, 'a'] }), undefined, name);
    t.equal(code({ headers: [name, 'a'] }, ['accept']), undefined, name);
    t.not(code({ headers: [name, 'a'] }, [name]), code({ headers: [name, 'b'] }, [name]), name);
  }
  t.equal(code({ headers: ['authorization', 'a', 'cookie', 'b'] }, ['authorization']), undefined);
});

t.test('who wants no answer from memory gets none', async (t) => {
  for (const said of ['no-cache', 'No-Store', 'max-age=0', 'x=1, no-cache', 'max-age="0"', 'no-cache,no-store']) {
    t.equal(code({ headers: ['cache-control', said] }), undefined, said);
    t.equal(model({ headers: ['cache-control', said] }), undefined, said);
  }
  t.equal(model({ headers: ['cache-control', 'x', 'cache-control', 'no-store'] }), undefined, 'in a second line');
  t.equal(model({ headers: ['pragma', 'no-cache'] }), undefined);
  for (const said of ['max-age=60', 'max-age=01', 'public', 'no-transform', 'xno-cache'])
    t.ok(model({ headers: ['cache-control', said] }), said);
});

t.test('what is not whole, or not there to be read alone, has no key', async (t) => {
  for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS']) t.equal(code({ method }), undefined, method);
  t.equal(keyOf(asked({}, '', { body: {} }), routing('module')), undefined, 'a body in pieces');
  t.equal(keyOf(asked({}, '', { socketSink: {} }), routing('module')), undefined, 'a WebSocket');
  t.equal(keyOf(asked(), routing('module', null, null)), undefined, 'replicas differ');
  t.equal(keyOf(asked(), deploymentRouting()), undefined, 'there is no cache');
});

t.test('calls with values: method, model, session, and all of the value', async (t) => {
  const call = (more: Partial<AskedCall> = {}): AskedCall => ({ target: { method: 'call' }, value: body('x'), ...more });
  const segment = (dtype: Segment['dtype'], shape: readonly number[] | null, text: string): Segment => ({
    dtype,
    shape,
    bytes: Buffer.from(text),
  });
  const of = (...segments: Segment[]) => call({ value: { skeleton: '[]', segments } });
  const keys = [
    call(),
    call({ target: { method: 'other' } }),
    call({ spread: true }),
    call({ modelId: 'm' }),
    call({ sessionId: 'm' }),
    call({ value: { skeleton: '"x"', segments: [] } }),
    of(segment('uint8', [4], 'abcd')),
    of(segment('int8', [4], 'abcd')),
    of(segment('uint8', [2, 2], 'abcd')),
    of(segment('uint8', [2], 'ab'), segment('uint8', [2], 'cd')),
    of(segment('uint8', [2], 'ab'), segment('uint8', [2], 'ce')),
  ].map((each) => keyOf(each, routing('module')));
  t.equal(new Set(keys).size, keys.length);
  const text = { skeleton: '{"ü":1}', segments: [] };
  const bytes = { skeleton: Buffer.from('{"ü":1}'), segments: [] };
  t.equal(keyOf(call({ value: text }), routing('module')), keyOf(call({ value: bytes }), routing('module')), 'text or its bytes');
});

t.test('two questions have one key only when they are the same', async () => {
  const text = fc.string({ maxLength: 4, unit: fc.constantFrom('a', '"', ',', '\\', '1', 'é') });
  const question = fc.record({ path: text, query: text, headers: fc.array(text, { maxLength: 4 }), body: text });
  const keyed = ({ path, query, headers, body: sent }: { path: string; query: string; headers: string[]; body: string }) =>
    keyOf(asked({ path, query, headers: headers.flatMap((name) => [`x${name}`, name]) }, sent), routing('module'));
  fc.assert(
    fc.property(question, question, (a, b) => (keyed(a) === keyed(b)) === (JSON.stringify(a) === JSON.stringify(b))),
    { numRuns: 1000 },
  );
});

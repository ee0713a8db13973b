import t from 'tap';
import { fateOf, headForAll } from '../../src/dispatch/answer-fate.ts';
import type { HttpAnswerHead } from '../../src/protocol/messages.ts';
import { deploymentRouting } from '../support/routing.ts';

const NOW = Date.UTC(2030, 0, 2, 3, 4, 5);
const at = (seconds: number) => new Date(NOW + seconds * 1000).toUTCString();

const fate = (headers: readonly string[], { status = 200, vary = null as readonly string[] | null, model = false } = {}) => {
  const head: HttpAnswerHead = { status, headers };
  return fateOf(
    head,
    deploymentRouting({ kind: model ? 'model' : 'module', responseCache: { maxBytes: 1, ttlMs: null, vary, from: 'v' } }),
    NOW,
  );
};

const KEEP = { kind: 'keep', ttlMs: Number.POSITIVE_INFINITY };
const OWN = { kind: 'own', lasting: true };

t.test('an answer of 200 is kept, and a value that was called for', async (t) => {
  t.same(fate(['content-type', 'text/plain']), KEEP);
  t.same(fateOf(undefined, deploymentRouting(), NOW), KEEP);
});

t.test('another status is for the one who asked; the next may get another', async (t) => {
  for (const status of [201, 204, 206, 304, 404, 429, 500])
    t.same(fate([], { status }), { kind: 'own', lasting: false }, String(status));
});

t.test('what is meant for one is given to one', async (t) => {
  for (const headers of [
    ['set-cookie', 'a=1'],
    ['Set-Cookie', 'a=1'],
    ['cache-control', 'no-store'],
    ['cache-control', 'max-age=60, Private'],
    ['cache-control', 'private="x-a"'],
    ['cache-control', 'max-age=60', 'Cache-Control', 'no-cache'],
    ['cache-control', 'max-age=0'],
    ['cache-control', 'max-age=x'],
    ['cache-control', 's-maxage=0, max-age=60'],
    ['pragma', 'no-cache'],
    ['expires', '0'],
    ['expires', '-1'],
    ['expires', '99999'],
    ['expires', at(0)],
    ['expires', at(-60)],
    ['expires', at(60), 'expires', at(60)],
    ['cache-control', 'max-age=60', 'age', '60'],
    ['cache-control', 'max-age=60', 'age', '59', 'Age', '61'],
    ['cache-control', 'max-age=60', 'age', 'old'],
    ['vary', '*'],
    ['vary', 'accept, *'],
  ])
    t.same(fate(headers), OWN, headers.join(' '));
});

t.test('an answer says how long it is good', async (t) => {
  t.same(fate(['cache-control', 'public, max-age=60']), { kind: 'keep', ttlMs: 60_000 });
  t.same(fate(['cache-control', 'max-age=60, s-maxage="5"']), { kind: 'keep', ttlMs: 5000 });
  t.same(fate(['cache-control', 'max-age=60', 'age', '59']), { kind: 'keep', ttlMs: 1000 });
  t.same(fate(['Expires', at(60)]), { kind: 'keep', ttlMs: 60_000 });
  t.same(
    fate(['expires', '0', 'pragma', 'no-cache', 'cache-control', 'max-age=5']),
    { kind: 'keep', ttlMs: 5000 },
    'older words',
  );
});

t.test('what an answer varies with is in the key, or the answer is not kept', async (t) => {
  const headers = ['vary', 'Accept-Language, accept'];
  t.same(fate(headers), KEEP, 'all headers are');
  t.same(fate(headers, { vary: ['accept', 'accept-language'] }), KEEP);
  t.same(fate(headers, { vary: ['accept'] }), OWN);
  t.same(fate(['vary', 'x-request-id']), OWN, 'which request it is never is');
  const coded = ['content-encoding', 'gzip'];
  t.same(fate(coded), KEEP);
  t.same(fate(coded, { vary: [] }), OWN);
  t.same(fate(coded, { vary: ['accept-encoding'] }), KEEP);
  t.same(fate(['vary', 'accept'], { model: true }), KEEP, 'a model reads none');
});

t.test('what is of one request only is not handed on', async (t) => {
  const head = { status: 200, headers: ['a', '1', 'X-Request-Id', 'r', 'traceparent', 't', 'x-serve-cache', 'miss', 'b', '2'] };
  t.same(headForAll(head), { status: 200, headers: ['a', '1', 'b', '2'] });
  const plain = { status: 200, headers: ['a', 'x-request-id'] };
  t.equal(headForAll(plain), plain, 'a value is no name');
});

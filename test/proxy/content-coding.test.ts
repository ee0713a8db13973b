import { gzipSync } from 'node:zlib';
import t from 'tap';
import { codingFor, codingOf, decode, encode } from '../../src/proxy/content-coding.ts';

t.test('an answer is compressed as the client wants it, where it is worth it', async (t) => {
  const rows: readonly (readonly [string | undefined, string | undefined])[] = [
    [undefined, undefined],
    ['', undefined],
    ['gzip', 'gzip'],
    ['deflate', 'deflate'],
    ['deflate, gzip', 'gzip'],
    ['gzip;q=0.5, deflate', 'deflate'],
    ['GZIP ; Q=0, br', undefined],
    ['gzip;q=0', undefined],
    ['br, zstd', undefined],
    ['gzip;q=none', undefined],
  ];
  for (const [accept, coding] of rows) t.equal(codingFor(accept, 1024), coding, String(accept));
  t.equal(codingFor('gzip', 1023), undefined);
});

t.test('codings that are not known are refused, those that are none are none', async (t) => {
  for (const none of [undefined, '', ' identity ']) t.equal(codingOf(none), undefined);
  t.equal(codingOf(' GZip'), 'gzip');
  for (const odd of ['br', 'gzip, gzip', 'gzip,deflate', 'x-gzip']) t.throws(() => codingOf(odd), { code: 'INVALID_INPUT' });
});

t.test('what comes out is bounded', async (t) => {
  const text = Buffer.alloc(1000, 'a');
  for (const coding of ['gzip', 'deflate'] as const) {
    const packed = await encode(text, coding);
    t.same(await decode(packed, coding, 1000), text);
    await t.rejects(decode(packed, coding, 999), { code: 'PAYLOAD_TOO_LARGE' });
  }
  await t.rejects(decode(gzipSync(text).subarray(0, 20), 'gzip', 1000), { code: 'INVALID_INPUT' });
});

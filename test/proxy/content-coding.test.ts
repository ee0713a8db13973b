import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { ServeError } from '../../src/domain/errors.ts';
import { codingFor, codingOf, Decodes, Encodes, encode, type UnpackSink } from '../../src/proxy/content-coding.ts';

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

t.test('what several get at once is compressed once', async (t) => {
  const begun: string[] = [];
  const finish: (() => void)[] = [];
  const encodes = new Encodes((body, coding) => {
    begun.push(`${Buffer.from(body)} ${coding}`);
    return new Promise((resolve) => finish.push(() => resolve(Buffer.from(`coded ${begun.length}`))));
  });
  const [a, same] = [Buffer.from('a'), Buffer.from('a')];
  const both = [encodes.encode(a, 'gzip'), encodes.encode(a, 'gzip')];
  const others = [encodes.encode(a, 'deflate'), encodes.encode(same, 'gzip')];
  t.same(begun, ['a gzip', 'a deflate', 'a gzip'], 'each coding, and each body, by itself');
  for (const each of finish) each();
  const [one, two] = await Promise.all(both);
  await Promise.all(others);
  t.equal(one, two);
  void encodes.encode(a, 'gzip');
  t.equal(begun.length, 4, 'nothing is held when it is done');
});

t.test('an answer that cannot be compressed is so for all who wait, and the next is tried', async (t) => {
  let tries = 0;
  const encodes = new Encodes(async () => {
    tries += 1;
    throw new Error('no');
  });
  const body = Buffer.from('a');
  const both = await Promise.allSettled([encodes.encode(body, 'gzip'), encodes.encode(body, 'gzip')]);
  t.same([both.map(({ status }) => status), tries], [['rejected', 'rejected'], 1]);
  await t.rejects(encodes.encode(body, 'gzip'));
  t.equal(tries, 2);
});

/** Decoding by hand: what is worked on, in the order of its turn. */
const rig = (maxHeldBytes = Number.POSITIVE_INFINITY) => {
  const running: { readonly body: string; readonly sink: UnpackSink; stopped: boolean }[] = [];
  const decodes = new Decodes((body, _coding, sink) => {
    const each = { body: Buffer.from(body).toString(), sink, stopped: false };
    running.push(each);
    return () => {
      each.stopped = true;
    };
  });
  decodes.maxHeldBytes = maxHeldBytes;
  /** What became of each body: what came out, or the code of its error. */
  const results: Record<string, string> = {};
  const decode = (body: string, maxBytes = 1000) =>
    decodes.decode(Buffer.from(body), 'gzip', maxBytes, (result) => {
      t.notOk(body in results, `${body} is over once`);
      results[body] = result instanceof ServeError ? result.code : Buffer.from(result).toString();
    });
  return { running, decodes, results, decode, begun: () => running.map(({ body }) => body).join('') };
};
const bytes = (count: number) => Buffer.alloc(count, 'x');

t.test('few bodies are decoded at once, the others wait in their order with what they came with', async (t) => {
  const { running, decodes, results, decode, begun } = rig();
  for (const body of 'abcdefg') decode(body);
  t.equal(begun(), 'abcd');
  t.equal(decodes.heldBytes, 7);
  running[2]?.sink.piece(Buffer.from('C1'));
  running[2]?.sink.piece(Buffer.from('C2'));
  t.equal(decodes.heldBytes, 11, 'what is out counts too');
  running[2]?.sink.ended();
  t.same(results, { c: 'C1C2' });
  t.equal(begun(), 'abcde');
  running[0]?.sink.failed();
  t.same(results, { c: 'C1C2', a: 'INVALID_INPUT' });
  t.equal(begun(), 'abcdef');
  for (const each of running) each.sink.ended();
  t.equal(begun(), 'abcdefg');
  running[6]?.sink.ended();
  t.equal(decodes.heldBytes, 0);
  t.equal(results['g'], '');
});

t.test('what is given up is not decoded any further, and never heard of again', async (t) => {
  const { running, decodes, results, decode, begun } = rig();
  const stops = [...'abcdefg'].map((body) => decode(body));
  stops[5]?.();
  t.equal(decodes.heldBytes, 6, 'f, which waited, is gone');
  running[0]?.sink.piece(bytes(10));
  stops[0]?.();
  t.ok(running[0]?.stopped);
  t.equal(decodes.heldBytes, 5);
  t.equal(begun(), 'abcde', 'its turn is another’s');
  running[0]?.sink.piece(bytes(10));
  running[0]?.sink.ended();
  stops[0]?.();
  t.equal(decodes.heldBytes, 5);
  running[1]?.sink.ended();
  t.equal(begun(), 'abcdeg');
  t.same(results, { b: '' });
});

t.test('what comes out of one body is bounded', async (t) => {
  const { running, decodes, results, decode } = rig();
  decode('a', 10);
  running[0]?.sink.piece(bytes(10));
  t.same(results, {});
  running[0]?.sink.piece(bytes(1));
  t.same(results, { a: 'PAYLOAD_TOO_LARGE' });
  t.ok(running[0]?.stopped);
  t.equal(decodes.heldBytes, 0);
});

t.test('what all hold is bounded, at the door and while they come out', async (t) => {
  const { running, decodes, results, decode } = rig(20);
  decode('aaaa');
  decode('bbbb');
  running[0]?.sink.piece(bytes(10));
  t.equal(decodes.heldBytes, 18);
  decode('ccc');
  t.same(results, { ccc: 'QUEUE_FULL' });
  decode('dd');
  running[1]?.sink.piece(bytes(1));
  t.same(results, { ccc: 'QUEUE_FULL', bbbb: 'QUEUE_FULL' });
  t.ok(running[1]?.stopped);
  t.equal(decodes.heldBytes, 16);
  running[0]?.sink.ended();
  running[2]?.sink.piece(bytes(18));
  t.equal(decodes.heldBytes, 20);
  running[2]?.sink.piece(bytes(1));
  t.equal(results['dd'], 'PAYLOAD_TOO_LARGE', 'alone it is too much: to try again would not help');
  decode('e'.repeat(21));
  t.equal(results['e'.repeat(21)], 'PAYLOAD_TOO_LARGE');
  t.equal(decodes.heldBytes, 0);
});

t.test('one that is refused can try again, as the error says', async (t) => {
  const { decodes } = rig(4);
  decodes.decode(bytes(3), 'gzip', 1000, () => t.fail('it is under way'));
  decodes.decode(bytes(2), 'gzip', 1000, (result) =>
    t.match(result, { code: 'QUEUE_FULL', status: 503, details: { retryAfterS: 1 } }),
  );
});

t.test('bodies are decoded as they were encoded', async (t) => {
  const decodes = new Decodes();
  const decoded = (body: Uint8Array, coding: 'gzip' | 'deflate', maxBytes: number) =>
    new Promise<Uint8Array | ServeError>((resolve) => decodes.decode(body, coding, maxBytes, resolve));
  for (const text of [Buffer.alloc(1000, 'a'), randomBytes(1_000_000), Buffer.alloc(0)])
    for (const coding of ['gzip', 'deflate'] as const) {
      const packed = await encode(text, coding);
      t.ok(text.equals((await decoded(packed, coding, text.byteLength)) as Uint8Array), `${text.byteLength} bytes, ${coding}`);
      if (text.byteLength > 0) t.match(await decoded(packed, coding, text.byteLength - 1), { code: 'PAYLOAD_TOO_LARGE' });
    }
  const packed = gzipSync('some text');
  for (const odd of [packed.subarray(0, 20), Buffer.alloc(0), Buffer.from('null')])
    t.match(await decoded(odd, 'gzip', 1000), { code: 'INVALID_INPUT' });
  t.match(await decoded(packed, 'deflate', 1000), { code: 'INVALID_INPUT' });
  t.equal(decodes.heldBytes, 0);
});

import t from 'tap';
import { exactDigits, parseExactly } from '../../src/protocol/exact-json.ts';

t.test('what JavaScript can say is parsed as always', async (t) => {
  const text = '{"a": [1, -2.5, 0.30000000000000004, 1e300, "12345678901234567890"], "b": {"c": null, "d": true}}';
  t.same(parseExactly(text), JSON.parse(text));
});

t.test('long whole numbers keep their digits, in the middle of anything else', async (t) => {
  const parsed = parseExactly(
    '{"9223372036854775807": [9223372036854775807, -9223372036854775808, "\\"1234567890123456789", 0.1, 1e5]}',
  );
  t.same(Object.keys(parsed as object), ['9223372036854775807']);
  const [most, least, text, ...rest] = (parsed as Record<string, unknown[]>)['9223372036854775807'] as unknown[];
  t.equal(exactDigits(most), '9223372036854775807');
  t.equal(exactDigits(least), '-9223372036854775808');
  t.equal(text, '"1234567890123456789');
  t.same(rest, [0.1, 1e5]);
});

t.test('a fraction or an exponent of many digits is a number like any other', async (t) => {
  const text = '[12345678901234567.5, 12345678901234567e2]';
  t.same(parseExactly(text), JSON.parse(text));
});

t.test('texts, however they are written, are no digits', async (t) => {
  for (const value of ['12345678901234567', '\0', '\0abc', '\x0a3', 5, null, undefined]) t.equal(exactDigits(value), undefined);
});

t.test('what is no JSON says where, in the text as it came', async (t) => {
  t.throws(() => parseExactly('[12345678901234567, }'), {
    code: 'INVALID_INPUT',
    message: /unexpected "}" at line 1, column 21/,
  });
  t.throws(() => parseExactly('[012345678901234567]'), { code: 'INVALID_INPUT' });
});

t.test('texts of any length, also of escapes alone, stand beside long whole numbers', async (t) => {
  const most = '9223372036854775807';
  const rows: readonly (readonly [string, string])[] = [
    ['plain', 'a'.repeat(60_000_000)],
    ['digits', '1'.repeat(60_000_000)],
    ['line ends', '\\n'.repeat(30_000_000)],
    ['quotes', '\\"'.repeat(10_000_000)],
    ['backslashes', '\\\\'.repeat(30_000_000)],
  ];
  for (const [what, written] of rows) {
    const [before, text, after, ...rest] = parseExactly(`[${most},"${written}",-${most}]`) as readonly unknown[];
    t.equal(exactDigits(before), most, what);
    t.ok(text === JSON.parse(`"${written}"`), `${what}: the text is as it was`);
    t.equal(exactDigits(after), `-${most}`, what);
    t.equal(rest.length, 0);
  }
});

t.test('escapes at the end of a text do not hide where it ends', async (t) => {
  const [text, number, other] = parseExactly('["\\\\",12345678901234567,"\\\\\\"12345678901234567"]') as readonly unknown[];
  t.same([text, exactDigits(number), other], ['\\', '12345678901234567', '\\"12345678901234567']);
});

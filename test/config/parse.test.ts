import t from 'tap';
import { parse } from '../../src/config/parse.ts';
import { codes, compiled } from './fixtures/rig.ts';

const data = (text: string) => JSON.parse(JSON.stringify(parse(text, {}).data ?? null));
const code = (text: string | Uint8Array) => codes(compiled(text))[0];

t.test('own keys win over merged ones wherever they stand, and the first of several mappings wins', async (t) => {
  const text = 'a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {x: 3, <<: [*a, *b]}\nd: {<<: *a, x: 4}\n';
  t.same(data(text).c, { x: 3, y: 1, z: 2 });
  t.same(data(text).d, { x: 4, y: 1 });
});

t.test('a quoted << is a key like any other', async (t) => {
  t.same(data('"<<": 1'), { '<<': 1 });
});

t.test('an alias means the last anchor before it, also inside a copy', async (t) => {
  t.same(data('a: &x 1\nb: &y [*x]\nc: &x 2\nd: *y\ne: *x\n'), { a: 1, b: [1], c: 2, d: [1], e: 2 });
});

t.test('the data has no prototype, so that no key can reach one', async (t) => {
  const { data } = parse('__proto__: {polluted: 1}\n', {});
  t.equal(Object.getPrototypeOf(data), null);
  t.equal(({} as { polluted?: number }).polluted, undefined);
});

t.test('YAML 1.2 has other booleans and octals than 1.1', async (t) => {
  t.same(data('a: yes\nb: 017\nc: 0o17\nd: on\n'), { a: 'yes', b: 17, c: 15, d: 'on' });
});

t.test('places are those of the keys and values in the text', async (t) => {
  const { places } = parse('a:\n  b: [1, 22]\n', {});
  t.equal(places.offset(['a', 'b'], 'key'), 5);
  t.equal(places.offset(['a', 'b', 1]), 12);
  t.equal(places.offset(['a', 'missing']), 5, 'what is not there is looked for in what is');
});

t.test('a byte order mark is no part of the text', async (t) => {
  const text = '\ufeffapplications: []\nx: 1\n';
  for (const form of [text, Buffer.from(text)])
    t.match(compiled(form).diagnostics, [{ code: 'UNKNOWN_KEY', line: 2, column: 1 }]);
});

t.test('other encodings are refused', async (t) => {
  t.equal(code(Buffer.from('applications: []', 'utf16le')), 'NOT_UTF8');
  t.equal(code(Buffer.from('\ufeffapplications: []', 'utf16le')), 'NOT_UTF8');
  t.equal(code(Buffer.from([0x61, 0x3a, 0xff, 0xfe])), 'NOT_UTF8');
});

t.test('a text beyond the bounds is refused before it is parsed', async (t) => {
  t.equal(code(`a: "${'x'.repeat(4 * 1024 * 1024)}"`), 'TOO_LARGE');
  t.equal(code(`a: [${'1,'.repeat(60_000)}]`), 'TOO_LARGE');
  t.equal(code(`a: &a 1\nb: [${'*a,'.repeat(1_001)}]`), 'TOO_MANY_ALIASES');
  t.equal(code('['.repeat(100_000)), 'TOO_DEEP');
  t.equal(code(`${'- '.repeat(80)}a`), 'TOO_DEEP');
  t.equal(code(Array.from({ length: 80 }, (_, depth) => `${' '.repeat(depth)}k:\n`).join('')), 'TOO_DEEP');
});

t.test('64 levels are read', async (t) => {
  t.not(code(`a: ${'['.repeat(63)}${']'.repeat(63)}`), 'TOO_DEEP');
  t.equal(code(`a: ${'['.repeat(64)}${']'.repeat(64)}`), 'TOO_DEEP');
});

t.test('aliases that multiply are stopped', async (t) => {
  const lines = Array.from(
    { length: 9 },
    (_, level) => `a${level}: &a${level} [${level === 0 ? '1' : Array(10).fill(`*a${level - 1}`)}]`,
  );
  t.equal(code(lines.join('\n')), 'TOO_LARGE');
});

t.test('depth is counted with aliases written out', async (t) => {
  const half = '['.repeat(40);
  t.equal(code(`a: &a ${half}${']'.repeat(40)}\nb: ${half}*a${']'.repeat(40)}`), 'TOO_DEEP');
});

t.test('duplicate keys are found in one pass', async (t) => {
  const keys = Array.from({ length: 12_000 }, (_, index) => `k${index}: 1`);
  const { findings } = parse([...keys, 'k7: 2'].join('\n'), {});
  t.match(findings, [{ code: 'DUPLICATE_KEY', path: ['k7'] }]);
});

t.test('thousands of syntax errors are told by the first few', async (t) => {
  t.ok(compiled(`a: [${','.repeat(50_000)}]`).diagnostics.length <= 100);
});

// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is the config's own syntax
import fc from 'fast-check';
import t from 'tap';
import { parse } from '../../src/config/parse.ts';
import { writeConfig } from '../../src/config/write.ts';
import type { Json } from '../../src/domain/json.ts';

const ENVIRONMENT = { HOME: '/home/somebody' };
const readBack = (text: string): unknown => {
  const { data, findings } = parse(text, ENVIRONMENT);
  return findings.length > 0 ? findings : JSON.parse(JSON.stringify(data));
};

t.test('what looks like a variable, a number or YAML is the text that it is', async (t) => {
  const args = {
    texts: [
      '${HOME}',
      '$${HOME}',
      '$$${HOME',
      '12',
      'true',
      'null',
      '~',
      '',
      ' a',
      '- a',
      '{a: b}',
      '# a',
      '*a',
      'a\nb\n',
      '\u0007',
    ],
    others: [12, 1.5, true, null, [], {}],
    'a.0': 'a key',
  };
  const config = { applications: [{ import_path: './app.ts:app', args }] };
  const text = writeConfig(config, 'One line.\nAnother.');
  t.match(text, /^# One line\.\n# Another\.\n\napplications:\n {2}- import_path: \.\/app\.ts:app\n/);
  t.same(readBack(text), config);
});

t.test('numbers that integers are not held exactly at are written so that they are read as they are', async (t) => {
  const args = [2 ** 53, -(2 ** 53), 2 ** 53 - 1, 3 ** 40, 1e300, -0.1];
  t.same(readBack(writeConfig({ args }, 'Numbers.')), { args });
});

t.test('any JSON is read as it was written', async () => {
  const withoutOddKeys = (value: unknown): boolean =>
    typeof value !== 'object' ||
    value === null ||
    Object.entries(value).every(([key, inner]) => key !== '<<' && key !== '__proto__' && withoutOddKeys(inner));
  const piece = fc.constantFrom('$', '{', '}', 'HOME', ':', ' ', '\n', '"', "'", '-', '#', '\\', '1', 'é', '\t');
  const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''));
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 3 },
      text,
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie('tree'), { maxLength: 4 }),
      fc.dictionary(text, tie('tree'), { maxKeys: 4 }),
    ),
  }));
  fc.assert(
    fc.property(tree as fc.Arbitrary<Json>, (value) => {
      fc.pre(withoutOddKeys(value));
      const config = JSON.parse(JSON.stringify({ value }));
      return JSON.stringify(readBack(writeConfig(config, 'x'))) === JSON.stringify(config);
    }),
  );
});

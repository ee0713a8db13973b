// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is the config's own syntax
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { ENVIRONMENT, mistakeOf } from '../support/broken-configs.ts';
import { configText } from '../support/config-arbitrary.ts';
import { compiled } from './fixtures/rig.ts';

const good = readFileSync(new URL('fixtures/full.good.yaml', import.meta.url), 'utf8');
const env = { HTTP_PORT: '8100', TOKEN: 'x' };

/** Pieces that mean something to YAML, to the substitution or to the schema. */
const piece = fc.oneof(
  fc.constantFrom(
    '${',
    '}',
    '{',
    '[',
    ']',
    '- ',
    ': ',
    '&a ',
    '*a',
    '*env',
    '<<: ',
    '!x ',
    '"',
    "'",
    '|\n',
    '\n',
    '\t',
    '# ',
    'null',
    '---\n',
  ),
  fc.constantFrom(
    '.inf',
    '-1',
    '0',
    'yes',
    '__proto__: 1\n',
    '$request.json',
    '$$',
    '${HTTP_PORT}',
    '64MiB',
    '/',
    'Front',
    '%YAML 1.1\n',
  ),
  fc.string({ unit: 'binary', maxLength: 4 }),
);

const mutation = fc.record({ at: fc.nat(good.length), remove: fc.nat(30), insert: piece });

const isDecided = (text: string | Uint8Array): boolean => {
  const { desired, diagnostics } = compiled(text, env);
  const refused = diagnostics.some(({ severity, code }) => severity === 'error' && code !== 'FILE_MISSING');
  return (desired === undefined) === refused;
};

t.test('whatever is done to a good file, it is either understood or refused with an error, and nothing throws', async () => {
  const mutated = fc
    .array(mutation, { minLength: 1, maxLength: 4 })
    .map((mutations) =>
      mutations.reduce((text, { at, remove, insert }) => text.slice(0, at) + insert + text.slice(at + remove), good),
    );
  fc.assert(fc.property(mutated, isDecided), { numRuns: 500 });
});

t.test('the same holds for lines taken out or doubled', async () => {
  const lines = good.split('\n');
  const indices = fc.array(fc.nat(lines.length - 1), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(indices, fc.boolean(), (chosen, double) =>
      isDecided(lines.flatMap((line, index) => (chosen.includes(index) ? (double ? [line, line] : []) : [line])).join('\n')),
    ),
    { numRuns: 300 },
  );
});

t.test('the same holds for any bytes', async () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), isDecided), { numRuns: 300 });
});

t.test('any JSON value may stand anywhere', async () => {
  const document = fc.tuple(
    fc.constantFrom('http_options', 'admin_options', 'logging_config', 'applications', 'resources'),
    fc.jsonValue(),
  );
  const application = fc
    .jsonValue()
    .map((value) => ({ applications: [{ deployments: [{ name: 'A', import_path: './a.ts' }], graph: value }] }));
  const deployment = fc
    .jsonValue()
    .map((value) => ({ applications: [{ deployments: [{ name: 'A', model: value, retry: value, batching: value }] }] }));
  const any = fc.oneof(
    document.map(([key, value]) => ({ applications: [], [key]: value })),
    application,
    deployment,
  );
  fc.assert(
    fc.property(any, (value) => isDecided(JSON.stringify(value))),
    { numRuns: 500 },
  );
});

/** More where somebody hunts: `FUZZ_RUNS=100000`. */
const RUNS = Number(process.env['FUZZ_RUNS'] ?? 300);

t.test('what is drawn from the schema is understood or refused, in words, and the same every time', async () => {
  const edits = fc.array(fc.record({ at: fc.nat(), remove: fc.nat(8), insert: piece }), { maxLength: 2 });
  const edited = fc.tuple(configText, edits).map(([text, all]) =>
    all.reduce((now, { at, remove, insert }) => {
      const from = at % (now.length + 1);
      return now.slice(0, from) + insert + now.slice(from + remove);
    }, text),
  );
  fc.assert(
    fc.property(edited, (text) => {
      const { diagnostics, desired } = compiled(text, ENVIRONMENT);
      const mistake = mistakeOf(diagnostics);
      if (mistake !== undefined) throw new Error(mistake);
      const again = compiled(Buffer.from(text), ENVIRONMENT).diagnostics;
      const same = /[\ud800-\udfff]/.test(text) || isDeepStrictEqual(again, diagnostics);
      return same && isDecided(text) && (desired === undefined || JSON.stringify(desired).length > 0);
    }),
    { numRuns: RUNS },
  );
});

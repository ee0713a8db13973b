// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is the config's own syntax
import t from 'tap';
import { configOfRun, isCode, mistakesOf, readTargets } from '../../src/cli/code-target.ts';
import { compile } from '../../src/config/compile.ts';

t.test('code is told from a config file by its name', async (t) => {
  for (const code of [
    './app.ts:app',
    'app.ts',
    '../a/b.mjs:B',
    'llm:chat',
    'a.b:c',
    'app.ts:',
    'app.ts:a:b',
    '/srv/app.cjs:x',
    'page.tsx',
    './page.jsx:app',
  ])
    t.ok(isCode(code), code);
  for (const config of [
    'config.yaml',
    './a.yml',
    'config.json',
    'config',
    'C:\\srv\\config.yaml',
    'a:b.yaml',
    '/etc/daemon',
    'x=1',
  ])
    t.notOk(isCode(config), config);
});

t.test('key=value is a string, key:=value JSON', async (t) => {
  const [target] = readTargets([
    './app.ts:app',
    'to=fr',
    'n=15',
    'n2:=15',
    'list:=["a", 1]',
    'empty=',
    'url=http://a/?b=c:=d',
    'a:b=c',
  ]);
  t.same(
    { ...target, args: { ...target?.args } },
    {
      importPath: './app.ts:app',
      args: { to: 'fr', n: '15', n2: 15, list: ['a', 1], empty: '', url: 'http://a/?b=c:=d', 'a:b': 'c' },
    },
  );
});

t.test('arguments belong to the code before them', async (t) => {
  const targets = readTargets(['./a.ts:a', 'x=1', './b.ts:b', 'x=2']);
  t.same(
    targets.map(({ importPath, args }) => [importPath, { ...args }]),
    [
      ['./a.ts:a', { x: '1' }],
      ['./b.ts:b', { x: '2' }],
    ],
  );
});

t.test('what is neither is a mistake that names it', async (t) => {
  const wrong =
    (...words: string[]) =>
    () =>
      readTargets(words);
  t.throws(wrong('config.yaml'), { message: 'expected code, as in ./app.ts:app, got config.yaml' });
  t.throws(wrong('to=fr'), { message: /before its arguments, got to=fr/ });
  t.throws(wrong('./a.ts:a', 'fr'), { message: 'expected key=value behind ./a.ts:a, got fr' });
  t.throws(wrong('./a.ts:a', 'to=fr', 'to=de'), { message: 'expected to once, got to=de too' });
  t.throws(wrong('./a.ts:a', 'n:=fr'), { message: /expected JSON behind n:=, got fr; n=… gives a string/ });
});

t.test('the config of a run says what was asked, and no variable of the environment', async (t) => {
  const [target] = readTargets(['./app.ts:app', 'home=${HOME}']);
  if (target === undefined) throw new Error('there is one');
  const ask = (text: string) => compile(text, { file: '/srv/x', folder: '/srv', env: { HOME: '/root' }, exists: () => true });
  const { desired, diagnostics } = ask(configOfRun(target, { routePrefix: '/v1', host: '0.0.0.0', port: 1, adminPort: 2 }));
  t.same(diagnostics, []);
  t.match(desired, {
    proxy: { host: '0.0.0.0', port: 1 },
    admin: { port: 2 },
    applications: [
      { name: 'default', routePrefix: '/v1', fromCode: { file: '/srv/app.ts', export: 'app', args: { home: '${HOME}' } } },
    ],
  });
  const bad = ask(configOfRun(target, { routePrefix: 'v1' }));
  t.match(
    mistakesOf('./app.ts:app', bad.diagnostics),
    /^serve-daemon: \.\/app\.ts:app: applications\[0\]\.route_prefix: expected a route .*\n$/,
  );
});

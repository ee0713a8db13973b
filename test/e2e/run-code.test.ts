// biome-ignore-all lint/suspicious/noTemplateCurlyInString: what is no variable looks like one
/** `run ./app.ts:app`: code is served without a config file, edited while it serves, and taken down by Ctrl-C. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { allGone, type DaemonRig, runProgram, startDaemon, until } from '../support/daemon-rig.ts';

t.setTimeout(180_000);

const CODE = `import { deployment } from 'serve-daemon';
class Translator {
  constructor(args) { this.args = args; }
  async translate(text) { return this.args.to + ': ' + text; }
  async call(text) { return { ...this.args, text }; }
}
class Summarizer {
  constructor({ translators }) { this.translators = translators; }
  async call(text) {
    console.log('asked for ' + text);
    return Promise.all(this.translators.map((translator) => translator.translate(text)));
  }
}
export const app = deployment(Summarizer, { maxOngoingRequests: 20 }).bind({
  translators: ['fr', 'de'].map((to) => deployment(Translator, { name: 'To_' + to }).bind({ to })),
});
export const build = (args) => deployment(Translator).bind(args);
export class Alone { async call(name) { return 'Hello ' + name; } }
export async function count(text) { return text.split(' ').length; }
`;
/** What Hono makes, in small: a class of its own with \`fetch\` among other methods. */
const SITE = `class Site {
  fetch = async (request) => new Response(request.method + ' ' + new URL(request.url).pathname);
}
export default new Site();
`;
const FILES = { 'src/app.ts': CODE, 'site.ts': SITE };
const FREE = ['--port', '0', '--admin-port', '0'];

const start = (...words: string[]): Promise<DaemonRig> =>
  startDaemon(undefined, { files: FILES, command: ['run', ...words, ...FREE] });
const ask = async (daemon: DaemonRig, body: unknown, path = '/'): Promise<unknown> => {
  const { text, headers } = await daemon.post(path, body);
  return headers['content-type']?.includes('json') ? JSON.parse(text) : text;
};
/** Ends as by Ctrl-C, and leaves nothing. */
const interrupt = async (t: Pick<typeof import('tap').default, 'same'>, daemon: DaemonRig): Promise<void> => {
  const running = daemon.processes();
  t.same(await daemon.stop('SIGINT'), { code: 0, signal: null });
  await allGone(running, 4000);
  t.same((await readdir(daemon.folder)).sort(), ['site.ts', 'src'], 'nothing was written beside the code');
  t.same(await readdir(join(daemon.root, 'run')), [], 'no socket is left');
};

t.test('an application: served at /, its output in the log, edited while it serves, until Ctrl-C', async (t) => {
  await using daemon = await start('./src/app.ts:app');
  t.same(await ask(daemon, 'one two'), ['fr: one two', 'de: one two']);
  await daemon.waitForLog((line) => line.msg === 'asked for one two');

  const { config, applications } = await daemon.status();
  t.match(config, { path: join(daemon.folder, 'src', 'app.ts:app'), source: 'run', revision: 1, drift: false, errors: [] });
  t.match(applications, { default: { route_prefix: '/', status: 'RUNNING' } });

  await daemon.write('src/app.ts', CODE.replace("['fr', 'de']", "['fr', 'es']"));
  await until('the edit serves', async () => JSON.stringify(await ask(daemon, 'one')) === '["fr: one","es: one"]');
  await daemon.write('src/app.ts', `${CODE}\nconst = 5;`);
  const broken = await daemon.when('the mistake is told', ({ config: { errors } }) => errors.length > 0);
  t.match(broken.config.errors, [{ message: /app\.ts:\d+:7: /, line: 0, excerpt: '' }]);
  t.same(await ask(daemon, 'one'), ['fr: one', 'es: one'], 'what served goes on');
  await daemon.write('src/app.ts', CODE);
  await until('it is mended', async () => JSON.stringify(await ask(daemon, 'one')) === '["fr: one","de: one"]');
  await interrupt(t, daemon);
});

t.test('a builder with arguments, under a name and a route', async (t) => {
  const words = ['src/app.ts:build', 'to=fr', 'n=15', 'n2:=15', 'home=${HOME}', '--name', 'mine', '--route-prefix', '/v1'];
  await using daemon = await start(...words);
  t.same(await ask(daemon, 'x', '/v1'), { to: 'fr', n: '15', n2: 15, home: '${HOME}', text: 'x' });
  t.equal((await daemon.post('/', 'x')).status, 404);
  t.same(Object.keys((await daemon.status()).applications), ['mine']);
  await interrupt(t, daemon);
});

t.test('a class', async (t) => {
  await using daemon = await start('./src/app.ts:Alone');
  t.equal(await ask(daemon, 'Ada'), 'Hello Ada');
  await interrupt(t, daemon);
});

t.test('a function', async (t) => {
  await using daemon = await start('./src/app.ts:count');
  t.equal(await ask(daemon, 'one two three'), 3);
  await daemon.write('src/app.ts', CODE.replace("split(' ').length", "split(' ')"));
  await until('the edit serves', async () => JSON.stringify(await ask(daemon, 'one two')) === '["one","two"]');
  await interrupt(t, daemon);
});

t.test('an object with fetch, by the default export', async (t) => {
  await using daemon = await start('./site.ts');
  t.equal((await daemon.ask('/a/b')).text, 'GET /a/b');
  t.same(Object.keys((await daemon.status()).applications['default']?.deployments ?? {}), ['Site']);
  await interrupt(t, daemon);
});

t.test('another config over the admin API, and back to the code; a restart knows what was applied', async (t) => {
  await using daemon = await start('./src/app.ts:Alone');
  const address = ['--address', daemon.adminUrl];
  const program = (...args: string[]) => runProgram([...args, ...address], { cwd: daemon.folder });
  const served = (await program('config')).out;
  t.match(served, /import_path: \.\/src\/app\.ts:Alone/);
  await daemon.write('other.yaml', 'applications: [{import_path: "./src/app.ts:count"}]\n');
  t.match((await program('plan', 'other.yaml')).out, /^default: start|count +start/m);
  t.match(await program('deploy', 'other.yaml'), { code: 0 });
  await until('it serves', async () => (await ask(daemon, 'one two')) === 2);
  const from = daemon.log.length;
  await daemon.write('src/app.ts', CODE.replace('Hello', 'Good day'));
  await daemon.waitForLog('config applied', from);
  t.equal(await ask(daemon, 'one two'), 2, 'an edit of the code does not bring the first application back');
  t.match((await daemon.status()).config, { source: 'api', drift: false });
  t.match(await program('status'), { code: 0, out: /app\.ts:Alone, revision 2, applied .* by api/ });
  t.match(await program('rollback'), { code: 0 });
  await until('the code serves again', async () => (await ask(daemon, 'Ada')) === 'Good day Ada');
  t.equal((await program('config')).out, served);
  await rm(daemon.path('other.yaml'));
  await interrupt(t, daemon);
  await using again = await startDaemon(undefined, {
    folder: daemon.root,
    command: ['run', './src/app.ts:Alone', ...FREE],
  });
  const history = await runProgram(['history', '--address', again.adminUrl]);
  t.match(history.out, /^1 .* run .*\n2 .* api /m);
});

t.test('with --no-watch-code an edit waits for SIGHUP', async () => {
  await using daemon = await start('./src/app.ts:Alone', '--no-watch-code');
  await daemon.write('src/app.ts', CODE.replace('Hello', 'Good day'));
  daemon.signal('SIGHUP');
  await until('the edit serves', async () => (await ask(daemon, 'Ada')) === 'Good day Ada');
});

t.test('what cannot be served is one line on standard error, with exit code 1', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sd-e2e-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const files = {
    'app.ts': CODE,
    'broken.ts': 'export const = 5;',
    'throws.ts': 'throw new Error("no weights");\nexport const app = 1;',
    'odd.ts': 'export const app = 5;',
    'because.ts': 'throw new Error("no weights", { cause: new TypeError("no such file") });\nexport const app = 1;',
    'leaves.ts': 'console.error("I have seen enough"); process.exit(3);\nexport const app = 1;',
    'unbound.cjs': 'const { deployment } = require("serve-daemon"); exports.app = deployment(class {});',
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const env = { XDG_STATE_HOME: join(folder, 'state'), XDG_RUNTIME_DIR: folder };
  const wrong: [string[], RegExp][] = [
    [['./missing.ts:app'], /missing\.ts:app: expected a file, got none.*looked for `.*missing\.ts`/],
    [['./app.ts:nope'], /app\.ts has no export `nope`; it has Alone, app, build, count/],
    [['./broken.ts:app'], /broken\.ts:1:14: Expected identifier but found "="/],
    [['./throws.ts:app'], /throws\.ts:app: .*no weights/],
    [['./app.ts:Build'], /has no export `Build`; it has .*; did you mean `build`\?/],
    [['./app.ts'], /app\.ts has no default export; it has Alone, app, build, count: name one behind a colon/],
    [['./because.ts:app'], /Error: no weights, because of TypeError: no such file/],
    [['./leaves.ts:app'], /the code ended its process before .*: exit code 3; its last words: I have seen enough/],
    [['./unbound.cjs:app'], /expected `app` to be bound to its arguments/],
    [['./unbound.cjs:ap'], /unbound\.cjs has no export `ap`; it has default, app; did you mean `app`\?/],
    [['./odd.ts:app'], /expected `app` to be an application, deployment\(…\)\.bind\(…\), .*got number/],
    [['./app.ts:app', 'to=fr'], /`app` is an application and takes no args, got to/],
    [
      ['./app.ts:count', 'to=fr'],
      /the function `count` was to build the application and threw TypeError: text\.split is not a function/,
    ],
    [['./app.ts:Alone', '--route-prefix', 'v1'], /route_prefix: expected a route/],
  ];
  for (const [words, text] of wrong) {
    const { code, errors } = await runProgram(['run', ...words, ...FREE], { cwd: folder, env });
    t.equal(code, 1, words.join(' '));
    t.match(errors, text);
    t.match(errors, /^serve-daemon: .*\n$/);
    t.equal(errors.split('\n').length, 2, errors);
  }
});

t.test('CommonJS, by the names of its exports, and a page in JSX', async (t) => {
  const files = {
    'new.mts': `import { HttpError } from 'serve-daemon';\nexport const isOurs = (other: unknown) => other === HttpError;`,
    'old.cts': `import sd = require('serve-daemon');
import { isOurs } from './new.mts';
class Inner { async work(x: string) { return 'inner ' + x + ' ' + isOurs(sd.HttpError); } }
class Outer { constructor(private args: { inner: sd.Handle<Inner> }) {} async call(x: string) { return 'outer ' + (await this.args.inner.work(x)); } }
export = { app: sd.deployment(Outer).bind({ inner: sd.deployment(Inner).bind() }) };`,
    'page.tsx': `const h = (tag: string, _props: unknown, ...inner: string[]) => '<' + tag + '>' + inner.join('') + '</' + tag + '>';
/** @jsx h */
export const page = { fetch: async () => new Response(<p>hello</p>) };`,
  };
  const serves = (word: string) => startDaemon(undefined, { files, command: ['run', word, ...FREE] });
  await using old = await serves('./old.cts:app');
  t.equal(await ask(old, 'x'), 'outer inner x true', 'and the SDK is one');
  await using page = await serves('./page.tsx:page');
  t.equal((await page.ask('/')).text, '<p>hello</p>');
});

t.test('the code never runs in the daemon', async (t) => {
  const app = `import { appendFileSync } from 'node:fs';
appendFileSync('loaded', process.pid + '\\n');
export class Alone { async call() { return process.pid; } }`;
  await using daemon = await startDaemon(undefined, { files: { 'app.ts': app }, command: ['run', './app.ts:Alone', ...FREE] });
  const served = await ask(daemon, null);
  const loaded = (await readFile(daemon.path('loaded'), 'utf8')).trim().split('\n').map(Number);
  t.equal(loaded.length, 2, 'by the child that says what it consists of, and by the replica');
  t.ok(loaded.includes(served as number));
  t.notOk(loaded.includes(daemon.pid));
});

// biome-ignore-all lint/suspicious/noTemplateCurlyInString: what is no variable looks like one
/** `build ./app.ts:app`: the config file that it prints is what the code says, to the daemon that runs the code. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseDocument } from 'yaml';
import type { Difference } from '../../src/control/difference.ts';
import type { Status } from '../../src/control/status.ts';
import { runProgram, startDaemon } from '../support/daemon-rig.ts';

t.setTimeout(120_000);

const CODE = `import { deployment } from 'serve-daemon';
class Translator {
  constructor(args) { this.args = args; }
  async translate(text) { return this.args.to + ': ' + text; }
  async call(text) { return { ...this.args, text }; }
}
class Summarizer {
  constructor({ translators }) { this.translators = translators; }
  reconfigure(settings) { this.settings = settings; }
  async call(text) { return [this.settings, ...await Promise.all(this.translators.map((each) => each.translate(text)))]; }
}
const to = (language) => deployment(Translator, { name: 'To_' + language, retry: { idempotent: true } }).bind({ to: language });
export const app = deployment(Summarizer, {
  maxOngoingRequests: 20, userConfig: { words: 3, home: '\${HOME}', version: '1.10' }, replicaOptions: { numCpus: 0.1 },
}).bind({ translators: [to('fr'), to('de')] });
export const build = (args) => deployment(Translator).bind(args);
export class Alone { async call(name) { return 'Hello ' + name; } }
export async function count(text) { return text.split(' ').length; }
export const wrong = deployment(Summarizer, { maxOngoingRequests: 0 }).bind({ translators: [] });
export default { fetch: async () => new Response('fetched') };
`;

const shapeOf = (applications: Status['applications']) =>
  Object.values(applications).map(({ deployments, deployment_topology }) => [
    deployment_topology,
    Object.values(deployments).map(({ deployment_config, replicas }) => [
      deployment_config,
      replicas.map(({ replica_id, pid, version }) => [replica_id, pid, version]),
    ]),
  ]);

for (const [what, words] of [
  ['an application of several deployments', ['./src/app.ts:app']],
  ['a builder with arguments', ['./src/app.ts:build', 'to=fr', 'n:=15', 'list:=[1, "${HOME}"]']],
  ['a class', ['./src/app.ts:Alone']],
  ['a function', ['./src/app.ts:count']],
  ['an object with fetch', ['./src/app.ts']],
] as const)
  t.test(`${what}: the file routes as the code does`, async (t) => {
    const ports = ['--port', '0', '--admin-port', '0'];
    await using daemon = await startDaemon(undefined, { files: { 'src/app.ts': CODE }, command: ['run', ...words, ...ports] });
    const { code, out, errors } = await runProgram(['build', ...words], { cwd: daemon.folder });
    t.match({ code, errors }, { code: 0, errors: '' });
    await daemon.write('built.yaml', `http_options: {port: 0}\nadmin_options: {port: 0}\n${out}`);
    t.match(await runProgram(['validate', 'built.yaml'], { cwd: daemon.folder }), { code: 0, out: /0 errors, 0 warnings/ });
    const plan = await runProgram(['plan', 'built.yaml', '--json', '--address', daemon.adminUrl], { cwd: daemon.folder });
    t.match(JSON.parse(plan.out) as Difference, {
      changed: false,
      restarts: 0,
      applications: { default: { change: 'nothing' } },
    });

    const before = await daemon.status();
    t.match(await runProgram(['deploy', 'built.yaml', '--address', daemon.adminUrl], { cwd: daemon.folder }), { code: 0 });
    const { applications, config } = await daemon.status();
    t.equal(config.source, 'api');
    const metrics = (await daemon.ask('/metrics', {}, daemon.adminUrl)).text;
    t.match(metrics, /^serve_config_reloads_total\{result="unchanged"\} 1$/m, 'it asks for the desired state that there is');
    t.same(shapeOf(applications), shapeOf(before.applications), 'deployed, not even a replica is another');
  });

t.test('several applications have names, routes and arguments of their own', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sd-e2e-'));
  t.teardown(() => rm(folder, { recursive: true }));
  await mkdir(join(folder, 'deep'));
  await writeFile(join(folder, 'app.ts'), CODE);
  const build = (...args: string[]) => runProgram(['build', ...args], { cwd: folder });

  await t.test('in a file elsewhere, with paths and a schema that begin there', async (t) => {
    const words = ['./app.ts:app', './app.ts:build', 'to=fr', 'app:build', 'to=de', './app.ts', '-o', 'deep/c.yaml'];
    t.match(await build(...words), { code: 0, out: '', errors: '' });
    const text = await readFile(join(folder, 'deep', 'c.yaml'), 'utf8');
    t.match(parseDocument(text).toJS(), {
      applications: [
        {
          name: 'app',
          route_prefix: '/app',
          import_path: '../app.ts:app',
          deployments: [
            { name: 'Summarizer', max_ongoing_requests: 20, user_config: { words: 3, home: '$${HOME}', version: '1.10' } },
            { name: 'To_fr', retry: { idempotent: true } },
            { name: 'To_de' },
          ],
          graph: { ingress: 'Summarizer', calls: { Summarizer: { 'translators.0': 'To_fr', 'translators.1': 'To_de' } } },
        },
        { name: 'build', route_prefix: '/build', args: { to: 'fr' } },
        { name: 'build_1', route_prefix: '/build_1', import_path: '../app.ts:build', args: { to: 'de' } },
        { name: 'app_1', import_path: '../app.ts' },
      ],
    });
    const [, schema = ''] = /^# yaml-language-server: \$schema=(.*)$/m.exec(text) ?? [];
    t.match(JSON.parse(await readFile(join(folder, 'deep', schema), 'utf8')), { properties: { applications: {} } });
    t.match(await runProgram(['validate', 'deep/c.yaml'], { cwd: folder }), { code: 0 });
    const again = await build('./app.ts:Alone', '-o', 'deep/c.yaml');
    t.match(again, { code: 1, errors: /deep\/c\.yaml is there already: name another, or replace it with --force/ });
    t.equal(await readFile(join(folder, 'deep', 'c.yaml'), 'utf8'), text);
    t.match(await build('./app.ts:Alone', '-o', 'deep/c.yaml', '--force'), { code: 0 });
    t.match(await readFile(join(folder, 'deep', 'c.yaml'), 'utf8'), /name: Alone/);
  });

  await t.test('what cannot be served is one line on standard error, with exit code 1', async (t) => {
    for (const [words, text] of [
      [['./missing.ts:app'], /missing\.ts:app: expected a file, got none/],
      [['./app.ts:nope'], /app\.ts:nope: .*has no export `nope`; it has Alone, app, build/],
      [['./app.ts:wrong'], /app\.ts:wrong: applications\[0\]\.deployments\[0\]\.max_ongoing_requests: expected .*, got 0/],
      [['./app.ts:app', '-o', 'nowhere/c.yaml'], /there is no folder .*nowhere/],
    ] as const) {
      const { code, out, errors } = await build(...words);
      t.match({ code, out }, { code: 1, out: '' }, words.join(' '));
      t.match(errors, text);
      t.match(errors, /^serve-daemon: .*\n$/);
      t.equal(errors.split('\n').length, 2, errors);
    }
  });
});

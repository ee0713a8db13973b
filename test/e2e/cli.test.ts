/** The command line beside `run`: what it prints, and where; exit codes. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { runProgram, startDaemon } from '../support/daemon-rig.ts';
import { configOf, ECHO, HEAD, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(120_000);

const COMMANDS = [
  'run',
  'build',
  'init',
  'validate',
  'plan',
  'status',
  'config',
  'deploy',
  'rollback',
  'history',
  'logs',
  'shutdown',
  'completion',
];

t.test('--help and --version go to standard output, with exit code 0', async (t) => {
  for (const args of [['--help'], ['-h'], ['help']]) {
    const { code, out, errors } = await runProgram(args);
    t.match({ code, errors }, { code: 0, errors: '' });
    t.match(out, /serve-daemon --config config\.yaml/);
    for (const command of COMMANDS) t.match(out, new RegExp(`^ {2}${command} `, 'm'));
  }
  const { code, out } = await runProgram(['--version']);
  t.equal(code, 0);
  t.match(out, /^\d+\.\d+\.\d+\n$/);
  for (const command of COMMANDS) {
    const help = await runProgram([command, '--help']);
    t.match(help, { code: 0, out: `serve-daemon ${command}`, errors: '' });
  }
});

t.test('wrong usage is one line on standard error, with exit code 2', async (t) => {
  const empty = await mkdtemp(join(tmpdir(), 'sd-e2e-'));
  t.teardown(() => rm(empty, { recursive: true }));
  const wrong: [string[], RegExp][] = [
    [
      ['destroy'],
      /^serve-daemon: there is no command `destroy`; there are run, .*validate, .*status.*\. See serve-daemon --help\n$/,
    ],
    [['constructor'], /there is no command `constructor`/],
    [['--nonsense'], /'--nonsense'/],
    [['validate'], /expected one config file/],
    [['validate', 'a.yaml', 'b.yaml'], /expected one config file/],
    [['status', 'more'], /expected no further arguments, got more/],
    [['run', 'a.yaml', 'b.yaml'], /expected one config file, got a\.yaml, b\.yaml/],
    [['run', './app.ts:app', 'fr'], /expected key=value behind \.\/app\.ts:app, got fr/],
    [['run', './app.ts:app', './b.ts:b'], /expected one application, got \.\/app\.ts:app \.\/b\.ts:b; a config file has several/],
    [['run', 'to=fr', './app.ts:app'], /expected code, as in \.\/app\.ts:app, before its arguments, got to=fr/],
    [['run', './app.ts:a-b'], /expected the name of an export behind the `:`/],
    [['run', './app.ts:app', 'n:=fr'], /expected JSON behind n:=, got fr/],
    [['run', './app.ts:app', '--port', 'http'], /expected --port to be a port, 0 to 65535, got http/],
    [['run', './app.ts:app', '--last-good'], /expected no --last-good with code/],
    [['run', 'a.yaml', '--name', 'mine'], /expected --name with code only/],
    [['build'], /expected code, as in \.\/app\.ts:app/],
    [['build', 'config.yaml'], /expected code, as in \.\/app\.ts:app, got config\.yaml/],
    [['--config'], /--config/],
    [['--config', 'a.yaml', '--config', 'b.yaml'], /expected one config file, got a\.yaml, b\.yaml/],
    [['plan'], /expected one config file/],
    [['deploy'], /expected one config file/],
    [['rollback', 'yesterday'], /expected at most the number of a revision, got yesterday/],
    [['shutdown', 'now'], /expected no further arguments, got now/],
    [['logs', '--lines', 'many'], /expected --lines to be a number, got many/],
    [['completion', 'tcsh'], /expected one of bash, zsh, fish, got tcsh/],
    [
      ['--config', 'x.yaml', '--log-level', 'loud'],
      /expected --log-level to be one of debug, info, warn, error, fatal, got loud/,
    ],
  ];
  for (const [args, text] of wrong) {
    const { code, out, errors } = await runProgram(args, { cwd: empty });
    t.match({ code, out }, { code: 2, out: '' }, args.join(' '));
    t.match(errors, text);
    t.equal(errors.split('\n').length, 2, errors);
  }
});

t.test('completion knows every command and its options, and shells can read it', async (t) => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { code, out } = await runProgram(['completion', shell]);
    t.equal(code, 0);
    for (const command of COMMANDS) t.match(out, command);
    t.match(out, shell === 'fish' ? '-l refuse-restarts' : '--refuse-restarts');
    if (shell === 'bash') t.equal(spawnSync('bash', ['-n'], { input: out }).status, 0);
  }
});

t.test('validate', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sd-e2e-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const good = configOf([NEIGHBOUR]);
  await writeFile(join(folder, 'echo.ts'), ECHO);
  await writeFile(join(folder, 'good.yaml'), good);
  await writeFile(join(folder, 'warns.yaml'), `${good}controller_options: {a: 1}\n`);
  await writeFile(join(folder, 'bad.yaml'), `${HEAD}applications:\n- name: 5x\n  route_prefix: no-slash\n  deployment: []\n`);
  const validate = (...args: string[]) => runProgram(['validate', ...args], { cwd: folder });

  await t.test('a good file: 0', async (t) => {
    t.match(await validate('good.yaml'), { code: 0, out: 'good.yaml: 0 errors, 0 warnings\n', errors: '' });
    const json = await validate('good.yaml', '--json');
    t.equal(json.code, 0);
    t.same(JSON.parse(json.out), []);
  });

  await t.test('a file with warnings only: 0', async (t) => {
    const { code, out } = await validate('warns.yaml');
    t.equal(code, 0);
    t.match(out, /warns\.yaml:5:1: warning .*controller_options/);
    t.match(out, /warns\.yaml: 0 errors, 1 warnings\n$/);
  });

  await t.test('a file with mistakes: 1, all of them at once, each with line, column and excerpt', async (t) => {
    const { code, out } = await validate('bad.yaml');
    t.equal(code, 1);
    t.match(out, /bad\.yaml:4:\d+: error .*5x/);
    t.match(out, /bad\.yaml:5:\d+: error .*no-slash/);
    t.match(out, /bad\.yaml:6:3: error UNKNOWN_KEY.*`deployment`.*`deployments`.*\n {4} {2}deployment: \[\]\n {4} {2}\^/);
    t.match(out, /bad\.yaml: 3 errors, 0 warnings\n$/);
    const json = await validate('bad.yaml', '--json');
    t.equal(json.code, 1);
    const diagnostics = JSON.parse(json.out) as { line: number }[];
    t.same(
      diagnostics.map(({ line }) => line),
      [4, 5, 6],
    );
    t.match(diagnostics[2], { severity: 'error', code: 'UNKNOWN_KEY', column: 3, file: join(folder, 'bad.yaml') });
  });

  await t.test('a file that is missing, or is a folder: 1', async (t) => {
    t.match(await validate('missing.yaml'), { code: 1, errors: /missing\.yaml cannot be read: ENOENT/ });
    t.match(await validate('.'), { code: 1, errors: /cannot be read: EISDIR/ });
  });
});

t.test('status', async (t) => {
  const applications = [NEIGHBOUR, single('two', '/two', { import_path: './echo.ts:echo', num_replicas: 2 })];
  const config = configOf(applications);
  const broken = single('broken', '/broken', { model: 'missing.onnx' });
  await using daemon = await startDaemon(configOf([...applications, broken]), { files: { 'echo.ts': ECHO } });
  const status = (args: string[] = [], env: Record<string, string> = {}) => runProgram(['status', ...args], { env });

  await t.test('shows applications, deployments and replicas with pid and state', async (t) => {
    await daemon.when('both replicas run', ({ applications }) => applications['two']?.status === 'RUNNING');
    const { code, out } = await status(['--address', daemon.adminUrl]);
    t.equal(code, 0);
    t.match(out, `pid ${daemon.pid}`);
    t.match(out, daemon.url);
    t.match(out, /^neighbour {2}\/neighbour {2}RUNNING$/m);
    t.match(out, /^broken {2}\/broken {2}DEPLOY_FAILED {2}.*missing\.onnx is missing/m);
    t.match(out, /^ {2}Only +HEALTHY +2\/2 running, 0 queued, 0 ongoing, 0 restarts$/m);
    for (const pid of await daemon.pids('two', 'Only'))
      t.match(out, new RegExp(`^ {4}two/Only/\\w+ +RUNNING +pid ${pid}, since .*, 0 ongoing$`, 'm'));
  });

  await t.test('finds the daemon by the environment, and gives everything as JSON', async (t) => {
    const { code, out } = await status(['--json'], { SERVE_DAEMON_ADDRESS: daemon.adminUrl.replace('http://', '') });
    t.equal(code, 0);
    t.match(JSON.parse(out), { pid: daemon.pid, applications: { two: { status: 'RUNNING' } } });
  });

  await t.test('tells of a file on disk that is not what is served', async (t) => {
    const from = daemon.log.length;
    await daemon.save(`${config}nonsense: 1\n`);
    await daemon.waitForLog((line) => line.msg.startsWith('the config was rejected'), from);
    const { code, out } = await status(['--address', daemon.adminUrl]);
    t.equal(code, 0);
    t.match(out, /the file on disk has 1 error and is not what is served:\n {2}6:1 .*nonsense/);
  });

  await t.test('with a token in the config it needs the token', async (t) => {
    const guarded = config.replace('admin_options: {port: 0}', 'admin_options: {port: 0, token: open-sesame}');
    const from = daemon.log.length;
    await daemon.save(guarded);
    await daemon.waitForLog('config applied', from);
    const refused = await status(['--address', daemon.adminUrl]);
    t.match(refused, { code: 1, out: '', errors: / answered 401: / });
    t.notMatch(refused.errors, /open-sesame/);
    t.equal((await status(['--address', daemon.adminUrl, '--token', 'open-sesame'])).code, 0);
    t.equal((await status(['--address', daemon.adminUrl], { SERVE_DAEMON_TOKEN: 'open-sesame' })).code, 0);
  });

  await t.test('where no daemon answers: 1', async (t) => {
    const { adminUrl } = daemon;
    t.same(await daemon.stop(), { code: 0, signal: null });
    const { code, out, errors } = await status(['--address', adminUrl]);
    t.match({ code, out }, { code: 1, out: '' });
    t.match(errors, /^serve-daemon: no daemon answers at http:\/\/127\.0\.0\.1:\d+ \(.*\): is it running/);
  });
});

t.test(
  'validate looks inside what the file names: code that does not parse, an export that is not there, a text for a model',
  async (t) => {
    const config = configOf([
      single('a', '/a', { import_path: './broken.ts:echo' }),
      single('b', '/b', { import_path: './echo.ts:missing' }),
      single('c', '/c', { model: './text.onnx' }),
      single('d', '/d', { import_path: './echo.ts:echo' }),
    ]);
    const folder = await mkdtemp(join(tmpdir(), 'sd-validate-'));
    t.teardown(() => rm(folder, { recursive: true }));
    const texts = { 'config.yaml': config, 'broken.ts': 'export const = 5;', 'echo.ts': ECHO, 'text.onnx': 'no model at all' };
    for (const [name, text] of Object.entries(texts)) await writeFile(join(folder, name), text);
    const { code, out } = await runProgram(['validate', join(folder, 'config.yaml')]);
    t.equal(code, 1);
    t.match(out, /config\.yaml:4:\d+: error FILE_BROKEN applications\[0\]\.deployments\[0\]\.import_path: .*broken\.ts:1:14: /);
    t.match(out, /broken\.ts:1:14: Expected identifier but found "="\n {4}export const = 5;\n {17}\^\n/);
    t.match(out, /applications\[1\]\.deployments\[0\]\.import_path: .*no export `missing`; it has echo/);
    t.match(out, /applications\[2\]\.deployments\[0\]\.model: .*is not an ONNX model/);
    t.match(out, '3 errors');
  },
);

t.test('validate --load starts what the file names, and tells what does not become ready, and why', async (t) => {
  const config = configOf([
    single('good', '/good', { import_path: './echo.ts:echo' }),
    single('throws', '/throws', { import_path: './throws.ts:Throws' }),
    single('exits', '/exits', { import_path: './exits.ts:Exits' }),
    single('hangs', '/hangs', { import_path: './hangs.ts:Hangs', startup_timeout_s: 1 }),
    single('model', '/model', { model: './cut.onnx' }),
  ]);
  const folder = await mkdtemp(join(tmpdir(), 'sd-validate-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const texts = {
    'config.yaml': config,
    'echo.ts': ECHO,
    'throws.ts': 'export class Throws { constructor() { throw new Error("no weights"); } call() {} }',
    'exits.ts': 'console.error("the last words"); process.exit(3); export class Exits { call() {} }',
    'hangs.ts': 'export class Hangs { constructor() { for (;;); } call() {} }',
    'cut.onnx': Buffer.concat([Buffer.from([8, 9, 0x3a, 4]), Buffer.from('junk')]),
  };
  for (const [name, text] of Object.entries(texts)) await writeFile(join(folder, name), text);
  t.match(await runProgram(['validate', join(folder, 'config.yaml')]), { code: 0 }, 'a look from outside finds nothing');
  const { code, out } = await runProgram(['validate', join(folder, 'config.yaml'), '--load', '--json']);
  t.equal(code, 1, out);
  const told = JSON.parse(out) as { code: string; path: string; line: number; message: string }[];
  t.match(told, [
    { code: 'LOAD_FAILED', line: 5, path: 'applications[1].deployments[0].import_path', message: /no weights/ },
    { code: 'LOAD_FAILED', line: 6, message: /exit code 3; its last words: the last words/ },
    { code: 'LOAD_FAILED', line: 7, message: /not ready within 1 s/ },
    { code: 'LOAD_FAILED', line: 8, path: 'applications[4].deployments[0].model' },
  ]);
  t.equal(told.length, 4);
});

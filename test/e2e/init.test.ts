/** The first five minutes of somebody who installs the package in an empty folder. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import t from 'tap';
import { installedFrom } from '../../src/cli/installed.ts';
import { launchDaemon, runProgram, until } from '../support/daemon-rig.ts';
import { installInto } from '../support/installed.ts';

t.setTimeout(240_000);

const TSC = resolve('node_modules/typescript/bin/tsc');
const temporary = (t: { teardown(end: () => void): void }): string => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'sd-init-')));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
};

t.test('installed in an empty folder: how to begin, init, serve, edit', async (t) => {
  const root = temporary(t);
  const folder = join(root, 'app');
  mkdirSync(folder);
  const program = installInto(folder);
  const serveDaemon = (...args: string[]) => runProgram(args, { cwd: folder, program });
  const path = (name: string) => join(folder, name);

  await t.test('with no arguments it says in two lines how to begin', async (t) => {
    const { code, out, errors } = await serveDaemon();
    t.match({ code, out }, { code: 2, out: '' });
    t.same(errors.split('\n'), [
      `serve-daemon: there is no config.yaml in ${folder}.`,
      'Begin with `serve-daemon init`, which writes one that serves at once, or name yours with --config FILE',
      '',
    ]);
    const { errors: asNpx } = await runProgram([], { cwd: folder, program, env: { npm_command: 'exec' } });
    t.match(asNpx, 'Begin with `npx serve-daemon init`');
  });

  await t.test('init writes a config, code and a tsconfig.json, and says what comes next', async (t) => {
    const { code, out, errors } = await serveDaemon('init');
    t.match({ code, errors }, { code: 0, errors: '' });
    t.match(
      out,
      /^Wrote config\.yaml, redact\.ts, tsconfig\.json\. Next:\n\n {2}serve-daemon\n {2}curl -s http:\/\/127\.0\.0\.1:8000\/ -d /,
    );
    t.match(await serveDaemon('validate', 'config.yaml'), { code: 0, out: 'config.yaml: 0 errors, 0 warnings\n' });
  });

  await t.test('an editor finds the schema and the types without a network', async (t) => {
    const schema = /^# yaml-language-server: \$schema=(\S+)$/m.exec(readFileSync(path('config.yaml'), 'utf8'))?.[1] ?? '';
    t.equal(schema, './node_modules/serve-daemon/schemas/config.schema.json');
    const text = readFileSync(join(folder, schema), 'utf8');
    t.notMatch(text, /"\$ref": "(?!#)/, 'it refers to nothing outside itself');
    const check = new Ajv2020({ strict: false, validateFormats: false }).compile(JSON.parse(text) as object);
    t.equal(check({ applications: [], applicatons: [] }), false);
    const tsc = () => spawnSync(process.execPath, [TSC, '-p', folder], { encoding: 'utf8' });
    t.match(tsc(), { status: 0, stdout: '' });
    writeFileSync(
      path('wrong.js'),
      "import { HttpError } from 'serve-daemon';\nexport const wrong = new HttpError('four hundred', 5);\n",
    );
    t.match(tsc().stdout, /wrong\.js\(2,\d+\): error TS2345/);
    rmSync(path('wrong.js'));
  });

  await t.test('it never overwrites, unless --force says so; a tsconfig.json always stays', async (t) => {
    writeFileSync(path('redact.ts'), '// mine\n');
    rmSync(path('config.yaml'));
    writeFileSync(path('tsconfig.json'), '{}');
    const { code, out, errors } = await serveDaemon('init');
    t.match({ code, out }, { code: 1, out: '' });
    t.equal(
      errors,
      `serve-daemon: redact.ts in ${folder} is there already, and nothing was written: name another folder, or replace it with --force\n`,
    );
    t.notOk(existsSync(path('config.yaml')));
    t.match(await serveDaemon('init', '--force'), { code: 0, out: /^Wrote config\.yaml, redact\.ts \(kept the tsconfig\.json/ });
    t.match(readFileSync(path('redact.ts'), 'utf8'), 'class Redactor');
    t.equal(readFileSync(path('tsconfig.json'), 'utf8'), '{}');
    // A link that leads nowhere is not followed.
    rmSync(path('config.yaml'));
    rmSync(path('redact.ts'));
    symlinkSync(join(root, 'elsewhere.yaml'), path('config.yaml'));
    t.match(await serveDaemon('init'), { code: 1, errors: /config\.yaml/ });
    t.notOk(existsSync(join(root, 'elsewhere.yaml')));
    rmSync(path('config.yaml'));
    t.match(await serveDaemon('init', '.', '--force'), { code: 0 });
  });

  await t.test('into a folder that is not there yet', async (t) => {
    const { code, out } = await serveDaemon('init', 'sub/first');
    t.equal(code, 0);
    t.match(out, /\n {2}serve-daemon --config sub\/first\/config\.yaml\n/);
    t.match(readFileSync(path('sub/first/config.yaml'), 'utf8'), '=../../node_modules/serve-daemon/schemas/config.schema.json\n');
    t.match(await serveDaemon('init', 'a', 'b'), { code: 2 });
    writeFileSync(path('file'), '');
    t.match(await serveDaemon('init', 'file/below'), { code: 1, errors: /cannot be written: .*(ENOTDIR|EEXIST)/ });
  });

  await t.test('what it wrote serves, is right about any text, and an edit is applied', async (t) => {
    const config = readFileSync(path('config.yaml'), 'utf8').replace('port: 8000', 'port: 0').replace('port: 8265', 'port: 0');
    writeFileSync(path('config.yaml'), config);
    await using daemon = await launchDaemon(undefined, { folder: root, program });
    await daemon.waitForLog('application is serving');
    await daemon.waitForLog('listening for HTTP');
    const curl = (text: string) =>
      JSON.parse(execFileSync('curl', ['-s', daemon.url, '-d', text], { encoding: 'utf8' })) as { text: string };
    const word = Math.random().toString(36).slice(2);
    const octet = Math.floor(Math.random() * 256);
    t.equal(curl(`${word}: ${word}@mail.example.org`).text, `${word}: [email]`);
    t.equal(curl(`${octet}.${octet}.0.1 is ${word}, 4111 1111 1111 1111 paid`).text, `[ip] is ${word}, [card] paid`);
    const pids = await daemon.pids('redact', 'Redactor');
    await daemon.apply(config.replace('mask: "[{kind}]"', 'mask: "***"'));
    await until('the new mask', () => curl('10.0.0.1').text === '***');
    t.same(await daemon.pids('redact', 'Redactor'), pids, 'with no restart');
    await daemon.write(
      'redact.ts',
      readFileSync(path('redact.ts'), 'utf8').replace("new HttpError(400, 'expected", "new HttpError(418, 'wanted"),
    );
    await until('the new code', async () => (await daemon.post('/', 5)).status === 418);
    t.same(await daemon.stop(), { code: 0, signal: null });
  });
});

t.test('where an editor finds the package', async (t) => {
  const root = temporary(t);
  const [home, elsewhere] = [join(root, 'home', 'deep'), join(root, 'lib', 'serve-daemon')];
  mkdirSync(join(root, 'home', 'node_modules'), { recursive: true });
  mkdirSync(home);
  mkdirSync(elsewhere, { recursive: true });
  t.same(installedFrom(home, elsewhere), { path: '../../lib/serve-daemon', resolves: false }, 'installed for all of the machine');
  symlinkSync(elsewhere, join(root, 'home', 'node_modules', 'serve-daemon'));
  t.same(
    installedFrom(home, elsewhere),
    { path: '../node_modules/serve-daemon', resolves: true },
    'linked, as some package managers do',
  );
  t.same(installedFrom(join(root, 'home'), elsewhere), { path: './node_modules/serve-daemon', resolves: true });
});

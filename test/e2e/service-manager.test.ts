/** The daemon under a service manager, whose socket is a script of ours. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import { launchDaemon, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, single } from './configs.ts';

t.setTimeout(120_000);

const has = (program: string): boolean => spawnSync(program, ['--version']).status === 0;
const skip = has('systemd-notify') && has('python3') ? false : 'there is no systemd-notify, or no python3';

class Manager implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'sd-notify-'));
  readonly socket = join(this.folder, 'notify');
  readonly messages: string[] = [];
  readonly #child: ChildProcess = spawn('python3', [resolve('test/support/notify-socket.py'), this.socket], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });

  static async start(): Promise<Manager> {
    const manager = new Manager();
    let rest = '';
    manager.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      manager.messages.push(...lines.map((line) => JSON.parse(line) as string));
    });
    await manager.hears(/^bound$/);
    return manager;
  }

  /** @returns where it stands among the messages */
  async hears(what: RegExp, from = 0): Promise<number> {
    const find = () => this.messages.findIndex((message, at) => at >= from && what.test(message));
    await until(
      `${what} is heard`,
      () => find() !== -1,
      undefined,
      () => this.messages.join('; '),
    );
    return find();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = new Promise((done) => this.#child.once('exit', done));
    this.#child.kill('SIGKILL');
    await gone;
    rmSync(this.folder, { recursive: true });
  }
}

const CODE = `export class Slow {
  constructor() { return new Promise((done) => setTimeout(() => done(this), 700)); }
  call() { return String(process.env.NOTIFY_SOCKET) + String(process.env.WATCHDOG_USEC); }
}
`;
const files = { 'code.ts': CODE };
const config = (replicas: number) => configOf([single('slow', '/', { import_path: './code.ts:Slow', num_replicas: replicas })]);

t.test('READY when it serves, signs of life, RELOADING around an edit, STOPPING before it ends', { skip }, async (t) => {
  await using manager = await Manager.start();
  const env = { NOTIFY_SOCKET: manager.socket, WATCHDOG_USEC: '400000' };
  await using daemon = await launchDaemon(config(1), { files, env });
  const ready = await manager.hears(/^READY=1/);
  t.match(await daemon.ask('/'), { status: 200, text: 'undefinedundefined' }, 'it serves, and its replicas cannot speak for it');
  t.same(manager.messages.slice(1, 2), ['STATUS=starting']);
  t.match(manager.messages[ready], 'READY=1\nSTATUS=1 of 1 deployment ready');
  const alive = await manager.hears(/^WATCHDOG=1$/, ready);

  await daemon.save(config(2));
  const reloading = await manager.hears(/^RELOADING=1\nMONOTONIC_USEC=\d+$/, alive);
  await manager.hears(/^READY=1$/, reloading);
  const from = manager.messages.length;
  await daemon.save(`${config(2)}nonsense: 1\n`);
  await manager.hears(/^READY=1$/, await manager.hears(/^RELOADING=1/, from));

  t.same(await daemon.stop(), { code: 0, signal: null });
  const stopping = await manager.hears(/^STOPPING=1\nSTATUS=finishing/);
  t.notMatch(manager.messages.slice(stopping + 1).join(), /READY|STATUS/);
});

t.test('an application that fails does not keep the others from being READY; the status tells of it', { skip }, async (t) => {
  await using manager = await Manager.start();
  const broken = single('broken', '/broken', { import_path: './missing.ts:None' });
  await using daemon = await launchDaemon(configOf([single('slow', '/', { import_path: './code.ts:Slow' }), broken]), {
    files,
    env: { NOTIFY_SOCKET: manager.socket, WATCHDOG_USEC: '200000', WATCHDOG_PID: '1' },
  });
  const ready = await manager.hears(/^READY=1/);
  t.match(manager.messages[ready], /STATUS=1 of 2 deployments ready; broken failed: .*missing\.ts/);
  t.equal((await daemon.ask('/')).status, 200);
  t.notMatch(manager.messages.join(), 'WATCHDOG');
});

t.test('where systemd-notify is missing that is told once, and it serves', async (t) => {
  await using daemon = await startDaemon(config(1), { files, env: { NOTIFY_SOCKET: '/nowhere', PATH: '/nowhere' } });
  await daemon.waitForLog('systemd cannot be told how the daemon is');
  t.equal((await daemon.ask('/')).status, 200);
  t.same(await daemon.stop(), { code: 0, signal: null });
  t.equal(daemon.log.filter(({ msg }) => msg.startsWith('systemd cannot')).length, 1);
});

t.test('SIGHUP while it starts does not end it', async (t) => {
  await using daemon = await launchDaemon(config(1), { files });
  await until('it is up', () => existsSync(join(daemon.root, 'state')));
  daemon.signal('SIGHUP');
  await daemon.waitForLog('application is serving');
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('the unit', async (t) => {
  const text = readFileSync('deploy/serve-daemon.service', 'utf8');
  const value = (key: string) => new RegExp(`^${key}=(.*)$`, 'm').exec(text)?.[1];
  t.match(value('ExecStart'), /serve-daemon run .* --last-good .*--state-dir %S\/serve-daemon$/);
  const wanted = { Type: 'notify', NotifyAccess: 'all', Delegate: 'yes', OOMPolicy: 'continue', KillMode: 'mixed' };
  for (const [key, expected] of Object.entries(wanted)) t.equal(value(key), expected, key);
  const schema = JSON.parse(readFileSync('schemas/config.schema.json', 'utf8')) as {
    properties: { shutdown_timeout_s: { default: number } };
  };
  t.ok(Number(value('TimeoutStopSec')) > schema.properties.shutdown_timeout_s.default + 20 + 5, 'it may drain');
  t.notOk(value('MemoryDenyWriteExecute'), 'V8 compiles at run time');

  await t.test(
    'systemd has nothing to say against it',
    { skip: has('systemd-analyze') ? false : 'no systemd here' },
    async (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'sd-unit-'));
      t.teardown(() => rmSync(folder, { recursive: true }));
      copyFileSync('deploy/serve-daemon.service', join(folder, 'serve-daemon.service'));
      const { status, stderr } = spawnSync('systemd-analyze', ['verify', join(folder, 'serve-daemon.service')], {
        encoding: 'utf8',
      });
      t.match({ status, stderr }, { status: 0, stderr: '' });
    },
  );
});

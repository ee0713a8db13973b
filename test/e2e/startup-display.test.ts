/** The start-up display, on a real terminal and where there is none. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import { DEADLINE_MS, runProgram, startDaemon, until } from '../support/daemon-rig.ts';
import { FakeTerminal } from '../support/fake-terminal.ts';
import { configOf, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `export class Quick { call() { return 'here'; } }
export class Slow { constructor() { console.log('the slow one prints a line'); return new Promise((done) => setTimeout(() => done(this), 1200)); } call() {} }
export class Dies { constructor() { throw new TypeError('no constructor of mine'); } call() {} }
`;
const CONFIG = configOf([
  single('quick', '/', { import_path: './code.ts:Quick', num_replicas: 2 }),
  single('slow', '/slow', { import_path: './code.ts:Slow' }),
  single('dies', '/dies', { import_path: './code.ts:Dies' }),
]);
const skip = spawnSync('python3', ['--version']).status === 0 ? false : 'there is no python3, which makes the terminal';

interface OnTerminal extends AsyncDisposable {
  readonly terminal: FakeTerminal;
  readonly seen: () => string;
  /** Every state of the screen that there was. */
  readonly frames: string[];
  readonly type: (text: string) => void;
  readonly exited: Promise<number | null>;
}

const onTerminal = (columns: number, rows: number, env: Readonly<Record<string, string>> = {}): OnTerminal => {
  const folder = mkdtempSync(join(tmpdir(), 'sd-tty-'));
  writeFileSync(join(folder, 'config.yaml'), CONFIG);
  writeFileSync(join(folder, 'code.ts'), CODE);
  const { PATH, HOME } = process.env;
  const child: ChildProcess = spawn(
    'python3',
    [
      resolve('test/support/in-terminal.py'),
      `${columns}`,
      `${rows}`,
      process.execPath,
      resolve('bin/serve-daemon'),
      '--config',
      join(folder, 'config.yaml'),
    ],
    {
      env: { PATH, HOME, TERM: 'xterm', XDG_STATE_HOME: join(folder, 'state'), XDG_RUNTIME_DIR: folder, ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const terminal = new FakeTerminal(columns, rows);
  const frames: string[] = [];
  let seen = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    seen += text;
    terminal.feed(text);
    frames.push(terminal.lines.join('\n'));
  });
  const exited = new Promise<number | null>((done) => child.on('close', done));
  return {
    terminal,
    seen: () => seen,
    frames,
    type: (text) => void child.stdin?.write(text),
    exited,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null) {
        child.stdin?.write('\x03');
        const late = setTimeout(() => child.kill('SIGKILL'), 8000);
        await exited;
        clearTimeout(late);
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
};

const settled = (daemon: OnTerminal): Promise<unknown> =>
  until(
    'the display is over',
    () => / after \d+(\.\d)? s/.test(daemon.terminal.lines.join('\n')),
    DEADLINE_MS,
    () => daemon.terminal.lines.join('\n'),
  );

t.test(
  'on a terminal each deployment is drawn in place until it is ready or has failed; the log passes above and goes on below',
  { skip },
  async (t) => {
    await using daemon = onTerminal(110, 30);
    await settled(daemon);
    const shown = [...daemon.terminal.lines];
    const at = shown.findIndex((line) => /^ {2}quick\/Only/.test(line));
    t.match(shown.slice(at), [
      /^ {2}quick\/Only {2}ready {5}2\/2 {2}\d+\.\d s$/,
      /^ {2}slow\/Only {3}ready {10}\d+\.\d s$/,
      /^ {2}dies\/Only {3}failed {9}TypeError: no constructor of mine$/,
      /^2 ready, 1 failed after \d+\.\d s {2}http:\/\/127\.0\.0\.1:\d+ {2}admin http:/,
    ]);
    for (const name of ['quick/Only', 'slow/Only', 'dies/Only'])
      t.equal(shown.filter((line) => line.startsWith(`  ${name}`)).length, 1, `${name} stands there once`);
    t.ok(
      daemon.frames.some((frame) => /^ {2}slow\/Only +loading/m.test(frame)),
      'it was seen loading',
    );
    t.ok(
      shown.slice(0, at).some((line) => line.includes('the slow one prints a line')),
      'what was printed meanwhile stands above',
    );
    t.ok(daemon.terminal.colours > 0);
    t.same(daemon.terminal.unknown, []);
    const url = /(http:\/\/127\.0\.0\.1:\d+) {2}admin/.exec(shown.join('\n'))?.[1] ?? '';
    t.equal(await (await fetch(url)).text(), 'here');
    await until('the request in the log', () => daemon.terminal.lines.length > shown.length);
    t.same(daemon.terminal.lines.slice(0, shown.length), shown, 'nothing above has changed');
    daemon.type('\x03');
    t.equal(await daemon.exited, 0);
    t.match(daemon.terminal.lines.at(-1), /stopped$/);
  },
);

t.test('Ctrl-C while it is up ends it, and leaves the terminal in order', { skip }, async (t) => {
  await using daemon = onTerminal(80, 24);
  await until('it is loading', () => daemon.frames.some((frame) => /slow\/Only +loading/.test(frame)));
  daemon.type('\x03');
  t.equal(await daemon.exited, 0);
  t.match(daemon.terminal.lines.at(-1), /stopped$/);
  t.equal(daemon.terminal.lines.filter((line) => line.startsWith('  slow/Only')).length, 1);
});

t.test('a narrow and low terminal, with NO_COLOR', { skip }, async (t) => {
  await using daemon = onTerminal(40, 6, { NO_COLOR: '1' });
  await settled(daemon);
  t.equal(daemon.terminal.colours, 0);
  const shown = daemon.terminal.lines;
  t.match(shown.slice(-4), [
    /quick\/Only {2}ready/,
    /slow\/Only +ready/,
    /dies\/Only +failed +TypeError…/,
    /^2 ready, 1 failed after/,
  ]);
  t.equal(shown.filter((line) => line.startsWith('  slow/Only')).length, 1);
});

t.test('on a terminal that obeys nothing there are plain lines', { skip }, async (t) => {
  await using daemon = onTerminal(200, 30, { TERM: 'dumb' });
  await until('the log says that it serves', () => daemon.seen().includes('application is serving'));
  t.notOk(daemon.seen().includes('\x1b'));
  t.notMatch(daemon.seen(), /quick\/Only +ready/);
});

t.test('in a pipe there is JSON, and nothing else', async (t) => {
  await using daemon = await startDaemon(CONFIG, { files: { 'code.ts': CODE } });
  t.same(await daemon.stop(), { code: 0, signal: null });
  t.equal(daemon.errors, '');
  t.ok(daemon.log.some(({ msg }) => msg === 'application is serving'));
});

t.test('the help is short', async (t) => {
  const { out } = await runProgram(['--help']);
  t.ok(out.split('\n').length <= 40);
  t.ok(out.split('\n').every((line) => line.length <= 100));
});

/** Where a daemon keeps things on disk: its state by config file, and a short-lived folder for sockets. */
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { socketPath } from './platform.ts';

export class Folders {
  /** Compiled code; kept between runs. */
  readonly code: string;
  /** Configs that were applied; kept between runs. */
  readonly history: string;
  /** What verdicts have decided; kept between runs. */
  readonly verdicts: string;
  /** Why nothing is kept between runs; undefined: it is. */
  readonly problem: string | undefined;
  /** Sockets of this process; gone when it ends. */
  readonly run: string;

  /** Makes them, for this user alone, and sweeps the socket folders of daemons that were killed. */
  constructor(config: string, stateDir: string | undefined, env: Readonly<Record<string, string | undefined>>) {
    const wanted =
      stateDir ??
      join(
        env['XDG_STATE_HOME'] || join(homedir(), '.local', 'state'),
        'serve-daemon',
        createHash('sha256').update(config).digest('hex').slice(0, 16),
      );
    // A path to a socket has 108 bytes at most, so it begins in a short folder.
    const base =
      env['XDG_RUNTIME_DIR'] !== undefined && existsSync(env['XDG_RUNTIME_DIR']) && env['XDG_RUNTIME_DIR'].length < 50
        ? env['XDG_RUNTIME_DIR']
        : tmpdir();
    sweep(base);
    this.run = join(base, `${PREFIX}${process.pid}`);
    rmSync(this.run, { recursive: true, force: true });
    mkdirSync(this.run, { mode: 0o700 });
    this.problem = unusable(wanted);
    // Without a place to keep them, code and configs are kept as long as this process lives.
    const state = this.problem === undefined ? wanted : this.run;
    this.code = join(state, 'code');
    this.history = join(state, 'history');
    this.verdicts = join(state, 'verdicts.json');
    mkdirSync(this.code, { recursive: true, mode: 0o700 });
  }

  get controlSocket(): string {
    return socketPath(this.run, 'control', process.platform);
  }

  get dataSocket(): string {
    return socketPath(this.run, 'data', process.platform);
  }

  remove(): void {
    rmSync(this.run, { recursive: true, force: true });
  }
}

const unusable = (folder: string): string | undefined => {
  try {
    mkdirSync(join(folder, 'code'), { recursive: true, mode: 0o700 });
    accessSync(join(folder, 'code'), constants.W_OK);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
};

const PREFIX = 'serve-daemon-';

/** What cannot be known counts as alive. */
const isAlive = (pid: number): boolean => {
  if (existsSync('/proc/self')) return existsSync(`/proc/${pid}`);
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
};

const sweep = (base: string): void => {
  for (const name of readdirSync(base)) {
    const pid = name.startsWith(PREFIX) ? Number(name.slice(PREFIX.length)) : Number.NaN;
    if (!Number.isInteger(pid) || isAlive(pid)) continue;
    try {
      rmSync(join(base, name), { recursive: true, force: true });
    } catch {
      // Another user's: theirs to sweep.
    }
  }
};

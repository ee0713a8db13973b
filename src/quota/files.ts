/** Control groups as the file system shows them: read, written, entered, emptied. */
import { readdirSync, readFileSync, readlinkSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** '' when it cannot be read: the group has gone, or the kernel has no such file. */
export const read = (...path: readonly string[]): string => {
  try {
    return readFileSync(join(...path), 'utf8').trim();
  } catch {
    return '';
  }
};

export const write = (folder: string, file: string, value: string | number): void =>
  writeFileSync(join(folder, file), String(value));

/** Where the kernel may not have the file. @returns whether it was written */
export const tryWrite = (folder: string, file: string, value: string | number): boolean => {
  try {
    // Not created where it is missing: what the kernel does not offer does nothing.
    writeFileSync(join(folder, file), String(value), { flag: 'r+' });
    return true;
  } catch {
    return false;
  }
};

/** The number after a word: `oom_kill 3`. */
export const counterIn = (text: string, name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);

export const pidsIn = (folder: string): readonly number[] =>
  read(folder, 'cgroup.procs')
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0);

/** @returns false: there are processes in it still */
export const removeGroup = (folder: string): boolean => {
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
};

export const signalAll = (pids: readonly number[], signal: NodeJS.Signals): void => {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has gone.
    }
  }
};

/** Whatever forks meanwhile is met in the next round. */
export const killAll = (folder: string): void => {
  for (let round = 0; round < 20; round++) {
    const pids = pidsIn(folder);
    if (pids.length === 0) return;
    signalAll(pids, 'SIGKILL');
  }
};

const SHELL = '/bin/sh';
const ENTER = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1" || exit 125; shift; n=$((n - 1)); done; exec "$@"';

/** The shell enters the groups and then becomes the replica: nothing of it ever runs outside. */
export const enterBy = (folders: readonly string[]): readonly string[] => [
  SHELL,
  '-c',
  ENTER,
  'enter',
  String(folders.length),
  ...folders.map((folder) => join(folder, 'cgroup.procs')),
];

/** When a process was started, in ticks since the boot: with its id, who it is. */
const startOf = (root: string, pid: number): string => {
  const text = read(root, 'proc', String(pid), 'stat');
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
};

const PREFIX = 'serve-daemon';

/** Names groups after the daemon that made them, so that those of dead ones can be told. */
export class GroupNames {
  readonly #root: string;
  readonly #own: string;
  readonly #space: string;
  #next = 0;

  constructor(root: string, pid: number) {
    this.#root = root;
    this.#space = this.#namespace();
    this.#own = `${PREFIX}.${this.#space}.${pid}.${startOf(root, pid)}`;
  }

  next(): string {
    this.#next += 1;
    return `${this.#own}.${this.#next}`;
  }

  get daemon(): string {
    return `${this.#own}.daemon`;
  }

  /** Folders of daemons of this process namespace that are gone. */
  stale(folder: string): readonly string[] {
    let names: string[];
    try {
      names = readdirSync(folder);
    } catch {
      return [];
    }
    return names
      .filter((name) => {
        const [prefix, space, pid, start] = name.split('.');
        return prefix === PREFIX && space === this.#space && startOf(this.#root, Number(pid)) !== start;
      })
      .map((name) => join(folder, name));
  }

  #namespace(): string {
    try {
      return /\d+/.exec(readlinkSync(join(this.#root, 'proc/self/ns/pid')))?.[0] ?? '0';
    } catch {
      return '0';
    }
  }
}

/** Groups of dead daemons, with whatever still runs in them. */
export const sweepGroups = (names: GroupNames, folder: string): void => {
  for (const stale of names.stale(folder)) {
    killAll(stale);
    removeGroup(stale);
  }
};

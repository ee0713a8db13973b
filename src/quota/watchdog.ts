/**
 * Quotas without control groups: niceness and affinity in place of shares and caps, an rlimit and a look at `/proc` every 250 ms in place of
 * a cap on memory, and a word to the kernel whom to end first. Weaker than groups: between two looks a replica may pass its memory.
 */
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism, setPriority } from 'node:os';
import { join } from 'node:path';
import { read, signalAll } from './files.ts';
import { type Group, type Limits, type Mechanism, type Stage, type Surroundings, Unusable } from './group.ts';

/** One look at all processes serves every replica for so long. */
const LOOK_MS = 100;
/** What may be mapped beyond `memory`: a stop for what allocates faster than anybody can look. */
const SLACK_BYTES = 2 ** 31;
/** The kernel ends replicas with a memory quota before it ends the daemon. */
const OOM_SCORE = 500;

/** @throws Unusable */
export const watchdog = (surroundings: Surroundings): Mechanism => {
  if (!existsSync(join(surroundings.root, 'proc/self/stat'))) throw new Unusable('there is no /proc');
  const processes = new Processes(surroundings.root);
  let next = 0;
  return {
    name: 'rlimit+watchdog',
    open: (limits) => new Watched(surroundings, processes, next++, limits),
    sweep: () => {},
  };
};

interface Seen {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
}

class Processes {
  readonly #root: string;
  #seen: readonly Seen[] = [];
  #at = Number.NEGATIVE_INFINITY;

  constructor(root: string) {
    this.#root = root;
  }

  /** A process, its process group, and all that descends from it. */
  under(pid: number): readonly number[] {
    this.#look();
    const found = new Set([pid]);
    // Children are found behind their parents in few rounds.
    for (let before = 0; before !== found.size; ) {
      before = found.size;
      for (const each of this.#seen) if (each.group === pid || found.has(each.parent)) found.add(each.pid);
    }
    return this.#seen.flatMap((each) => (found.has(each.pid) ? [each.pid] : []));
  }

  /** What is its own: pages of files are shared by all that run the same program. */
  memoryOf(pid: number): number {
    const text = read(this.#root, 'proc', String(pid), 'status');
    const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0);
    return (kilobytes('RssAnon') + kilobytes('RssShmem')) * 1024;
  }

  #look(): void {
    const now = performance.now();
    if (now - this.#at < LOOK_MS) return;
    this.#at = now;
    this.#seen = readdirSync(join(this.#root, 'proc'))
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name): Seen[] => {
        const text = read(this.#root, 'proc', name, 'stat');
        const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
        return fields.length < 3 ? [] : [{ pid: Number(name), parent: Number(fields[1]), group: Number(fields[2]) }];
      });
  }
}

/** One step of niceness is a tenth of a CPU's worth; only down, as up needs privileges. */
const nicenessOf = ({ numCpus }: Limits): number =>
  numCpus === null || numCpus >= 1 ? 0 : Math.min(19, Math.round(Math.log(1 / Math.max(numCpus, 0.01)) / Math.log(1.25)));

class Watched implements Group {
  readonly prefix: readonly string[];
  readonly #surroundings: Surroundings;
  readonly #processes: Processes;
  readonly #index: number;
  #limits: Limits;
  #pid: number | undefined;
  #over = 0;

  constructor(surroundings: Surroundings, processes: Processes, index: number, limits: Limits) {
    this.#surroundings = surroundings;
    this.#processes = processes;
    this.#index = index;
    this.#limits = limits;
    const prlimit = join(surroundings.root, 'usr/bin/prlimit');
    this.prefix =
      limits.memoryBytes !== null && existsSync(prlimit) ? [prlimit, `--data=${limits.memoryBytes + SLACK_BYTES}:`, '--'] : [];
  }

  entered(pid: number): void {
    this.#pid = pid;
    this.#score();
  }

  apply(limits: Limits, stage: Stage): void {
    const before = this.#limits;
    this.#limits = limits;
    const pid = this.#pid;
    if (pid === undefined) return;
    const { run } = this.#surroundings;
    if (before.memoryBytes !== limits.memoryBytes) {
      const most = limits.memoryBytes === null ? 'unlimited' : limits.memoryBytes + SLACK_BYTES;
      void run('prlimit', ['--pid', String(pid), `--data=${most}:`]);
      this.#score();
    }
    if (stage !== 'ready') return;
    void run('taskset', ['-a', '-c', '-p', this.#cpus(), String(pid)]);
    try {
      for (const thread of readdirSync(join(this.#surroundings.root, 'proc', String(pid), 'task')))
        setPriority(Number(thread), nicenessOf(limits));
    } catch {
      // It has gone, or may not be raised again: it keeps what it has.
    }
  }

  memoryBytes(): number | undefined {
    if (this.#pid === undefined) return undefined;
    return this.#processes.under(this.#pid).reduce((sum, pid) => sum + this.#processes.memoryOf(pid), 0);
  }

  /** It is held to whole CPUs, and runs on them whenever it wants. */
  throttledS(): undefined {
    return undefined;
  }

  /** Counted here, where nobody else counts. */
  oomKills(): number {
    const most = this.#limits.memoryBytes;
    if (most !== null && this.#over === 0 && (this.memoryBytes() ?? 0) > most) this.#over = 1;
    return this.#over;
  }

  kill(): void {
    if (this.#pid === undefined) return;
    signalAll(this.#processes.under(this.#pid), 'SIGKILL');
  }

  remove(): boolean {
    return true;
  }

  #score(): void {
    if (this.#limits.memoryBytes === null || this.#pid === undefined) return;
    void this.#surroundings.run('choom', ['-n', String(OOM_SCORE), '-p', String(this.#pid)]);
  }

  /** As many CPUs as the cap allows, rounded up; replicas begin with different ones. */
  #cpus(): string {
    const all = availableParallelism();
    const count = Math.min(all, Math.ceil(this.#limits.cpuLimit ?? all));
    return Array.from({ length: count }, (_, index) => (this.#index + index) % all).join(',');
  }
}

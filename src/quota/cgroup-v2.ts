/**
 * Quotas by cgroup v2, where the group of the daemon is delegated to it with `cpu` and `memory`. A group with controllers for its children
 * may hold no process, so the daemon goes into a group of its own beside those of its replicas.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { counterIn, enterBy, GroupNames, killAll, read, removeGroup, sweepGroups, tryWrite, write } from './files.ts';
import {
  CPU_PERIOD_US,
  cpuQuotaUs,
  type Group,
  type Limits,
  MAX_PROCESSES,
  type Mechanism,
  type Stage,
  type Surroundings,
  Unusable,
  weightOf,
} from './group.ts';
import { hierarchiesOf } from './hierarchy.ts';

/** @throws Unusable */
export const cgroupV2 = ({ root, pid }: Surroundings): Mechanism => {
  const base = hierarchiesOf(root).v2?.folder;
  if (base === undefined) throw new Unusable('no v2 tree is mounted');
  const offered = read(base, 'cgroup.controllers').split(' ');
  const missing = ['cpu', 'memory'].filter((name) => !offered.includes(name));
  if (missing.length > 0) throw new Unusable(`its tree has no ${missing.join(' and ')} controller here`);
  const names = new GroupNames(root, pid);
  // A name of the daemon that is no more may be held by nobody: first the old, then the new.
  sweepGroups(names, base);
  enable(base, names, pid, offered.includes('pids') ? '+cpu +memory +pids' : '+cpu +memory');
  const open = (limits: Limits): Group => new V2Group(join(base, names.next()), limits);
  try {
    open({ numCpus: 1, cpuLimit: null, memoryBytes: 2 ** 26 }).remove();
  } catch (error) {
    throw new Unusable((error as Error).message);
  }
  return { name: 'cgroup-v2', open, sweep: () => sweepGroups(names, base) };
};

/** @throws Unusable */
const enable = (base: string, names: GroupNames, pid: number, controllers: string): void => {
  const own = join(base, names.daemon);
  // The root of the tree may have both, and has no type.
  const isRoot = !existsSync(join(base, 'cgroup.type'));
  try {
    if (!isRoot) {
      mkdirSync(own);
      write(own, 'cgroup.procs', pid);
    }
    write(base, 'cgroup.subtree_control', controllers);
  } catch (error) {
    tryWrite(base, 'cgroup.procs', pid);
    removeGroup(own);
    throw new Unusable(`the group ${base} is not delegated, or has other processes in it: ${(error as Error).message}`);
  }
};

class V2Group implements Group {
  readonly prefix: readonly string[];
  readonly #folder: string;

  constructor(folder: string, limits: Limits) {
    this.#folder = folder;
    this.prefix = enterBy([folder]);
    try {
      mkdirSync(folder);
      this.apply(limits, 'yields');
    } catch (error) {
      this.remove();
      throw error;
    }
    tryWrite(folder, 'memory.oom.group', 1);
    tryWrite(folder, 'pids.max', MAX_PROCESSES);
  }

  entered(): void {}

  apply(limits: Limits, stage: Stage): void {
    // A group that yields has no weight, and takes none.
    tryWrite(this.#folder, 'cpu.idle', 0);
    write(this.#folder, 'cpu.weight', weightOf(limits, stage));
    if (stage === 'yields') tryWrite(this.#folder, 'cpu.idle', 1);
    write(this.#folder, 'cpu.max', `${cpuQuotaUs(limits, stage) ?? 'max'} ${CPU_PERIOD_US}`);
    write(this.#folder, 'memory.max', limits.memoryBytes ?? 'max');
    tryWrite(this.#folder, 'memory.swap.max', limits.memoryBytes === null ? 'max' : 0);
  }

  memoryBytes(): number | undefined {
    return memoryOf(this.#folder);
  }

  throttledS(): number | undefined {
    return throttledOf(this.#folder);
  }

  oomKills(): number {
    return oomKillsOf(this.#folder);
  }

  kill(): void {
    if (!tryWrite(this.#folder, 'cgroup.kill', 1)) killAll(this.#folder);
  }

  remove(): boolean {
    return removeGroup(this.#folder);
  }
}

/** Without files that were read and can be dropped at any time. */
export const memoryOf = (folder: string): number | undefined => {
  const used = read(folder, 'memory.current');
  return used === '' ? undefined : Math.max(0, Number(used) - counterIn(read(folder, 'memory.stat'), 'inactive_file'));
};

export const throttledOf = (folder: string): number | undefined => {
  const told = read(folder, 'cpu.stat');
  return told === '' ? undefined : counterIn(told, 'throttled_usec') / 1e6;
};

export const oomKillsOf = (folder: string): number => counterIn(read(folder, 'memory.events'), 'oom_kill');

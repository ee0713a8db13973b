/** Quotas by cgroup v1: a group in each hierarchy, beside that of the daemon. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  counterIn,
  enterBy,
  GroupNames,
  killAll,
  pidsIn,
  read,
  removeGroup,
  signalAll,
  sweepGroups,
  tryWrite,
  write,
} from './files.ts';
import {
  CPU_PERIOD_US,
  cpuQuotaUs,
  type Group,
  type Limits,
  MAX_PROCESSES,
  type Mechanism,
  type Stage,
  type Surroundings,
  sharesOf,
  Unusable,
} from './group.ts';
import { hierarchiesOf } from './hierarchy.ts';

/** The others are used where they are there. */
const NEEDED = ['cpu', 'memory'] as const;
const CONTROLLERS = [...NEEDED, 'pids', 'freezer'] as const;

type Controller = (typeof CONTROLLERS)[number];

/** @throws Unusable */
export const cgroupV1 = ({ root, pid }: Surroundings): Mechanism => {
  const { v1 } = hierarchiesOf(root);
  const missing = NEEDED.filter((name) => !v1.has(name));
  if (missing.length > 0) throw new Unusable(`no ${missing.join(' and ')} hierarchy is mounted`);
  const names = new GroupNames(root, pid);
  const folders = new Map(
    CONTROLLERS.flatMap((name): [Controller, string][] => {
      const folder = v1.get(name)?.folder;
      return folder === undefined ? [] : [[name, folder]];
    }),
  );
  const open = (limits: Limits): Group => new V1Group(folders, names.next(), limits);
  const bases = new Set(folders.values());
  const mechanism: Mechanism = {
    name: 'cgroup-v1',
    open,
    sweep: () => {
      for (const base of bases) sweepGroups(names, base);
    },
  };
  try {
    const tried = open({ numCpus: 1, cpuLimit: null, memoryBytes: 2 ** 26 });
    tried.remove();
  } catch (error) {
    throw new Unusable((error as Error).message);
  }
  return mechanism;
};

class V1Group implements Group {
  readonly prefix: readonly string[];
  /** By controller; some may be mounted together, and are then one folder. */
  readonly #folders: ReadonlyMap<Controller, string>;

  constructor(bases: ReadonlyMap<Controller, string>, name: string, limits: Limits) {
    this.#folders = new Map([...bases].map(([controller, base]) => [controller, join(base, name)]));
    const folders = [...new Set(this.#folders.values())];
    try {
      for (const folder of folders) mkdirSync(folder);
      this.apply(limits, 'yields');
    } catch (error) {
      this.remove();
      throw error;
    }
    const pids = this.#folders.get('pids');
    if (pids !== undefined) tryWrite(pids, 'pids.max', MAX_PROCESSES);
    this.prefix = enterBy(folders);
  }

  entered(): void {}

  apply(limits: Limits, stage: Stage): void {
    // A group that yields has no shares, and takes none.
    tryWrite(this.#of('cpu'), 'cpu.idle', 0);
    write(this.#of('cpu'), 'cpu.shares', sharesOf(limits, stage));
    if (stage === 'yields') tryWrite(this.#of('cpu'), 'cpu.idle', 1);
    const quota = cpuQuotaUs(limits, stage);
    if (quota !== undefined) tryWrite(this.#of('cpu'), 'cpu.cfs_period_us', CPU_PERIOD_US);
    tryWrite(this.#of('cpu'), 'cpu.cfs_quota_us', quota ?? -1);
    const memory = limits.memoryBytes ?? -1;
    // Memory and swap together may never be less than memory: which of the two goes first depends on the way.
    const first = tryWrite(this.#of('memory'), 'memory.limit_in_bytes', memory);
    tryWrite(this.#of('memory'), 'memory.memsw.limit_in_bytes', memory);
    if (!first) write(this.#of('memory'), 'memory.limit_in_bytes', memory);
  }

  memoryBytes(): number | undefined {
    const used = Number(read(this.#of('memory'), 'memory.usage_in_bytes') || Number.NaN);
    // Files that were read and can be dropped at any time are nobody's.
    const dropped = counterIn(read(this.#of('memory'), 'memory.stat'), 'total_inactive_file');
    return Number.isNaN(used) ? undefined : Math.max(0, used - dropped);
  }

  throttledS(): number | undefined {
    const told = read(this.#of('cpu'), 'cpu.stat');
    return told === '' ? undefined : counterIn(told, 'throttled_time') / 1e9;
  }

  oomKills(): number {
    return counterIn(read(this.#of('memory'), 'memory.oom_control'), 'oom_kill');
  }

  kill(): void {
    const freezer = this.#folders.get('freezer');
    const folder = this.#of('memory');
    if (pidsIn(folder).length === 0) return;
    if (freezer !== undefined) tryWrite(freezer, 'freezer.state', 'FROZEN');
    signalAll(pidsIn(folder), 'SIGKILL');
    if (freezer !== undefined) tryWrite(freezer, 'freezer.state', 'THAWED');
    killAll(folder);
  }

  remove(): boolean {
    return [...new Set(this.#folders.values())].map(removeGroup).every(Boolean);
  }

  #of(controller: 'cpu' | 'memory'): string {
    return this.#folders.get(controller) as string;
  }
}

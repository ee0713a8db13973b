/** Quotas by the user's own systemd: each replica is a scope, whose properties are the limits. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { memoryOf, oomKillsOf, throttledOf } from './cgroup-v2.ts';
import { killAll, read } from './files.ts';
import {
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

const COMMAND = 'systemd-run';
const SCOPE = ['--user', '--scope', '--quiet', '--collect'];

/** @throws Unusable */
export const systemd = async (surroundings: Surroundings): Promise<Mechanism> => {
  const { root, env, run, pid } = surroundings;
  const runtime = env['XDG_RUNTIME_DIR'];
  if (runtime === undefined || !existsSync(join(root, runtime, 'systemd/private')))
    throw new Unusable('no user manager of systemd runs');
  const { status, out } = await run(COMMAND, [...SCOPE, '-p', 'MemoryMax=64M', '-p', 'CPUWeight=100', '--', 'true']);
  if (status !== 0) throw new Unusable(`systemd-run failed: ${out.trim()}`);
  let next = 0;
  return {
    name: 'systemd',
    open: (limits) => new Scope(surroundings, `serve-daemon-${pid}-${next++}.scope`, limits),
    // A scope without processes is collected by the manager.
    sweep: () => {},
  };
};

const propertiesOf = ({ cpuLimit, memoryBytes, ...limits }: Limits, stage: Stage): readonly string[] => [
  `CPUWeight=${weightOf({ ...limits, cpuLimit, memoryBytes }, stage)}`,
  // Empty: without a cap.
  `CPUQuota=${cpuLimit === null || stage !== 'ready' ? '' : `${Math.round(cpuLimit * 100_000) / 1000}%`}`,
  `MemoryMax=${memoryBytes ?? 'infinity'}`,
  `MemorySwapMax=${memoryBytes === null ? 'infinity' : 0}`,
];

class Scope implements Group {
  readonly prefix: readonly string[];
  readonly #surroundings: Surroundings;
  readonly #unit: string;
  #folder: string | undefined;
  #pid: number | undefined;
  /** The folder goes with the last process: what was read last is kept. */
  #oomKills = 0;

  constructor(surroundings: Surroundings, unit: string, limits: Limits) {
    this.#surroundings = surroundings;
    this.#unit = unit;
    const properties = [...propertiesOf(limits, 'starts'), `TasksMax=${MAX_PROCESSES}`, 'OOMPolicy=kill'];
    this.prefix = [COMMAND, ...SCOPE, `--unit=${unit}`, ...properties.flatMap((each) => ['-p', each]), '--'];
  }

  entered(pid: number): void {
    this.#pid = pid;
  }

  /** To yield is not among what every systemd knows (`CPUWeight=idle` came with 252). */
  apply(limits: Limits, stage: Stage): void {
    const { run } = this.#surroundings;
    void run('systemctl', ['--user', 'set-property', '--runtime', this.#unit, ...propertiesOf(limits, stage)]);
  }

  memoryBytes(): number | undefined {
    return this.#place === undefined ? undefined : memoryOf(this.#place);
  }

  throttledS(): number | undefined {
    return this.#place === undefined ? undefined : throttledOf(this.#place);
  }

  oomKills(): number {
    if (this.#place !== undefined) this.#oomKills = Math.max(this.#oomKills, oomKillsOf(this.#place));
    return this.#oomKills;
  }

  kill(): void {
    if (this.#place !== undefined) killAll(this.#place);
  }

  remove(): boolean {
    return true;
  }

  /** Where the manager has put it; known once the process is in it. */
  get #place(): string | undefined {
    if (this.#folder !== undefined || this.#pid === undefined) return this.#folder;
    const { root } = this.#surroundings;
    const path = /^0::(.*)$/m.exec(read(root, 'proc', String(this.#pid), 'cgroup'))?.[1];
    const top = hierarchiesOf(root).v2?.upwards.at(-1);
    if (path?.endsWith(this.#unit) === true && top !== undefined) this.#folder = join(top, path);
    return this.#folder;
  }
}

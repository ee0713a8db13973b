/** What every means of holding replicas to their quota has in common, from the strongest to the weakest. */

/** What one replica may use. null: no limit. */
export interface Limits {
  /** A share in proportion when CPUs are scarce; idle ones may be used. */
  readonly numCpus: number | null;
  /** A hard cap. */
  readonly cpuLimit: number | null;
  /** A hard cap. */
  readonly memoryBytes: number | null;
}

export const NO_LIMITS: Limits = { numCpus: null, cpuLimit: null, memoryBytes: null };

export const limitsOf = ({ numCpus, cpuLimit, memoryBytes }: Limits): Limits => ({ numCpus, cpuLimit, memoryBytes });

export type MechanismName = 'cgroup-v2' | 'systemd' | 'cgroup-v1' | 'rlimit+watchdog' | 'none';

/**
 * How far a replica is. `yields`: it has just begun to start, and what serves goes first where CPUs are scarce; `starts`: no CPU is
 * withheld from it; `ready`: its limits hold.
 */
export type Stage = 'yields' | 'starts' | 'ready';

/** Where one replica, and all that it starts, is held. */
export interface Group {
  /** Goes before the command of the replica: enters the group, then becomes the command, with the same process id. */
  readonly prefix: readonly string[];
  /** The replica's process is there. */
  entered(pid: number): void;
  /** @throws when what it uses already is more than it may */
  apply(limits: Limits, stage: Stage): void;
  /** What it uses, all its processes together. undefined: cannot be told. */
  memoryBytes(): number | undefined;
  /** Seconds, over all CPUs, for which its `cpuLimit` kept it from running. undefined: cannot be told. */
  throttledS(): number | undefined;
  /** How often a process in it was ended for want of memory. */
  oomKills(): number;
  /** Ends every process in it. */
  kill(): void;
  /** Once it is empty. @returns false: it is not yet */
  remove(): boolean;
}

export interface Mechanism {
  readonly name: MechanismName;
  /** Makes a group for one replica. */
  open(limits: Limits): Group;
  /** Removes what daemons that are gone have left behind. */
  sweep(): void;
}

/** A step of the ladder that cannot be used here. */
export class Unusable extends Error {}

/** Ran to its end. `status` null: it could not be run. */
export type Run = (command: string, args: readonly string[]) => Promise<{ readonly status: number | null; readonly out: string }>;

/** Where processes and groups are looked for; a folder in tests. */
export interface Surroundings {
  /** `/` */
  readonly root: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly run: Run;
  readonly pid: number;
}

/** Processes and threads that one replica may have, where that can be said: a guard against a bomb, far from what any needs. */
export const MAX_PROCESSES = 4096;

/** The share of one CPU is what a process without quota has. */
const CPU_SHARES = 1024;
const CPU_WEIGHT = 100;

const between = (least: number, value: number, most: number): number => Math.min(most, Math.max(least, Math.round(value)));

/** Of cgroup v1; a replica that starts has at least what one without quota has. */
export const sharesOf = ({ numCpus }: Limits, stage: Stage): number => {
  const shares = between(2, (numCpus ?? 1) * CPU_SHARES, 262_144);
  return stage === 'ready' ? shares : Math.max(CPU_SHARES, shares);
};

/** Of cgroup v2 and systemd. */
export const weightOf = ({ numCpus }: Limits, stage: Stage): number => {
  const weight = between(1, (numCpus ?? 1) * CPU_WEIGHT, 10_000);
  return stage === 'ready' ? weight : Math.max(CPU_WEIGHT, weight);
};

export const CPU_PERIOD_US = 100_000;

/** Microseconds of CPU in each period; undefined: no cap. */
export const cpuQuotaUs = ({ cpuLimit }: Limits, stage: Stage): number | undefined =>
  cpuLimit === null || stage !== 'ready' ? undefined : Math.max(1000, Math.round(cpuLimit * CPU_PERIOD_US));

/** Holds replicas to their quota by the strongest means that the machine offers: tries the ladder at start, and watches from then on. */
import { execFile } from 'node:child_process';
import type { ResourcesSpec } from '../domain/desired.ts';
import { bytesText } from './amounts.ts';
import { cgroupV1 } from './cgroup-v1.ts';
import { cgroupV2 } from './cgroup-v2.ts';
import {
  type Group,
  type Limits,
  type Mechanism,
  type MechanismName,
  NO_LIMITS,
  type Stage,
  type Surroundings,
  Unusable,
} from './group.ts';
import { systemd } from './systemd.ts';
import { watchdog } from './watchdog.ts';

/** How often memory is looked at. */
const WATCH_MS = 250;
/** A group is empty a moment after its last process has ended. */
const REMOVE_MS = 20;
const LAST_WAIT_MS = 500;
/** For so long what serves goes before what starts; many replicas are ready by then, and none waits for ever on a machine that is full. */
const YIELDS_MS = 500;

/** From the strongest to the weakest; `strict` takes none below the third. */
const LADDER: readonly {
  name: MechanismName;
  strict: boolean;
  make: (surroundings: Surroundings) => Mechanism | Promise<Mechanism>;
}[] = [
  { name: 'cgroup-v2', strict: true, make: cgroupV2 },
  { name: 'systemd', strict: true, make: systemd },
  { name: 'cgroup-v1', strict: true, make: cgroupV1 },
  { name: 'rlimit+watchdog', strict: false, make: watchdog },
];

/** What `resources.enforce: strict` asks for is not to be had; the message says why. */
export class CannotEnforce extends Error {}

export const runCommand: Surroundings['run'] = (command, args) =>
  new Promise((resolve) => {
    execFile(command, args, { timeout: 5000 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ status, out: `${stdout}${stderr}` });
    });
  });

export class Enforcer {
  /** Why stronger means cannot be used here. */
  readonly tried: readonly { readonly mechanism: MechanismName; readonly why: string }[];
  readonly #mechanism: Mechanism | undefined;
  readonly #quotas = new Set<ReplicaQuota>();
  readonly #leaving = new Set<Group>();
  readonly #watch: NodeJS.Timeout;
  readonly #onProblem: (why: string) => void;
  #off: boolean;
  #removing: NodeJS.Timeout | undefined;

  private constructor(
    mechanism: Mechanism | undefined,
    tried: Enforcer['tried'],
    off: boolean,
    onProblem: (why: string) => void,
  ) {
    this.#onProblem = onProblem;
    this.#mechanism = mechanism;
    this.tried = tried;
    this.#off = off;
    this.#watch = setInterval(() => {
      for (const quota of this.#quotas) quota.watch();
    }, WATCH_MS);
    this.#watch.unref();
  }

  /**
   * @param onProblem told why a replica cannot be held as it should
   * @throws CannotEnforce
   */
  static async start(
    enforce: ResourcesSpec['enforce'],
    surroundings: Surroundings,
    onProblem: (why: string) => void,
  ): Promise<Enforcer> {
    const tried: { mechanism: MechanismName; why: string }[] = [];
    for (const { name, strict, make } of enforce === 'off' ? [] : LADDER) {
      if (enforce === 'strict' && !strict) break;
      try {
        const mechanism = await make(surroundings);
        mechanism.sweep();
        return new Enforcer(mechanism, tried, false, onProblem);
      } catch (error) {
        if (!(error instanceof Unusable)) throw error;
        tried.push({ mechanism: name, why: error.message });
      }
    }
    if (enforce === 'strict') {
      const why = tried.map((each) => `${each.mechanism}: ${each.why}`).join('; ');
      throw new CannotEnforce(
        `resources.enforce is strict, and no control groups can be used here (${why}): run where they are delegated, or set it to auto`,
      );
    }
    return new Enforcer(undefined, tried, enforce === 'off', onProblem);
  }

  get mechanism(): MechanismName {
    return this.#off ? 'none' : (this.#mechanism?.name ?? 'none');
  }

  /**
   * `resources.enforce` has changed. Off takes the limits of what runs away. What was started without a group stays without.
   * @returns why it cannot be as it says; undefined: it is
   */
  set(enforce: ResourcesSpec['enforce']): string | undefined {
    this.#off = enforce === 'off';
    for (const quota of this.#quotas) quota.refresh();
    if (enforce === 'off') return undefined;
    const isWeak = this.#mechanism === undefined || LADDER.every(({ name, strict }) => name !== this.#mechanism?.name || !strict);
    if (enforce === 'strict' && isWeak) return 'no control groups are in use: strict is in force from the next start on';
    return this.#mechanism === undefined ? 'quotas were off at the start: they are enforced from the next start on' : undefined;
  }

  /**
   * A place for one replica.
   * @param onBreach it has passed its memory and lives, or one of its children was ended for that: it is to go
   */
  open(limits: Limits, onBreach: (why: string) => void): ReplicaQuota {
    const mechanism = this.#off ? undefined : this.#mechanism;
    let group: Group | undefined;
    try {
      group = mechanism?.open(limits);
    } catch (error) {
      // It worked when it was tried. To serve without is better than not to serve; the status shows it.
      this.#onProblem((error as Error).message);
    }
    const quota = new ReplicaQuota(group === undefined ? 'none' : (mechanism?.name ?? 'none'), group, limits, {
      isOff: () => this.#off,
      onBreach,
      onProblem: this.#onProblem,
      onClose: () => {
        this.#quotas.delete(quota);
        if (group !== undefined) this.#remove(group);
      },
    });
    this.#quotas.add(quota);
    return quota;
  }

  /** Waits a moment for groups whose processes have just ended. */
  close(): void {
    clearInterval(this.#watch);
    clearTimeout(this.#removing);
    const until = performance.now() + LAST_WAIT_MS;
    while (true) {
      for (const group of this.#leaving) if (group.remove()) this.#leaving.delete(group);
      if (this.#leaving.size === 0 || performance.now() > until) return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, REMOVE_MS);
    }
  }

  #remove(group: Group): void {
    if (group.remove()) return void this.#leaving.delete(group);
    this.#leaving.add(group);
    this.#removing ??= setTimeout(() => {
      this.#removing = undefined;
      for (const each of [...this.#leaving]) this.#remove(each);
    }, REMOVE_MS).unref();
  }
}

interface QuotaHooks {
  readonly isOff: () => boolean;
  readonly onBreach: (why: string) => void;
  readonly onProblem: (why: string) => void;
  readonly onClose: () => void;
}

/** One replica and its quota. */
export class ReplicaQuota {
  readonly mechanism: MechanismName;
  readonly #group: Group | undefined;
  readonly #hooks: QuotaHooks;
  #limits: Limits;
  #stage: Stage = 'yields';
  #yields: NodeJS.Timeout | undefined;
  #entered = false;
  #breached = false;

  constructor(mechanism: MechanismName, group: Group | undefined, limits: Limits, hooks: QuotaHooks) {
    this.mechanism = mechanism;
    this.#group = group;
    this.#limits = limits;
    this.#hooks = hooks;
  }

  get prefix(): readonly string[] {
    return this.#group?.prefix ?? [];
  }

  /** What it is held to now, or will be once it is ready. */
  get limits(): Limits {
    return this.#limits;
  }

  get memoryBytes(): number | undefined {
    return this.#group?.memoryBytes();
  }

  get throttledS(): number | undefined {
    return this.#group?.throttledS();
  }

  entered(pid: number): void {
    this.#entered = true;
    this.#group?.entered(pid);
    this.#yields = setTimeout(() => this.#reached('starts'), YIELDS_MS).unref();
  }

  /** From now on its share is its share. */
  ready(): void {
    this.#reached('ready');
  }

  #reached(stage: Stage): void {
    clearTimeout(this.#yields);
    this.#stage = stage;
    this.refresh();
  }

  /** With the same process. */
  change(limits: Limits): void {
    this.#limits = limits;
    this.refresh();
  }

  refresh(): void {
    try {
      this.#group?.apply(this.#hooks.isOff() ? NO_LIMITS : this.#limits, this.#stage);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      // The kernel takes no limit below what is in use and cannot be dropped.
      if (code === 'EBUSY') this.#breach(`${this.#pastText()} when that was lowered (${this.mechanism})`);
      else this.#hooks.onProblem(message);
    }
  }

  /** Looks whether anything in it was ended for its memory. */
  watch(): void {
    if (!this.#entered || this.#limits.memoryBytes === null || this.#hooks.isOff()) return;
    const why = this.oom();
    if (why !== undefined) this.#breach(why);
  }

  /** That it was ended for its memory, in words; undefined: it was not. */
  oom(): string | undefined {
    const kills = this.#group?.oomKills() ?? 0;
    return kills === 0 ? undefined : `${this.#pastText()} (${this.mechanism}, oom_kill ${kills})`;
  }

  kill(): void {
    this.#group?.kill();
  }

  /** Its process has gone: what it started goes too. */
  close(): void {
    clearTimeout(this.#yields);
    this.#group?.kill();
    this.#hooks.onClose();
  }

  #pastText(): string {
    const { memoryBytes } = this.#limits;
    return memoryBytes === null
      ? 'OOM_KILLED: the machine, or the group that the daemon runs in, has no memory left'
      : `OOM_KILLED: it passed its memory of ${bytesText(memoryBytes)}`;
  }

  #breach(why: string): void {
    if (this.#breached) return;
    this.#breached = true;
    this.#hooks.onBreach(why);
  }
}

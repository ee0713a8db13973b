/** A replica as the controller keeps it: its place in the state machine, its process, and what the status shows of it. */
import type { ModelDescription } from '../domain/model.ts';
import type { Limits, MechanismName } from '../quota/group.ts';
import type { Reservation } from '../quota/ledger.ts';
import type { ActualReplica, ReplicaState } from './plan.ts';
import type { Death, ReplicaProcess } from './replica-process.ts';
import type { Life } from './restart.ts';
import type { TargetDeployment } from './target.ts';

/** What others may know of a replica. */
export interface ReplicaView {
  readonly id: string;
  readonly application: string;
  readonly deployment: string;
  readonly version: string;
  readonly rank: number;
  readonly state: ReplicaState;
  readonly pid: number | undefined;
  /** Milliseconds since the epoch. */
  readonly since: number;
  /** The same, of its start. */
  readonly startedAt: number;
  readonly refusedConfig: string | undefined;
  /** Its process has proven who it is. */
  readonly connected: boolean;
  /** From its start until it was ready, or until now. */
  readonly bootMs: number;
  /** Why it is not as the config wants it, where that is for want of room. */
  readonly reason?: string;
  /** What it is held to and by what means. Absent: it has no process yet. */
  readonly quota?: Limits & { readonly mechanism: MechanismName };
  /** All its processes together. Absent: cannot be told. */
  readonly memoryBytes?: number;
  /** For how long its CPU limit kept it from running, in seconds over all CPUs. Absent: cannot be told. */
  readonly throttledS?: number;
  /** What it tells of the model that it serves. */
  readonly model?: ModelDescription | undefined;
}

/** Replicas of one deployment that wait for room. */
export interface Waiting {
  readonly count: number;
  readonly version: string;
  readonly reason: string;
  /** Milliseconds since the epoch. */
  readonly since: number;
}

/** Deaths of one deployment, for the status. */
export interface DeathRecord {
  readonly count: number;
  /** How many of each cause. */
  readonly causes: Readonly<Record<string, number>>;
  readonly last: Death;
  readonly at: number;
  /** The last of them, newest first. */
  readonly recent: readonly DeadReplica[];
}

export interface DeadReplica {
  readonly replica: string;
  readonly pid: number | undefined;
  readonly death: Death;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export class Managed {
  readonly id: string;
  readonly application: string;
  /** Of the version it was started with; limits that have changed since are those of today. */
  target: TargetDeployment;
  readonly order: number;
  /** Among the replicas of its version that are not on their way out: the smallest number that was free. */
  readonly rank: number;
  state: ReplicaState = 'STARTING';
  process: ReplicaProcess | undefined;
  /** What it tells of the model that it serves. */
  model: ModelDescription | undefined;
  /** Its code reads the bodies of HTTP requests as they come. */
  streams = false;
  userConfigHash: string;
  refusedConfig: { hash: string; error: string } | undefined;
  idle = false;
  drainBy = Number.POSITIVE_INFINITY;
  /** What it holds until it is gone. */
  reserved: Reservation;
  cpuLimit: number | null;
  /** Why its quota is not that of the config. */
  keepsQuota: string | undefined;
  #since = Date.now();
  readonly #bornAt = Date.now();
  readonly startedAt = performance.now();
  #readyAt: number | undefined;
  #health: NodeJS.Timeout | undefined;

  constructor(id: string, application: string, target: TargetDeployment, order: number, rank: number, reserved: Reservation) {
    this.id = id;
    this.application = application;
    this.target = target;
    this.order = order;
    this.rank = rank;
    this.userConfigHash = target.userConfigHash;
    this.reserved = reserved;
    this.cpuLimit = target.spec.cpuLimit;
  }

  become(state: ReplicaState): void {
    if (state === 'RUNNING') this.#readyAt ??= performance.now();
    this.state = state;
    this.#since = Date.now();
  }

  get ageMs(): number {
    return Math.round(performance.now() - this.startedAt);
  }

  get readyForMs(): number | undefined {
    return this.#readyAt === undefined ? undefined : performance.now() - this.#readyAt;
  }

  /** @returns undefined: it has not been ready */
  lifeUntil({ cause }: Death): Life | undefined {
    if (this.#readyAt === undefined) return undefined;
    return {
      startMs: this.#readyAt - this.startedAt,
      readyForMs: performance.now() - this.#readyAt,
      killed: cause === 'signal',
    };
  }

  get actual(): ActualReplica {
    return {
      id: this.id,
      application: this.application,
      deployment: this.target.spec.name,
      version: this.target.version,
      state: this.state,
      order: this.order,
      rank: this.rank,
      userConfigHash: this.userConfigHash,
      refusedConfigHash: this.refusedConfig?.hash,
      idle: this.idle,
      drainBy: this.drainBy,
      reserved: this.reserved,
      cpuLimit: this.cpuLimit,
      streams: this.streams,
      model: this.model,
    };
  }

  get view(): ReplicaView {
    return {
      id: this.id,
      application: this.application,
      deployment: this.target.spec.name,
      version: this.target.version,
      rank: this.rank,
      state: this.state,
      pid: this.process?.pid,
      since: this.#since,
      startedAt: this.#bornAt,
      // What was refused is told as long as it is wanted: going back to the value in force mends it.
      refusedConfig: this.refusedConfig?.hash === this.target.userConfigHash ? this.refusedConfig?.error : undefined,
      connected: this.process?.connected === true,
      model: this.model,
      bootMs: Math.round((this.#readyAt ?? performance.now()) - this.startedAt),
      ...(this.keepsQuota === undefined ? {} : { reason: `its quota stays as it is: the new one ${this.keepsQuota}` }),
    };
  }

  /** With what has to be looked up. */
  get closeView(): ReplicaView {
    const { quota } = this.process ?? {};
    if (quota === undefined) return this.view;
    const { memoryBytes, throttledS } = quota;
    return {
      ...this.view,
      quota: { ...quota.limits, mechanism: quota.mechanism },
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      ...(throttledS === undefined ? {} : { throttledS }),
    };
  }

  /** Asks `checkHealth` in its period; after so many failures in a row the replica is replaced. */
  watchHealth(failed: (error: string) => void): void {
    let failures = 0;
    const next = () => {
      this.#health = setTimeout(() => void check(), this.target.spec.health.periodMs);
    };
    const check = async () => {
      const { timeoutMs, failureThreshold } = this.target.spec.health;
      if (this.process === undefined || this.state === 'STOPPING') return;
      let timer: NodeJS.Timeout | undefined;
      try {
        const late = new Promise<never>((_, reject) => {
          timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
        });
        await Promise.race([this.process.check(), late]);
        failures = 0;
      } catch (error) {
        failures += 1;
        const { message } = error as Error;
        failed(message);
        if (failures >= failureThreshold) return this.process.kill('health', `checkHealth failed ${failures} times: ${message}`);
      } finally {
        clearTimeout(timer);
      }
      next();
    };
    next();
  }

  close(): void {
    clearTimeout(this.#health);
  }
}

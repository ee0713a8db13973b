/** The replicas there are: started a few at a time, stopped, reconfigured; and what is remembered of those that died. It decides nothing. */
import { randomBytes } from 'node:crypto';
import PQueue from 'p-queue';
import type { LogLevel } from '../domain/logging.ts';
import { modelOf } from '../domain/model.ts';
import { type ReadyMeta, takesStreams } from '../protocol/messages.ts';
import { makeToken } from '../protocol/token.ts';
import type { Enforcer } from '../quota/enforcer.ts';
import { limitsOf } from '../quota/group.ts';
import type { Reservation } from '../quota/ledger.ts';
import { type DeathRecord, Managed, type ReplicaView } from './managed.ts';
import { restartKey } from './plan.ts';
import { type Death, deathText, ReplicaProcess } from './replica-process.ts';
import { afterDeath, type Life, NO_FAILURES, type RestartMemory } from './restart.ts';
import { settingsOf, type TargetApplication, type TargetDeployment } from './target.ts';

export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface FleetOptions {
  readonly log: Log;
  /** The program of replicas. */
  readonly replicaEntry: string;
  readonly controlSocket: string;
  readonly dataSocket: string;
  readonly key: string;
  /** Environment that replicas inherit. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly enforcer: Pick<Enforcer, 'open'>;
  readonly configDir: () => string;
  /** Processes that come up at the same time. */
  readonly concurrentStarts: number;
  readonly onReplicaLine: (replica: ReplicaView, stream: 'stdout' | 'stderr', line: string) => void;
}

/** Who has the fleet. */
export interface FleetOwner {
  /** A replica is ready, has gone, or is done with a reconfiguration. */
  changed(): void;
  logLevel(application: string, deployment: string): LogLevel;
}

/** A killed process is gone at once, unless the machine is too busy to say so. */
const KILLED_WITHIN_MS = 1000;
/**
 * A replica that starts has its place among the concurrent starts until it is ready, so that the first in the file are ready first; one that
 * takes longer than this holds up nobody else.
 */
const BOOT_MS = 1000;

/** As many as Ray Serve keeps. */
const KEPT_DEATHS = 10;

export class Fleet {
  readonly #options: FleetOptions;
  readonly #owner: FleetOwner;
  readonly #replicas = new Map<string, Managed>();
  readonly #restarts = new Map<string, RestartMemory>();
  readonly #deaths = new Map<string, DeathRecord>();
  readonly #starts: PQueue;
  #order = 0;
  #stopping: (() => void) | undefined;

  constructor(options: FleetOptions, owner: FleetOwner) {
    this.#options = options;
    this.#owner = owner;
    this.#starts = new PQueue({ concurrency: options.concurrentStarts });
  }

  get all(): readonly Managed[] {
    return [...this.#replicas.values()];
  }

  get(id: string): Managed | undefined {
    return this.#replicas.get(id);
  }

  /** By `restartKey`. */
  get restarts(): ReadonlyMap<string, RestartMemory> {
    return this.#restarts;
  }

  deathsOf(application: string, deployment: string): DeathRecord | undefined {
    return this.#deaths.get(`${application}/${deployment}`);
  }

  /** It is to stop, or has. */
  get isStopping(): boolean {
    return this.#stopping !== undefined;
  }

  /** A new goal: what had been given up is tried again if its version changed, or always with `retry`. */
  want(targets: readonly TargetApplication[], retry: boolean): void {
    const wanted = new Set(
      targets.flatMap(({ spec, deployments }) => deployments.map((each) => restartKey(spec.name, each.spec.name, each.version))),
    );
    for (const [key, memory] of this.#restarts) {
      if (!wanted.has(key) || retry) this.#restarts.delete(key);
      else if (memory.failures > 0) this.#restarts.set(key, { ...memory, notBefore: 0 });
    }
    // What is told of deployments that have left is forgotten with them.
    const named = new Set(targets.flatMap(({ spec }) => spec.deployments.map(({ name }) => `${spec.name}/${name}`)));
    for (const name of this.#deaths.keys()) if (!named.has(name)) this.#deaths.delete(name);
    for (const replica of this.#replicas.values()) {
      const target = targets
        .find(({ spec }) => spec.name === replica.application)
        ?.deployments.find(({ spec }) => spec.name === replica.target.spec.name);
      if (target?.version === replica.target.version) replica.target = target;
      replica.process?.tellSettings();
    }
  }

  /** Puts a replica in line; it starts when its turn comes. */
  start(application: string, target: TargetDeployment, reserved: Reservation): void {
    const id = `${application}/${target.spec.name}/${randomBytes(3).toString('hex')}`;
    this.#order += 1;
    const replica = new Managed(id, application, target, this.#order, this.#freeRank(application, target), reserved);
    this.#replicas.set(id, replica);
    void this.#starts.add(
      () =>
        new Promise<void>((booted) => {
          // Stopped before its turn came.
          if (!this.#replicas.has(id)) return booted();
          const slot = setTimeout(booted, BOOT_MS);
          this.#launch(replica, () => {
            clearTimeout(slot);
            booted();
          });
        }),
    );
  }

  /** One on its way out gives its number up at once: who takes its place has it before it has gone. */
  #freeRank(application: string, { spec, version }: TargetDeployment): number {
    const taken = new Set<number>();
    for (const { application: of, target, state, rank } of this.#replicas.values()) {
      const isSame = of === application && target.spec.name === spec.name && target.version === version;
      if (isSame && state !== 'DRAINING' && state !== 'STOPPING') taken.add(rank);
    }
    let rank = 0;
    while (taken.has(rank)) rank += 1;
    return rank;
  }

  /** @param booted called once it is ready, or has died */
  #launch(replica: Managed, booted: () => void): void {
    const { id, application, target, reserved } = replica;
    const { spec, run, version } = target;
    const { key, controlSocket, dataSocket, env, replicaEntry, configDir } = this.#options;
    replica.process = new ReplicaProcess(
      {
        entry: replicaEntry,
        cwd: spec.workingDir ?? configDir(),
        env: {
          ...env,
          ...spec.env,
          // It sees the devices that it holds, and no other.
          ...(spec.numGpus === null ? {} : { CUDA_VISIBLE_DEVICES: reserved.devices.join(',') }),
          SERVE_CONTROL_SOCKET: controlSocket,
          SERVE_DATA_SOCKET: dataSocket,
          SERVE_REPLICA_TOKEN: makeToken(key, { replica: id, deployment: `${application}/${spec.name}`, version }),
          SERVE_REPLICA_ID: id,
        },
        run: { ...run, rank: replica.rank },
        openQuota: (onBreach) => this.#options.enforcer.open(limitsOf(replica.target.spec), onBreach),
        startupTimeoutMs: spec.startupTimeoutMs,
        settings: () => ({
          logLevel: this.#owner.logLevel(application, spec.name),
          metrics: true,
          ...settingsOf(replica.target.spec),
        }),
      },
      {
        onReady: (ready) => {
          booted();
          this.#ready(replica, ready);
        },
        onLine: (stream, line) => this.#options.onReplicaLine(replica.view, stream, line),
        onOddMetrics: (why) => this.#options.log.warn({ replica: id, why }, 'metrics of a replica were left out'),
        onDeath: (death) => {
          booted();
          this.#died(replica, death);
        },
      },
    );
  }

  #ready(replica: Managed, ready: ReadyMeta): void {
    // Told to stop just before it became ready: it is on its way out.
    if (replica.state !== 'STARTING') return;
    const { id, application, target } = replica;
    const { log } = this.#options;
    replica.model = modelOf(ready.describes);
    replica.streams = takesStreams(ready);
    replica.become('RUNNING');
    const key = restartKey(application, target.spec.name, target.version);
    this.#restarts.set(key, { ...(this.#restarts.get(key) ?? NO_FAILURES), everReady: true });
    log.info({ replica: id, pid: replica.process?.pid, ms: replica.ageMs }, 'replica is ready');
    replica.watchHealth((error) => log.warn({ replica: id, error }, 'health check failed'));
    this.#owner.changed();
  }

  stop(replica: Managed, withinMs: number): void {
    const ready = replica.state !== 'STARTING';
    replica.become('STOPPING');
    if (replica.process === undefined) this.#forget(replica);
    else replica.process.stop(ready ? withinMs : 0);
  }

  #died(replica: Managed, death: Death): void {
    const isExpected = replica.state === 'STOPPING';
    const life = replica.lifeUntil(death);
    this.#forget(replica);
    if (isExpected) this.#options.log.debug({ replica: replica.id }, 'replica stopped');
    else this.#remember(replica, death, life);
    this.#owner.changed();
  }

  #remember(replica: Managed, death: Death, life: Life | undefined): void {
    const { id, application, target } = replica;
    const { cause, exitCode, signal } = death;
    const error = deathText(death);
    this.#options.log.error({ replica: id, cause, exitCode, signal, error }, 'replica died');
    const name = `${application}/${target.spec.name}`;
    const before = this.#deaths.get(name);
    const dead = { replica: id, pid: replica.process?.pid, death, at: Date.now() };
    const recent = [dead, ...(before?.recent ?? [])].slice(0, KEPT_DEATHS);
    const causes = { ...before?.causes, [cause]: (before?.causes[cause] ?? 0) + 1 };
    this.#deaths.set(name, { count: (before?.count ?? 0) + 1, causes, last: death, at: dead.at, recent });
    if (replica.state === 'DRAINING') return;
    const key = restartKey(application, target.spec.name, target.version);
    const memory = this.#restarts.get(key) ?? NO_FAILURES;
    this.#restarts.set(key, afterDeath(memory, life, error, performance.now(), Math.random(), replica.startedAt));
  }

  #forget(replica: Managed): void {
    replica.close();
    this.#replicas.delete(replica.id);
    if (this.#stopping !== undefined && this.#replicas.size === 0) this.#stopping();
  }

  async reconfigure(id: string, target: TargetDeployment): Promise<void> {
    const replica = this.#replicas.get(id);
    if (replica?.process === undefined) return;
    replica.become('UPDATING');
    try {
      await replica.process.reconfigure(target.spec.userConfig);
      replica.userConfigHash = target.userConfigHash;
      replica.refusedConfig = undefined;
      this.#options.log.info({ replica: id }, 'replica reconfigured');
    } catch (error) {
      replica.refusedConfig = { hash: target.userConfigHash, error: (error as Error).message };
      this.#options.log.error(
        { replica: id, error: (error as Error).message },
        'reconfigure failed: the old user_config stays in force',
      );
    }
    if (replica.state === 'UPDATING') replica.become('RUNNING');
    this.#owner.changed();
  }

  /** Stops every replica; resolves when the last is gone. */
  async stopAll(): Promise<void> {
    this.#starts.clear();
    if (this.#replicas.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#stopping = resolve;
      for (const replica of this.#replicas.values()) this.stop(replica, replica.target.spec.gracefulShutdownTimeoutMs);
      if (this.#replicas.size === 0) resolve();
    });
  }

  /** Kills every replica now; resolves when the last is gone, or after a second. */
  async destroy(): Promise<void> {
    this.#starts.clear();
    for (const replica of [...this.#replicas.values()]) {
      replica.become('STOPPING');
      if (replica.process === undefined) this.#forget(replica);
      else replica.process.kill('stopped');
    }
    if (this.#replicas.size === 0) return;
    await new Promise<void>((resolve) => {
      const before = this.#stopping;
      this.#stopping = () => {
        before?.();
        resolve();
      };
      setTimeout(resolve, KILLED_WITHIN_MS).unref();
    });
  }
}

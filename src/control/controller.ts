/**
 * Turns desired into actual: keeps the replicas, plans whenever anything has changed, does what the plan says, and publishes the routing
 * snapshot. It knows no files and no HTTP.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import PQueue from 'p-queue';
import type { DesiredState, ProxySpec } from '../domain/desired.ts';
import { type LogLevel, LogRules } from '../domain/logging.ts';
import type { FromDataPlane, LoadReport, RoutingSnapshot } from '../domain/snapshot.ts';
import type { FrameReader } from '../protocol/reader.ts';
import { makeToken } from '../protocol/token.ts';
import type { Enforcer } from '../quota/enforcer.ts';
import { limitsOf } from '../quota/group.ts';
import type { Reservation } from '../quota/ledger.ts';
import { type Machine, type Offer, offerOf } from '../quota/offer.ts';
import { type DeathRecord, Managed, type ReplicaView, type Waiting } from './managed.ts';
import { type Action, type ActualState, failedDeployments, plan, restartKey, runningOf, type Serving } from './plan.ts';
import { Policies } from './policies.ts';
import { type Death, deathText, ReplicaProcess, takesStreams } from './replica-process.ts';
import { afterDeath, mayBeUnresponsive, NO_FAILURES, type RestartMemory } from './restart.ts';
import { type Room, roomFor } from './room-preview.ts';
import { Scaler } from './scaler.ts';
import { buildSnapshot, type Retiring } from './snapshot.ts';
import type { BrokenApplication, TargetApplication, TargetDeployment } from './target.ts';

export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface ControllerOptions {
  readonly log: Log;
  /** The program of replicas. */
  readonly replicaEntry: string;
  /** The program of autoscaling policies. */
  readonly policyEntry: string;
  readonly controlSocket: string;
  readonly dataSocket: string;
  readonly key: string;
  /** Environment that replicas inherit. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What there is to be given to replicas, where the config does not say otherwise. */
  readonly machine: Machine;
  readonly enforcer: Pick<Enforcer, 'open'>;
  readonly configDir: () => string;
  /** A level in place of every one that the config names. */
  readonly logLevel: LogLevel | undefined;
  readonly publish: (snapshot: RoutingSnapshot) => void;
  /** Processes that come up at the same time. */
  readonly concurrentStarts: number;
  readonly onReplicaLine: (replica: ReplicaView, stream: 'stdout' | 'stderr', line: string) => void;
  readonly onChange: () => void;
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

/** The end of a process is known so long after that of its sockets, at the latest. */
const EXIT_TOLD_MS = 1000;

export class Controller {
  readonly #options: ControllerOptions;
  readonly #replicas = new Map<string, Managed>();
  readonly #serving = new Map<string, Serving>();
  readonly #restarts = new Map<string, RestartMemory>();
  readonly #deaths = new Map<string, DeathRecord>();
  readonly #starts: PQueue;
  readonly #policies: Policies;
  readonly #scaler: Scaler;
  #targets: readonly TargetApplication[] = [];
  #broken: readonly BrokenApplication[] = [];
  #proxy: ProxySpec | undefined;
  #logging: LogRules | undefined;
  #offer: Offer | undefined;
  /** By `application/Deployment`. */
  #waiting: ReadonlyMap<string, Waiting> = new Map();
  #retiring: Retiring[] = [];
  #generation = 0;
  #revision = 0;
  /** Configs that were wanted, and askings again. */
  #attempt = 0;
  #published = '';
  #order = 0;
  #everReady = false;
  #scheduled = false;
  #stopping: (() => void) | undefined;
  #wake: NodeJS.Timeout | undefined;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#starts = new PQueue({ concurrency: options.concurrentStarts });
    this.#policies = new Policies({ ...options, program: options.policyEntry });
    this.#scaler = new Scaler((key, question) => this.#policies.ask(key, question));
  }

  /** A new goal. What had been given up is tried again if its version changed, or always with `retry`. */
  want(
    targets: readonly TargetApplication[],
    broken: readonly BrokenApplication[],
    { proxy, resources, targetCapacity, logging }: Pick<DesiredState, 'proxy' | 'resources' | 'targetCapacity' | 'logging'>,
    retry: boolean,
  ): void {
    this.#targets = targets;
    this.#policies.follow(targets);
    this.#scaler.follow(targets, targetCapacity, (application) => this.#serving.has(application));
    this.#broken = broken;
    this.#proxy = proxy;
    this.#logging = new LogRules(
      logging,
      [...targets, ...broken].map(({ spec }) => spec),
      this.#options.logLevel,
    );
    this.#attempt += 1;
    this.#offer = offerOf(this.#options.machine, resources);
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
    this.#reconcileSoon();
  }

  get targets(): readonly TargetApplication[] {
    return this.#targets;
  }

  /** What serves, and what is on its way. */
  get goal(): Pick<ActualState, 'serving' | 'counts'> & { readonly targets: readonly TargetApplication[] } {
    const { serving, counts } = this.actual;
    return { targets: this.#targets, serving, ...(counts === undefined ? {} : { counts }) };
  }

  /** How many replicas each deployment would be to have with this goal, and whether there would be room for them. */
  roomIf(
    targets: readonly TargetApplication[],
    { targetCapacity, resources }: Pick<DesiredState, 'targetCapacity' | 'resources'>,
  ): { readonly counts: ReadonlyMap<string, number>; readonly room: Room } {
    const counts = this.#scaler.countsIf(targets, targetCapacity);
    return { counts, room: roomFor(targets, counts, offerOf(this.#options.machine, resources), this.actual) };
  }

  /** Compiled code that runs, is to run, or may have to run again. */
  get code(): ReadonlySet<string> {
    const targets = [...this.#targets, ...[...this.#serving.values(), ...this.#retiring].map(({ target }) => target)];
    const deployments = [
      ...targets.flatMap((target) => target.deployments),
      ...[...this.#replicas.values()].map(({ target }) => target),
    ];
    return new Set(
      deployments.flatMap(({ run: { runs }, policy }) => [
        ...(runs.kind === 'module' ? [runs.entry] : []),
        ...(policy === undefined ? [] : [policy.entry]),
      ]),
    );
  }

  get broken(): readonly BrokenApplication[] {
    return this.#broken;
  }

  get replicas(): readonly ReplicaView[] {
    return [...this.#replicas.values()].map((replica) => replica.closeView);
  }

  deathsOf(application: string, deployment: string): DeathRecord | undefined {
    return this.#deaths.get(`${application}/${deployment}`);
  }

  get actual(): ActualState {
    return {
      replicas: [...this.#replicas.values()].map((replica) => replica.actual),
      serving: this.#serving,
      restarts: this.#restarts,
      counts: this.#scaler.counts,
      ...(this.#offer === undefined ? {} : { offer: this.#offer }),
    };
  }

  /** Replicas that wait for room, by `application/Deployment`. */
  get waiting(): ReadonlyMap<string, Waiting> {
    return this.#waiting;
  }

  /** Every application of the config serves, has failed, or waits for room. */
  get settled(): boolean {
    return this.#targets.every(
      (target) =>
        this.#serving.has(target.spec.name) ||
        failedDeployments(target, this.actual).length > 0 ||
        target.spec.deployments.some(({ name }) => this.#waiting.has(`${target.spec.name}/${name}`)),
    );
  }

  /** A replica has connected to the control socket and proven who it is. */
  attach(replicaId: string, socket: Socket, reader: FrameReader): void {
    const replica = this.#replicas.get(replicaId);
    if (replica?.process === undefined) socket.destroy();
    else replica.process.attach(socket, reader);
  }

  /** What the data plane tells about generations and replicas. */
  observe(message: FromDataPlane): void {
    switch (message.type) {
      case 'generation-idle':
        this.#retiring = this.#retiring.filter(
          (each) => each.application !== message.application || each.generation !== message.generation,
        );
        return this.#reconcileSoon();
      case 'replica-idle': {
        const replica = this.#replicas.get(message.replica);
        if (replica?.state !== 'DRAINING') return;
        replica.idle = true;
        return this.#reconcileSoon();
      }
      case 'load':
        return this.#scale(message.deployments);
      case 'link-down': {
        // Most often its process has just died, and how is about to be told. One that lives on is a replica in name only.
        setTimeout(() => {
          const replica = this.#replicas.get(message.replica);
          if (replica?.state === 'RUNNING' || replica?.state === 'UPDATING')
            replica.process?.kill('crash', `its data link is gone: ${message.reason ?? ''}`);
        }, EXIT_TOLD_MS).unref();
        return;
      }
      case 'stuck':
        this.#replicas.get(message.replica)?.process?.kill('stuck', 'all its slots were held by requests that nobody waits for');
        return;
      case 'unresponsive': {
        const replica = this.#replicas.get(message.replica);
        if (replica === undefined || replica.state === 'STOPPING') return;
        if (!mayBeUnresponsive(replica.readyForMs, replica.target.spec.unresponsiveTimeoutMs)) return;
        replica.process?.kill(
          'unresponsive',
          `its loop did not answer for ${replica.target.spec.unresponsiveTimeoutMs / 1000} s`,
        );
        return;
      }
      default:
        return;
    }
  }

  /** An external scaler sets a number of replicas; it is in force until what the file says there changes. */
  scale(application: string, deployment: string, replicas: number): 'accepted' | 'unknown' | 'leaving' | 'disabled' {
    const target = this.#targets.find(({ spec }) => spec.name === application);
    const spec = target?.deployments.find((each) => each.spec.name === deployment)?.spec;
    if (target === undefined || spec === undefined) {
      const isLeaving = [...this.#replicas.values()].some(
        (replica) => replica.application === application && replica.target.spec.name === deployment,
      );
      return isLeaving ? 'leaving' : 'unknown';
    }
    if (!target.spec.externalScaler) return 'disabled';
    this.#options.log.info({ deployment: `${application}/${deployment}`, to: replicas }, 'an external scaler sets the replicas');
    this.#scaler.set(application, spec, replicas);
    this.#reconcileSoon();
    return 'accepted';
  }

  /** Where autoscaling moved a deployment last. */
  scaledTo(application: string, deployment: string): 'up' | 'down' | undefined {
    return this.#scaler.movedOf(`${application}/${deployment}`);
  }

  /** What is wrong with the policy that scales a deployment. */
  policyProblem(application: string, deployment: string): string | undefined {
    return this.#policies.problemOf(`${application}/${deployment}`);
  }

  #scale(loads: Readonly<Record<string, LoadReport>>): void {
    const actual = this.actual;
    const moves = this.#scaler.observe(loads, (key) => runningOf(key, this.#targets, actual), performance.now());
    for (const { key, from, to } of moves) this.#options.log.info({ deployment: key, from, to }, 'deployment scales');
    if (moves.length > 0) this.#reconcileSoon();
  }

  /** Stops every replica; resolves when the last is gone. */
  async stop(): Promise<void> {
    this.#policies.close();
    this.#targets = [];
    this.#broken = [];
    this.#serving.clear();
    this.#starts.clear();
    clearTimeout(this.#wake);
    if (this.#replicas.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#stopping = resolve;
      for (const replica of this.#replicas.values()) this.#stopReplica(replica, replica.target.spec.gracefulShutdownTimeoutMs);
      if (this.#replicas.size === 0) resolve();
    });
  }

  /** Kills every replica now; resolves when the last is gone, or after a second. */
  async destroy(): Promise<void> {
    this.#policies.close();
    this.#starts.clear();
    clearTimeout(this.#wake);
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

  #reconcileSoon(): void {
    if (this.#scheduled || this.#stopping !== undefined) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#reconcile();
    });
  }

  #reconcile(): void {
    if (this.#stopping !== undefined) return;
    clearTimeout(this.#wake);
    const now = performance.now();
    let wakeAt = Number.POSITIVE_INFINITY;
    let moved = false;
    const waiting = new Map<string, Waiting>();
    for (const replica of this.#replicas.values()) replica.keepsQuota = undefined;
    for (const action of plan(this.#targets, this.actual, now)) {
      if (action.type === 'wakeAt') wakeAt = Math.min(wakeAt, action.at);
      else if (action.type === 'pending') this.#wait(action, waiting);
      else {
        this.#apply(action);
        moved ||= action.type === 'serve' || action.type === 'remove';
      }
    }
    this.#waiting = waiting;
    this.#publish();
    if (wakeAt !== Number.POSITIVE_INFINITY) this.#wake = setTimeout(() => this.#reconcileSoon(), Math.max(1, wakeAt - now));
    // What served until now is no longer wanted: the next plan sends it home.
    if (moved) this.#reconcileSoon();
    this.#options.onChange();
  }

  #wait({ application, deployment, count, reason }: Extract<Action, { type: 'pending' }>, waiting: Map<string, Waiting>): void {
    const name = `${application}/${deployment.spec.name}`;
    const before = this.#waiting.get(name);
    const same = before?.version === deployment.version;
    if (!same || before.reason !== reason)
      this.#options.log.warn({ deployment: name, replicas: count, reason }, 'replicas are PENDING');
    const more = waiting.get(name)?.count ?? 0;
    waiting.set(name, { count: count + more, version: deployment.version, reason, since: same ? before.since : Date.now() });
  }

  #apply(action: Exclude<Action, { type: 'wakeAt' | 'pending' }>): void {
    switch (action.type) {
      case 'start':
        for (const reserved of action.reserved) this.#start(action.application, action.deployment, reserved);
        return;
      case 'requota': {
        const replica = this.#replicas.get(action.replica);
        if (replica === undefined) return;
        replica.reserved = action.reserved;
        replica.cpuLimit = action.deployment.spec.cpuLimit;
        replica.process?.requota(limitsOf(action.deployment.spec));
        this.#options.log.info({ replica: replica.id }, 'its quota has changed');
        return;
      }
      case 'keepQuota': {
        const replica = this.#replicas.get(action.replica);
        if (replica !== undefined) replica.keepsQuota = action.reason;
        return;
      }
      case 'reconfigure':
        return void this.#reconfigure(action.replica, action.deployment);
      case 'drain': {
        const replica = this.#replicas.get(action.replica);
        replica?.become('DRAINING');
        if (replica !== undefined) replica.drainBy = action.by;
        if (action.because !== undefined)
          this.#options.log.info(
            { replica: action.replica, why: action.because },
            'versions are exchanged in steps: one goes first',
          );
        return;
      }
      case 'stop': {
        const replica = this.#replicas.get(action.replica);
        if (replica !== undefined) this.#stopReplica(replica, action.withinMs);
        return;
      }
      case 'serve':
        return this.#serve(action.target);
      case 'remove':
        this.#retire(action.application);
        this.#serving.delete(action.application);
        this.#options.log.info({ application: action.application }, 'application removed');
        return;
      default:
        return action satisfies never;
    }
  }

  #serve(target: TargetApplication): void {
    const { name, routePrefix } = target.spec;
    this.#retire(name);
    this.#generation += 1;
    const first = !this.#serving.has(name);
    this.#serving.set(name, { target, generation: this.#generation });
    this.#options.log.info(
      { application: name, route: routePrefix, generation: this.#generation },
      first ? 'application is serving' : 'application updated',
    );
  }

  #retire(application: string): void {
    const serving = this.#serving.get(application);
    if (serving !== undefined) this.#retiring.push({ application, generation: serving.generation, target: serving.target });
  }

  #start(application: string, target: TargetDeployment, reserved: Reservation): void {
    const { spec, run, version } = target;
    const id = `${application}/${spec.name}/${randomBytes(3).toString('hex')}`;
    const { log, key, controlSocket, dataSocket, env, replicaEntry, configDir } = this.#options;
    this.#order += 1;
    const replica = new Managed(id, application, target, this.#order, reserved);
    this.#replicas.set(id, replica);
    void this.#starts.add(
      () =>
        new Promise<void>((booted) => {
          // Stopped before its turn came.
          if (!this.#replicas.has(id)) return booted();
          const slot = setTimeout(booted, BOOT_MS);
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
              run,
              openQuota: (onBreach) => this.#options.enforcer.open(limitsOf(replica.target.spec), onBreach),
              startupTimeoutMs: spec.startupTimeoutMs,
              logLevel: () => this.#logging?.of(application, spec.name).level ?? 'info',
            },
            {
              onReady: (ready) => {
                clearTimeout(slot);
                booted();
                // Told to stop just before it became ready: it is on its way out.
                if (replica.state !== 'STARTING') return;
                replica.describes = ready.describes;
                replica.streams = takesStreams(ready);
                replica.become('RUNNING');
                const memoryKey = restartKey(application, spec.name, version);
                this.#restarts.set(memoryKey, { ...(this.#restarts.get(memoryKey) ?? NO_FAILURES), everReady: true });
                log.info({ replica: id, pid: replica.process?.pid, ms: replica.ageMs }, 'replica is ready');
                replica.watchHealth((error) => log.warn({ replica: id, error }, 'health check failed'));
                this.#reconcileSoon();
              },
              onLine: (stream, line) => this.#options.onReplicaLine(replica.view, stream, line),
              onDeath: (death) => {
                clearTimeout(slot);
                booted();
                this.#died(replica, death);
              },
            },
          );
        }),
    );
  }

  #stopReplica(replica: Managed, withinMs: number): void {
    const ready = replica.state !== 'STARTING';
    replica.become('STOPPING');
    if (replica.process === undefined) this.#forget(replica);
    else replica.process.stop(ready ? withinMs : 0);
  }

  #died(replica: Managed, death: Death): void {
    const { application, target } = replica;
    const expected = replica.state === 'STOPPING';
    const life = replica.lifeUntil(death);
    this.#forget(replica);
    if (expected) {
      this.#options.log.debug({ replica: replica.id }, 'replica stopped');
    } else {
      const key = restartKey(application, target.spec.name, target.version);
      const text = deathText(death);
      this.#options.log.error(
        { replica: replica.id, cause: death.cause, exitCode: death.exitCode, signal: death.signal, error: text },
        'replica died',
      );
      const name = `${application}/${target.spec.name}`;
      const before = this.#deaths.get(name);
      const dead = { replica: replica.id, pid: replica.process?.pid, death, at: Date.now() };
      const recent = [dead, ...(before?.recent ?? [])].slice(0, KEPT_DEATHS);
      const causes = { ...before?.causes, [death.cause]: (before?.causes[death.cause] ?? 0) + 1 };
      this.#deaths.set(name, { count: (before?.count ?? 0) + 1, causes, last: death, at: dead.at, recent });
      if (replica.state !== 'DRAINING') {
        this.#restarts.set(
          key,
          afterDeath(this.#restarts.get(key) ?? NO_FAILURES, life, text, performance.now(), Math.random(), replica.startedAt),
        );
      }
    }
    this.#reconcileSoon();
  }

  #forget(replica: Managed): void {
    replica.close();
    this.#replicas.delete(replica.id);
    if (this.#stopping !== undefined && this.#replicas.size === 0) this.#stopping();
  }

  async #reconfigure(id: string, target: TargetDeployment): Promise<void> {
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
    this.#reconcileSoon();
  }

  #publish(): void {
    if (this.#proxy === undefined || this.#logging === undefined) return;
    this.#everReady ||= this.#targets.length + this.#broken.length > 0 && this.settled;
    const snapshot = buildSnapshot({
      revision: this.#revision,
      proxy: this.#proxy,
      attempt: this.#attempt,
      logging: this.#logging,
      ready: this.#everReady || this.settled,
      targets: this.#targets,
      broken: this.#broken,
      actual: this.actual,
      retiring: this.#retiring,
      failure: (application) => this.failure(application),
      pending: new Map([...this.#waiting].map(([name, { reason }]) => [name, reason])),
    });
    const text = JSON.stringify(snapshot);
    if (text === this.#published) return;
    this.#revision += 1;
    const numbered = { ...snapshot, revision: this.#revision };
    this.#published = JSON.stringify({ ...numbered, revision: this.#revision });
    this.#options.publish(numbered);
  }

  /** Why an application's target was given up; undefined: it was not. */
  failure(application: string): string | undefined {
    const target = this.#targets.find((each) => each.spec.name === application);
    if (target === undefined) return this.#broken.find((each) => each.spec.name === application)?.problem;
    const failed = failedDeployments(target, this.actual);
    if (failed.length === 0) return undefined;
    return failed
      .map(({ spec, version }) => `${spec.name}: ${this.#restarts.get(restartKey(application, spec.name, version))?.error ?? ''}`)
      .join('; ');
  }
}

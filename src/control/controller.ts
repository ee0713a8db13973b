/**
 * Turns desired into actual: keeps the replicas, plans whenever anything has changed, does what the plan says, and publishes the routing
 * snapshot. It knows no files and no HTTP.
 */
import type { Socket } from 'node:net';
import type { DesiredState, ProxySpec } from '../domain/desired.ts';
import { type LogLevel, LogRules } from '../domain/logging.ts';
import type { UserMetrics } from '../domain/metrics.ts';
import type { FromDataPlane, LoadReport, RoutingSnapshot, SplitCounts } from '../domain/snapshot.ts';
import type { FrameReader } from '../protocol/reader.ts';
import { limitsOf } from '../quota/group.ts';
import { type Machine, type Offer, offerOf } from '../quota/offer.ts';
import { Fleet, type FleetOptions } from './fleet.ts';
import { judgedSplits, mixedIn } from './judged-splits.ts';
import type { DeathRecord, ReplicaView, Waiting } from './managed.ts';
import {
  type Action,
  type ActualState,
  failedDeployments,
  plan,
  restartKey,
  rolloutSteps,
  runningOf,
  type Serving,
} from './plan.ts';
import { Policies } from './policies.ts';
import { mayBeUnresponsive } from './restart.ts';
import { type Room, roomFor } from './room-preview.ts';
import { Scaler } from './scaler.ts';
import { buildSnapshot, type Retiring } from './snapshot.ts';
import type { BrokenApplication, TargetApplication } from './target.ts';
import type { VerdictRecord } from './verdict-record.ts';
import { Verdicts, type VerdictView } from './verdicts.ts';

export interface ControllerOptions extends FleetOptions {
  /** The program of autoscaling policies. */
  readonly policyEntry: string;
  /** What there is to be given to replicas, where the config does not say otherwise. */
  readonly machine: Machine;
  /** A level in place of every one that the config names. */
  readonly logLevel: LogLevel | undefined;
  readonly publish: (snapshot: RoutingSnapshot) => void;
  /** What verdicts have decided, also before this run. */
  readonly verdicts: VerdictRecord;
  readonly onChange: () => void;
}

/** The end of a process is known so long after that of its sockets, at the latest. */
const EXIT_TOLD_MS = 1000;

export class Controller {
  readonly #options: ControllerOptions;
  readonly #fleet: Fleet;
  readonly #serving = new Map<string, Serving>();
  readonly #policies: Policies;
  readonly #scaler: Scaler;
  readonly #verdicts: Verdicts;
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
  #everReady = false;
  #scheduled = false;
  #isStopping = false;
  #wake: NodeJS.Timeout | undefined;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#fleet = new Fleet(options, {
      changed: () => this.#reconcileSoon(),
      logLevel: (application, deployment) => this.#logging?.of(application, deployment).level ?? 'info',
    });
    this.#policies = new Policies({ ...options, program: options.policyEntry });
    this.#scaler = new Scaler((key, question) => this.#policies.ask(key, question));
    this.#verdicts = new Verdicts(options.verdicts);
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
    this.#fleet.want(targets, retry);
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
    const deployments = [...targets.flatMap((target) => target.deployments), ...this.#fleet.all.map(({ target }) => target)];
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
    return this.#fleet.all.map((replica) => replica.closeView);
  }

  /** What replicas tell of the metrics of their code; of those that have gone nothing. */
  get userMetrics(): readonly UserMetrics[] {
    return this.#fleet.all.flatMap(({ id, application, target, process }) => {
      const metrics = process?.metrics.read() ?? [];
      return metrics.length === 0 ? [] : [{ application, deployment: target.spec.name, replica: id, metrics }];
    });
  }

  deathsOf(application: string, deployment: string): DeathRecord | undefined {
    return this.#fleet.deathsOf(application, deployment);
  }

  get actual(): ActualState {
    return {
      replicas: this.#fleet.all.map((replica) => replica.actual),
      serving: this.#serving,
      restarts: this.#fleet.restarts,
      counts: this.#scaler.counts,
      ...(this.#offer === undefined ? {} : { offer: this.#offer }),
    };
  }

  /** Replicas that wait for room, by `application/Deployment`. */
  get waiting(): ReadonlyMap<string, Waiting> {
    return this.#waiting;
  }

  /** Every application of the config serves, has failed, or waits for room; after the start no model that comes into a folder counts. */
  get settled(): boolean {
    return this.#targets.every(
      (target) =>
        this.#serving.has(target.spec.name) ||
        (this.#everReady && target.spec.repository !== undefined) ||
        failedDeployments(target, this.actual).length > 0 ||
        target.spec.deployments.some(({ name }) => this.#waiting.has(`${target.spec.name}/${name}`)),
    );
  }

  /** A replica has connected to the control socket and proven who it is. */
  attach(replicaId: string, socket: Socket, reader: FrameReader): void {
    const replica = this.#fleet.get(replicaId);
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
        const replica = this.#fleet.get(message.replica);
        if (replica?.state !== 'DRAINING') return;
        replica.idle = true;
        return this.#reconcileSoon();
      }
      case 'load':
        return this.#scale(message.deployments);
      case 'splits':
        return this.#judge(message.splits);
      case 'link-down': {
        // Most often its process has just died, and how is about to be told. One that lives on is a replica in name only.
        setTimeout(() => {
          const replica = this.#fleet.get(message.replica);
          if (replica?.state === 'RUNNING' || replica?.state === 'UPDATING')
            replica.process?.kill('crash', `its data link is gone: ${message.reason ?? ''}`);
        }, EXIT_TOLD_MS).unref();
        return;
      }
      case 'stuck':
        this.#fleet.get(message.replica)?.process?.kill('stuck', 'all its slots were held by requests that nobody waits for');
        return;
      case 'unresponsive': {
        const replica = this.#fleet.get(message.replica);
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
      const isLeaving = this.#fleet.all.some(
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

  /** What is known of the verdict on the canary of a step; undefined: it has none. */
  verdictOf(application: string, step: string): VerdictView | undefined {
    return this.#verdicts.viewOf(application, step, performance.now());
  }

  #judge(splits: Readonly<Record<string, SplitCounts>>): void {
    const moves = this.#verdicts.observe(splits, performance.now(), new Date());
    for (const { application, step, state, why, ...move } of moves) {
      const fields = { step: `${application}/${step}`, ...move, why };
      if (state === 'aborted') this.#options.log.warn(fields, 'a canary is aborted');
      else this.#options.log.info(fields, state === 'promoted' ? 'a canary is promoted' : 'a canary gets more requests');
    }
    if (moves.length > 0) this.#reconcileSoon();
  }

  /** Stops every replica; resolves when the last is gone. */
  async stop(): Promise<void> {
    this.#wantNothing();
    await this.#fleet.stopAll();
  }

  /** Kills every replica now; resolves when the last is gone, or after a second. */
  async destroy(): Promise<void> {
    this.#wantNothing();
    await this.#fleet.destroy();
  }

  #wantNothing(): void {
    this.#isStopping = true;
    this.#policies.close();
    this.#targets = [];
    this.#broken = [];
    this.#serving.clear();
    clearTimeout(this.#wake);
  }

  #reconcileSoon(): void {
    if (this.#scheduled || this.#isStopping) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#reconcile();
    });
  }

  #reconcile(): void {
    if (this.#isStopping) return;
    clearTimeout(this.#wake);
    const now = performance.now();
    let wakeAt = Number.POSITIVE_INFINITY;
    let moved = false;
    const waiting = new Map<string, Waiting>();
    for (const replica of this.#fleet.all) replica.keepsQuota = undefined;
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
        for (const reserved of action.reserved) this.#fleet.start(action.application, action.deployment, reserved);
        return;
      case 'requota': {
        const replica = this.#fleet.get(action.replica);
        if (replica === undefined) return;
        replica.reserved = action.reserved;
        replica.cpuLimit = action.deployment.spec.cpuLimit;
        replica.process?.requota(limitsOf(action.deployment.spec));
        this.#options.log.info({ replica: replica.id }, 'its quota has changed');
        return;
      }
      case 'keepQuota': {
        const replica = this.#fleet.get(action.replica);
        if (replica !== undefined) replica.keepsQuota = action.reason;
        return;
      }
      case 'reconfigure':
        return void this.#fleet.reconfigure(action.replica, action.deployment);
      case 'drain': {
        const replica = this.#fleet.get(action.replica);
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
        const replica = this.#fleet.get(action.replica);
        if (replica !== undefined) this.#fleet.stop(replica, action.withinMs);
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

  #publish(): void {
    if (this.#proxy === undefined || this.#logging === undefined) return;
    const serving = this.#serving;
    const wanted = new Set([...this.#targets, ...this.#broken].map(({ spec }) => spec.name));
    const isAwaited = (application: string) => wanted.has(application) && !serving.has(application);
    const isMixed = mixedIn(this.#targets, rolloutSteps(this.#targets, this.actual));
    this.#verdicts.follow(judgedSplits(serving, isMixed), isAwaited, performance.now(), new Date());
    this.#everReady ||= this.#targets.length + this.#broken.length > 0 && this.settled;
    const snapshot = buildSnapshot({
      revision: this.#revision,
      proxy: this.#proxy,
      attempt: this.#attempt,
      logging: this.#logging,
      ready: this.#everReady || this.settled,
      cpus: this.#options.machine.cpus,
      targets: this.#targets,
      broken: this.#broken,
      actual: this.actual,
      retiring: this.#retiring,
      failure: (application) => this.failure(application),
      pending: new Map([...this.#waiting].map(([name, { reason }]) => [name, reason])),
      overlayOf: (application, step) => this.#verdicts.overlayOf(application, step),
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
      .map(
        ({ spec, version }) =>
          `${spec.name}: ${this.#fleet.restarts.get(restartKey(application, spec.name, version))?.error ?? ''}`,
      )
      .join('; ');
  }
}

/** Desired × actual → what to do next. Pure and level-triggered: it never asks what was edited, only what is wanted and what there is. */
import type { DeploymentSpec } from '../domain/desired.ts';
import { movesOf } from './moves.ts';
import { hasFailed, NO_FAILURES, type RestartMemory } from './restart.ts';
import type { TargetApplication, TargetDeployment } from './target.ts';

/**
 *     STARTING ──▶ RUNNING ⇄ UPDATING          UPDATING: `reconfigure` is running
 *        │            │
 *        ▼            ▼
 *     STOPPING ◀── DRAINING                    DRAINING: finishes what it has, takes work of living generations only
 */
export type ReplicaState = 'STARTING' | 'RUNNING' | 'UPDATING' | 'DRAINING' | 'STOPPING';

export interface ActualReplica {
  readonly id: string;
  readonly application: string;
  readonly deployment: string;
  readonly version: string;
  readonly state: ReplicaState;
  /** Order of their starts, over the whole daemon. */
  readonly order: number;
  /** Hash of the user config in force; what `reconfigure` refused is not tried again until it changes. */
  readonly userConfigHash: string;
  readonly refusedConfigHash: string | undefined;
  /** DRAINING: the data plane says that it has no request left and may get none. */
  readonly idle: boolean;
  /** DRAINING: stopped at this time whatever it still has. */
  readonly drainBy: number;
}

/** An application as the routing snapshot has it now. */
export interface Serving {
  readonly target: TargetApplication;
  readonly generation: number;
}

export interface ActualState {
  readonly replicas: readonly ActualReplica[];
  readonly serving: ReadonlyMap<string, Serving>;
  /** By `restartKey`. */
  readonly restarts: ReadonlyMap<string, RestartMemory>;
  /** `application/Deployment` → replicas that scaling wants, in place of what the file says. */
  readonly counts?: ReadonlyMap<string, number>;
}

/** Replicas that a deployment is to have now. */
export const countOf = (
  application: string,
  { name, numReplicas }: DeploymentSpec,
  actual: Pick<ActualState, 'counts'>,
): number => actual.counts?.get(`${application}/${name}`) ?? numReplicas;

/** Replicas of a deployment, by `application/Deployment`, that take its requests now: those of the version that serves. */
export const runningOf = (key: string, targets: readonly TargetApplication[], actual: ActualState): number => {
  const [application = '', name] = key.split('/');
  const target = actual.serving.get(application)?.target ?? targets.find(({ spec }) => spec.name === application);
  const version = target?.deployments.find(({ spec }) => spec.name === name)?.version;
  return actual.replicas.filter(
    (replica) =>
      replica.application === application &&
      replica.deployment === name &&
      replica.version === version &&
      (replica.state === 'RUNNING' || replica.state === 'UPDATING'),
  ).length;
};

export type Action =
  | { readonly type: 'start'; readonly application: string; readonly deployment: TargetDeployment; readonly count: number }
  | { readonly type: 'reconfigure'; readonly replica: string; readonly deployment: TargetDeployment }
  | { readonly type: 'drain'; readonly replica: string; readonly by: number }
  | { readonly type: 'stop'; readonly replica: string; readonly withinMs: number }
  /** All that it changes is ready: one snapshot moves the application to its target. */
  | { readonly type: 'serve'; readonly target: TargetApplication }
  | { readonly type: 'remove'; readonly application: string }
  | { readonly type: 'wakeAt'; readonly at: number };

export const restartKey = (application: string, deployment: string, version: string): string =>
  `${application}/${deployment}@${version}`;

/** One version of a deployment that is to run, and how often. */
interface Wanted {
  readonly application: string;
  readonly deployment: TargetDeployment;
  readonly count: number;
}

/** @param now monotonic milliseconds */
export const plan = (targets: readonly TargetApplication[], actual: ActualState, now: number): readonly Action[] => {
  const live = liveByKey(actual.replicas);
  const moves = movesOf(targets, actual.serving, (target) => isReady(target, actual.serving.get(target.spec.name), actual, live));
  const wanted = wantedVersions(targets, moves.held, actual);
  const actions: Action[] = [];
  const kept = new Set<string>();
  for (const [key, want] of wanted) {
    const replicas = live.get(key) ?? [];
    const surplus = replicas.length - want.count;
    const going = new Set(surplus > 0 ? leastWorthKeeping(replicas).slice(0, surplus) : []);
    for (const replica of replicas) {
      if (going.has(replica)) continue;
      kept.add(replica.id);
      if (
        replica.state === 'RUNNING' &&
        replica.userConfigHash !== want.deployment.userConfigHash &&
        replica.refusedConfigHash !== want.deployment.userConfigHash
      ) {
        actions.push({ type: 'reconfigure', replica: replica.id, deployment: want.deployment });
      }
    }
    if (surplus >= 0) continue;
    const memory = actual.restarts.get(key) ?? NO_FAILURES;
    if (hasFailed(memory, want.deployment.spec.maxConstructorRetryCount)) continue;
    if (memory.notBefore > now) actions.push({ type: 'wakeAt', at: memory.notBefore });
    // After a failure one at a time: a constructor that throws is not run in every place at once.
    else if (memory.failures > 0 && replicas.some(({ state }) => state === 'STARTING')) continue;
    else {
      const count = memory.failures > 0 ? 1 : -surplus;
      actions.push({ type: 'start', application: want.application, deployment: want.deployment, count });
    }
  }
  for (const replica of actual.replicas) {
    if (kept.has(replica.id) || replica.state === 'STOPPING') continue;
    actions.push(...goodbye(replica, graceOf(replica, targets, actual), now));
  }
  for (const target of moves.serve) actions.push({ type: 'serve', target });
  for (const application of moves.remove) actions.push({ type: 'remove', application });
  return actions;
};

const keyOf = (replica: ActualReplica): string => restartKey(replica.application, replica.deployment, replica.version);

/** Found by key, as thousands of deployments may be planned at every event. */
const liveByKey = (replicas: readonly ActualReplica[]): ReadonlyMap<string, readonly ActualReplica[]> => {
  const byKey = new Map<string, ActualReplica[]>();
  for (const replica of replicas) {
    if (!isLive(replica)) continue;
    const same = byKey.get(keyOf(replica));
    if (same === undefined) byKey.set(keyOf(replica), [replica]);
    else same.push(replica);
  }
  return byKey;
};

const isLive = ({ state }: ActualReplica): boolean => state === 'STARTING' || state === 'RUNNING' || state === 'UPDATING';

/** What is wanted of the target, and beside it what serves until the target does. */
const wantedVersions = (
  targets: readonly TargetApplication[],
  held: readonly string[],
  actual: ActualState,
): ReadonlyMap<string, Wanted> => {
  const wanted = new Map<string, Wanted>();
  for (const application of held) {
    for (const deployment of actual.serving.get(application)?.target.deployments ?? []) {
      const key = restartKey(application, deployment.spec.name, deployment.version);
      wanted.set(key, { application, deployment, count: countOf(application, deployment.spec, actual) });
    }
  }
  for (const target of targets) {
    const application = target.spec.name;
    const serving = actual.serving.get(application);
    const add = (deployment: TargetDeployment) =>
      wanted.set(restartKey(application, deployment.spec.name, deployment.version), {
        application,
        deployment,
        count: countOf(application, deployment.spec, actual),
      });
    for (const deployment of serving?.target.deployments ?? []) if (serving?.target.hash !== target.hash) add(deployment);
    const failed = failedDeployments(target, actual).length > 0;
    for (const deployment of target.deployments) {
      const serves = serving?.target.deployments.some(
        (each) => each.spec.name === deployment.spec.name && each.version === deployment.version,
      );
      // One failed: none moves, and what was started for the move goes again. A first start keeps what works.
      if (!failed || serves || serving === undefined) add(deployment);
    }
  }
  return wanted;
};

/** Deployments of a target that were given up. */
export const failedDeployments = (
  target: TargetApplication,
  actual: Pick<ActualState, 'restarts'>,
): readonly TargetDeployment[] =>
  target.deployments.filter(({ spec, version }) => {
    const memory = actual.restarts.get(restartKey(target.spec.name, spec.name, version));
    return memory !== undefined && hasFailed(memory, spec.maxConstructorRetryCount);
  });

/**
 * Whether a snapshot may move the application: every version that is new has all its replicas, so that the move costs no capacity; for a
 * version that serves already (or where nothing serves yet) one replica is enough.
 */
const isReady = (
  target: TargetApplication,
  serving: Serving | undefined,
  actual: ActualState,
  live: ReturnType<typeof liveByKey>,
): boolean =>
  target.deployments.every(({ spec, version }) => {
    const count = countOf(target.spec.name, spec, actual);
    const replicas = live.get(restartKey(target.spec.name, spec.name, version)) ?? [];
    const running = replicas.filter(({ state }) => state !== 'STARTING').length;
    const serves = serving?.target.deployments.some((each) => each.spec.name === spec.name && each.version === version);
    return running >= (serves || serving === undefined ? Math.min(1, count) : count);
  });

/** Those that are not ready first, then the newest. */
const leastWorthKeeping = (replicas: readonly ActualReplica[]): readonly ActualReplica[] =>
  [...replicas].sort((a, b) => Number(a.state !== 'STARTING') - Number(b.state !== 'STARTING') || b.order - a.order);

const goodbye = (replica: ActualReplica, graceMs: number, now: number): readonly Action[] => {
  switch (replica.state) {
    case 'STARTING':
      return [{ type: 'stop', replica: replica.id, withinMs: 0 }];
    case 'DRAINING':
      if (replica.idle || replica.drainBy <= now) return [{ type: 'stop', replica: replica.id, withinMs: graceMs }];
      return [{ type: 'wakeAt', at: replica.drainBy }];
    case 'RUNNING':
    case 'UPDATING':
      return [{ type: 'drain', replica: replica.id, by: now + graceMs }];
    case 'STOPPING':
      return [];
    default:
      return replica.state satisfies never;
  }
};

const DEFAULT_GRACE_MS = 20_000;

const graceOf = (replica: ActualReplica, targets: readonly TargetApplication[], actual: ActualState): number => {
  const target =
    targets.find((each) => each.spec.name === replica.application) ?? actual.serving.get(replica.application)?.target;
  return (
    target?.deployments.find((each) => each.spec.name === replica.deployment)?.spec.gracefulShutdownTimeoutMs ?? DEFAULT_GRACE_MS
  );
};

/** Desired × actual → what to do next. Pure and level-triggered: it never asks what was edited, only what is wanted and what there is. */
import type { DeploymentSpec } from '../domain/desired.ts';
import type { ModelDescription } from '../domain/model.ts';
import { askOf } from '../quota/amounts.ts';
import { Ledger, NOTHING_RESERVED, type Reservation } from '../quota/ledger.ts';
import type { Offer } from '../quota/offer.ts';
import { movesOf } from './moves.ts';
import { hasFailed, NO_FAILURES, type RestartMemory, restartKey } from './restart.ts';
import { type Steps, stepsOf } from './rollout.ts';
import { changesOf, startsOf, type Wanted } from './room.ts';
import type { TargetApplication, TargetDeployment } from './target.ts';

export { restartKey };

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
  /** Among those of its version. Absent: nobody asks. */
  readonly rank?: number;
  /** Hash of the user config in force; what `reconfigure` refused is not tried again until it changes. */
  readonly userConfigHash: string;
  readonly refusedConfigHash: string | undefined;
  /** DRAINING: the data plane says that it has no request left and may get none. */
  readonly idle: boolean;
  /** DRAINING: stopped at this time whatever it still has. */
  readonly drainBy: number;
  /** What it holds until it is gone. Absent: nothing. */
  readonly reserved?: Reservation;
  /** The hard cap that it was given. */
  readonly cpuLimit?: number | null;
  /** It reads the bodies of HTTP requests as they come. Absent: it does not. */
  readonly streams?: boolean;
  /** What it tells of the model that it serves. */
  readonly model?: ModelDescription | undefined;
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
  /** What replicas may be given. Absent: without bounds. */
  readonly offer?: Offer;
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
  | {
      readonly type: 'start';
      readonly application: string;
      readonly deployment: TargetDeployment;
      readonly count: number;
      /** What each of them holds from now on. */
      readonly reserved: readonly Reservation[];
    }
  /** There is no room for so many of them: they wait, and start by themselves when there is. */
  | {
      readonly type: 'pending';
      readonly application: string;
      readonly deployment: TargetDeployment;
      readonly count: number;
      /** `asks 8 CPUs, 1 GPU; this machine offers 2, 0` */
      readonly reason: string;
    }
  /** Its quota has changed and fits: it is written to the running replica. */
  | { readonly type: 'requota'; readonly replica: string; readonly deployment: TargetDeployment; readonly reserved: Reservation }
  /** Its quota has changed and does not fit: the one that it has stays in force. */
  | { readonly type: 'keepQuota'; readonly replica: string; readonly reason: string }
  | { readonly type: 'reconfigure'; readonly replica: string; readonly deployment: TargetDeployment }
  | {
      readonly type: 'drain';
      readonly replica: string;
      readonly by: number;
      /** It goes before its successor comes: versions are exchanged in steps, for this reason. */
      readonly because?: string;
    }
  | { readonly type: 'stop'; readonly replica: string; readonly withinMs: number }
  /** All that it changes is ready: one snapshot moves the application to its target. */
  | { readonly type: 'serve'; readonly target: TargetApplication }
  | { readonly type: 'remove'; readonly application: string }
  | { readonly type: 'wakeAt'; readonly at: number };

/** @param now monotonic milliseconds */
export const plan = (targets: readonly TargetApplication[], actual: ActualState, now: number): readonly Action[] => {
  const live = liveByKey(actual.replicas);
  const moves = movesOf(targets, actual.serving, (target) => isReady(target, actual.serving.get(target.spec.name), actual, live));
  const steps = rolloutSteps(targets, actual);
  const wanted = wantedVersions(targets, moves.held, actual, steps);
  const ledger = new Ledger(actual.offer);
  for (const replica of actual.replicas) ledger.hold(replica.reserved ?? NOTHING_RESERVED);
  const actions: Action[] = [];
  const kept = new Set<string>();
  for (const [key, want] of byPrecedence(wanted, steps, actual)) {
    const replicas = live.get(key) ?? [];
    const surplus = replicas.length - want.count;
    const going = new Set(surplus > 0 ? leastWorthKeeping(replicas).slice(0, surplus) : []);
    for (const replica of replicas) {
      if (going.has(replica)) continue;
      kept.add(replica.id);
      actions.push(...changesOf(replica, want.deployment, ledger, actual.offer));
    }
    if (surplus >= 0) continue;
    const memory = actual.restarts.get(key) ?? NO_FAILURES;
    if (hasFailed(memory, want.deployment.spec.maxConstructorRetryCount)) continue;
    actions.push(...startsOf(want, replicas, memory, ledger, actual.offer, steps.claims.has(key), now));
  }
  for (const replica of actual.replicas) {
    if (kept.has(replica.id) || replica.state === 'STOPPING') continue;
    actions.push(...goodbye(replica, graceOf(replica, targets, actual), now, steps.whys.get(keyOf(replica))));
  }
  for (const target of moves.serve) actions.push({ type: 'serve', target });
  for (const application of moves.remove) actions.push({ type: 'remove', application });
  return actions;
};

/** What of a rollout goes in steps now; the data plane lets both versions of such a deployment take work. */
export const rolloutSteps = (targets: readonly TargetApplication[], actual: ActualState): Steps =>
  stepsOf(
    targets,
    actual,
    (application, spec) => countOf(application, spec, actual),
    (target) => failedDeployments(target, actual).length === 0,
  );

/** Who gets room first: what replaces a part of what serves, and whose place was made free for it; what serves; what is new. */
const byPrecedence = (
  wanted: ReadonlyMap<string, Wanted>,
  steps: Steps,
  actual: ActualState,
): readonly (readonly [string, Wanted])[] => {
  const rank = (key: string, { application }: Wanted) => (steps.first.has(key) ? 0 : actual.serving.has(application) ? 1 : 2);
  return [...wanted].sort(([keyA, a], [keyB, b]) => rank(keyA, a) - rank(keyB, b));
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
  steps: Steps,
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
  for (const [key, count] of steps.counts) {
    const want = wanted.get(key);
    if (want !== undefined) wanted.set(key, { ...want, count });
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
 * version that serves already (or where nothing serves yet) one replica is enough, and so it is where no room is left for more.
 */
const isReady = (
  target: TargetApplication,
  serving: Serving | undefined,
  actual: ActualState,
  live: ReturnType<typeof liveByKey>,
): boolean =>
  target.deployments.every(({ spec, version }) => {
    const count = countOf(target.spec.name, spec, actual);
    const mine = live.get(restartKey(target.spec.name, spec.name, version)) ?? [];
    const running = mine.filter(({ state }) => state !== 'STARTING').length;
    const serves = serving?.target.deployments.some((each) => each.spec.name === spec.name && each.version === version);
    const enough = Math.min(count, spec.maxReplicasPerNode ?? count);
    if (serves || serving === undefined) return running >= Math.min(1, count);
    return running >= enough || (running > 0 && running === mine.length && isFull(target.spec.name, spec, version, actual));
  });

/** Whether no more of it can come: no other version of it is left to make room. */
const isFull = (application: string, spec: DeploymentSpec, version: string, actual: ActualState): boolean => {
  const ledger = new Ledger(actual.offer);
  for (const replica of actual.replicas) {
    if (replica.application === application && replica.deployment === spec.name && replica.version !== version) return false;
    ledger.hold(replica.reserved ?? NOTHING_RESERVED);
  }
  return ledger.take(askOf(spec)) === undefined;
};

/** Those that are not ready first, then the highest ranks, so that those that stay count from 0: mostly the newest. */
const leastWorthKeeping = (replicas: readonly ActualReplica[]): readonly ActualReplica[] =>
  [...replicas].sort(
    (a, b) =>
      Number(a.state !== 'STARTING') - Number(b.state !== 'STARTING') || (b.rank ?? 0) - (a.rank ?? 0) || b.order - a.order,
  );

const goodbye = (replica: ActualReplica, graceMs: number, now: number, because: string | undefined): readonly Action[] => {
  switch (replica.state) {
    case 'STARTING':
      return [{ type: 'stop', replica: replica.id, withinMs: 0 }];
    case 'DRAINING':
      if (replica.idle || replica.drainBy <= now) return [{ type: 'stop', replica: replica.id, withinMs: graceMs }];
      return [{ type: 'wakeAt', at: replica.drainBy }];
    case 'RUNNING':
    case 'UPDATING':
      return [
        { type: 'drain', replica: replica.id, by: now + graceMs, ...(because === undefined ? {} : { because }) },
        // Nothing else may happen until then.
        { type: 'wakeAt', at: now + graceMs },
      ];
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

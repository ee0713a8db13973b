/** What the data plane is told: built from what serves, what is wanted and what runs. Pure. */
import type { ProxySpec } from '../domain/desired.ts';
import type { ApplicationRouting, DeploymentRouting, ReplicaRouting, RoutingSnapshot } from '../domain/snapshot.ts';
import type { ActualReplica, ActualState, Serving } from './plan.ts';
import { restartKey } from './plan.ts';
import { hasFailed, isUnhealthy, type RestartMemory } from './restart.ts';
import type { BrokenApplication, TargetApplication, TargetDeployment } from './target.ts';

/** A generation that was replaced and still has requests alive. */
export interface Retiring {
  readonly application: string;
  readonly generation: number;
  readonly target: TargetApplication;
}

export interface SnapshotInput {
  readonly revision: number;
  readonly proxy: ProxySpec;
  readonly attempt: number;
  readonly ready: boolean;
  readonly targets: readonly TargetApplication[];
  readonly broken: readonly BrokenApplication[];
  readonly actual: ActualState;
  readonly retiring: readonly Retiring[];
  /** Why an application that does not serve does not; undefined: it is starting. */
  readonly failure: (application: string) => string | undefined;
}

export const buildSnapshot = (input: SnapshotInput): RoutingSnapshot => {
  const { revision, proxy, attempt, ready, targets, broken, actual, failure } = input;
  const applications = [...actual.serving.values()].map((serving) => servedRouting(serving, actual));
  // A route that somebody serves is his until it is handed over; one that is not served yet says why.
  const taken = new Set(applications.map(({ routePrefix }) => routePrefix));
  const waiting = [
    ...targets.map(({ spec }) => ({ spec, why: failure(spec.name) })),
    ...broken.map(({ spec, problem }) => ({ spec, why: problem })),
  ];
  for (const { spec, why } of waiting) {
    if (actual.serving.has(spec.name)) continue;
    applications.push({
      name: spec.name,
      generation: 0,
      routePrefix: taken.has(spec.routePrefix) ? null : spec.routePrefix,
      unavailable:
        why === undefined ? `Application ${spec.name} is starting.` : `Application ${spec.name} could not be deployed: ${why}`,
      ingress: spec.ingress,
      calls: {},
      deployments: [],
      accessLog: spec.accessLog,
    });
  }
  const replicas = actual.replicas
    .filter((replica) => mayTakeWork(replica, input))
    .map(
      ({ id, application, deployment, version }): ReplicaRouting => ({ id, deployment: `${application}/${deployment}`, version }),
    );
  return { revision, proxy, attempt, ready, applications, replicas };
};

const servedRouting = ({ target, generation }: Serving, actual: ActualState): ApplicationRouting => {
  const { spec, deployments } = target;
  return {
    name: spec.name,
    generation,
    routePrefix: spec.routePrefix,
    unavailable: null,
    ingress: spec.ingress,
    calls: spec.calls,
    deployments: deployments.map((deployment) => limitsOf(spec.name, deployment, actual)),
    accessLog: spec.accessLog,
  };
};

const limitsOf = (application: string, { spec, version }: TargetDeployment, actual: ActualState): DeploymentRouting => {
  const memory = actual.restarts.get(restartKey(application, spec.name, version));
  const running = actual.replicas.some(
    (replica) =>
      replica.application === application &&
      replica.deployment === spec.name &&
      replica.version === version &&
      replica.state !== 'STARTING' &&
      replica.state !== 'STOPPING',
  );
  const failing = running || memory === undefined ? undefined : failureOf(memory, spec.maxConstructorRetryCount);
  return {
    name: spec.name,
    version,
    kind: spec.runs.kind,
    maxOngoingRequests: spec.maxOngoingRequests,
    maxQueuedRequests: spec.maxQueuedRequests,
    backpressure: spec.backpressure,
    requestTimeoutMs: spec.requestTimeoutMs,
    retry: spec.retry,
    batching: spec.batching,
    unresponsiveTimeoutMs: spec.unresponsiveTimeoutMs,
    gracefulShutdownTimeoutMs: spec.gracefulShutdownTimeoutMs,
    autoscales: spec.autoscaling !== null,
    refuse: failing === undefined ? null : `Deployment ${application}/${spec.name} is ${failing}.`,
  };
};

/** A deployment that begins without replicas serves before it is known whether one can start. */
const failureOf = (memory: RestartMemory, maxRetries: number): string | undefined => {
  if (isUnhealthy(memory, maxRetries)) return `UNHEALTHY: its replicas die (${memory.error})`;
  return hasFailed(memory, maxRetries) ? `DEPLOY_FAILED: its replicas do not start (${memory.error})` : undefined;
};

/** Running ones; and those on their way out as long as a generation that needs their version has requests alive. */
const mayTakeWork = (replica: ActualReplica, { actual, retiring }: SnapshotInput): boolean => {
  switch (replica.state) {
    case 'RUNNING':
    case 'UPDATING':
      return true;
    case 'DRAINING': {
      const uses = (target: TargetApplication) =>
        target.deployments.some((each) => each.spec.name === replica.deployment && each.version === replica.version);
      const serving = actual.serving.get(replica.application);
      // Too many of a version that goes on: it only finishes what it has.
      if (serving !== undefined && uses(serving.target)) return false;
      return retiring.some((each) => each.application === replica.application && uses(each.target));
    }
    case 'STARTING':
    case 'STOPPING':
      return false;
    default:
      return replica.state satisfies never;
  }
};

/** What operators are shown: Ray Serve's words and field names, built from desired and actual. Pure. */
import type { Diagnostic } from '../domain/diagnostic.ts';
import type { DataPlaneLoad } from '../domain/snapshot.ts';
import type { DeathRecord, ReplicaView, Waiting } from './managed.ts';
import { type ActualState, countOf, restartKey } from './plan.ts';
import { deathText } from './replica-process.ts';
import { hasFailed, isUnhealthy } from './restart.ts';
import type { BrokenApplication, TargetApplication, TargetDeployment } from './target.ts';

export interface StatusInput {
  readonly targets: readonly TargetApplication[];
  readonly broken: readonly BrokenApplication[];
  readonly actual: ActualState;
  readonly replicas: readonly ReplicaView[];
  readonly load: DataPlaneLoad;
  /** Where autoscaling moved a deployment last. */
  readonly scaledTo?: (application: string, deployment: string) => 'up' | 'down' | undefined;
  /** What is wrong with the policy that scales a deployment. */
  readonly policyProblem?: (application: string, deployment: string) => string | undefined;
  /** Replicas that wait for room, by `application/Deployment`. */
  readonly waiting?: ReadonlyMap<string, Waiting>;
  readonly deathsOf: (application: string, deployment: string) => DeathRecord | undefined;
  readonly config: {
    readonly path: string;
    readonly hash: string;
    readonly applied_at: string;
    readonly errors: readonly Diagnostic[];
  };
  /** Applications whose code or model on disk is broken now, while an older version serves. */
  readonly rejected: ReadonlyMap<string, string>;
  readonly listeners: {
    readonly http: string | null;
    readonly admin: string;
    readonly http_driver: string | null /** Why the listener is not where the config wants it. */;
    readonly http_error: string | null;
  };
  readonly pid: number;
  readonly version: string;
}

export interface ReplicaStatus {
  readonly replica_id: string;
  readonly pid: number | null;
  readonly state: string;
  readonly since: string;
  readonly version: string;
  readonly ongoing: number;
  /** Why it is PENDING, or runs otherwise than the config says. */
  readonly reason: string | null;
  /** What it is held to, and by the strongest means that the machine offers. null: it has no process yet. */
  readonly quota: {
    readonly mechanism: string;
    readonly num_cpus: number | null;
    readonly cpu_limit: number | null;
    /** Bytes. */
    readonly memory: number | null;
  } | null;
  /** What it uses, all its processes together. null: cannot be told. */
  readonly memory_bytes: number | null;
}

/** Ray Serve's words for what the status comes from. */
export type StatusTrigger =
  | 'CONFIG_UPDATE_STARTED'
  | 'CONFIG_UPDATE_COMPLETED'
  | 'AUTOSCALING'
  | 'UPSCALE_COMPLETED'
  | 'DOWNSCALE_COMPLETED'
  | 'REPLICA_STARTUP_FAILED'
  | 'HEALTH_CHECK_FAILED'
  | 'DELETING';

export interface DeploymentStatus {
  readonly name: string;
  readonly status: 'HEALTHY' | 'UPDATING' | 'UPSCALING' | 'DOWNSCALING' | 'UNHEALTHY' | 'DEPLOY_FAILED';
  readonly status_trigger: StatusTrigger;
  readonly message: string;
  readonly target_num_replicas: number;
  readonly queued: number;
  readonly ongoing: number;
  readonly restarts: number;
  readonly last_death: object | null;
  readonly replicas: readonly ReplicaStatus[];
}

export interface ApplicationStatus {
  readonly name: string;
  readonly route_prefix: string | null;
  readonly status: 'DEPLOYING' | 'RUNNING' | 'DEPLOY_FAILED' | 'UNHEALTHY' | 'DELETING';
  readonly message: string;
  readonly deployments: Readonly<Record<string, DeploymentStatus>>;
}

export interface Status {
  readonly version: string;
  readonly pid: number;
  readonly config: StatusInput['config'];
  readonly listeners: StatusInput['listeners'];
  readonly applications: Readonly<Record<string, ApplicationStatus>>;
}

export const buildStatus = (input: StatusInput): Status => {
  const applications: Record<string, ApplicationStatus> = {};
  for (const target of input.targets) applications[target.spec.name] = applicationOf(target, input);
  for (const { spec, problem } of input.broken) {
    applications[spec.name] = {
      name: spec.name,
      route_prefix: spec.routePrefix,
      status: 'DEPLOY_FAILED',
      message: problem,
      deployments: {},
    };
  }
  for (const { application } of input.replicas) {
    applications[application] ??= {
      name: application,
      route_prefix: null,
      status: 'DELETING',
      message: 'its last requests are being answered',
      deployments: leaving(application, input),
    };
  }
  const { config, listeners, pid, version } = input;
  return { version, pid, config, listeners, applications };
};

const applicationOf = (target: TargetApplication, input: StatusInput): ApplicationStatus => {
  const { name, routePrefix } = target.spec;
  const deployments: Record<string, DeploymentStatus> = {};
  for (const deployment of target.deployments) deployments[deployment.spec.name] = deploymentOf(name, deployment, input);
  const states = Object.values(deployments);
  const of = (status: DeploymentStatus['status']) => states.filter((each) => each.status === status);
  const told = (list: readonly DeploymentStatus[]) => list.map((each) => `${each.name}: ${each.message}`).join('; ');
  const about = { name, route_prefix: routePrefix, deployments };
  const rejected = input.rejected.get(name);
  if (rejected !== undefined)
    return {
      ...about,
      status: 'DEPLOY_FAILED',
      message: `${rejected}${input.actual.serving.has(name) ? '; the version before it goes on serving' : ''}`,
    };
  const failed = of('DEPLOY_FAILED');
  if (failed.length > 0) {
    const serves = input.actual.serving.has(name) ? '; the version before it goes on serving' : '';
    return { ...about, status: 'DEPLOY_FAILED', message: `${told(failed)}${serves}` };
  }
  const unhealthy = of('UNHEALTHY');
  if (unhealthy.length > 0) return { ...about, status: 'UNHEALTHY', message: told(unhealthy) };
  const serving = input.actual.serving.get(name);
  const moving =
    serving?.target.hash !== target.hash ||
    states.some((each) => each.status !== 'HEALTHY' && each.status_trigger !== 'AUTOSCALING');
  return {
    ...about,
    status: moving ? 'DEPLOYING' : 'RUNNING',
    message: moving ? told(states.filter((each) => each.message !== '')) : '',
  };
};

const deploymentOf = (application: string, { spec, version }: TargetDeployment, input: StatusInput): DeploymentStatus => {
  const { name } = spec;
  const count = countOf(application, spec, input.actual);
  const mine = input.replicas.filter((replica) => replica.application === application && replica.deployment === name);
  const current = mine.filter((replica) => replica.version === version);
  const running = current.filter((replica) => replica.state === 'RUNNING').length;
  const memory = input.actual.restarts.get(restartKey(application, name, version));
  const refused = current.find((replica) => replica.refusedConfig !== undefined)?.refusedConfig;
  const death = input.deathsOf(application, name);
  const scales = spec.autoscaling !== null && servesVersion(application, name, version, input);
  const waiting = input.waiting?.get(`${application}/${name}`);
  const [status, message] = verdict();
  return {
    name,
    status,
    status_trigger: triggerOf(status, scales, input.scaledTo?.(application, name)),
    message,
    target_num_replicas: count,
    queued: input.load.deployments[`${application}/${name}`]?.queued ?? 0,
    ongoing: input.load.deployments[`${application}/${name}`]?.ongoing ?? 0,
    restarts: death?.count ?? 0,
    last_death: death === undefined ? null : deathOf(death),
    replicas: [...mine.map((replica) => replicaOf(replica, input.load)), ...pendingOf(`${application}/${name}`, waiting)],
  };

  function verdict(): [DeploymentStatus['status'], string] {
    if (memory !== undefined && hasFailed(memory, spec.maxConstructorRetryCount))
      return ['DEPLOY_FAILED', `gave up after ${memory.failures} starts: ${memory.error}`];
    if (refused !== undefined) return ['DEPLOY_FAILED', `reconfigure failed, the old user_config stays in force: ${refused}`];
    if (memory !== undefined && isUnhealthy(memory, spec.maxConstructorRetryCount) && running < count)
      return ['UNHEALTHY', `${running} of ${count} replicas run; the last one died: ${memory.error}`];
    if (running >= count)
      return mine.length > running
        ? ['DOWNSCALING', 'replicas that are no longer wanted finish their requests']
        : ['HEALTHY', policyText(input.policyProblem?.(application, name))];
    const retry = memory !== undefined && memory.failures > 0 ? `; the last start failed: ${memory.error}` : '';
    const waits = waiting === undefined ? '' : `; ${waiting.count} PENDING: ${waiting.reason}`;
    return [running === 0 && !scales ? 'UPDATING' : 'UPSCALING', `${running} of ${count} replicas are ready${waits}${retry}`];
  }
};

const policyText = (problem: string | undefined): string =>
  problem === undefined ? '' : `its autoscaling policy fails, so its number of replicas stays: ${problem}`;

/** An autoscaled deployment is on its way because of its load as soon as its version serves. */
const servesVersion = (application: string, name: string, version: string, { actual }: StatusInput): boolean =>
  actual.serving.get(application)?.target.deployments.some((each) => each.spec.name === name && each.version === version) ??
  false;

const triggerOf = (status: DeploymentStatus['status'], scales: boolean, moved: 'up' | 'down' | undefined): StatusTrigger => {
  switch (status) {
    case 'HEALTHY':
      if (moved === undefined) return 'CONFIG_UPDATE_COMPLETED';
      return moved === 'up' ? 'UPSCALE_COMPLETED' : 'DOWNSCALE_COMPLETED';
    case 'UPDATING':
      return 'CONFIG_UPDATE_STARTED';
    case 'UPSCALING':
    case 'DOWNSCALING':
      return scales ? 'AUTOSCALING' : 'CONFIG_UPDATE_STARTED';
    case 'UNHEALTHY':
      return 'HEALTH_CHECK_FAILED';
    case 'DEPLOY_FAILED':
      return 'REPLICA_STARTUP_FAILED';
    default:
      return status satisfies never;
  }
};

const leaving = (application: string, input: StatusInput): Record<string, DeploymentStatus> => {
  const deployments: Record<string, DeploymentStatus> = {};
  for (const { deployment } of input.replicas.filter((replica) => replica.application === application)) {
    deployments[deployment] ??= {
      name: deployment,
      status: 'DOWNSCALING',
      status_trigger: 'DELETING',
      message: '',
      target_num_replicas: 0,
      queued: 0,
      ongoing: 0,
      restarts: 0,
      last_death: null,
      replicas: input.replicas
        .filter((replica) => replica.application === application && replica.deployment === deployment)
        .map((replica) => replicaOf(replica, input.load)),
    };
  }
  return deployments;
};

/** Replicas that have no process yet: there is no room for one. */
const pendingOf = (name: string, waiting: Waiting | undefined): readonly ReplicaStatus[] =>
  Array.from({ length: waiting?.count ?? 0 }, (_, index) => ({
    replica_id: `${name}/pending-${index + 1}`,
    pid: null,
    state: 'PENDING',
    since: new Date(waiting?.since ?? 0).toISOString(),
    version: waiting?.version ?? '',
    ongoing: 0,
    reason: waiting?.reason ?? null,
    quota: null,
    memory_bytes: null,
  }));

const replicaOf = (replica: ReplicaView, load: DataPlaneLoad): ReplicaStatus => {
  const { id, pid, state, since, version, reason, quota, memoryBytes } = replica;
  return {
    replica_id: id,
    pid: pid ?? null,
    state,
    since: new Date(since).toISOString(),
    version,
    ongoing: load.replicas[id]?.ongoing ?? 0,
    reason: reason ?? null,
    quota:
      quota === undefined
        ? null
        : { mechanism: quota.mechanism, num_cpus: quota.numCpus, cpu_limit: quota.cpuLimit, memory: quota.memoryBytes },
    memory_bytes: memoryBytes ?? null,
  };
};

const deathOf = ({ last, at }: DeathRecord): object => ({
  cause: last.cause,
  exit_code: last.exitCode,
  signal: last.signal,
  message: deathText(last),
  at: new Date(at).toISOString(),
  stderr: last.stderr,
});

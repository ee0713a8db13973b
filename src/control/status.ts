/** What operators are shown: Ray Serve's words and field names, built from desired and actual. Pure. */

import type { ApplicationSpec, ProxySpec } from '../domain/desired.ts';
import type { Diagnostic } from '../domain/diagnostic.ts';
import type { Json } from '../domain/json.ts';
import type { CacheCounts } from '../domain/metrics.ts';
import type { DataPlaneLoad } from '../domain/snapshot.ts';
import type { DeathRecord, ReplicaView, Waiting } from './managed.ts';
import type { ActualState } from './plan.ts';
import type { Deployed } from './reloader.ts';
import { deploymentOf, leavingOf } from './status-deployment.ts';
import { type ShadowStatus, type SplitStatus, shadowsOf, splitsOf } from './status-splits.ts';
import type { BrokenApplication, TargetApplication } from './target.ts';
import { type Topology, topologyOf } from './topology.ts';
import type { VerdictView } from './verdicts.ts';

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
  /** What is known of the verdict on the canary of a step. */
  readonly verdictOf?: (application: string, step: string) => VerdictView | undefined;
  /** What the config says of where the daemon listens. */
  readonly proxy: ProxySpec;
  /** By application: what was set, as it was written. */
  readonly written: ReadonlyMap<string, Json>;
  readonly deployed: ReadonlyMap<string, Deployed>;
  /** Monotonic milliseconds. */
  readonly now: number;
  readonly deathsOf: (application: string, deployment: string) => DeathRecord | undefined;
  readonly config: {
    readonly path: string;
    readonly hash: string;
    readonly applied_at: string;
    /** Who wrote it last. */
    readonly source: 'file' | 'run' | 'api' | 'rollback';
    /** In the history. */
    readonly revision: number;
    /** The file says something else. */
    readonly drift: boolean;
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
  /** Among the replicas of its version, from 0; null: it has no process yet. */
  readonly rank: number | null;
  readonly pid: number | null;
  readonly state: string;
  readonly since: string;
  /** null: it has not been started. */
  readonly start_time_s: number | null;
  readonly version: string;
  readonly ongoing: number;
  /** Ids of the models that it holds, the first thousand; null where the deployment is not multiplexed. */
  readonly models: readonly string[] | null;
  /** Open sequences whose state it has; null where its model keeps none. */
  readonly sequences: number | null;
  /** Of a `model`: by version, the execution provider that it really runs on, and those that the config wants rather but do not work. */
  readonly model_versions: Readonly<
    Record<string, { readonly execution_provider: string | null; readonly instead_of: readonly string[] }>
  > | null;
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
  /** For how long its `cpu_limit` kept it from running, in seconds over all CPUs. null: cannot be told. */
  readonly cpu_throttled_s: number | null;
}

/** Ray Serve's words for what the status comes from. */
export type StatusTrigger =
  | 'CONFIG_UPDATE_STARTED'
  | 'CONFIG_UPDATE_COMPLETED'
  | 'UPSCALE_COMPLETED'
  | 'DOWNSCALE_COMPLETED'
  | 'AUTOSCALING'
  | 'REPLICA_STARTUP_FAILED'
  | 'HEALTH_CHECK_FAILED'
  | 'DELETING';

export interface DeploymentStatus {
  readonly name: string;
  readonly status: 'HEALTHY' | 'UPDATING' | 'UPSCALING' | 'DOWNSCALING' | 'UNHEALTHY' | 'DEPLOY_FAILED';
  readonly status_trigger: StatusTrigger;
  readonly message: string;
  /** What is in force, defaults included. null: it leaves. */
  readonly deployment_config: object | null;
  readonly target_num_replicas: number;
  /** State → how many. */
  readonly replica_states: Readonly<Record<string, number>>;
  readonly queued: number;
  readonly ongoing: number;
  /** Open ones, on all its replicas. */
  readonly websockets: number;
  /** What its response cache has done and holds. null: it has none. */
  readonly response_cache: CacheCounts | null;
  readonly restarts: number;
  /** Cause → how many replicas have died of it. */
  readonly deaths: Readonly<Record<string, number>>;
  readonly last_death: object | null;
  /** Newest first. */
  readonly recent_dead_replicas: readonly object[];
  readonly replicas: readonly ReplicaStatus[];
}

export interface ApplicationStatus {
  readonly name: string;
  readonly route_prefix: string | null;
  readonly status: 'DEPLOYING' | 'RUNNING' | 'DEPLOY_FAILED' | 'UNHEALTHY' | 'DELETING';
  readonly message: string;
  readonly last_deployed_time_s: number;
  /** What was set, as it was written: a `${NAME}` is not replaced. */
  readonly deployed_app_config: Json;
  readonly source: 'declarative';
  readonly docs_path: null;
  readonly deployment_topology: Topology | null;
  /** By step: what became of the copies that its shadow was to get, since this graph is served. */
  readonly shadows: Readonly<Record<string, ShadowStatus>>;
  /** By step: who gets how much of its requests, and what the verdict on its canary says. */
  readonly splits: Readonly<Record<string, SplitStatus>>;
  readonly deployments: Readonly<Record<string, DeploymentStatus>>;
}

export interface Status {
  readonly version: string;
  readonly pid: number;
  readonly config: StatusInput['config'];
  readonly listeners: StatusInput['listeners'];
  readonly proxy_location: 'EveryNode' | 'Disabled';
  readonly http_options: object;
  readonly deploy_mode: 'MULTI_APP';
  readonly applications: Readonly<Record<string, ApplicationStatus>>;
}

export const buildStatus = (input: StatusInput): Status => {
  const applications: Record<string, ApplicationStatus> = {};
  for (const target of input.targets) applications[target.spec.name] = applicationOf(target, input);
  for (const { spec, problem } of input.broken) {
    applications[spec.name] = {
      ...aboutOf(spec, input),
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
      last_deployed_time_s: 0,
      deployed_app_config: null,
      source: 'declarative',
      docs_path: null,
      deployment_topology: null,
      shadows: {},
      splits: {},
      deployments: leavingOf(application, input),
    };
  }
  const { config, listeners, pid, version } = input;
  const { enabled, host, port, rootPath, requestTimeoutMs, keepAliveTimeoutMs } = input.proxy;
  return {
    version,
    pid,
    config,
    listeners,
    proxy_location: enabled ? 'EveryNode' : 'Disabled',
    http_options: {
      host,
      port,
      root_path: rootPath,
      request_timeout_s: requestTimeoutMs === null ? null : requestTimeoutMs / 1000,
      keep_alive_timeout_s: keepAliveTimeoutMs / 1000,
    },
    deploy_mode: 'MULTI_APP',
    applications,
  };
};

const aboutOf = (spec: ApplicationSpec, { written, deployed, load, verdictOf }: StatusInput) => ({
  name: spec.name,
  route_prefix: spec.routePrefix,
  last_deployed_time_s: (deployed.get(spec.name)?.at ?? 0) / 1000,
  deployed_app_config: written.get(spec.name) ?? null,
  source: 'declarative' as const,
  docs_path: null,
  deployment_topology: topologyOf(spec),
  shadows: shadowsOf(spec.name, load),
  splits: splitsOf(spec, (step) => verdictOf?.(spec.name, step)),
});

const applicationOf = (target: TargetApplication, input: StatusInput): ApplicationStatus => {
  const { name } = target.spec;
  const deployments: Record<string, DeploymentStatus> = {};
  for (const deployment of target.deployments) deployments[deployment.spec.name] = deploymentOf(name, deployment, input);
  const states = Object.values(deployments);
  const of = (status: DeploymentStatus['status']) => states.filter((each) => each.status === status);
  const told = (list: readonly DeploymentStatus[]) => list.map((each) => `${each.name}: ${each.message}`).join('; ');
  const about = { ...aboutOf(target.spec, input), deployments };
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

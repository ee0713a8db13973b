/** One deployment for the status: its word, what it comes from, what is wrong and what happens next. Pure. */

import type { ModelDescription } from '../domain/model.ts';
import type { DataPlaneLoad } from '../domain/snapshot.ts';
import type { DeploymentChange } from './difference.ts';
import type { DeathRecord, ReplicaView, Waiting } from './managed.ts';
import { countOf, restartKey } from './plan.ts';
import { type Death, deathText } from './replica-process.ts';
import { hasFailed, isUnhealthy, type RestartMemory } from './restart.ts';
import type { DeploymentStatus, ReplicaStatus, StatusInput, StatusTrigger } from './status.ts';
import { deploymentConfigOf } from './status-config.ts';
import type { TargetDeployment } from './target.ts';

export const deploymentOf = (application: string, { spec, version }: TargetDeployment, input: StatusInput): DeploymentStatus => {
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
  const replicas = [...mine.map((replica) => replicaOf(replica, input.load)), ...pendingOf(`${application}/${name}`, waiting)];
  const [status, message] = verdict();
  return {
    name,
    status,
    status_trigger: triggerOf(status, {
      scales,
      moved: input.scaledTo?.(application, name),
      change: input.deployed.get(application)?.change.deployments[name],
      death,
    }),
    message,
    deployment_config: deploymentConfigOf(spec),
    target_num_replicas: count,
    replica_states: statesOf(replicas),
    queued: input.load.deployments[`${application}/${name}`]?.queued ?? 0,
    ongoing: input.load.deployments[`${application}/${name}`]?.ongoing ?? 0,
    websockets: input.load.deployments[`${application}/${name}`]?.websockets ?? 0,
    response_cache: input.load.deployments[`${application}/${name}`]?.cache ?? null,
    restarts: death?.count ?? 0,
    deaths: death?.causes ?? {},
    last_death: death === undefined ? null : deathOf(death.last, death.at),
    recent_dead_replicas: (death?.recent ?? []).map(({ replica, pid, death: each, at }) => ({
      replica_id: replica,
      pid: pid ?? null,
      ...deathOf(each, at),
    })),
    replicas,
  };

  /** Of a version that was ready once, starts are not counted. */
  function tries({ everReady, failures }: RestartMemory): string {
    return everReady ? '' : ` (${failures} of ${spec.maxConstructorRetryCount})`;
  }

  function nextStart({ notBefore }: RestartMemory): string {
    const leftS = Math.ceil((notBefore - input.now) / 1000);
    return leftS > 0 ? `; the next start is in ${leftS} s` : '';
  }

  function verdict(): [DeploymentStatus['status'], string] {
    if (memory !== undefined && hasFailed(memory, spec.maxConstructorRetryCount))
      return ['DEPLOY_FAILED', `gave up after ${memory.failures} starts: ${memory.error}`];
    if (refused !== undefined) return ['DEPLOY_FAILED', `reconfigure failed, the old user_config stays in force: ${refused}`];
    if (memory !== undefined && isUnhealthy(memory, spec.maxConstructorRetryCount) && running < count)
      return ['UNHEALTHY', `${running} of ${count} replicas run; the last one died: ${memory.error}${nextStart(memory)}`];
    if (running >= count)
      return mine.length > running
        ? ['DOWNSCALING', 'replicas that are no longer wanted finish their requests']
        : ['HEALTHY', policyText(input.policyProblem?.(application, name))];
    const retry =
      memory !== undefined && memory.failures > 0
        ? `; the last start failed${tries(memory)}: ${memory.error}${nextStart(memory)}`
        : '';
    const waits = waiting === undefined ? '' : `; ${waiting.count} PENDING: ${waiting.reason}`;
    return [running === 0 && !scales ? 'UPDATING' : 'UPSCALING', `${running} of ${count} replicas are ready${waits}${retry}`];
  }
};

/** Those of an application that has left the config. */
export const leavingOf = (application: string, input: StatusInput): Record<string, DeploymentStatus> => {
  const deployments: Record<string, DeploymentStatus> = {};
  for (const { deployment } of input.replicas.filter((replica) => replica.application === application)) {
    deployments[deployment] ??= {
      name: deployment,
      status: 'DOWNSCALING',
      status_trigger: 'DELETING',
      message: '',
      deployment_config: null,
      target_num_replicas: 0,
      replica_states: statesOf(
        input.replicas.filter((each) => each.application === application && each.deployment === deployment),
      ),
      queued: 0,
      ongoing: 0,
      websockets: 0,
      response_cache: null,
      restarts: 0,
      deaths: {},
      last_death: null,
      recent_dead_replicas: [],
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
    rank: null,
    pid: null,
    state: 'PENDING',
    since: new Date(waiting?.since ?? 0).toISOString(),
    start_time_s: null,
    version: waiting?.version ?? '',
    ongoing: 0,
    models: null,
    sequences: null,
    model_versions: null,
    reason: waiting?.reason ?? null,
    quota: null,
    memory_bytes: null,
    cpu_throttled_s: null,
  }));

const replicaOf = (replica: ReplicaView, load: DataPlaneLoad): ReplicaStatus => {
  const { id, rank, pid, state, since, startedAt, version, reason, quota, memoryBytes, throttledS, model } = replica;
  return {
    replica_id: id,
    rank,
    pid: pid ?? null,
    state,
    since: new Date(since).toISOString(),
    start_time_s: startedAt / 1000,
    version,
    ongoing: load.replicas[id]?.ongoing ?? 0,
    models: load.replicas[id]?.models ?? null,
    sequences: load.replicas[id]?.sequences ?? null,
    model_versions: model === undefined ? null : versionsOf(model),
    reason: reason ?? null,
    quota:
      quota === undefined
        ? null
        : { mechanism: quota.mechanism, num_cpus: quota.numCpus, cpu_limit: quota.cpuLimit, memory: quota.memoryBytes },
    memory_bytes: memoryBytes ?? null,
    cpu_throttled_s: throttledS ?? null,
  };
};

const versionsOf = ({ versions }: ModelDescription): ReplicaStatus['model_versions'] =>
  Object.fromEntries(
    versions.map(({ version, provider, instead }) => [
      version,
      { execution_provider: provider ?? null, instead_of: instead ?? [] },
    ]),
  );

const deathOf = (death: Death, at: number): object => ({
  cause: death.cause,
  exit_code: death.exitCode,
  signal: death.signal,
  message: deathText(death),
  at: new Date(at).toISOString(),
  stderr: death.stderr,
});

const statesOf = (replicas: readonly { readonly state: string }[]): Readonly<Record<string, number>> => {
  const states: Record<string, number> = {};
  for (const { state } of replicas) states[state] = (states[state] ?? 0) + 1;
  return states;
};

const policyText = (problem: string | undefined): string =>
  problem === undefined ? '' : `its autoscaling policy fails, so its number of replicas stays: ${problem}`;

/** An autoscaled deployment is on its way because of its load as soon as its version serves. */
const servesVersion = (application: string, name: string, version: string, { actual }: StatusInput): boolean =>
  actual.serving.get(application)?.target.deployments.some((each) => each.spec.name === name && each.version === version) ??
  false;

interface Reasons {
  /** Its number of replicas follows its load. */
  readonly scales: boolean;
  /** By its load, the last time. */
  readonly moved: 'up' | 'down' | undefined;
  /** The last of its config. */
  readonly change: DeploymentChange | undefined;
  readonly death: DeathRecord | undefined;
}

const triggerOf = (status: DeploymentStatus['status'], { scales, moved, change, death }: Reasons): StatusTrigger => {
  switch (status) {
    case 'UPDATING':
      return 'CONFIG_UPDATE_STARTED';
    case 'UPSCALING':
    case 'DOWNSCALING':
      return scales ? 'AUTOSCALING' : 'CONFIG_UPDATE_STARTED';
    case 'HEALTHY': {
      const way = moved ?? wayOf(change);
      if (way === undefined) return 'CONFIG_UPDATE_COMPLETED';
      return way === 'up' ? 'UPSCALE_COMPLETED' : 'DOWNSCALE_COMPLETED';
    }
    case 'UNHEALTHY':
      return ['health', 'unresponsive', 'stuck'].includes(death?.last.cause ?? 'health')
        ? 'HEALTH_CHECK_FAILED'
        : 'REPLICA_STARTUP_FAILED';
    case 'DEPLOY_FAILED':
      return 'REPLICA_STARTUP_FAILED';
    default:
      return status satisfies never;
  }
};

/** A change of nothing but the number of replicas. */
const wayOf = (change: DeploymentChange | undefined): 'up' | 'down' | undefined => {
  if (change?.change !== 'live' || change.replicas.from === change.replicas.to) return undefined;
  return change.replicas.to > change.replicas.from ? 'up' : 'down';
};

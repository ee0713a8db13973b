/** How far each deployment is on its way to serving: what the start-up display and a service manager are told. Pure. */
import type { ReplicaView } from './managed.ts';
import { type ActualState, countOf, restartKey } from './plan.ts';
import { hasFailed } from './restart.ts';
import type { BrokenApplication, TargetApplication, TargetDeployment } from './target.ts';

/**
 * waiting: no process yet; starting: a process that has not connected; loading: constructor, model, first health check; failed: given up
 * until something changes.
 */
export type Stage = 'waiting' | 'starting' | 'loading' | 'ready' | 'failed';

export interface DeploymentProgress {
  readonly application: string;
  /** undefined: the application failed before there were deployments. */
  readonly deployment: string | undefined;
  readonly stage: Stage;
  readonly ready: number;
  readonly wanted: number;
  /** ready: how long the slowest replica took; starting and loading: how long the oldest has been at it. */
  readonly ms: number | undefined;
  /** Why it failed, or why it has to be tried again. */
  readonly reason: string;
}

export interface ProgressInput {
  readonly targets: readonly TargetApplication[];
  readonly broken: readonly BrokenApplication[];
  readonly actual: Pick<ActualState, 'restarts' | 'counts'>;
  readonly replicas: readonly ReplicaView[];
}

export const progressOf = (input: ProgressInput): readonly DeploymentProgress[] => [
  ...input.targets.flatMap((target) => target.deployments.map((each) => deploymentProgress(target.spec.name, each, input))),
  ...input.broken.map(({ spec, problem }) => ({
    application: spec.name,
    deployment: undefined,
    stage: 'failed' as const,
    ready: 0,
    wanted: 0,
    ms: undefined,
    reason: problem,
  })),
];

const deploymentProgress = (
  application: string,
  { spec, version }: TargetDeployment,
  { actual, replicas }: ProgressInput,
): DeploymentProgress => {
  const wanted = countOf(application, spec, actual);
  const mine = replicas.filter(
    (replica) => replica.application === application && replica.deployment === spec.name && replica.version === version,
  );
  const running = mine.filter(({ state }) => state === 'RUNNING' || state === 'UPDATING');
  const coming = mine.filter(({ state, pid }) => state === 'STARTING' && pid !== undefined);
  const memory = actual.restarts.get(restartKey(application, spec.name, version));
  const about = { application, deployment: spec.name, ready: running.length, wanted };
  if (memory !== undefined && hasFailed(memory, spec.maxConstructorRetryCount))
    return { ...about, stage: 'failed', ms: undefined, reason: memory.error };
  if (running.length >= wanted)
    return { ...about, stage: 'ready', ms: running.length === 0 ? undefined : longest(running), reason: '' };
  const retry = memory === undefined || memory.failures === 0 ? '' : `failed ${times(memory.failures)}: ${memory.error}`;
  if (coming.length === 0) return { ...about, stage: 'waiting', ms: undefined, reason: retry };
  return {
    ...about,
    stage: coming.some(({ connected }) => connected) ? 'loading' : 'starting',
    ms: longest(coming),
    reason: retry,
  };
};

const longest = (replicas: readonly ReplicaView[]): number => Math.max(...replicas.map(({ bootMs }) => bootMs));

const times = (count: number): string => (count === 1 ? 'once' : `${count} times`);

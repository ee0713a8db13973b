/** What the data plane is told: built from what serves, what is wanted and what runs. Pure. */
import type { ApplicationSpec, DeploymentSpec, ProxySpec, SequenceLimits, SequenceSpec } from '../domain/desired.ts';
import type { LogRules } from '../domain/logging.ts';
import type { ApplicationRouting, DeploymentRouting, ReplicaRouting, RoutingSnapshot } from '../domain/snapshot.ts';
import { threadsOf } from '../protocol/start.ts';
import { answersFrom } from './answers-from.ts';
import { type Overlay, weighed } from './judged-splits.ts';
import type { ActualReplica, ActualState, Serving } from './plan.ts';
import { restartKey, rolloutSteps } from './plan.ts';
import { hasFailed, isUnhealthy, type RestartMemory } from './restart.ts';
import type { Steps } from './rollout.ts';
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
  readonly logging: LogRules;
  readonly ready: boolean;
  /** What this process may use; fractions where a quota says so. */
  readonly cpus: number;
  readonly targets: readonly TargetApplication[];
  readonly broken: readonly BrokenApplication[];
  readonly actual: ActualState;
  readonly retiring: readonly Retiring[];
  /** Why an application that does not serve does not; undefined: it is starting. */
  readonly failure: (application: string) => string | undefined;
  /** By `application/Deployment`: why replicas of it wait for room. */
  readonly pending?: ReadonlyMap<string, string>;
  /** What verdicts say of the weights of a step. */
  readonly overlayOf?: (application: string, step: string) => Overlay | undefined;
}

export const buildSnapshot = (input: SnapshotInput): RoutingSnapshot => {
  const { revision, proxy, attempt, ready, targets, broken, actual, failure } = input;
  const steps = rolloutSteps(targets, actual);
  const applications = [...actual.serving.values()].map((serving) => servedRouting(serving, input, steps));
  // A route that somebody serves is his until it is handed over; one that is not served yet says why.
  const taken = new Set(applications.map(({ routePrefix }) => routePrefix));
  const failed = (why: string | undefined) => (why === undefined ? undefined : `could not be deployed: ${why}`);
  const waiting = [
    ...targets.map(({ spec }) => ({ spec, why: failed(failure(spec.name)) ?? waitingOf(spec, input) })),
    ...broken.map(({ spec, problem }) => ({ spec, why: failed(problem) })),
  ];
  for (const { spec, why } of waiting) {
    if (actual.serving.has(spec.name)) continue;
    applications.push({
      name: spec.name,
      generation: 0,
      routePrefix: taken.has(spec.routePrefix) ? null : spec.routePrefix,
      unavailable: why === undefined ? `Application ${spec.name} is starting.` : `Application ${spec.name} ${forClients(why)}`,
      ingress: spec.ingress,
      calls: {},
      deployments: [],
      ...modelsOf(spec),
      ...accessLogOf(spec.name, [], input.logging),
    });
  }
  const replicas = actual.replicas.flatMap((replica): ReplicaRouting[] => {
    const [version, ...also] = versionsTaken(replica, steps, input);
    if (version === undefined) return [];
    const { id, application, deployment, rank } = replica;
    const ranked = rank === undefined ? {} : { rank };
    return [{ id, deployment: `${application}/${deployment}`, version, ...ranked, ...(also.length === 0 ? {} : { also }) }];
  });
  return { revision, proxy, attempt, ready, applications: inOrder(applications, input), replicas };
};

/** Of the config, whoever began to serve first; behind them those that leave. A model stands with those of its folder. */
const inOrder = (
  applications: readonly ApplicationRouting[],
  { targets, broken }: SnapshotInput,
): readonly ApplicationRouting[] => {
  const places = new Map([...targets, ...broken].map(({ spec }, index) => [spec.name, index]));
  const placeOf = ({ name, repository }: ApplicationRouting) => places.get(repository ?? name) ?? places.size;
  return [...applications].sort((a, b) => placeOf(a) - placeOf(b) || (a.name < b.name ? -1 : 1));
};

/** An absolute path, but not that of an address on the web. */
const PATH = /(?:file:\/\/|(?<![\w.:/]))(?:\/[\w.@+~-]+)+\/([\w.@+~-]+)/g;

/** Where something lies on this machine is for the log and the status; clients are told its name. */
const forClients = (why: string): string => why.replaceAll(PATH, '$1');

/** Which of its deployments wait for room, and why. */
const waitingOf = ({ name, deployments }: ApplicationSpec, { pending }: SnapshotInput): string | undefined => {
  const told = deployments.flatMap((each) => {
    const reason = pending?.get(`${name}/${each.name}`);
    return reason === undefined ? [] : [`${each.name} ${reason}`];
  });
  return told.length === 0 ? undefined : `waits for room: ${told.join('; ')}.`;
};

/** Versions whose requests a replica gets, its own first. */
const versionsTaken = (replica: ActualReplica, steps: Steps, input: SnapshotInput): readonly string[] =>
  mayTakeWork(replica, input) ? [replica.version, ...alsoOf(replica, steps, input)] : [];

/** Versions that a replica stands in for: in a rollout that goes in steps, and for older generations when their own replicas have gone. */
const alsoOf = (
  { application, deployment, version }: ActualReplica,
  steps: Steps,
  { actual, retiring }: SnapshotInput,
): readonly string[] => {
  const also = new Set<string>();
  const stoodFor = steps.standsFor.get(restartKey(application, deployment, version));
  if (stoodFor !== undefined) also.add(stoodFor);
  const versionIn = (target: TargetApplication | undefined) =>
    target?.deployments.find(({ spec }) => spec.name === deployment)?.version;
  if (versionIn(actual.serving.get(application)?.target) === version) {
    for (const each of retiring) {
      const older = each.application === application ? versionIn(each.target) : undefined;
      if (older === undefined || older === version) continue;
      const left = actual.replicas.some(
        (replica) =>
          replica.application === application &&
          replica.deployment === deployment &&
          replica.version === older &&
          replica.state !== 'STOPPING',
      );
      if (!left) also.add(older);
    }
  }
  return [...also];
};

const servedRouting = ({ target, generation }: Serving, input: SnapshotInput, steps: Steps): ApplicationRouting => {
  const { spec, deployments } = target;
  return {
    name: spec.name,
    generation,
    routePrefix: spec.routePrefix,
    unavailable: null,
    ingress: weighed(spec.ingress, (step) => input.overlayOf?.(spec.name, step)),
    calls: spec.calls,
    deployments: deployments.map((deployment) => limitsOf(spec.name, deployment, input, steps)),
    ...modelsOf(spec),
    ...accessLogOf(
      spec.name,
      deployments.map((each) => each.spec.name),
      input.logging,
    ),
  };
};

const modelsOf = ({ deployments, repository }: ApplicationSpec): Pick<ApplicationRouting, 'models' | 'repository'> => {
  const models = deployments.filter(({ runs }) => runs.kind === 'model').map(({ name }) => name);
  return { ...(models.length === 0 ? {} : { models }), ...(repository === undefined ? {} : { repository }) };
};

/** Requests that reach none of its deployments are logged where those of any deployment are. */
const accessLogOf = (
  application: string,
  deployments: readonly string[],
  logging: LogRules,
): Pick<ApplicationRouting, 'accessLog' | 'ownLog'> => {
  const { encoding, directory } = logging.of(application);
  const accessLog =
    deployments.length === 0
      ? logging.logsRequests(application)
      : deployments.some((deployment) => logging.logsRequests(application, deployment));
  const isApart = directory !== null || encoding !== logging.daemon.encoding;
  return { accessLog, ...(isApart ? { ownLog: { encoding } } : {}) };
};

const limitsOf = (
  application: string,
  { spec, version }: TargetDeployment,
  input: SnapshotInput,
  steps: Steps,
): DeploymentRouting => {
  const { actual } = input;
  const memory = actual.restarts.get(restartKey(application, spec.name, version));
  const replicas = actual.replicas.filter(
    (replica) =>
      replica.application === application &&
      replica.deployment === spec.name &&
      replica.version === version &&
      replica.state !== 'STARTING' &&
      replica.state !== 'STOPPING',
  );
  const running = replicas.length > 0;
  const model = replicas.find((replica) => replica.model !== undefined)?.model;
  const name = `Deployment ${application}/${spec.name}`;
  // Nothing of it is left, and nothing can come: what would wait might wait for ever.
  const waits = input.pending?.get(`${application}/${spec.name}`);
  const isGone = !actual.replicas.some((each) => each.application === application && each.deployment === spec.name);
  const stuck = isGone && waits !== undefined ? `${name} waits for room: it ${waits}.` : null;
  const closed = steps.closed.has(restartKey(application, spec.name, version))
    ? `${name} makes room for what comes in its place.`
    : null;
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
    ...mostAtWorkOf(spec, input.cpus),
    multiplexing: spec.multiplexing,
    ...(spec.sequence === undefined ? {} : { sequence: limitsOfSequences(spec.sequence) }),
    router: spec.requestRouterConfig,
    ...responseCacheOf(application, spec, input, steps),
    unresponsiveTimeoutMs: spec.unresponsiveTimeoutMs,
    gracefulShutdownTimeoutMs: spec.gracefulShutdownTimeoutMs,
    autoscales: spec.autoscaling !== null,
    ...(input.logging.logsRequests(application, spec.name) ? {} : { silent: true as const }),
    ...(spec.batching === null && replicas.some(({ streams }) => streams) ? { streams: true } : {}),
    ...(model === undefined ? {} : { model }),
    refuse: failing === undefined ? (stuck ?? closed) : `${name} is ${forClients(failing)}.`,
  };
};

/** A model on the CPU keeps its threads busy from the start of a run to its end; of code and of other devices nothing is known. */
const mostAtWorkOf = ({ runs, numCpus }: DeploymentSpec, cpus: number): Pick<DeploymentRouting, 'mostAtWork'> => {
  if (runs.kind !== 'model' || runs.options?.providers.some((provider) => provider !== 'cpu') !== false) return {};
  // 0 says that the runtime takes what there is.
  const threads = (runs.options.session.intraOpThreads ?? threadsOf(numCpus)) || cpus;
  return { mostAtWork: Math.max(1, Math.floor(cpus / threads)) };
};

const limitsOfSequences = ({ idleTimeoutMs, maxSequences }: SequenceSpec): SequenceLimits => ({ idleTimeoutMs, maxSequences });

/** Only for those that have one, as it looks at all that a deployment calls. */
const responseCacheOf = (
  application: string,
  { name, responseCache }: DeploymentSpec,
  input: SnapshotInput,
  steps: Steps,
): Pick<DeploymentRouting, 'responseCache'> => {
  if (responseCache === null) return {};
  const from = answersFrom(application, name, input.actual, (replica) => versionsTaken(replica, steps, input));
  return { responseCache: { ...responseCache, from } };
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

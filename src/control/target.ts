/** Desired state with what only the disk knows: compiled code, and a version for each deployment. Pure. */
import { createHash } from 'node:crypto';
import type { ApplicationSpec, DeploymentSpec, Runnable, SequenceSpec } from '../domain/desired.ts';
import type { SettingsMeta } from '../protocol/messages.ts';
import { type DeploymentRun, threadsOf } from '../protocol/start.ts';

/** Compiled code of an autoscaling policy. */
export interface PolicyCode {
  readonly entry: string;
  readonly export: string;
}

/** What a deployment runs, as found on disk. */
export interface Artifact {
  readonly runs: DeploymentRun['runs'];
  /** Changes when the code or the model changes. */
  readonly fingerprint: string;
  /** Code that scales it; it is no part of what the deployment runs. */
  readonly policy?: PolicyCode;
  /** Files whose change changes the fingerprint. */
  readonly files: readonly string[];
}

export interface TargetDeployment {
  readonly spec: DeploymentSpec;
  /** Replicas of equal versions are interchangeable. */
  readonly version: string;
  /** What the version is made of: field of the config, or `code` → hash. Those that differ are why replicas are replaced. */
  readonly made: Readonly<Record<string, string>>;
  /** How often its `user_config` was taken away. */
  readonly resets: number;
  readonly run: DeploymentRun;
  readonly userConfigHash: string;
  readonly policy: PolicyCode | undefined;
}

export interface TargetApplication {
  readonly spec: ApplicationSpec;
  readonly deployments: readonly TargetDeployment[];
  /** Equal hashes: nothing about this application has changed. */
  readonly hash: string;
}

/** An application that cannot be built from what is on disk. */
export interface BrokenApplication {
  readonly spec: ApplicationSpec;
  readonly problem: string;
}

export const hashOf = (value: unknown): string =>
  createHash('sha256')
    .update(JSON.stringify(value, sorted) ?? '')
    .digest('hex')
    .slice(0, 12);

/** The order in which somebody wrote the keys of a mapping means nothing. */
const sorted = (_key: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value;

/**
 * @param previous of the same application, as it was last wanted: taking a handle away needs no new replicas (its calls are then refused by
 *   name), so the version stays; giving a new one does, because constructors take handles
 */
export const makeTarget = (
  spec: ApplicationSpec,
  artifacts: ReadonlyMap<string, Artifact>,
  previous: TargetApplication | undefined,
): TargetApplication => {
  const deployments = spec.deployments.map((deployment): TargetDeployment => {
    const artifact = artifacts.get(deployment.name);
    if (artifact === undefined) throw new Error(`no artifact for ${deployment.name}`);
    const before = previous?.deployments.find((each) => each.spec.name === deployment.name);
    const made = madeOf(deployment, artifact);
    const base = hashOf(made);
    const wired = Object.keys(spec.calls[deployment.name] ?? {}).sort();
    const known = before?.version.startsWith(`${base}-`) === true && wired.every((name) => before.run.handles.includes(name));
    const handles = known ? (before as TargetDeployment).run.handles : wired;
    // What `reconfigure` has done cannot be undone: without its user_config a deployment starts anew.
    const same = before?.version.startsWith(`${base}-`) === true ? before : undefined;
    const taken = same !== undefined && same.spec.userConfig !== undefined && deployment.userConfig === undefined;
    const resets = (same?.resets ?? 0) + (taken ? 1 : 0);
    return {
      spec: deployment,
      made: { ...made, 'graph.calls': hashOf(handles), user_config: String(resets) },
      version: `${base}-${hashOf(handles).slice(0, 4)}${resets === 0 ? '' : `-${resets}`}`,
      resets,
      run: {
        application: spec.name,
        deployment: deployment.name,
        runs: artifact.runs,
        initArgs: deployment.initArgs,
        handles,
        userConfig: deployment.userConfig,
        numCpus: deployment.numCpus,
        ...(deployment.batching?.pad === undefined ? {} : { pad: deployment.batching.pad }),
        ...(deployment.sequence === undefined ? {} : sequenceRunOf(deployment.sequence)),
      },
      userConfigHash: deployment.userConfig === undefined ? '' : hashOf(deployment.userConfig),
      policy: artifact.policy,
    };
  });
  return { spec, deployments, hash: hashOf([spec, deployments.map((each) => [each.version, each.policy])]) };
};

const sequenceRunOf = ({ states, maxStateBytes }: SequenceSpec): Pick<DeploymentRun, 'states' | 'maxStateBytes'> => ({
  states,
  maxStateBytes,
});

/** What replicas are told beside their level of logging, and told anew when it changes. */
export const settingsOf = ({
  runs,
  batching,
  batchedFunctions,
}: DeploymentSpec): Pick<SettingsMeta, 'maxRows' | 'batchedFunctions'> => ({
  ...(runs.kind === 'model' && batching !== null ? { maxRows: batching.maxBatchSize } : {}),
  ...(batchedFunctions === undefined ? {} : { batchedFunctions }),
});

/** A field is here when a replica that runs cannot take another value of it. */
const madeOf = (deployment: DeploymentSpec, artifact: Artifact): Readonly<Record<string, string>> => ({
  code: artifact.fingerprint,
  import_path: exportOf(deployment.runs),
  args: deployment.runs.kind === 'module' ? hashOf(deployment.runs.bound?.args) : '',
  ...modelMade(deployment.runs),
  init_args: hashOf(deployment.initArgs),
  // A quota is written to the running replica; what it was built with is not: threads of a model, the devices that it sees.
  'ray_actor_options.num_cpus': deployment.runs.kind === 'model' ? hashOf(threadsOf(deployment.numCpus)) : '',
  'batching.pad':
    deployment.runs.kind === 'model' && deployment.batching?.pad !== undefined ? hashOf(deployment.batching.pad) : '',
  'model.sequence.state': deployment.sequence === undefined ? '' : hashOf(deployment.sequence.states),
  'model.sequence.max_state_bytes': deployment.sequence === undefined ? '' : hashOf(deployment.sequence.maxStateBytes),
  'ray_actor_options.num_gpus': hashOf(deployment.numGpus),
  'ray_actor_options.accelerator_type': hashOf(deployment.acceleratorType),
  max_replicas_per_node: hashOf(deployment.maxReplicasPerNode),
  'runtime_env.env_vars': hashOf(deployment.env),
  'runtime_env.working_dir': hashOf(deployment.workingDir),
});

const modelMade = (runs: Runnable): Readonly<Record<string, string>> => {
  if (runs.kind !== 'model' || runs.options === undefined) return {};
  const { providers, session, warmup } = runs.options;
  return {
    'model.execution_providers': hashOf(providers),
    'model.session': hashOf(session),
    'model.warmup': hashOf(warmup),
  };
};

const exportOf = (runs: Runnable): string => (runs.kind === 'module' ? runs.export : '');

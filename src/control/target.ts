/** Desired state with what only the disk knows: compiled code, and a version for each deployment. Pure. */
import { createHash } from 'node:crypto';
import type { ApplicationSpec, DeploymentSpec, Runnable } from '../domain/desired.ts';
import type { DeploymentRun } from '../protocol/start.ts';

/** What a deployment runs, as found on disk. */
export interface Artifact {
  readonly runs: DeploymentRun['runs'];
  /** Changes when the code or the model changes. */
  readonly fingerprint: string;
  /** Files whose change changes the fingerprint. */
  readonly files: readonly string[];
}

export interface TargetDeployment {
  readonly spec: DeploymentSpec;
  /** Replicas of equal versions are interchangeable. */
  readonly version: string;
  readonly run: DeploymentRun;
  readonly userConfigHash: string;
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
    .update(JSON.stringify(value) ?? '')
    .digest('hex')
    .slice(0, 12);

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
    const base = hashOf([
      artifact.fingerprint,
      exportOf(deployment.runs),
      deployment.initArgs,
      deployment.numCpus,
      deployment.env,
      deployment.workingDir,
    ]);
    const wired = Object.keys(spec.calls[deployment.name] ?? {}).sort();
    const known = before?.version.startsWith(`${base}-`) === true && wired.every((name) => before.run.handles.includes(name));
    const handles = known ? (before as TargetDeployment).run.handles : wired;
    return {
      spec: deployment,
      version: `${base}-${hashOf(handles).slice(0, 4)}`,
      run: {
        application: spec.name,
        deployment: deployment.name,
        runs: artifact.runs,
        initArgs: deployment.initArgs,
        handles,
        userConfig: deployment.userConfig,
        numCpus: deployment.numCpus,
      },
      userConfigHash: deployment.userConfig === undefined ? '' : hashOf(deployment.userConfig),
    };
  });
  return { spec, deployments, hash: hashOf([spec, deployments.map((each) => each.version)]) };
};

const exportOf = (runs: Runnable): string => (runs.kind === 'module' ? runs.export : '');

/** What the data plane is told of an application that runs in this process: the way from code to a snapshot is that of the daemon. Touches no disk. */
import { join } from 'node:path';
import { compile } from '../config/compile.ts';
import { buildSnapshot } from '../control/snapshot.ts';
import { type Artifact, makeTarget, type TargetApplication } from '../control/target.ts';
import type { ApplicationSpec, DesiredState } from '../domain/desired.ts';
import { ServeError } from '../domain/errors.ts';
import { LogRules } from '../domain/logging.ts';
import type { RoutingSnapshot } from '../domain/snapshot.ts';
import type { ApplicationMeta } from '../protocol/messages.ts';
import { type CodeDeployment, describe } from '../replica/application.ts';

export interface LocalPlan {
  readonly desired: DesiredState;
  readonly target: TargetApplication;
}

/** A replica that is ready. */
export interface RunningReplica {
  readonly id: string;
  readonly rank: number;
  readonly deployment: string;
  readonly version: string;
  /** It reads the bodies of HTTP requests as they come. */
  readonly streams: boolean;
}

/**
 * The application as a config file with nothing but its code would have it.
 * @param deployments the ingress first
 * @throws ServeError INVALID_INPUT with all that is wrong with its options
 */
export const planOf = (name: string, deployments: readonly CodeDeployment[]): LocalPlan => {
  // As the child that describes an application sends it.
  const told = JSON.parse(JSON.stringify(describe(deployments))) as ApplicationMeta;
  const text = JSON.stringify({ applications: [{ name, route_prefix: '/', import_path: './app.js:app' }] });
  const { desired, diagnostics } = compile(text, {
    file: join(process.cwd(), 'config.yaml'),
    env: {},
    exists: () => true,
    told: new Map([[0, told]]),
  });
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  const [application] = desired?.applications ?? [];
  if (desired === undefined || application === undefined || errors.length > 0) {
    const lines = errors.map(({ path, message }) => `${readable(path, told)}: ${message}`);
    throw new ServeError('INVALID_INPUT', `the application cannot be served. ${lines.join('; ')}`);
  }
  return { desired, target: makeTarget(steady(application), artifactsOf(application), undefined) };
};

const IN_DEPLOYMENT = /^applications\[0\]\.deployments\[(\d+)\]\.?/;

/** `Summarizer max_queued_requests` for `applications[0].deployments[1].max_queued_requests`: nobody wrote the file. */
const readable = (path: string, { deployments }: ApplicationMeta): string =>
  path.replace(IN_DEPLOYMENT, (_all, index: string) => `${deployments[Number(index)]?.name} `).trim();

/** Nothing scales here: what autoscales has the replicas that it would begin with, and one where that is none. */
const steady = (application: ApplicationSpec): ApplicationSpec => ({
  ...application,
  deployments: application.deployments.map((each) => ({
    ...each,
    autoscaling: null,
    numReplicas: Math.max(1, each.numReplicas),
  })),
});

const artifactsOf = ({ deployments }: ApplicationSpec): ReadonlyMap<string, Artifact> =>
  new Map(deployments.map(({ name }) => [name, { runs: IN_THIS_PROCESS, fingerprint: '', files: [] }]));

/** Who calls where a test does: no deployment has such a name. */
export const TEST = '(test)';

const IN_THIS_PROCESS: Artifact['runs'] = { kind: 'module', entry: '', source: '', export: '' };

/** The application serves, and a test may call every deployment of it by its name. */
export const snapshotOf = ({ desired, target }: LocalPlan, running: readonly RunningReplica[], cpus: number): RoutingSnapshot => {
  const application = target.spec.name;
  const userConfigs = new Map(target.deployments.map(({ spec, userConfigHash }) => [spec.name, userConfigHash]));
  const snapshot = buildSnapshot({
    revision: 1,
    attempt: 1,
    proxy: desired.proxy,
    logging: new LogRules({ ...desired.logging, accessLog: false }, []),
    ready: true,
    cpus,
    targets: [target],
    broken: [],
    actual: {
      replicas: running.map(({ id, rank, deployment, version, streams }, order) => ({
        id,
        rank,
        application,
        deployment,
        version,
        state: 'RUNNING',
        order,
        userConfigHash: userConfigs.get(deployment) ?? '',
        refusedConfigHash: undefined,
        idle: false,
        drainBy: Number.POSITIVE_INFINITY,
        streams,
      })),
      serving: new Map([[application, { target, generation: 1 }]]),
      restarts: new Map(),
    },
    retiring: [],
    failure: () => undefined,
  });
  const all = Object.fromEntries(
    target.deployments.map(({ spec }) => [spec.name, { application, deployment: spec.name, method: '' }]),
  );
  const callable = snapshot.applications.map((each) => ({ ...each, calls: { ...each.calls, [TEST]: all } }));
  return { ...snapshot, applications: callable };
};

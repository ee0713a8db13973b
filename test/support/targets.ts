/** Short ways to write down what an application is to run, without files. */

import { type Artifact, makeTarget, type TargetApplication } from '../../src/control/target.ts';
import type { ApplicationSpec, DeploymentSpec } from '../../src/domain/desired.ts';

const INHERITED = { encoding: null, level: null, directory: null, accessLog: null };

export const deploymentSpec = (given: Partial<DeploymentSpec> = {}): DeploymentSpec => ({
  name: 'A',
  runs: { kind: 'module', file: '/app/a.ts', export: 'A' },
  initArgs: {},
  userConfig: undefined,
  numReplicas: 1,
  autoscaling: null,
  maxOngoingRequests: 5,
  maxQueuedRequests: -1,
  backpressure: { statusCode: 503, retryAfterS: 1 },
  requestTimeoutMs: null,
  retry: { maxAttempts: 1, backoffMs: 0, idempotent: false },
  batching: null,
  health: { periodMs: 10_000, timeoutMs: 30_000, failureThreshold: 3 },
  unresponsiveTimeoutMs: 30_000,
  startupTimeoutMs: 120_000,
  maxConstructorRetryCount: 3,
  gracefulShutdownTimeoutMs: 20_000,
  numCpus: null,
  numGpus: null,
  memoryBytes: null,
  resources: {},
  acceleratorType: null,
  multiplexing: null,
  responseCache: null,
  requestRouterConfig: { policy: 'least_loaded' },
  cpuLimit: null,
  maxReplicasPerNode: null,
  rollout: { maxSurge: { share: 1 }, maxUnavailable: { replicas: 0 } },
  env: {},
  workingDir: null,
  logging: INHERITED,
  ...given,
});

export const applicationSpec = (given: Partial<ApplicationSpec> = {}): ApplicationSpec => ({
  name: 'app',
  routePrefix: given.name === undefined ? '/' : `/${given.name}`,
  deployments: [deploymentSpec()],
  ingress: { kind: 'deployment', deployment: 'A' },
  calls: {},
  logging: INHERITED,
  externalScaler: false,
  ...given,
});

export const artifact = (fingerprint = 'code 1'): Artifact => ({
  runs: { kind: 'module', entry: `/cache/${fingerprint}.mjs`, source: '/app/a.ts', export: 'A' },
  fingerprint,
  files: ['/app/a.ts'],
});

/** @param code what the deployments run; another text is another version */
export const target = (
  spec: ApplicationSpec = applicationSpec(),
  code: string | Readonly<Record<string, string>> = 'code 1',
  previous?: TargetApplication,
): TargetApplication => {
  const of = (name: string) => artifact(typeof code === 'string' ? code : (code[name] ?? 'code 1'));
  return makeTarget(spec, new Map(spec.deployments.map(({ name }) => [name, of(name)])), previous);
};

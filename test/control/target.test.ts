import t from 'tap';
import type { DeploymentSpec } from '../../src/domain/desired.ts';
import { autoscalingSpec } from '../support/scaling.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

const versionOf = (given: Partial<DeploymentSpec> = {}, code = 'code 1') =>
  target(applicationSpec({ deployments: [deploymentSpec(given)] }), code).deployments[0]?.version;
const first = versionOf();

const restarting: Readonly<Record<string, Partial<DeploymentSpec>>> = {
  'the export': { runs: { kind: 'module', file: '/app/a.ts', export: 'Other' } },
  init_args: { initArgs: { a: 1 } },
  num_gpus: { numGpus: 1 },
  accelerator_type: { acceleratorType: 'L4' },
  max_replicas_per_node: { maxReplicasPerNode: 2 },
  'the threads of a model': { runs: { kind: 'model', path: '/m.onnx' }, numCpus: 2 },
  env_vars: { env: { A: '1' } },
  working_dir: { workingDir: '/elsewhere' },
};
for (const [what, given] of Object.entries(restarting)) {
  t.test(`another value of ${what} is another version`, async (t) => {
    t.not(versionOf(given), first);
  });
}

t.test('other code is another version', async (t) => {
  t.not(versionOf({}, 'code 2'), first);
});

const live: Readonly<Record<string, Partial<DeploymentSpec>>> = {
  num_replicas: { numReplicas: 7 },
  num_cpus: { numCpus: 2 },
  cpu_limit: { cpuLimit: 0.5 },
  memory: { memoryBytes: 2 ** 28 },
  resources: { resources: { licence: 1 } },
  rolling_update: { rollout: { maxSurge: { replicas: 1 }, maxUnavailable: { replicas: 0 } } },
  user_config: { userConfig: { a: 1 } },
  autoscaling_config: { autoscaling: autoscalingSpec() },
  max_ongoing_requests: { maxOngoingRequests: 9 },
  max_queued_requests: { maxQueuedRequests: 0 },
  request_timeout_s: { requestTimeoutMs: 1 },
  retry: { retry: { maxAttempts: 3, backoffMs: 1, idempotent: true } },
  batching: { batching: { maxBatchSize: 2, waitMs: 1, targetMs: null, maxConcurrentBatches: 1, method: 'call' } },
  health: { health: { periodMs: 1, timeoutMs: 1, failureThreshold: 1 } },
  graceful_shutdown_timeout_s: { gracefulShutdownTimeoutMs: 1 },
};
for (const [what, given] of Object.entries(live)) {
  t.test(`another value of ${what} keeps the version, and changes the application`, async (t) => {
    t.equal(versionOf(given), first);
    t.not(target(applicationSpec({ deployments: [deploymentSpec(given)] })).hash, target().hash);
  });
}

t.test('the same again is the same', async (t) => {
  t.equal(target().hash, target().hash);
});

t.test('another user_config has another hash, and none has none', async (t) => {
  const hashOf = (userConfig: DeploymentSpec['userConfig']) =>
    target(applicationSpec({ deployments: [deploymentSpec({ userConfig })] })).deployments[0]?.userConfigHash;
  t.equal(hashOf(undefined), '');
  t.not(hashOf(null), '');
  t.not(hashOf({ a: 1 }), hashOf({ a: 2 }));
});

const callee = { application: 'app', deployment: 'B', method: 'call' };
const wired = (handles: readonly string[], previous?: ReturnType<typeof target>, code = 'code 1') =>
  target(applicationSpec({ calls: { A: Object.fromEntries(handles.map((name) => [name, callee])) } }), code, previous);

t.test('a handle that is added is another version, one that is taken away is not', async (t) => {
  const both = wired(['x', 'y']);
  const one = wired(['x'], both);
  t.equal(one.deployments[0]?.version, both.deployments[0]?.version);
  t.same(one.deployments[0]?.run.handles, ['x', 'y'], 'a replica that starts now is like those that run');
  t.equal(wired(['y', 'x'], one).deployments[0]?.version, both.deployments[0]?.version, 'and it may come back');
  t.not(wired(['x', 'z'], one).deployments[0]?.version, both.deployments[0]?.version);
  t.not(one.hash, both.hash);
});

t.test('with other code the handles are those of today', async (t) => {
  const both = wired(['x', 'y']);
  t.same(wired(['x'], both, 'code 2').deployments[0]?.run.handles, ['x']);
});

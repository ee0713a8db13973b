import t from 'tap';
import type { ReplicaView } from '../../src/control/managed.ts';
import { restartKey } from '../../src/control/plan.ts';
import { NO_FAILURES, type RestartMemory } from '../../src/control/restart.ts';
import { buildStatus, type StatusInput } from '../../src/control/status.ts';
import { proxySpec } from '../support/routing.ts';
import { autoscalingSpec } from '../support/scaling.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

const wanted = (numReplicas = 2) => target(applicationSpec({ deployments: [deploymentSpec({ numReplicas })] }));
const version = wanted().deployments[0]?.version ?? '';
const view = (id: string, given: Partial<ReplicaView> = {}): ReplicaView => ({
  id,
  application: 'app',
  deployment: 'A',
  version,
  rank: 0,
  state: 'RUNNING',
  pid: 1,
  since: 0,
  startedAt: 0,
  refusedConfig: undefined,
  connected: true,
  bootMs: 100,
  ...given,
});
const build = (
  given: Partial<StatusInput> & { memory?: Partial<RestartMemory>; serving?: ReturnType<typeof wanted> | null } = {},
) => {
  const { memory, serving = wanted(), ...more } = given;
  const status = buildStatus({
    targets: [wanted()],
    broken: [],
    replicas: [view('a'), view('b')],
    actual: {
      replicas: [],
      serving: new Map(serving === null ? [] : [['app', { target: serving, generation: 1 }]]),
      restarts: new Map(memory === undefined ? [] : [[restartKey('app', 'A', version), { ...NO_FAILURES, ...memory }]]),
    },
    load: { ongoing: 0, deployments: {}, replicas: {} },
    proxy: proxySpec(),
    written: new Map(),
    deployed: new Map(),
    now: 0,
    deathsOf: () => undefined,
    config: { path: '/c.yaml', hash: 'h', applied_at: '', source: 'file', revision: 1, drift: false, errors: [] },
    rejected: new Map(),
    listeners: { http: null, admin: '', http_driver: null, http_error: null },
    pid: 1,
    version: '0',
    ...more,
  });
  return status.applications['app'];
};
const words = (status: ReturnType<typeof build>) => [status?.status, status?.deployments['A']?.status];

const table: readonly (readonly [string, Parameters<typeof build>[0], readonly (string | undefined)[]])[] = [
  ['all run', {}, ['RUNNING', 'HEALTHY']],
  ['none is ready yet', { replicas: [view('a', { state: 'STARTING' })], serving: null }, ['DEPLOYING', 'UPDATING']],
  ['some are ready', { replicas: [view('a')] }, ['DEPLOYING', 'UPSCALING']],
  ['old ones drain', { replicas: [view('a'), view('b'), view('c', { state: 'DRAINING' })] }, ['DEPLOYING', 'DOWNSCALING']],
  ['another text is being rolled out', { serving: target(undefined, 'old') }, ['DEPLOYING', 'HEALTHY']],
  ['given up', { replicas: [], serving: null, memory: { failures: 3, error: 'it throws' } }, ['DEPLOY_FAILED', 'DEPLOY_FAILED']],
  [
    'it dies again and again',
    { replicas: [], memory: { failures: 9, everReady: true, error: 'it dies' } },
    ['UNHEALTHY', 'UNHEALTHY'],
  ],
  ['it died, and all run again', { memory: { failures: 9, everReady: true } }, ['RUNNING', 'HEALTHY']],
  ['user_config was refused', { replicas: [view('a', { refusedConfig: 'no' }), view('b')] }, ['DEPLOY_FAILED', 'DEPLOY_FAILED']],
  ['its code on disk is broken', { rejected: new Map([['app', 'a.ts:1:1: no']]) }, ['DEPLOY_FAILED', 'HEALTHY']],
  [
    'it has left the file',
    { targets: [], replicas: [view('a', { state: 'DRAINING' })], serving: null },
    ['DELETING', 'DOWNSCALING'],
  ],
  [
    'it cannot be built',
    { targets: [], replicas: [], serving: null, broken: [{ spec: applicationSpec(), problem: 'no file' }] },
    ['DEPLOY_FAILED', undefined],
  ],
];
for (const [what, given, then] of table) {
  t.test(`status: ${what}`, async (t) => {
    t.same(words(build(given)), then);
  });
}

t.test('a failure is told with its reason, and that the version before it serves', async (t) => {
  const status = build({ serving: target(undefined, 'old'), memory: { failures: 3, error: 'it throws' } });
  t.equal(status?.message, 'A: gave up after 3 starts: it throws; the version before it goes on serving');
});

t.test('a deployment that autoscales says so, and its application runs', async (t) => {
  const autoscaling = autoscalingSpec({ maxReplicas: 5 });
  const scaled = target(applicationSpec({ deployments: [deploymentSpec({ autoscaling })] }));
  const seen = (wants: number, replicas: readonly ReplicaView[], moved?: 'up' | 'down', serving = scaled) => {
    const actual = {
      replicas: [],
      serving: new Map([['app', { target: serving, generation: 1 }]]),
      restarts: new Map(),
      counts: new Map([['app/A', wants]]),
    };
    const status = build({ targets: [scaled], actual, replicas, scaledTo: () => moved });
    const deployment = status?.deployments['A'];
    return [status?.status, deployment?.status, deployment?.status_trigger, deployment?.target_num_replicas];
  };
  t.same(seen(3, [view('a')], 'up'), ['RUNNING', 'UPSCALING', 'AUTOSCALING', 3]);
  t.same(seen(1, [], 'up'), ['RUNNING', 'UPSCALING', 'AUTOSCALING', 1], 'from none');
  t.same(seen(1, [view('a'), view('b', { state: 'DRAINING' })], 'down'), ['RUNNING', 'DOWNSCALING', 'AUTOSCALING', 1]);
  t.same(seen(1, [view('a')], 'down'), ['RUNNING', 'HEALTHY', 'DOWNSCALE_COMPLETED', 1]);
  t.same(seen(2, [view('a'), view('b')], 'up'), ['RUNNING', 'HEALTHY', 'UPSCALE_COMPLETED', 2]);
  t.same(seen(0, [], 'down'), ['RUNNING', 'HEALTHY', 'DOWNSCALE_COMPLETED', 0]);
  t.same(seen(1, [view('a')]), ['RUNNING', 'HEALTHY', 'CONFIG_UPDATE_COMPLETED', 1]);
  t.same(seen(2, [view('a')], 'up', target(undefined, 'old'))[0], 'DEPLOYING', 'a new version is no scaling');
});

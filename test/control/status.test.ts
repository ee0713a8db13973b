import t from 'tap';
import type { ReplicaView } from '../../src/control/managed.ts';
import { restartKey } from '../../src/control/plan.ts';
import { NO_FAILURES, type RestartMemory } from '../../src/control/restart.ts';
import { buildStatus, type StatusInput } from '../../src/control/status.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

const wanted = (numReplicas = 2) => target(applicationSpec({ deployments: [deploymentSpec({ numReplicas })] }));
const version = wanted().deployments[0]?.version ?? '';
const view = (id: string, given: Partial<ReplicaView> = {}): ReplicaView => ({
  id,
  application: 'app',
  deployment: 'A',
  version,
  state: 'RUNNING',
  pid: 1,
  since: 0,
  refusedConfig: undefined,
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
    deathsOf: () => undefined,
    config: { path: '/c.yaml', hash: 'h', applied_at: '', errors: [] },
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

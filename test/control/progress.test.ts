import t from 'tap';
import type { ReplicaView } from '../../src/control/managed.ts';
import { restartKey } from '../../src/control/plan.ts';
import { progressOf } from '../../src/control/progress.ts';
import { NO_FAILURES, type RestartMemory } from '../../src/control/restart.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

const wanted = target(applicationSpec({ deployments: [deploymentSpec({ numReplicas: 2 })] }));
const version = wanted.deployments[0]?.version ?? '';
const replica = (state: ReplicaView['state'], given: Partial<ReplicaView> = {}): ReplicaView => ({
  id: 'x',
  application: 'app',
  deployment: 'A',
  version,
  rank: 0,
  state,
  pid: 1,
  since: 0,
  startedAt: 0,
  refusedConfig: undefined,
  connected: true,
  bootMs: 100,
  ...given,
});
const of = (replicas: readonly ReplicaView[], memory?: Partial<RestartMemory>, counts?: ReadonlyMap<string, number>) =>
  progressOf({
    targets: [wanted],
    broken: [],
    actual: {
      restarts: new Map(memory === undefined ? [] : [[restartKey('app', 'A', version), { ...NO_FAILURES, ...memory }]]),
      ...(counts === undefined ? {} : { counts }),
    },
    replicas,
  })[0];
const RUNS = replica('RUNNING', { bootMs: 300 });

t.test('the stages of a deployment', async (t) => {
  const unborn = replica('STARTING', { pid: undefined, connected: false });
  t.match(of([]), { stage: 'waiting', ready: 0, wanted: 2, ms: undefined, reason: '' });
  t.match(of([unborn, unborn]), { stage: 'waiting' });
  t.match(of([replica('STARTING', { connected: false, bootMs: 7 }), unborn]), { stage: 'starting', ms: 7 });
  t.match(of([replica('STARTING', { bootMs: 9 }), replica('STARTING', { connected: false, bootMs: 7 })]), {
    stage: 'loading',
    ms: 9,
  });
  t.match(of([RUNS, replica('STARTING')]), { stage: 'loading', ready: 1 });
  t.match(of([RUNS, replica('UPDATING')]), { stage: 'ready', ready: 2, ms: 300 });
  t.match(of([RUNS, RUNS, replica('RUNNING', { version: 'older' }), replica('DRAINING')]), { stage: 'ready', ready: 2 });
  t.match(of([], undefined, new Map([['app/A', 0]])), { stage: 'ready', wanted: 0, ms: undefined });
});

t.test('failures', async (t) => {
  t.match(of([], { failures: 1, error: 'no' }), { stage: 'waiting', reason: 'failed once: no' });
  t.match(of([replica('STARTING')], { failures: 2, error: 'no' }), { stage: 'loading', reason: 'failed 2 times: no' });
  t.match(of([], { failures: 3, error: 'no' }), { stage: 'failed', reason: 'no', ms: undefined });
  t.match(of([], { failures: 3, error: 'no', everReady: true }), { stage: 'waiting', reason: 'failed 3 times: no' });
  t.match(of([RUNS, RUNS], { failures: 1, error: 'no' }), { stage: 'ready', reason: '' });
});

t.test('an application that cannot be deployed stands there by its name', async (t) => {
  const broken = [{ spec: applicationSpec({ name: 'ocr' }), problem: 'det.onnx is missing' }];
  t.match(progressOf({ targets: [], broken, actual: { restarts: new Map() }, replicas: [] }), [
    { application: 'ocr', deployment: undefined, stage: 'failed', reason: 'det.onnx is missing' },
  ]);
});

import t from 'tap';
import { type Action, type ActualReplica, type ActualState, plan, restartKey, type Serving } from '../../src/control/plan.ts';
import { NO_FAILURES, type RestartMemory } from '../../src/control/restart.ts';
import type { TargetApplication } from '../../src/control/target.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

const app = (numReplicas: number, code = 'old', more: Parameters<typeof deploymentSpec>[0] = {}) =>
  target(applicationSpec({ deployments: [deploymentSpec({ numReplicas, ...more })] }), code);
const versionOf = (of: TargetApplication) => of.deployments[0]?.version ?? '';

let order = 0;
const replica = (id: string, of: TargetApplication, given: Partial<ActualReplica> = {}): ActualReplica => ({
  id,
  application: 'app',
  deployment: 'A',
  version: versionOf(of),
  state: 'RUNNING',
  order: order++,
  userConfigHash: of.deployments[0]?.userConfigHash ?? '',
  refusedConfigHash: undefined,
  idle: false,
  drainBy: Number.POSITIVE_INFINITY,
  ...given,
});
const actual = (
  replicas: readonly ActualReplica[],
  serving?: TargetApplication,
  restarts: Record<string, Partial<RestartMemory>> = {},
): ActualState => ({
  replicas,
  serving: new Map<string, Serving>(serving === undefined ? [] : [['app', { target: serving, generation: 1 }]]),
  restarts: new Map(Object.entries(restarts).map(([key, memory]) => [key, { ...NO_FAILURES, ...memory }])),
});
const keyOf = (of: TargetApplication) => restartKey('app', 'A', versionOf(of));

/** `start 2`, `drain a`, … */
const said = (actions: readonly Action[]) =>
  actions.map((action) => {
    switch (action.type) {
      case 'start':
        return `start ${action.count} ${action.deployment.run.runs.kind === 'module' ? action.deployment.run.runs.entry.slice(7, -4) : ''}`;
      case 'serve':
        return 'serve';
      case 'remove':
        return `remove ${action.application}`;
      case 'pending':
        return `pending ${action.count}: ${action.reason}`;
      case 'wakeAt':
        return `wake at ${action.at}`;
      default:
        return `${action.type} ${action.replica}`;
    }
  });

const [old, next] = [app(2, 'old'), app(2, 'new')];
const failed = { [keyOf(next)]: { failures: 3, error: 'it throws' } };

const table: readonly { what: string; want: readonly TargetApplication[]; is: ActualState; gives: readonly string[] }[] = [
  { what: 'nothing runs: all replicas are started', want: [old], is: actual([]), gives: ['start 2 old'] },
  {
    what: 'one is ready: a first application serves',
    want: [old],
    is: actual([replica('a', old), replica('b', old, { state: 'STARTING' })]),
    gives: ['serve'],
  },
  {
    what: 'none is ready: it does not',
    want: [old],
    is: actual([replica('a', old, { state: 'STARTING' }), replica('b', old, { state: 'STARTING' })]),
    gives: [],
  },
  {
    what: 'the same again: nothing is done',
    want: [app(2, 'old')],
    is: actual([replica('a', old), replica('b', old)], old),
    gives: [],
  },
  { what: 'a replica has died: another is started', want: [old], is: actual([replica('a', old)], old), gives: ['start 1 old'] },
  {
    what: 'new code: the new are started, the old stay',
    want: [next],
    is: actual([replica('a', old), replica('b', old)], old),
    gives: ['start 2 new'],
  },
  {
    what: 'an old one dies meanwhile: it is replaced',
    want: [next],
    is: actual([replica('a', old), replica('c', next), replica('d', next, { state: 'STARTING' })], old),
    gives: ['start 1 old'],
  },
  {
    what: 'not all of the new are ready: no switch',
    want: [next],
    is: actual([replica('a', old), replica('b', old), replica('c', next), replica('d', next, { state: 'STARTING' })], old),
    gives: [],
  },
  {
    what: 'all of the new are ready: the switch, and nothing else',
    want: [next],
    is: actual([replica('a', old), replica('b', old), replica('c', next), replica('d', next)], old),
    gives: ['serve'],
  },
  {
    what: 'after the switch the old are drained',
    want: [next],
    is: actual([replica('a', old), replica('b', old), replica('c', next), replica('d', next)], next),
    gives: ['drain a', 'wake at 20100', 'drain b', 'wake at 20100'],
  },
  {
    what: 'a drained one that is idle is stopped',
    want: [next],
    is: actual([replica('a', old, { state: 'DRAINING', idle: true }), replica('c', next), replica('d', next)], next),
    gives: ['stop a'],
  },
  {
    what: 'a drained one that is not idle is looked at when its time is over',
    want: [next],
    is: actual([replica('a', old, { state: 'DRAINING', drainBy: 500 }), replica('c', next), replica('d', next)], next),
    gives: ['wake at 500'],
  },
  {
    what: 'its time is over',
    want: [next],
    is: actual([replica('a', old, { state: 'DRAINING', drainBy: 100 }), replica('c', next), replica('d', next)], next),
    gives: ['stop a'],
  },
  {
    what: 'the new version failed: the old serves, its new replicas go',
    want: [next],
    is: actual(
      [replica('a', old), replica('b', old), replica('c', next), replica('d', next, { state: 'STARTING' })],
      old,
      failed,
    ),
    gives: ['drain c', 'wake at 20100', 'stop d'],
  },
  {
    what: 'the new version failed and is gone: nothing is done',
    want: [next],
    is: actual([replica('a', old), replica('b', old)], old, failed),
    gives: [],
  },
  {
    what: 'going back to the old text after a failure: nothing to start',
    want: [old],
    is: actual([replica('a', old), replica('b', old)], old, failed),
    gives: [],
  },
  {
    what: 'a third text before the second was ready: the second goes at once',
    want: [app(2, 'third')],
    is: actual([replica('a', old), replica('b', old), replica('c', next, { state: 'STARTING' }), replica('d', next)], old),
    gives: ['start 2 third', 'stop c', 'drain d', 'wake at 20100'],
  },
  {
    what: 'back-off: nothing before its time',
    want: [old],
    is: actual([], undefined, { [keyOf(old)]: { failures: 2, notBefore: 700 } }),
    gives: ['wake at 700'],
  },
  {
    what: 'after a failure one at a time',
    want: [old],
    is: actual([], undefined, { [keyOf(old)]: { failures: 1 } }),
    gives: ['start 1 old'],
  },
  {
    what: 'after a failure not a second before the first is ready',
    want: [old],
    is: actual([replica('a', old, { state: 'STARTING' })], undefined, { [keyOf(old)]: { failures: 1 } }),
    gives: [],
  },
  {
    what: 'more replicas: the difference is started, and the new number is served',
    want: [app(3)],
    is: actual([replica('a', old), replica('b', old)], old),
    gives: ['start 1 old', 'serve'],
  },
  {
    what: 'fewer replicas: the newest goes',
    want: [app(1)],
    is: actual([replica('a', old), replica('b', old)], old),
    gives: ['drain b', 'wake at 20100', 'serve'],
  },
  {
    what: 'fewer replicas: the highest rank goes, also where it is not the newest',
    want: [app(1)],
    is: actual([replica('a', old, { rank: 1 }), replica('b', old, { rank: 0 })], old),
    gives: ['drain a', 'wake at 20100', 'serve'],
  },
  {
    what: 'fewer replicas: one that is not ready goes before any that is',
    want: [app(1)],
    is: actual([replica('a', old, { state: 'STARTING' }), replica('b', old)], old),
    gives: ['stop a', 'serve'],
  },
  {
    what: 'another user_config: called in place',
    want: [app(2, 'old', { userConfig: 1 })],
    is: actual([replica('a', old), replica('b', old)], old),
    gives: ['reconfigure a', 'reconfigure b', 'serve'],
  },
  {
    what: 'one that is being reconfigured is left alone',
    want: [app(2, 'old', { userConfig: 1 })],
    is: actual(
      [replica('a', old, { state: 'UPDATING' }), replica('b', old, { state: 'UPDATING' })],
      app(2, 'old', { userConfig: 1 }),
    ),
    gives: [],
  },
  {
    what: 'an application that left: removed, its replicas drained',
    want: [],
    is: actual([replica('a', old), replica('b', old, { state: 'STARTING' })], old),
    gives: ['drain a', 'wake at 20100', 'stop b', 'remove app'],
  },
  { what: 'what stops already is left alone', want: [], is: actual([replica('a', old, { state: 'STOPPING' })]), gives: [] },
];
for (const { what, want, is, gives } of table) {
  t.test(`plan: ${what}`, async (t) => {
    t.same(said(plan(want, is, 100)), gives);
  });
}

t.test('a user_config that was refused is not tried again, another one is', async (t) => {
  const [refused, mended] = [app(1, 'old', { userConfig: 1 }), app(1, 'old', { userConfig: 2 })];
  const only = replica('a', app(1), { refusedConfigHash: refused.deployments[0]?.userConfigHash });
  t.same(said(plan([refused], actual([only], refused), 0)), []);
  t.same(said(plan([mended], actual([only], refused), 0)), ['reconfigure a', 'serve']);
});

t.test('with two deployments one failure keeps both where they are', async (t) => {
  const two = (code: string) =>
    target(applicationSpec({ deployments: [deploymentSpec({ name: 'A' }), deploymentSpec({ name: 'B' })] }), code);
  const [before, after] = [two('old'), two('new')];
  const of = (id: string, name: string, from: TargetApplication) => ({
    ...replica(id, from),
    deployment: name,
    version: from.deployments.find(({ spec }) => spec.name === name)?.version ?? '',
  });
  const all = [of('a', 'A', before), of('b', 'B', before), of('c', 'A', after)];
  const key = restartKey('app', 'B', after.deployments[1]?.version ?? '');
  t.same(said(plan([after], actual(all, before, { [key]: { failures: 3 } }), 0)), ['drain c', 'wake at 20000']);
});

t.test('each application goes its own way', async (t) => {
  const other = target(applicationSpec({ name: 'other' }), 'old');
  t.same(said(plan([old, other], actual([replica('a', old), replica('b', old)], old), 0)), ['start 1 old']);
});

t.test('a replica is drained no longer than its deployment says', async (t) => {
  const short = app(1, 'new', { gracefulShutdownTimeoutMs: 300 });
  const actions = plan([short], actual([replica('a', old), replica('b', short)], short), 1000);
  t.match(actions, [{ type: 'drain', replica: 'a', by: 1300 }]);
});

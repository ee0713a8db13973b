import t from 'tap';
import type { ActualReplica } from '../../src/control/plan.ts';
import { restartKey } from '../../src/control/plan.ts';
import { NO_FAILURES } from '../../src/control/restart.ts';
import { buildSnapshot, type SnapshotInput } from '../../src/control/snapshot.ts';
import { LogRules } from '../../src/domain/logging.ts';
import { proxySpec } from '../support/routing.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

const [old, next] = [target(undefined, 'old'), target(undefined, 'new')];
const versionOf = (of: typeof old) => of.deployments[0]?.version ?? '';
const replica = (id: string, of: typeof old, state: ActualReplica['state']): ActualReplica => ({
  id,
  application: 'app',
  deployment: 'A',
  version: versionOf(of),
  state,
  order: 0,
  userConfigHash: '',
  refusedConfigHash: undefined,
  idle: false,
  drainBy: 0,
});
const build = (
  given: Partial<SnapshotInput> & {
    replicas?: readonly ActualReplica[];
    serving?: typeof old;
    failures?: number;
    everReady?: boolean;
  } = {},
) => {
  const { replicas = [], serving, failures = 0, everReady = true, ...more } = given;
  return buildSnapshot({
    revision: 1,
    proxy: proxySpec(),
    attempt: 1,
    logging: new LogRules({ encoding: null, level: 'info', directory: null, accessLog: true }, [next.spec]),
    ready: true,
    cpus: 2,
    targets: [next],
    broken: [],
    retiring: [],
    failure: () => undefined,
    actual: {
      replicas,
      serving: new Map(serving === undefined ? [] : [['app', { target: serving, generation: 5 }]]),
      restarts: new Map([[restartKey('app', 'A', versionOf(next)), { ...NO_FAILURES, failures, everReady, error: 'it dies' }]]),
    },
    ...more,
  });
};
const listed = (snapshot: ReturnType<typeof build>) => snapshot.replicas.map(({ id }) => id);

t.test('running replicas may take work, those that start or stop may not', async (t) => {
  const states = ['STARTING', 'RUNNING', 'UPDATING', 'DRAINING', 'STOPPING'] as const;
  t.same(listed(build({ serving: next, replicas: states.map((state) => replica(state, next, state)) })), ['RUNNING', 'UPDATING']);
});

t.test('a draining replica is listed as long as a generation that needs its version lives', async (t) => {
  const replicas = [replica('a', old, 'DRAINING'), replica('b', next, 'RUNNING')];
  t.same(listed(build({ serving: next, replicas, retiring: [{ application: 'app', generation: 4, target: old }] })), ['a', 'b']);
  t.same(listed(build({ serving: next, replicas })), ['b']);
});

t.test('a draining replica of the version that serves only finishes what it has', async (t) => {
  const replicas = [replica('a', next, 'DRAINING'), replica('b', next, 'RUNNING')];
  t.same(listed(build({ serving: next, replicas, retiring: [{ application: 'app', generation: 4, target: next }] })), ['b']);
});

t.test('what serves is told with its own limits, not with those of the target that is not ready', async (t) => {
  const [application] = build({ serving: old }).applications;
  t.match(application, { generation: 5, unavailable: null, deployments: [{ version: versionOf(old) }] });
});

t.test('what answers follow from is told where they are kept, and only there', async (t) => {
  const spec = applicationSpec({ deployments: [deploymentSpec({ responseCache: { maxBytes: 5, ttlMs: null, vary: null } })] });
  const serving = target(spec);
  const told = (state: ActualReplica['state']) =>
    build({ serving, replicas: [replica('a', serving, state)] }).applications[0]?.deployments[0]?.responseCache;
  t.match(told('RUNNING'), { maxBytes: 5, ttlMs: null, vary: null, from: String });
  t.match(told('UPDATING'), { from: null });
  t.equal(build({ serving: next }).applications[0]?.deployments[0]?.responseCache, undefined);
});

t.test('an application that does not serve says why', async (t) => {
  t.match(build().applications, [{ generation: 0, unavailable: 'Application app is starting.', deployments: [] }]);
  t.match(build({ failure: () => 'it throws' }).applications, [
    { unavailable: 'Application app could not be deployed: it throws' },
  ]);
  t.match(build({ targets: [], broken: [{ spec: applicationSpec(), problem: 'no file' }] }).applications, [
    { unavailable: 'Application app could not be deployed: no file' },
  ]);
});

t.test('a broken application whose older version serves is told once', async (t) => {
  t.equal(build({ serving: old, broken: [{ spec: applicationSpec(), problem: 'no file' }] }).applications.length, 1);
});

t.test('a deployment whose replicas die one after the other refuses instead of holding', async (t) => {
  const refuse = (failures: number, replicas: readonly ActualReplica[] = []) =>
    build({ serving: next, failures, replicas }).applications[0]?.deployments[0]?.refuse;
  t.equal(refuse(1), null);
  t.equal(refuse(3), 'Deployment app/A is UNHEALTHY: its replicas die (it dies).');
  t.equal(refuse(3, [replica('a', next, 'RUNNING')]), null);
});

t.test('a deployment that began without replicas, and none of which starts, refuses too', async (t) => {
  const refuse = (failures: number) =>
    build({ serving: next, failures, everReady: false }).applications[0]?.deployments[0]?.refuse;
  t.equal(refuse(2), null);
  t.equal(refuse(3), 'Deployment app/A is DEPLOY_FAILED: its replicas do not start (it dies).');
});

t.test('an application that waits for room says so, and one whose last replica has gone refuses', async (t) => {
  const pending = new Map([['app/A', 'asks 8 CPUs; this machine offers 2']]);
  t.match(build({ pending }).applications, [
    { unavailable: 'Application app waits for room: A asks 8 CPUs; this machine offers 2.' },
  ]);
  const refuseOf = (replicas: readonly ActualReplica[]) =>
    build({ serving: next, pending, replicas }).applications[0]?.deployments[0]?.refuse;
  t.match(refuseOf([]), 'waits for room');
  t.equal(refuseOf([replica('a', next, 'STOPPING')]), null, 'a place is about to be free');
});

t.test('a replica stands in for older generations whose own replicas have gone', async (t) => {
  const alsoOf = (replicas: readonly ActualReplica[]) =>
    build({ serving: next, replicas, retiring: [{ application: 'app', generation: 4, target: old }] }).replicas.find(
      ({ id }) => id === 'b',
    )?.also;
  t.same(alsoOf([replica('b', next, 'RUNNING')]), [versionOf(old)]);
  t.equal(alsoOf([replica('a', old, 'DRAINING'), replica('b', next, 'RUNNING')]), undefined);
});

t.test(
  'while a replica on its way out stands in for the version that serves, what answers follow from is not known',
  async (t) => {
    const spec = applicationSpec({
      deployments: [
        deploymentSpec({
          numReplicas: 2,
          responseCache: { maxBytes: 5, ttlMs: null, vary: null },
          rollout: { maxSurge: { replicas: 1 }, maxUnavailable: { replicas: 0 } },
        }),
      ],
    });
    const [first, second] = [target(spec, 'first'), target(spec, 'second')];
    const replicas = [replica('a', first, 'DRAINING'), replica('b', second, 'RUNNING'), replica('c', second, 'RUNNING')];
    const retiring = [{ application: 'app', generation: 4, target: first }];
    const told = (wanted: typeof first) => {
      const snapshot = build({ serving: second, targets: [wanted], replicas, retiring });
      return [snapshot.replicas[0]?.also, typeof snapshot.applications[0]?.deployments[0]?.responseCache?.from];
    };
    t.same(told(second), [undefined, 'string'], 'it has requests of its own version only');
    t.same(told(first), [[versionOf(second)], 'object'], 'wanted again, it is given those of the other');
  },
);

t.test('a model on the CPU has as many replicas at work as there are CPUs for their threads', async (t) => {
  const session = {
    intraOpThreads: null,
    interOpThreads: 1,
    executionMode: 'sequential',
    optimization: 'all',
    memoryArena: true,
    memoryPattern: true,
    entries: {},
  } as const;
  const mostAtWork = (
    providers: readonly string[],
    { numCpus = null, threads = null, cpus = 4 }: { numCpus?: number | null; threads?: number | null; cpus?: number } = {},
  ) => {
    const options = { versions: 'all', providers, warmup: [], session: { ...session, intraOpThreads: threads } } as const;
    const spec = deploymentSpec({ runs: { kind: 'model', path: '/m.onnx', options }, numCpus });
    const serving = target(applicationSpec({ deployments: [spec] }));
    return build({ targets: [serving], serving, cpus }).applications[0]?.deployments[0]?.mostAtWork;
  };
  t.equal(mostAtWork(['cpu']), 4, 'one thread where nothing is said');
  t.equal(mostAtWork(['cpu'], { numCpus: 2 }), 2);
  t.equal(mostAtWork(['cpu'], { threads: 3 }), 1);
  t.equal(mostAtWork(['cpu'], { threads: 0 }), 1, 'all there are');
  t.equal(mostAtWork(['cpu'], { cpus: 0.5 }), 1);
  t.equal(mostAtWork(['cuda', 'cpu']), undefined, 'what another device takes is not known');
  t.equal(build({ serving: next }).applications[0]?.deployments[0]?.mostAtWork, undefined, 'nor what code does');
});

t.test('clients are not told where something lies on this machine', async (t) => {
  const told = (problem: string) => build({ targets: [], broken: [{ spec: next.spec, problem }] }).applications[0]?.unavailable;
  t.equal(
    told('a: /srv/models/a/1/model.onnx is not an ONNX model'),
    'Application app could not be deployed: a: model.onnx is not an ONNX model',
  );
  t.match(told('Error: no (file:///srv/app/a.ts:3:5) see https://example.org/docs/a, 1/2'), /no \(a\.ts:3:5\)/);
  t.match(told('see https://example.org/docs/a, 1/2'), /https:\/\/example\.org\/docs\/a, 1\/2/);
});

t.test('applications stand in the order of the config, whoever began to serve first', async (t) => {
  const named = (name: string, repository?: string) =>
    target(applicationSpec({ name, ...(repository === undefined ? {} : { repository }) }), 'next');
  const [one, two, oneB, oneA, twoA, gone] = [
    named('one'),
    named('two'),
    named('one.b', 'one'),
    named('one.a', 'one'),
    named('two.a', 'two'),
    named('gone'),
  ];
  const serving = new Map(
    [gone, twoA, oneB, two, one].map((each, index) => [each.spec.name, { target: each, generation: index }] as const),
  );
  const { applications } = build({
    targets: [one, two, oneB, oneA, twoA],
    actual: { replicas: [], serving, restarts: new Map() },
  });
  t.same(
    applications.map(({ name }) => name),
    ['one', 'one.a', 'one.b', 'two', 'two.a', 'gone'],
  );
});

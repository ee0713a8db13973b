import t from 'tap';
import { answersFrom } from '../../src/control/answers-from.ts';
import type { ActualReplica } from '../../src/control/plan.ts';
import type { TargetApplication } from '../../src/control/target.ts';
import type { ApplicationSpec, BatchingSpec } from '../../src/domain/desired.ts';
import type { CallTarget } from '../../src/domain/graph.ts';
import type { Json } from '../../src/domain/json.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

const to = (application: string, deployment: string): CallTarget => ({ application, deployment, method: 'call' });

const batchingOf = (method: string | undefined): BatchingSpec | null =>
  method === undefined ? null : { maxBatchSize: 4, waitMs: 0, targetMs: null, maxConcurrentBatches: 1, method };

interface Given {
  readonly calls?: ApplicationSpec['calls'];
  readonly method?: string;
  readonly code?: Readonly<Record<string, string>>;
  readonly userConfig?: Json;
  readonly far?: string;
}

const CALLS = { A: { b: to('app', 'B'), again: to('app', 'A') }, B: { f: to('far', 'F'), a: to('app', 'A') } };

/** `A` calls `B`, which calls `F` of another application; `C` is called by nobody. */
const applications = ({
  code = {},
  userConfig,
  far = 'code 1',
  calls = CALLS,
  method,
}: Given = {}): readonly TargetApplication[] => [
  target(
    applicationSpec({
      deployments: ['A', 'B', 'C'].map((name) =>
        deploymentSpec({ name, ...(name === 'B' ? { userConfig, batching: batchingOf(method) } : {}) }),
      ),
      calls,
    }),
    code,
  ),
  target(applicationSpec({ name: 'far', deployments: [deploymentSpec({ name: 'F' })] }), far),
];

const replicasOf = (targets: readonly TargetApplication[], more: Partial<ActualReplica> = {}): readonly ActualReplica[] =>
  targets.flatMap(({ spec, deployments }) =>
    deployments.map((deployment) => ({
      id: `${spec.name}/${deployment.spec.name}`,
      application: spec.name,
      deployment: deployment.spec.name,
      version: deployment.version,
      state: 'RUNNING' as const,
      order: 0,
      userConfigHash: deployment.userConfigHash,
      refusedConfigHash: undefined,
      idle: false,
      drainBy: 0,
      ...more,
    })),
  );

const from = (
  targets: readonly TargetApplication[],
  replicas: readonly ActualReplica[] = replicasOf(targets),
  versionsTaken = ({ state, version }: ActualReplica): readonly string[] =>
    state === 'RUNNING' || state === 'UPDATING' ? [version] : [],
) => {
  const serving = new Map(targets.map((each) => [each.spec.name, { target: each, generation: 1 }]));
  return answersFrom('app', 'A', { serving, replicas }, versionsTaken);
};

/** Those of one deployment changed. */
const with_ = (name: string, more: Partial<ActualReplica>) =>
  replicasOf(applications()).map((replica) => (replica.deployment === name ? { ...replica, ...more } : replica));

t.test('answers follow from what a deployment runs, and from all that it calls', async (t) => {
  const known = from(applications());
  t.type(known, 'string');
  t.equal(from(applications()), known);
  t.equal(from(applications({ code: { C: 'other' } })), known, 'not from what it does not call');
  const others = [
    from(applications({ code: { A: 'other' } })),
    from(applications({ code: { B: 'other' } })),
    from(applications({ userConfig: { word: 1 } })),
    from(applications({ userConfig: { word: 2 } })),
    from(applications({ far: 'other' })),
    from(applications().slice(0, 1)),
    from(applications({ calls: { ...CALLS, A: { b: to('app', 'A'), again: to('app', 'B') } } })),
    from(applications({ calls: { ...CALLS, A: { b: to('app', 'B') } } })),
    from(applications({ method: 'call' })),
    from(applications({ method: 'many' })),
  ];
  t.notOk(others.includes(null));
  t.equal(new Set([known, ...others]).size, others.length + 1);
});

t.test('while a replica is not as the config says, nothing is known of them', async (t) => {
  const targets = applications();
  for (const name of ['A', 'B', 'F']) {
    t.equal(from(targets, with_(name, { state: 'UPDATING' })), null, `${name} is being reconfigured`);
    t.equal(
      from(targets, with_(name, { userConfigHash: 'another' })),
      null,
      `${name} has refused its user_config, or not got it yet`,
    );
  }
  t.equal(from(targets, with_('C', { state: 'UPDATING' })), from(targets));
});

t.test('replicas of another version count only where they stand in for this one', async (t) => {
  const targets = applications();
  const newer = { ...(with_('B', {})[1] as ActualReplica), id: 'newer', version: 'newer', state: 'RUNNING' as const };
  const replicas = [...replicasOf(targets), newer];
  t.equal(from(targets, replicas), from(targets));
  const version = targets[0]?.deployments[1]?.version ?? '';
  const standsIn = (replica: ActualReplica) => (replica.id === 'newer' ? ['newer', version] : [replica.version]);
  t.equal(from(targets, replicas, standsIn), null);
  const draining = replicas.map((replica) => (replica.id === 'newer' ? { ...replica, state: 'DRAINING' as const } : replica));
  t.equal(from(targets, draining, standsIn), null, 'also while it is on its way out');
});

t.test('those that start, drain or stop take no new requests', async (t) => {
  const targets = applications();
  for (const state of ['STARTING', 'DRAINING', 'STOPPING'] as const)
    t.equal(from(targets, with_('B', { state, userConfigHash: 'another' })), from(targets), state);
  t.equal(from(targets, []), from(targets), 'nor do those that are scaled to zero');
});

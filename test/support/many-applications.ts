/** A config of many applications, and all that is done with it before the first replica starts. */
import { type Compiled, compile } from '../../src/config/compile.ts';
import { type Action, plan } from '../../src/control/plan.ts';
import { type Artifact, makeTarget, type TargetApplication } from '../../src/control/target.ts';
import type { ApplicationSpec } from '../../src/domain/desired.ts';

/** Each of two deployments, one of them batched, and a graph. */
export const manyApplications = (count: number): string =>
  `applications:\n${Array.from(
    { length: count },
    (_, index) => `- name: app${index}
  route_prefix: /app${index}
  deployments:
  - name: Front
    import_path: ./front.ts:Front
    num_replicas: 2
    max_ongoing_requests: 16
    user_config: {threshold: 0.5}
    ray_actor_options: {num_cpus: 0.5}
  - name: Back
    model: models/back.onnx
    batching: {max_batch_size: 8}
  graph: {ingress: Front, calls: {Front: {back: Back}}}
`,
  ).join('')}`;

/** Artifacts as if code had been compiled and models hashed. */
const artifactsOf = ({ deployments }: ApplicationSpec): ReadonlyMap<string, Artifact> =>
  new Map(
    deployments.map(({ name, runs }) => [
      name,
      {
        runs:
          runs.kind === 'model'
            ? { kind: 'model', versions: [{ version: '1', path: runs.path }] }
            : { kind: 'module', entry: '/cache/a.mjs', source: runs.file, export: runs.export },
        fingerprint: 'f',
        files: [],
      },
    ]),
  );

export interface Planned {
  readonly compiled: Compiled;
  readonly targets: readonly TargetApplication[];
  readonly actions: readonly Action[];
}

/** From the text to what is to be started. */
export const planned = (text: string): Planned => {
  const compiled = compile(text, { file: '/srv/config.yaml', env: {}, exists: () => true });
  const targets = (compiled.desired?.applications ?? []).map((spec) => makeTarget(spec, artifactsOf(spec), undefined));
  const actions = plan(targets, { replicas: [], serving: new Map(), restarts: new Map() }, 0);
  return { compiled, targets, actions };
};

/** What there is to do when all of it runs: nothing. */
export const plannedAgain = (targets: readonly TargetApplication[]): readonly Action[] => {
  const replicas = targets.flatMap(({ spec: { name: application }, deployments }) =>
    deployments.flatMap(({ spec: { name: deployment, numReplicas }, version, userConfigHash }) =>
      Array.from({ length: numReplicas }, (_, order) => ({
        id: `${application}/${deployment}/${order}`,
        application,
        deployment,
        version,
        state: 'RUNNING' as const,
        order,
        userConfigHash,
        refusedConfigHash: undefined,
        idle: false,
        drainBy: 0,
      })),
    ),
  );
  const serving = new Map(targets.map((target) => [target.spec.name, { target, generation: 1 }]));
  return plan(targets, { replicas, serving, restarts: new Map() }, 0);
};

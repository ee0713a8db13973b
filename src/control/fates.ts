/**
 * What becomes of each application when a config is taken: it is a target, or broken. One that was found in a folder of models is nobody
 * else's affair: where it cannot be had as it is on disk, it stays what it was.
 */
import type { ApplicationSpec, FoundModels } from '../domain/desired.ts';
import type { Artifacts } from './artifacts.ts';
import { isBeingWritten } from './model-files.ts';
import { type Artifact, type BrokenApplication, makeTarget, type TargetApplication } from './target.ts';

/** Files of an application that has a folder of models, or was found in one. */
export interface ModelFiles {
  readonly files: readonly string[];
  /** Somebody was writing them: what they are is to be seen when they are quiet. */
  readonly unsettled: boolean;
}

export interface FoundApplication {
  readonly spec: ApplicationSpec;
  readonly artifacts: Pick<Artifacts, 'found' | 'files'>;
}

/** @param first whatever there is at the start is taken as it is: nothing serves that could go on */
export const modelFilesOf = (
  applications: readonly FoundApplication[],
  { follows }: FoundModels,
  first: boolean,
): ReadonlyMap<string, ModelFiles> => {
  const ofModels = new Map(
    applications.flatMap(({ spec, artifacts }) => (spec.repository === undefined ? [] : [[spec.name, artifacts.files] as const])),
  );
  const now = Date.now();
  return new Map(
    [...follows].map(([name, beside]) => {
      const own = ofModels.get(name);
      const files = [...new Set([...beside, ...(own ?? [])])];
      return [name, { files, unsettled: !first && isBeingWritten(files, now) }];
    }),
  );
};

export interface Fates {
  readonly targets: readonly TargetApplication[];
  readonly broken: readonly BrokenApplication[];
  /** By application: what is wrong with what is on disk now, while the target is what it was. */
  readonly held: ReadonlyMap<string, string>;
}

export const fatesOf = ({
  applications,
  problems,
  models,
  unseen,
  previous,
}: {
  readonly applications: readonly FoundApplication[];
  /** By application. */
  readonly problems: ReadonlyMap<string, string>;
  readonly models: ReadonlyMap<string, Pick<ModelFiles, 'unsettled'>>;
  readonly unseen: FoundModels['unseen'];
  /** What was taken last. */
  readonly previous: readonly TargetApplication[];
}): Fates => {
  const before = new Map(previous.map((target) => [target.spec.name, target]));
  const targets: TargetApplication[] = [];
  const broken: BrokenApplication[] = [];
  const held = new Map<string, string>();
  for (const { spec, artifacts } of applications) {
    const { name, repository } = spec;
    const problem = problems.get(name);
    const known = keptFor(spec, before.get(name));
    if (repository !== undefined && models.get(name)?.unsettled) {
      // It is there, or wrong, when it is whole.
      if (known !== undefined) targets.push(asItWas(known, spec));
    } else if (problem === undefined) targets.push(makeTarget(spec, artifacts.found, before.get(name)));
    else if (repository === undefined || known === undefined) broken.push({ spec, problem });
    else {
      targets.push(asItWas(known, spec));
      held.set(name, problem);
    }
  }
  const names = new Set(applications.map(({ spec }) => spec.name));
  const routes = new Set(applications.flatMap(({ spec: { routePrefix } }) => routePrefix ?? []));
  for (const known of previous) {
    const { name, repository, routePrefix } = known.spec;
    if (repository === undefined || names.has(name)) continue;
    // A folder that is gone, or on a disk that is away, is no folder that was emptied.
    const why = unseen.get(repository);
    if (why !== undefined) held.set(repository, why);
    // While the folder is being written, a model that is not in it may be on its way from one place to another.
    else if (!models.get(repository)?.unsettled) continue;
    if (routePrefix !== null && routes.has(routePrefix)) continue;
    targets.push(known);
    if (why !== undefined) held.set(name, why);
  }
  return { targets, broken, held };
};

/** What may go on in place of what is on disk: nothing that has no path any more, as the config has given it to somebody else. */
const keptFor = (spec: ApplicationSpec, known: TargetApplication | undefined): TargetApplication | undefined =>
  spec.routePrefix === null && known?.spec.routePrefix !== null ? undefined : known;

/** As far as its files go; where it is reached is for the config to say. */
const asItWas = (known: TargetApplication, spec: ApplicationSpec): TargetApplication => {
  const artifacts = known.deployments.map(({ spec: { name }, run, made, policy }) => {
    const artifact: Artifact = { runs: run.runs, fingerprint: made['code'] ?? '', files: [] };
    return [name, policy === undefined ? artifact : { ...artifact, policy }] as const;
  });
  return makeTarget({ ...spec, deployments: known.spec.deployments }, new Map(artifacts), known);
};

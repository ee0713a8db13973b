/** Finds on disk what deployments run: compiles code, looks at models, and tells what is wrong with them before a replica is started. */
import { existsSync } from 'node:fs';
import type { ApplicationSpec, Runnable } from '../domain/desired.ts';
import type { FileProblem, RelatedPlace } from '../domain/diagnostic.ts';
import { noExport } from '../domain/no-export.ts';
import { CodeError, type CompiledCode, compileCode, stopCompiler } from './code.ts';
import { ModelError, modelArtifact } from './model-files.ts';
import type { Artifact, PolicyCode } from './target.ts';

export interface Artifacts {
  /** By deployment name. */
  readonly found: ReadonlyMap<string, Artifact>;
  /** What is wrong, by deployment name; empty when the application can be built. */
  readonly problems: ReadonlyMap<string, string>;
  /** Where in the code it is wrong, by deployment name, where that is known. */
  readonly places: ReadonlyMap<string, readonly RelatedPlace[]>;
  /** Files to watch, also of what is broken. */
  readonly files: readonly string[];
}

/** @param compiled results of this round, so that a file that several deployments name is compiled once */
export const findArtifacts = async (
  spec: ApplicationSpec,
  cacheDir: string,
  compiled: Map<string, Promise<CompiledCode>>,
): Promise<Artifacts> => {
  const found = new Map<string, Artifact>();
  const problems = new Map<string, string>();
  const places = new Map<string, readonly RelatedPlace[]>();
  const files = new Set<string>();
  for (const { name, runs, autoscaling } of spec.deployments) {
    const policy = autoscaling?.policy ?? undefined;
    try {
      const artifact = await artifactOf(runs, cacheDir, compiled);
      const code = policy && (await codeArtifact({ kind: 'module', ...policy }, cacheDir, compiled));
      found.set(name, code === undefined ? artifact : { ...artifact, policy: policyOf(code) });
      for (const file of [...artifact.files, ...(code?.files ?? [])]) files.add(file);
    } catch (error) {
      problems.set(name, (error as Error).message);
      files.add(fileOf(runs));
      if (policy !== undefined) files.add(policy.file);
      if (error instanceof ModelError) for (const file of error.files) files.add(file);
      if (!(error instanceof CodeError)) continue;
      places.set(name, error.places);
      // The mistake may be in a file that the code imports: mending it there must be seen.
      for (const { file } of error.places) files.add(file);
    }
  }
  return { found, problems, places, files: [...files] };
};

const fileOf = (runs: Runnable): string => (runs.kind === 'model' ? runs.path : runs.file);

/**
 * What is wrong with the files of one application, as it stands in the config at `index`; one that is missing has been told by the
 * config's own checks.
 */
export const problemsOf = (
  spec: ApplicationSpec,
  index: number,
  { problems, places }: Pick<Artifacts, 'problems' | 'places'>,
): readonly FileProblem[] =>
  spec.deployments.flatMap(({ name, runs }, at) => {
    const message = problems.get(name);
    if (message === undefined || !existsSync(fileOf(runs))) return [];
    const key = runs.kind === 'model' ? ['model', 'path'] : ['import_path'];
    const path = ['applications', index, 'deployments', at, ...key];
    return [{ severity: 'error', code: 'FILE_BROKEN', path, message, application: spec.name, related: places.get(name) ?? [] }];
  });

/** One thing to run, as the config names it. */
export interface NamedFile {
  readonly path: readonly (string | number)[];
  readonly application: string | undefined;
  readonly runs: Runnable;
}

/** What is wrong with files that are there, of a config that need not be right in everything else. */
export const fileProblems = async (named: readonly NamedFile[], cacheDir: string): Promise<readonly FileProblem[]> => {
  const compiled = new Map<string, Promise<CompiledCode>>();
  const told: FileProblem[] = [];
  for (const { path, application, runs } of named) {
    if (!existsSync(fileOf(runs))) continue;
    try {
      await artifactOf(runs, cacheDir, compiled);
    } catch (error) {
      const related = error instanceof CodeError ? error.places : [];
      told.push({ severity: 'error', code: 'FILE_BROKEN', path, message: (error as Error).message, application, related });
    }
  }
  await stopCompiler();
  return told;
};

const policyOf = ({ runs }: Artifact): PolicyCode | undefined =>
  runs.kind === 'module' ? { entry: runs.entry, export: runs.export } : undefined;
const artifactOf = (runs: Runnable, cacheDir: string, compiled: Map<string, Promise<CompiledCode>>): Promise<Artifact> =>
  runs.kind === 'model' ? modelArtifact(runs) : codeArtifact(runs, cacheDir, compiled);

const codeArtifact = async (
  runs: Extract<Runnable, { kind: 'module' }>,
  cacheDir: string,
  compiled: Map<string, Promise<CompiledCode>>,
): Promise<Artifact> => {
  let pending = compiled.get(runs.file);
  if (pending === undefined) {
    pending = compileCode(runs.file, cacheDir);
    compiled.set(runs.file, pending);
  }
  const code = await pending;
  // An `export *` of a package is known at run time only: then the replica says what is missing.
  if (code.exports.length > 0 && !code.exports.includes(runs.export) && !code.exports.includes('*')) {
    throw new CodeError(noExport(runs.file, runs.export, code.exports));
  }
  return {
    runs: {
      kind: 'module',
      entry: code.entry,
      source: runs.file,
      export: runs.export,
      ...(runs.bound === undefined ? {} : { bound: runs.bound }),
    },
    fingerprint: code.fingerprint,
    files: code.files,
  };
};

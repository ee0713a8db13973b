/** From the text of a config to targets: compiles it, looks at code and models. What it comes to is a value; taking it is another step. */
import { existsSync } from 'node:fs';
import type { ApplicationSpec, DesiredState, FoundModels } from '../domain/desired.ts';
import type { Diagnostic, FileProblem } from '../domain/diagnostic.ts';
import type { ModelPorts } from '../domain/model.ts';
import type { ApplicationMeta } from '../protocol/messages.ts';
import { type Artifacts, findArtifacts, problemsOf } from './artifacts.ts';
import { readCertificate } from './certificate.ts';
import { type CompiledCode, stopCompiler } from './code.ts';
import { type ConfigOrigin, readConfigFile } from './config-file.ts';
import { type Describe, Describers } from './describers.ts';
import { fatesOf, type ModelFiles, modelFilesOf } from './fates.ts';
import type { ConfigSource } from './history.ts';
import { portsOfSteps } from './model-ports.ts';
import { type BrokenApplication, hashOf, type TargetApplication } from './target.ts';

/** A text of the config, and what may be in it. */
export interface ConfigText {
  readonly text: Uint8Array;
  /** It came over the admin API: its paths must stay inside the config's folder. */
  readonly confined: boolean;
}

/** What a text of the config comes to; given by the composition root, so that control and config meet in the domain only. */
/** @param told what code told of the applications that it builds, by their index in the config */
export type CompileConfig = (
  config: ConfigText,
  told?: ReadonlyMap<number, ApplicationMeta>,
) => {
  desired: DesiredState | undefined;
  diagnostics: readonly Diagnostic[];
  hash: string;
  /** Gives what is wrong with a file that the config names its place in the config. */
  diagnose(problem: FileProblem): Diagnostic;
  /** What of the graphs can never work with the models that their steps call, by `application/Deployment`. */
  mismatches(ports: ReadonlyMap<string, ModelPorts>): readonly FileProblem[];
  models: FoundModels;
};

export type Outcome =
  /** There is something to apply (or to apply again). */
  | {
      readonly type: 'goal';
      readonly desired: DesiredState;
      readonly targets: readonly TargetApplication[];
      readonly broken: readonly BrokenApplication[];
      /** By application, of those that were found in folders: what is wrong with what is on disk now, while the target is what it was. */
      readonly held: ReadonlyMap<string, string>;
      /** Warnings, and what is wrong with the files of broken applications; in the order of the text. */
      readonly diagnostics: readonly Diagnostic[];
      readonly hash: string;
      /** It asks for something else than what was taken last. */
      readonly changed: boolean;
      readonly identity: string;
      readonly files: GoalFiles;
    }
  /** What served goes on serving. */
  | {
      readonly type: 'rejected';
      readonly diagnostics: readonly Diagnostic[];
      /** By application: what is wrong with its code or models. */
      readonly problems: ReadonlyMap<string, string>;
      /** undefined: nothing is known about them, those known before still count. */
      readonly files: Partial<GoalFiles> | undefined;
    };

/** Whose change may change the goal. */
export interface GoalFiles {
  /** And models. */
  readonly code: readonly string[] | undefined;
  readonly certificate: readonly string[];
  /** By application that has a folder of models, or was found in one. */
  readonly models: ReadonlyMap<string, ModelFiles>;
}

export type GoalOutcome = Extract<Outcome, { type: 'goal' }>;

export class Goal {
  readonly #origin: ConfigOrigin;
  readonly #codeCache: string;
  readonly #compile: CompileConfig;
  readonly #describers: Describers;
  #previous: readonly TargetApplication[] = [];
  /** Applications that could not be built when the goal was last taken. */
  #broken: ReadonlySet<string> = new Set();
  #identity = '';

  constructor(origin: ConfigOrigin, codeCache: string, compile: CompileConfig, describe: Describe) {
    this.#describers = new Describers(codeCache, describe);
    this.#origin = origin;
    this.#codeCache = codeCache;
    this.#compile = compile;
  }

  /** Who says what `readOrigin` reads. */
  get source(): Extract<ConfigSource, 'file' | 'run'> {
    return this.#origin.text === undefined ? 'file' : 'run';
  }

  /** @returns the text of the config file, or what stands for it; or why there is none */
  async readOrigin(first: boolean): Promise<Uint8Array | Diagnostic> {
    const { path, text } = this.#origin;
    if (text !== undefined) return Buffer.from(text);
    try {
      return await readConfigFile(path);
    } catch (error) {
      return unreadable(path, error as NodeJS.ErrnoException, first);
    }
  }

  /**
   * What a text asks for. Changes nothing: see `take`. One at a time.
   * @param first at a cold start an application whose files are broken fails alone; later nothing moves until everything can
   * @param understood called with what the config says before code is compiled and models are looked at, where it says anything
   */
  async read(config: ConfigText, first: boolean, understood: (desired: DesiredState) => void = () => {}): Promise<Outcome> {
    const plain = this.#compile(config);
    const compiled = new Map<string, Promise<CompiledCode>>();
    const described = await this.#describers.describe(plain.desired?.applications ?? [], compiled);
    const {
      desired: said,
      diagnostics: ofText,
      hash,
      diagnose,
      mismatches,
      models: found,
    } = described.told.size === 0 ? plain : this.#compile(config, described.told);
    if (said === undefined) return { type: 'rejected', diagnostics: ofText, problems: new Map(), files: undefined };
    const { desired, problems: ofCertificate, files: certificate } = await withCertificate(said);
    const diagnostics = [...ofCertificate.map(diagnose), ...ofText];
    if (ofCertificate.some(({ severity }) => severity === 'error'))
      return { type: 'rejected', diagnostics, problems: new Map(), files: { code: undefined, certificate } };
    // Where nothing of it could be served, nothing is made ready for it.
    if (first || described.problems.size === 0) understood(desired);
    const applications = await Promise.all(
      desired.applications.map(async (spec) => ({ spec, artifacts: await findArtifacts(spec, this.#codeCache, compiled) })),
    );
    await stopCompiler();
    const models = modelFilesOf(applications, found, first);
    const code = applications.flatMap(({ spec, artifacts }) => (spec.repository === undefined ? artifacts.files : []));
    const files = { code: [...described.files, ...code], certificate, models };
    const artifactsOf = new Map(applications.map(({ spec, artifacts }) => [spec.name, artifacts]));
    const unfit = mismatches(
      portsOfSteps(desired.applications, (application, name) => artifactsOf.get(application)?.found.get(name)),
    );
    const problems = new Map<string, string>();
    for (const { spec, artifacts } of applications) {
      const problem =
        described.problems.get(spec.name) ??
        found.refused.get(spec.name) ??
        strangersOf(spec, ofText) ??
        problemOf(spec, artifacts) ??
        unfit.find(({ severity, application }) => severity === 'error' && application === spec.name)?.message;
      if (problem !== undefined) problems.set(spec.name, problem);
    }
    const broke = applications.flatMap(({ spec, artifacts }, index) => [
      ...problemsOf(spec, index, artifacts),
      ...builderProblem(spec, index, described.problems.get(spec.name)),
    ]);
    const all = [...diagnostics, ...[...broke, ...unfit].map(diagnose)]
      // What is being written is not wrong yet.
      .filter(({ application }) => application === undefined || models.get(application)?.unsettled !== true)
      .sort(byPlace(this.#origin.path));
    // What could not be built at the start, and still cannot, holds up nothing else; nor does a model of a folder, ever.
    const blocking = applications.some(
      ({ spec }) => problems.has(spec.name) && spec.repository === undefined && !this.#broken.has(spec.name),
    );
    if (blocking && !first) {
      return { type: 'rejected', diagnostics: all, problems, files };
    }
    const { targets, broken, held } = fatesOf({ applications, problems, models, unseen: found.unseen, previous: this.#previous });
    const identity = hashOf([desired, targets.map((target) => target.hash), broken.map((each) => each.problem), [...held]]);
    const changed = identity !== this.#identity;
    return { type: 'goal', desired, targets, broken, held, diagnostics: all, hash, changed, identity, files };
  }

  /** From now on this is the goal: what is read later is compared with it. */
  take({ identity, targets, broken }: GoalOutcome): void {
    this.#identity = identity;
    this.#previous = targets;
    this.#broken = new Set(broken.map(({ spec }) => spec.name));
  }
}

/** With what the files of its certificate hold; a broken one is a mistake of the whole config, as no application is to be blamed. */
const withCertificate = async (
  desired: DesiredState,
): Promise<{ desired: DesiredState; problems: readonly FileProblem[]; files: readonly string[] }> => {
  const { proxy } = desired;
  if (proxy.tls === null || !proxy.enabled) return { desired, problems: [], files: [] };
  const { tls, problems, files } = await readCertificate(proxy.tls, Date.now());
  return { desired: { ...desired, proxy: { ...proxy, tls } }, problems, files };
};

const problemOf = (spec: ApplicationSpec, { problems }: Artifacts): string | undefined => {
  const told = spec.deployments.flatMap(({ name }) => (problems.has(name) ? [`${name}: ${problems.get(name)}`] : []));
  return told.length === 0 ? undefined : told.join('; ');
};

/** The config speaks of deployments that the code of the application does not have; undefined: it does not. */
const strangersOf = ({ name, fromCode }: ApplicationSpec, diagnostics: readonly Diagnostic[]): string | undefined =>
  fromCode === undefined
    ? undefined
    : diagnostics.find((each) => each.code === 'NOT_IN_CODE' && each.application === name)?.message;

/** In the order of the config's text; those of other files behind, as they are. */
export const byPlace =
  (config: string) =>
  (a: Diagnostic, b: Diagnostic): number =>
    Number(a.file !== config) - Number(b.file !== config) || (a.file === config ? a.line - b.line : 0);

const builderProblem = (spec: ApplicationSpec, index: number, message: string | undefined): readonly FileProblem[] =>
  message === undefined || spec.fromCode === undefined || !existsSync(spec.fromCode.file)
    ? []
    : [{ severity: 'error', code: 'FILE_BROKEN', path: ['applications', index, 'import_path'], message, application: spec.name }];

const unreadable = (file: string, error: NodeJS.ErrnoException, first: boolean): Diagnostic => ({
  severity: 'error',
  code: 'CONFIG_UNREADABLE',
  path: '',
  message:
    error.code === 'ENOENT'
      ? `there is no such file${first ? ': name one with --config' : ' any more'}`
      : error.code === 'EISDIR'
        ? 'expected a file, got a folder'
        : `it cannot be read: ${error.message}`,
  file,
  line: 0,
  column: 0,
  excerpt: '',
});

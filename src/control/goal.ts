/** From the config file to targets: reads, compiles, looks at code and models. One reload at a time; a burst of changes is one more. */
import { readFile } from 'node:fs/promises';
import type { ApplicationSpec, DesiredState } from '../domain/desired.ts';
import type { Diagnostic, FileProblem } from '../domain/diagnostic.ts';
import { type Artifacts, findArtifacts, problemsOf } from './artifacts.ts';
import { readCertificate } from './certificate.ts';
import { type CompiledCode, stopCompiler } from './code.ts';
import { type BrokenApplication, makeTarget, type TargetApplication } from './target.ts';

/** What a text of the config comes to; given by the composition root, so that control and config meet in the domain only. */
export type CompileConfig = (text: Uint8Array) => {
  desired: DesiredState | undefined;
  diagnostics: readonly Diagnostic[];
  hash: string;
  /** Gives what is wrong with a file that the config names its place in the config. */
  diagnose(problem: FileProblem): Diagnostic;
};

export type Outcome =
  /** There is something to apply (or to apply again). */
  | {
      readonly type: 'goal';
      readonly desired: DesiredState;
      readonly targets: readonly TargetApplication[];
      readonly broken: readonly BrokenApplication[];
      /** Warnings, and what is wrong with the files of broken applications; in the order of the text. */
      readonly diagnostics: readonly Diagnostic[];
      readonly hash: string;
      readonly changed: boolean;
    }
  /** What served goes on serving. */
  | { readonly type: 'rejected'; readonly diagnostics: readonly Diagnostic[]; readonly problems: ReadonlyMap<string, string> };

export class Goal {
  readonly #config: string;
  readonly #codeCache: string;
  readonly #compile: CompileConfig;
  #previous: readonly TargetApplication[] = [];
  /** Applications that could not be built when the goal was last taken. */
  #broken: ReadonlySet<string> = new Set();
  #codeFiles: readonly string[] = [];
  #certificateFiles: readonly string[] = [];
  #identity = '';

  constructor(config: string, codeCache: string, compile: CompileConfig) {
    this.#config = config;
    this.#codeCache = codeCache;
    this.#compile = compile;
  }

  /** Files whose change may change the goal. */
  get files(): { readonly config: string; readonly code: readonly string[]; readonly certificate: readonly string[] } {
    return { config: this.#config, code: this.#codeFiles, certificate: this.#certificateFiles };
  }

  /**
   * @param first at a cold start an application whose files are broken fails alone; later nothing moves until everything can
   * @param understood called with what the config says before code is compiled and models are looked at, where it says anything
   */
  async read(first: boolean, understood: (desired: DesiredState) => void = () => {}): Promise<Outcome> {
    let text: Uint8Array;
    try {
      text = await readFile(this.#config);
    } catch (error) {
      return {
        type: 'rejected',
        diagnostics: [unreadable(this.#config, error as NodeJS.ErrnoException, first)],
        problems: new Map(),
      };
    }
    const { desired: said, diagnostics: ofText, hash, diagnose } = this.#compile(text);
    if (said === undefined) return { type: 'rejected', diagnostics: ofText, problems: new Map() };
    const { desired, problems: ofCertificate } = await this.#withCertificate(said);
    const diagnostics = [...ofCertificate.map(diagnose), ...ofText];
    if (ofCertificate.some(({ severity }) => severity === 'error')) return { type: 'rejected', diagnostics, problems: new Map() };
    understood(desired);
    const compiled = new Map<string, Promise<CompiledCode>>();
    const applications = await Promise.all(
      desired.applications.map(async (spec) => ({ spec, artifacts: await findArtifacts(spec, this.#codeCache, compiled) })),
    );
    await stopCompiler();
    this.#codeFiles = applications.flatMap(({ artifacts }) => artifacts.files);
    const problems = new Map<string, string>();
    for (const { spec, artifacts } of applications) {
      const problem = problemOf(spec, artifacts);
      if (problem !== undefined) problems.set(spec.name, problem);
    }
    const broke = applications.flatMap(({ spec, artifacts }, index) => problemsOf(spec, index, artifacts));
    const all = [...diagnostics, ...broke.map(diagnose)].sort((a, b) => a.line - b.line);
    // What could not be built at the start, and still cannot, holds up nothing else.
    const blocking = [...problems.keys()].some((name) => !this.#broken.has(name));
    if (blocking && !first) {
      return { type: 'rejected', diagnostics: all, problems };
    }
    const targets: TargetApplication[] = [];
    const broken: BrokenApplication[] = [];
    for (const { spec, artifacts } of applications) {
      const problem = problems.get(spec.name);
      if (problem !== undefined) broken.push({ spec, problem });
      else
        targets.push(
          makeTarget(
            spec,
            artifacts.found,
            this.#previous.find((each) => each.spec.name === spec.name),
          ),
        );
    }
    const identity = JSON.stringify([desired, targets.map((target) => target.hash), broken.map((each) => each.problem)]);
    const changed = identity !== this.#identity;
    this.#identity = identity;
    this.#previous = targets;
    this.#broken = new Set(broken.map(({ spec }) => spec.name));
    return { type: 'goal', desired, targets, broken, diagnostics: all, hash, changed };
  }

  /** With what the files of its certificate hold; a broken one is a mistake of the whole config, as no application is to be blamed. */
  async #withCertificate(desired: DesiredState): Promise<{ desired: DesiredState; problems: readonly FileProblem[] }> {
    const { proxy } = desired;
    if (proxy.tls === null || !proxy.enabled) {
      this.#certificateFiles = [];
      return { desired, problems: [] };
    }
    const { tls, problems, files } = await readCertificate(proxy.tls, Date.now());
    this.#certificateFiles = files;
    return { desired: { ...desired, proxy: { ...proxy, tls } }, problems };
  }
}

const problemOf = (spec: ApplicationSpec, { problems }: Artifacts): string | undefined => {
  const told = spec.deployments.flatMap(({ name }) => (problems.has(name) ? [`${name}: ${problems.get(name)}`] : []));
  return told.length === 0 ? undefined : told.join('; ');
};

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

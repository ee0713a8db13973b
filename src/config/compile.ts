/** The config language from end to end: the text of a file becomes the desired state, or says all that is wrong with it. */
import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import type { DesiredState, FoundModels } from '../domain/desired.ts';
import type { Diagnostic, FileProblem } from '../domain/diagnostic.ts';
import type { ModelPorts } from '../domain/model.ts';
import type { Machine } from '../quota/offer.ts';
import { decode } from './bounds.ts';
import { check } from './check.ts';
import { modelMismatches } from './check-graph.ts';
import { checkFits } from './check-quota.ts';
import type { NamedFile } from './checking.ts';
import { confine } from './confine.ts';
import type { Environment } from './environment.ts';
import { type Expanded, expandModels } from './expand-models.ts';
import { FILE_MISSING, type Finding } from './finding.ts';
import { fillIn, NOT_IN_CODE, type ToldApplication } from './from-code.ts';
import type { Files } from './locate.ts';
import { parse } from './parse.ts';
import type { Places } from './places.ts';
import type { Repository } from './repository.ts';
import { resolve } from './resolve.ts';
import { checkShape } from './shape.ts';
import { Source } from './source.ts';

export interface CompileContext {
  /** The config file, absolute, as it was named. */
  readonly file: string;
  /** Where relative paths begin, absolute; absent: in the folder of the file. */
  readonly folder?: string;
  readonly env: Environment;
  exists(path: string): boolean;
  /** What the config is to run on: what can never fit there is a warning. Absent: nothing is said of that. */
  readonly machine?: Machine;
  /** Given: the text came from elsewhere, and its paths must stay inside the config's folder, also where symlinks lead. */
  readonly realPath?: ((path: string) => string | undefined) | undefined;
  /** What code told of the applications that it builds, by their index in the file. */
  readonly told?: ReadonlyMap<number, ToldApplication> | undefined;
  /** Looks at a folder of models. Absent: nothing is known of what is in them. */
  readonly look?: ((folder: string) => Repository) | undefined;
}

export interface Compiled {
  /**
   * undefined exactly when there is an error that does not concern its `application` alone. Applications stand at the index that they have
   * in the file; behind them those of folders of models.
   */
  readonly desired: DesiredState | undefined;
  /** In the order of the text; the first 100, then one that counts the rest. `FILE_MISSING` is never left out. Then those of other files. */
  readonly diagnostics: readonly Diagnostic[];
  /** SHA-256 of the text, in hex. */
  readonly hash: string;
  /** What deployments run, as far as it can be read: also where other things are wrong. */
  readonly named: readonly NamedFile[];
  readonly models: FoundModels;
  /** Gives what is wrong with one of these files its place in the text. */
  diagnose(problem: FileProblem): Diagnostic;
  /**
   * What of the graphs can never work with the models that their steps call.
   * @param ports what models take and give, by `application/Deployment`, as far as it is known
   */
  mismatches(ports: ReadonlyMap<string, ModelPorts>): readonly FileProblem[];
}

/** @throws nothing, whatever the text */
export const compile = (text: string | Uint8Array, context: CompileContext): Compiled => {
  const hash = createHash('sha256').update(text).digest('hex');
  const decoded = decode(text);
  const source = new Source(context.file, decoded.text);
  if (decoded.finding !== undefined) {
    const { finding } = decoded;
    const diagnose = (problem: FileProblem) => source.diagnostic(ofFile(problem), undefined);
    return {
      desired: undefined,
      diagnostics: [source.diagnostic(finding, finding.offset)],
      hash,
      named: [],
      models: NO_MODELS,
      diagnose,
      mismatches: () => [],
    };
  }
  const parsed = parse(decoded.text, context.env);
  const files = { folder: context.folder ?? dirname(context.file), exists: remembering(context.exists) };
  const { desired, findings, named, models } = understand(parsed, files, context);
  const { places } = parsed;
  return {
    desired,
    diagnostics: [...diagnosticsOf(findings, places, source), ...boundedOf(models?.diagnostics ?? [])],
    hash,
    named,
    models: models ?? NO_MODELS,
    diagnose: (problem) => {
      const path = places.reach(models?.places.get(problem.application ?? '') ?? problem.path);
      return source.diagnostic(ofFile({ ...problem, path }), places.offset(path), problem.related);
    },
    mismatches: (ports) =>
      desired === undefined || parsed.data === undefined ? [] : modelMismatches(parsed.data, places, desired, ports),
  };
};

const NO_MODELS: FoundModels = { follows: new Map(), unseen: new Map(), refused: new Map() };

const ofFile = ({ severity, code, path, message, application }: FileProblem): Finding => ({
  severity,
  code,
  path,
  message,
  ...(application === undefined ? {} : { application }),
});

/** The others can serve in spite of them. */
const OF_ONE_APPLICATION: ReadonlySet<string> = new Set([FILE_MISSING, NOT_IN_CODE]);

interface Understood {
  readonly desired: DesiredState | undefined;
  readonly findings: readonly Finding[];
  readonly named: readonly NamedFile[];
  readonly models?: Expanded;
}

const understand = (
  parsed: ReturnType<typeof parse>,
  files: Files,
  { machine, realPath, told, look }: CompileContext,
): Understood => {
  const { data, places } = parsed;
  if (data === undefined) return { desired: undefined, findings: parsed.findings, named: [] };
  const { pending, strange } = fillIn(data, told ?? new Map());
  const outside = realPath === undefined ? [] : confine(data, files, realPath);
  const shape = [...parsed.findings, ...checkShape(data, places), ...outside];
  const { findings, graphs, named } = check(data, places, files, shape, pending);
  const all = withoutEchoes(parsed.findings, [...shape, ...findings, ...strange]);
  const fatal = all.some(({ severity, code }) => severity === 'error' && !OF_ONE_APPLICATION.has(code));
  if (fatal) return { desired: undefined, findings: all, named };
  const said = resolve(data, graphs, files, pending);
  if (look === undefined) return { desired: said, findings: [...all, ...fitsOf(said, machine)], named };
  const models = expandModels(data, said.applications, places, files, look);
  const desired = { ...said, applications: [...said.applications, ...models.applications] };
  const fits = fitsOf(desired, machine).map((finding) => ofModel(finding, desired, models));
  return { desired, findings: [...all, ...models.findings, ...fits], named: [...named, ...models.named], models };
};

const fitsOf = (desired: DesiredState, machine: Machine | undefined): readonly Finding[] =>
  machine === undefined ? [] : checkFits(desired, machine);

/** What is found in a folder stands nowhere in the file: told where the file speaks of it. */
const ofModel = (finding: Finding, { applications }: DesiredState, { places }: Expanded): Finding => {
  const name = applications[Number(finding.path[1])]?.name ?? '';
  const path = places.get(name);
  return path === undefined ? finding : { ...finding, path, message: `\`${name}\`: ${finding.message}` };
};

/** A value that could not be read (a variable that is not set) is null, and what is said about that null says nothing new. */
const withoutEchoes = (unread: readonly Finding[], all: readonly Finding[]): readonly Finding[] => {
  const paths = new Set(unread.filter(({ path }) => path.length > 0).map(({ path }) => JSON.stringify(path)));
  const known = new Set(unread);
  return all.filter((finding) => known.has(finding) || !paths.has(JSON.stringify(finding.path)));
};

const remembering = (exists: (path: string) => boolean): ((path: string) => boolean) => {
  const known = new Map<string, boolean>();
  return (path) => {
    const answer = known.get(path) ?? exists(path);
    known.set(path, answer);
    return answer;
  };
};

const MAX_DIAGNOSTICS = 100;

const diagnosticsOf = (findings: readonly Finding[], places: Places, source: Source): readonly Diagnostic[] => {
  const placed = new Map<string, { finding: Finding; offset: number }>();
  for (const finding of findings) {
    const offset = finding.offset ?? places.offset(finding.path, finding.at);
    // What an alias copies is wrong in one place of the text, however often it is used.
    const identity = JSON.stringify([offset, finding.code, finding.application ?? '', finding.message]);
    if (!placed.has(identity)) placed.set(identity, { finding, offset });
  }
  const kept: Diagnostic[] = [];
  const left: { finding: Finding; offset: number }[] = [];
  for (const { finding, offset } of [...placed.values()].sort((a, b) => a.offset - b.offset)) {
    if (kept.length < MAX_DIAGNOSTICS || finding.code === FILE_MISSING) kept.push(source.diagnostic(finding, offset));
    else left.push({ finding, offset });
  }
  const [first] = left;
  if (first !== undefined) kept.push(source.diagnostic(restOf(left.map(({ finding }) => finding)), first.offset));
  return kept;
};

/** Errors first, as each says why a model is not served. */
const boundedOf = (diagnostics: readonly Diagnostic[]): readonly Diagnostic[] =>
  [...diagnostics].sort((a, b) => Number(a.severity === 'warning') - Number(b.severity === 'warning')).slice(0, MAX_DIAGNOSTICS);

const restOf = (left: readonly Finding[]): Finding => {
  const errors = left.filter(({ severity }) => severity === 'error').length;
  const message = `and ${errors} more errors and ${left.length - errors} more warnings from here on`;
  return { severity: errors > 0 ? 'error' : 'warning', code: 'MORE', path: [], message };
};

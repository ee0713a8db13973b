/** The config language from end to end: the text of a file becomes the desired state, or says all that is wrong with it. */
import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import type { DesiredState } from '../domain/desired.ts';
import type { Diagnostic, FileProblem } from '../domain/diagnostic.ts';
import type { Machine } from '../quota/offer.ts';
import { decode } from './bounds.ts';
import { check } from './check.ts';
import { checkFits } from './check-quota.ts';
import type { NamedFile } from './checking.ts';
import { confine } from './confine.ts';
import type { Environment } from './environment.ts';
import { FILE_MISSING, type Finding } from './finding.ts';
import { fillIn, NOT_IN_CODE, type ToldApplication } from './from-code.ts';
import type { Files } from './locate.ts';
import { parse } from './parse.ts';
import type { Places } from './places.ts';
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
}

export interface Compiled {
  /** undefined exactly when there is an error other than `FILE_MISSING` and `NOT_IN_CODE`: these concern their `application` alone. */
  readonly desired: DesiredState | undefined;
  /** In the order of the text; the first 100, then one that counts the rest. `FILE_MISSING` is never left out. */
  readonly diagnostics: readonly Diagnostic[];
  /** SHA-256 of the text, in hex. */
  readonly hash: string;
  /** What deployments run, as far as it can be read: also where other things are wrong. */
  readonly named: readonly NamedFile[];
  /** Gives what is wrong with one of these files its place in the text. */
  diagnose(problem: FileProblem): Diagnostic;
}

/** @throws nothing, whatever the text */
export const compile = (text: string | Uint8Array, context: CompileContext): Compiled => {
  const hash = createHash('sha256').update(text).digest('hex');
  const decoded = decode(text);
  const source = new Source(context.file, decoded.text);
  if (decoded.finding !== undefined) {
    const { finding } = decoded;
    const diagnose = (problem: FileProblem) => source.diagnostic(ofFile(problem), undefined);
    return { desired: undefined, diagnostics: [source.diagnostic(finding, finding.offset)], hash, named: [], diagnose };
  }
  const parsed = parse(decoded.text, context.env);
  const files = { folder: context.folder ?? dirname(context.file), exists: remembering(context.exists) };
  const { desired, findings, named } = understand(parsed, files, context);
  const { places } = parsed;
  return {
    desired,
    diagnostics: diagnosticsOf(findings, places, source),
    hash,
    named,
    diagnose: (problem) => {
      const path = places.reach(problem.path);
      return source.diagnostic(ofFile({ ...problem, path }), places.offset(path), problem.related);
    },
  };
};

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
}

const understand = (parsed: ReturnType<typeof parse>, files: Files, { machine, realPath, told }: CompileContext): Understood => {
  const { data, places } = parsed;
  if (data === undefined) return { desired: undefined, findings: parsed.findings, named: [] };
  const { pending, strange } = fillIn(data, told ?? new Map());
  const outside = realPath === undefined ? [] : confine(data, files, realPath);
  const shape = [...parsed.findings, ...checkShape(data, places), ...outside];
  const { findings, graphs, named } = check(data, places, files, shape, pending);
  const all = withoutEchoes(parsed.findings, [...shape, ...findings, ...strange]);
  const fatal = all.some(({ severity, code }) => severity === 'error' && !OF_ONE_APPLICATION.has(code));
  if (fatal) return { desired: undefined, findings: all, named };
  const desired = resolve(data, graphs, files, pending);
  return { desired, findings: machine === undefined ? all : [...all, ...checkFits(desired, machine)], named };
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

const restOf = (left: readonly Finding[]): Finding => {
  const errors = left.filter(({ severity }) => severity === 'error').length;
  const message = `and ${errors} more errors and ${left.length - errors} more warnings from here on`;
  return { severity: errors > 0 ? 'error' : 'warning', code: 'MORE', path: [], message };
};

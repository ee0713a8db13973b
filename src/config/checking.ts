/** What the checks share: the applications as they stand in the file, and how a finding is made. */
import type { Runnable } from '../domain/desired.ts';
import { type Finding, isMapping, listOf, type Mapping, type Path, textOf } from './finding.ts';
import type { Files } from './locate.ts';
import type { Places } from './places.ts';
import { nodeAt } from './schema.ts';

/** One application as it stands in the file; nothing about it is certain, as its shape may be wrong. */
export interface SeenApplication {
  readonly path: Path;
  readonly data: Mapping;
  readonly name: string | undefined;
  readonly deployments: readonly SeenDeployment[];
}

export interface SeenDeployment {
  readonly path: Path;
  readonly data: Mapping;
  readonly name: string | undefined;
}

/** Something to run, and where the file says so. */
export interface NamedFile {
  readonly path: Path;
  readonly application: string | undefined;
  readonly runs: Runnable;
}

export interface Checking {
  /** Code and models whose paths are right; the files themselves may be missing. */
  readonly named: NamedFile[];
  readonly places: Places;
  readonly files: Files;
  /** Whether the shape of everything at and under the path is right. */
  sound(path: Path): boolean;
  /** Whether something was said of just this value, so that what it is cannot be told from what the data holds. */
  wrong(path: Path): boolean;
  /** Whether a mapping has keys that nobody knows: what seems to be missing in it may be one of them. */
  hasUnknownKey(path: Path): boolean;
  /** Whether an unknown key was probably meant to be this one. */
  meant(path: Path): boolean;
  error(code: string, path: Path, message: string, at?: 'key' | 'value'): void;
  warning(code: string, path: Path, message: string): void;
  report(finding: Finding): void;
  /** What the schema says for a field that is not given. */
  byDefault(path: Path): unknown;
  /** A value for a message: as it stands in the file when it came from the environment. */
  show(path: Path, value: string | number): string;
}

export const checkingOf = (places: Places, files: Files, shape: readonly Finding[], findings: Finding[]): Checking => {
  // Every prefix of a mistaken path is unsound too.
  const unsound = new Set<string>();
  const wrong = new Set<string>();
  const meant = new Set<string>();
  const withUnknownKey = new Set<string>();
  for (const { severity, code, path, at, meant: key } of shape) {
    if (severity !== 'error') continue;
    for (let length = 0; length <= path.length; length++) unsound.add(JSON.stringify(path.slice(0, length)));
    if (code === 'UNKNOWN_KEY') withUnknownKey.add(JSON.stringify(path.slice(0, -1)));
    if (key !== undefined) meant.add(JSON.stringify([...path.slice(0, -1), key]));
    if (at !== 'key' && code !== 'MISSING_KEY') wrong.add(JSON.stringify(path));
  }
  return {
    named: [],
    places,
    files,
    sound: (path) => !isIn(unsound, path),
    wrong: (path) => isIn(wrong, path),
    hasUnknownKey: (path) => isIn(withUnknownKey, path),
    meant: (path) => isIn(meant, path),
    error: (code, path, message, at = 'value') => findings.push({ severity: 'error', code, path, message, at }),
    warning: (code, path, message) => findings.push({ severity: 'warning', code, path, message }),
    report: (finding) => findings.push(finding),
    byDefault: (path) => nodeAt(path)?.default,
    show: (path, value) => places.written(path) ?? `\`${value}\``,
  };
};

const isIn = (paths: ReadonlySet<string>, path: Path): boolean => paths.size > 0 && paths.has(JSON.stringify(path));

export const applicationsOf = (data: Mapping): readonly SeenApplication[] =>
  listOf(data.applications).flatMap((app, index) => {
    if (!isMapping(app)) return [];
    const path = ['applications', index];
    const deployments = listOf(app.deployments).flatMap((deployment, at) =>
      isMapping(deployment) ? [{ path: [...path, 'deployments', at], data: deployment, name: textOf(deployment.name) }] : [],
    );
    return [
      {
        path,
        data: app,
        name: textOf(app.name === undefined ? nodeAt([...path, 'name'])?.default : app.name),
        deployments,
      },
    ];
  });

/** What the checks share: the applications as they stand in the file, and how a finding is made. */
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

export interface Checking {
  readonly places: Places;
  readonly files: Files;
  /** Whether the shape of everything at and under the path is right. */
  sound(path: Path): boolean;
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
  for (const { severity, path } of shape) {
    if (severity === 'error')
      for (let length = 0; length <= path.length; length++) unsound.add(JSON.stringify(path.slice(0, length)));
  }
  return {
    places,
    files,
    sound: (path) => !unsound.has(JSON.stringify(path)),
    error: (code, path, message, at = 'value') => findings.push({ severity: 'error', code, path, message, at }),
    warning: (code, path, message) => findings.push({ severity: 'warning', code, path, message }),
    report: (finding) => findings.push(finding),
    byDefault: (path) => nodeAt(path)?.default,
    show: (path, value) => places.written(path) ?? `\`${value}\``,
  };
};

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

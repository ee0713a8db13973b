/** Keeps the paths of a config that came from elsewhere inside the folder of the config file, also where symlinks lead. */
import { relative, sep } from 'node:path';
import type { Finding, Mapping } from './finding.ts';
import { absolute, type Files } from './locate.ts';
import { visit } from './schema.ts';

/** @param realPath where a path leads; undefined where there is nothing */
export const confine = (data: Mapping, files: Files, realPath: (path: string) => string | undefined): readonly Finding[] => {
  const { folder } = files;
  const realFolder = realPath(folder) ?? folder;
  const findings: Finding[] = [];
  visit(data, ({ 'x-kind': kind }, value, path) => {
    if ((kind !== 'path' && kind !== 'import-path') || typeof value !== 'string') return;
    const named = absolute(kind === 'import-path' ? (value.split(':')[0] ?? '') : value, files);
    const real = realPath(named);
    if (!isOutside(folder, named) && (real === undefined || !isOutside(realFolder, real))) return;
    const message =
      'what comes over the admin API must stay inside the folder of the config file: move it there, or name it in the file';
    findings.push({ severity: 'error', code: 'PATH_OUTSIDE', path, message });
  });
  return findings;
};

const isOutside = (folder: string, path: string): boolean => {
  const way = relative(folder, path);
  return way === '..' || way.startsWith(`..${sep}`) || way.startsWith(sep);
};

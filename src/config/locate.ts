/** Finds the files that a config names: code (`./file.ts:Export`), models, folders. Local paths only. */
import { resolve } from 'node:path';

export interface Files {
  /** Where relative paths begin, absolute. */
  readonly folder: string;
  exists(path: string): boolean;
}

export interface Module {
  /** Where the file is or, when it is missing, where it is looked for first. */
  readonly file: string;
  readonly export: string;
  /** Everywhere it was looked for; undefined when it was found. */
  readonly missing: readonly string[] | undefined;
}

const EXTENSION = /\.([cm]?[jt]s|[jt]sx)$/;
/** In this order, where the extension was left out. */
const EXTENSIONS = ['.ts', '.js', '.mjs'];
const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;

/** Why a path cannot be one of ours; undefined when it can. A drive letter is no scheme. */
export const pathMistake = (path: string): string | undefined => {
  const [, scheme] = /^([A-Za-z][A-Za-z0-9+.-]+):/.exec(path) ?? [];
  if (scheme !== undefined) return 'expected a local path, without a scheme';
  return path.includes('\0') ? 'expected a path without NUL' : undefined;
};

export const absolute = (path: string, files: Files): string => resolve(files.folder, path);

/** @returns a text: what is wrong with the path, whatever files there are */
export const locateModule = (importPath: string, files: Files): Module | string => {
  // `llm:chat` is a file and an export; only what cannot be one of these is taken for a scheme.
  if (/^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(importPath) || /^(file|data|node|npm|https?):/.test(importPath)) {
    return pathMistake(importPath) ?? 'expected a local path, without a scheme';
  }
  const [path = '', name, ...more] = importPath.split(':');
  if (more.length > 0 || path === '' || name === '') return 'expected `./file.ts:Export`, or `./file.ts` for its default export';
  if (name !== undefined && !IDENTIFIER.test(name))
    return 'expected the name of an export behind the `:`, as in `./file.ts:Export`';
  if (path.includes('\0')) return 'expected a path without NUL';
  const candidates = candidatesOf(path).map((candidate) => absolute(candidate, files));
  const found = candidates.find((candidate) => files.exists(candidate));
  return { file: found ?? candidates[0] ?? '', export: name ?? 'default', missing: found === undefined ? candidates : undefined };
};

/** Without a known extension dots are folders, as in Python; a slash says that the path is meant as it stands. */
const candidatesOf = (path: string): readonly string[] => {
  if (EXTENSION.test(path)) return [path];
  const stem = path.includes('/') ? path : path.replaceAll('.', '/');
  return EXTENSIONS.map((extension) => stem + extension);
};

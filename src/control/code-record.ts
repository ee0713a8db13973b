/** Remembers what a file compiled to, for as long as nothing that went in has changed: a daemon that starts again compiles nothing. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { CompiledCode } from './code.ts';

interface CodeRecord extends CompiledCode {
  /** Path → stamp of every file that went in, and of those beside them that say what imports mean. */
  readonly stamps: Readonly<Record<string, string>>;
}

/** Changes whenever the file does, also when it was replaced by one of the same size and time; empty when there is none. */
const stampOf = (path: string): string => {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeMs} ${stat.ctimeMs}`;
};

/** What decides, in each folder above a file, how it compiles and where packages come from: what appears there counts too. */
const BESIDE = ['tsconfig.json', 'package.json', join('node_modules', '.package-lock.json')];

/** Those that a tsconfig extends, by path, and theirs in turn. Those of packages change with the packages. */
const basesOf = (tsconfig: string, found = new Set<string>()): ReadonlySet<string> => {
  const text = existsSync(tsconfig) ? readFileSync(tsconfig, 'utf8') : '';
  for (const [, named = ''] of text.matchAll(/"extends"\s*:\s*(\[[^\]]*\]|"[^"]*")/g)) {
    for (const [, path = ''] of named.matchAll(/"(\.{0,2}\/[^"]*)"/g)) {
      const base = resolve(dirname(tsconfig), path.endsWith('.json') ? path : `${path}.json`);
      if (found.has(base)) continue;
      found.add(base);
      basesOf(base, found);
    }
  }
  return found;
};

const stampsOf = (files: readonly string[]): Readonly<Record<string, string>> => {
  const stamps: Record<string, string> = {};
  for (const file of files) {
    stamps[file] = stampOf(file);
    for (let folder = dirname(file); ; folder = dirname(folder)) {
      for (const path of BESIDE.map((name) => join(folder, name))) {
        if (stamps[path] !== undefined) continue;
        stamps[path] = stampOf(path);
        if (path.endsWith('tsconfig.json')) for (const base of basesOf(path)) stamps[base] ??= stampOf(base);
      }
      if (folder === dirname(folder)) break;
    }
  }
  return stamps;
};

/** @param maker what compiles, with its version: another one may compile to something else */
const pathOf = (file: string, cacheDir: string, maker: string): string =>
  join(cacheDir, `${createHash('sha256').update(`${maker}\n${file}`).digest('hex').slice(0, 16)}.json`);

/** What the file compiled to; undefined when that is not known, or anything has changed. */
export const recall = async (file: string, cacheDir: string, maker: string): Promise<CompiledCode | undefined> => {
  try {
    const { stamps, ...code } = JSON.parse(await readFile(pathOf(file, cacheDir, maker), 'utf8')) as CodeRecord;
    const same = Object.entries(stamps).every(([path, stamp]) => stampOf(path) === stamp);
    return same && existsSync(code.entry) ? code : undefined;
  } catch {
    // None yet, or one that was cut off: compiling is always right.
    return undefined;
  }
};

/** File systems tell the time in steps, and clocks are set: what changed so shortly before counts as changed meanwhile. */
const MARGIN_MS = 50;

const changedAfter = (path: string, began: number): boolean =>
  (statSync(path, { throwIfNoEntry: false })?.ctimeMs ?? 0) > began - MARGIN_MS;

/** Not for a file that changed while the compiler read: the record would call the new text by the old result. */
export const remember = async (
  file: string,
  cacheDir: string,
  maker: string,
  code: CompiledCode,
  began: number,
): Promise<void> => {
  const stamps = stampsOf(code.files);
  if (Object.keys(stamps).some((each) => changedAfter(each, began))) return;
  const path = pathOf(file, cacheDir, maker);
  const draft = `${path}.${process.pid}.tmp`;
  await writeFile(draft, JSON.stringify({ ...code, stamps } satisfies CodeRecord), { mode: 0o600 });
  await rename(draft, path);
};

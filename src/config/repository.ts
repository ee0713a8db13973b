/** Looks at a folder of models: which there are, and what stands beside each. Nothing in it is trusted to be what it seems. */
import { closeSync, constants, type Dirent, fstatSync, openSync, readdirSync, readSync, realpathSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import { VERSION_FOLDER } from '../domain/model.ts';
import { MAX_PBTXT_BYTES } from './pbtxt.ts';
import { nodeAt } from './schema.ts';
import { CONFIG_NAME } from './triton-config.ts';

export interface FoundModel {
  /** Of its folder. */
  readonly name: string;
  /** Its folder, absolute. */
  readonly folder: string;
  /** Where the folder of models really is: nothing of the model may lead out of it. */
  readonly root: string;
  /** What is served: the folder with its versions, or the one `.onnx` in it. */
  readonly path: string;
  /** The bytes of its `config.pbtxt`, where it has one. */
  readonly config?: Uint8Array;
  /** Why it cannot be looked at. */
  readonly problem?: string;
}

export type Repository =
  | {
      /** In the order of their names. */
      readonly models: readonly FoundModel[];
      /** How many more there are than are served from one folder. */
      readonly left: number;
    }
  /** The folder itself cannot be looked at. */
  | { readonly problem: string };

/** Each is a process at least. */
const MAX_MODELS = 1000;

/** A deployment has it. */
export const MODEL_NAME = new RegExp(nodeAt(['applications', 0, 'deployments', 0, 'name'])?.pattern ?? '', 'u');
/** Of folders that can be no models so many are told of. */
const MAX_MISNAMED = 20;

/**
 * Looks at folders again and again. Where there are too many models, those that were found before stay; and where a folder with models is
 * empty and on another disk, theirs is away, and not they.
 */
export const repositoryReader = (diskOf: (path: string) => number = diskUnder): ((path: string) => Repository) => {
  const known = new Map<string, { readonly names: ReadonlySet<string>; readonly disk: number }>();
  return (path) => {
    const before = known.get(path);
    const found = readRepository(path, before?.names);
    if ('problem' in found) return found;
    const disk = diskOf(path);
    if (found.models.length === 0 && before !== undefined && before.names.size > 0 && before.disk !== disk)
      return { problem: 'is empty, and on another disk than its models were: is theirs mounted?' };
    known.set(path, { names: new Set(found.models.map(({ name }) => name)), disk });
    return found;
  };
};

const diskUnder = (path: string): number => statSync(path, { throwIfNoEntry: false })?.dev ?? 0;

/** @param path absolute @param known names that come before others @throws nothing */
export const readRepository = (path: string, known: ReadonlySet<string> = new Set()): Repository => {
  try {
    const root = realpathSync(path);
    const names = readdirSync(path, { withFileTypes: true })
      // Others begin with a dot: `.git`, and what Kubernetes' mounts swap.
      .filter((entry) => !entry.name.startsWith('.') && (entry.isDirectory() || isFolderBehind(entry, path)))
      .map(({ name }) => name)
      .sort();
    const able = names.filter((name) => MODEL_NAME.test(name)).sort((a, b) => Number(known.has(b)) - Number(known.has(a)));
    const misnamed = names.filter((name) => !MODEL_NAME.test(name));
    const models = [...able.slice(0, MAX_MODELS), ...misnamed.slice(0, MAX_MISNAMED)]
      .sort()
      .map((name) => lookAt(root, join(path, name), name));
    return { models, left: Math.max(0, able.length - MAX_MODELS) };
  } catch (error) {
    return { problem: why(error) };
  }
};

/** A link that leads nowhere may have led to one. */
const isFolderBehind = (entry: Dirent, path: string): boolean => {
  if (!entry.isSymbolicLink()) return false;
  try {
    return statSync(join(path, entry.name)).isDirectory();
  } catch {
    return true;
  }
};

const lookAt = (root: string, folder: string, name: string): FoundModel => {
  try {
    if (isOutside(root, realpathSync(folder))) return { name, folder, root, path: folder, problem: OUTSIDE };
    const inside = readdirSync(folder);
    const single = inside.filter((each) => each.endsWith('.onnx'));
    const isFile = single.length === 1 && !inside.some((each) => VERSION_FOLDER.test(each));
    const path = isFile ? join(folder, single[0] as string) : folder;
    if (!inside.includes(CONFIG_NAME)) return { name, folder, root, path };
    return { name, folder, root, path, ...configIn(root, join(folder, CONFIG_NAME)) };
  } catch (error) {
    return { name, folder, root, path: folder, problem: why(error) };
  }
};

const OUTSIDE = 'it is a link that leads out of the folder of models: copy it there, or name it as a deployment with `model`';

const configIn = (root: string, file: string): Pick<FoundModel, 'config' | 'problem'> => {
  try {
    // What leads elsewhere may be anything, and an excerpt of it would be shown.
    if (isOutside(root, realpathSync(file))) return { problem: `${CONFIG_NAME}: ${OUTSIDE}` };
    return { config: readBounded(file) };
  } catch (error) {
    return { problem: `${CONFIG_NAME} ${why(error)}` };
  }
};

/** At most one byte more than it may have. A pipe is not waited for. */
const readBounded = (file: string): Uint8Array => {
  const descriptor = openSync(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw new Error('is no file');
    const buffer = Buffer.alloc(Math.min(stats.size, MAX_PBTXT_BYTES) + 1);
    return buffer.subarray(0, readSync(descriptor, buffer, 0, buffer.length, 0));
  } finally {
    closeSync(descriptor);
  }
};

const isOutside = (root: string, real: string): boolean =>
  real !== root && !real.startsWith(root.endsWith(sep) ? root : root + sep);

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'is not there',
  ENOTDIR: 'is no folder',
  EACCES: 'cannot be read: permission denied',
  EPERM: 'cannot be read: permission denied',
  ELOOP: 'cannot be read: its links lead in a circle',
};

const why = (error: unknown): string => {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return WORDS[code] ?? (code === '' ? message : `cannot be read: ${message}`);
};

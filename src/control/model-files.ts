/** Finds a model's files on disk: one file, or the numbered versions of a folder; and looks at each before a replica is started. */
import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { open, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import PQueue from 'p-queue';
import type { Runnable, VersionPolicy } from '../domain/desired.ts';
import { QUIET_MS } from '../domain/limits.ts';
import { VERSION_FOLDER } from '../domain/model.ts';
import type { Artifact } from './target.ts';

/** What is wrong with a model, and what to watch until it is mended. */
export class ModelError extends Error {
  readonly files: readonly string[];

  constructor(message: string, files: readonly string[]) {
    super(message);
    this.files = files;
  }
}

/** @throws ModelError */
export const modelArtifact = async ({ path, options, within }: Extract<Runnable, { kind: 'model' }>): Promise<Artifact> => {
  const isFolder = (await statOf(path)).isDirectory();
  const found = isFolder
    ? await versionsIn(path, options?.versions ?? { latest: 1 })
    : { versions: [{ version: '1', path }], files: [path] };
  const hashes: string[] = [];
  const files = [...found.files];
  for (const { version, path: file } of found.versions) {
    const beside = await filesBeside(file, isFolder);
    files.push(...beside);
    try {
      if (within !== undefined) for (const each of [file, ...beside]) await checkWithin(within, each);
      hashes.push(`${version}:${await reading.add(() => hashOf(file, true))}`);
      for (const each of beside) hashes.push(`${basename(each)}:${await reading.add(() => hashOf(each, false))}`);
    } catch (error) {
      throw new ModelError((error as Error).message, files);
    }
  }
  const { providers, session, warmup } = options ?? {};
  const told = providers && session && warmup ? { options: { providers, session, warmup } } : {};
  return {
    runs: { kind: 'model', versions: found.versions, ...told },
    fingerprint: createHash('sha256').update(hashes.join()).digest('hex').slice(0, 16),
    files,
  };
};

/** So many of them belong to one model: some exports have one for each tensor. */
const MAX_BESIDE = 2000;

/**
 * Files that the model may have its weights in (external data of ONNX): all of the folder of its version, which has nothing else; beside a
 * model that is named as a file, `model.onnx_data` and the like.
 */
const filesBeside = async (file: string, isVersion: boolean): Promise<readonly string[]> => {
  const name = basename(file);
  const names = await readdir(dirname(file)).catch(() => []);
  const own = names
    .filter((each) => each !== name && !each.startsWith('.'))
    .filter((each) => isVersion || each.startsWith(`${name}_data`) || each.startsWith(`${name}.data`))
    .sort()
    .slice(0, MAX_BESIDE);
  const files: string[] = [];
  for (const each of own.map((found) => join(dirname(file), found)))
    if (
      await stat(each).then(
        (stats) => stats.isFile(),
        () => false,
      )
    )
      files.push(each);
  return files;
};

/** @throws Error when a link leads elsewhere */
const checkWithin = async (folder: string, file: string): Promise<void> => {
  const real = await realpath(file).catch(() => file);
  if (!real.startsWith(folder.endsWith(sep) ? folder : folder + sep))
    throw new Error(
      `${file} is a link that leads out of the folder of models: copy it there, or name it as a deployment with \`model\``,
    );
};

/** So much earlier than a watcher calls a file quiet, so that what it tells of is found so. */
const SETTLED_MS = QUIET_MS - 50;
/** Clocks of file servers differ; what lies further ahead is no time of a change that goes on. */
const AHEAD_MS = 1000;

/** Whether any of the files was changed a moment ago, so that its writer may not have done. @param now milliseconds since the epoch */
export const isBeingWritten = (files: readonly string[], now: number): boolean =>
  files.some((file) => {
    try {
      const ageMs = now - statSync(file).ctimeMs;
      return ageMs < SETTLED_MS && ageMs > -AHEAD_MS;
    } catch {
      return false;
    }
  });

const statOf = (path: string) =>
  stat(path).catch((error: NodeJS.ErrnoException) => {
    const what = error.code === 'ENOENT' ? 'is missing' : `cannot be read: ${error.message}`;
    throw new ModelError(`the model ${path} ${what}`, [path]);
  });

interface Found {
  /** The oldest first. */
  readonly versions: readonly { readonly version: string; readonly path: string }[];
  /** Those whose change, or whose coming, may change what is found. */
  readonly files: readonly string[];
}

/**
 * The versions of a folder that a policy wants. A numbered folder without a model is one that is being filled.
 * @throws ModelError
 */
const versionsIn = async (folder: string, policy: VersionPolicy): Promise<Found> => {
  const inside = await readdir(folder);
  const names = inside.filter((name) => VERSION_FOLDER.test(name)).sort((a, b) => Number(a) - Number(b));
  // A folder is seen to change by what is in it: its own path is looked at, and that of each version beside it.
  const files = [folder, join(folder, '1')];
  const filled: { version: string; path: string }[] = [];
  for (const version of names) {
    const own = join(folder, version);
    const models = (await readdir(own).catch(() => [])).filter((name) => name.endsWith('.onnx')).sort();
    files.push(own, ...(models.length === 0 ? ['model.onnx'] : models).map((name) => join(own, name)));
    if (models.length > 1)
      throw new ModelError(
        `expected one .onnx in each version, got ${models.join(', ')} in ${join(basename(folder), version)}`,
        files,
      );
    if (models[0] !== undefined) filled.push({ version, path: join(own, models[0]) });
  }
  const versions = wanted(filled, policy);
  const missing =
    policy !== 'all' && 'specific' in policy
      ? policy.specific.filter((version) => !versions.some((each) => each.version === String(version)))
      : [];
  if (missing.length > 0)
    throw new ModelError(`the model ${folder} has no version ${missing.join(', ')} with an .onnx in it`, files);
  const loose = inside.filter((name) => name.endsWith('.onnx')).sort();
  if (versions.length === 0 && loose.length > 1)
    throw new ModelError(
      `expected one .onnx in ${folder}, or each in a folder of its version, got ${loose.slice(0, 5).join(', ')}`,
      [...files, ...loose.map((name) => join(folder, name))],
    );
  if (versions.length === 0)
    throw new ModelError(
      `the model ${folder} is a folder without versions: expected ${join(folder, '1', 'model.onnx')} or the like`,
      files,
    );
  return { versions, files };
};

const wanted = <T extends { readonly version: string }>(versions: readonly T[], policy: VersionPolicy): readonly T[] => {
  if (policy === 'all') return versions;
  if ('latest' in policy) return versions.slice(-policy.latest);
  return versions.filter(({ version }) => policy.specific.includes(Number(version)));
};

/** Content hashes of models, kept while size and time of change stay: a model may be large. Those that were read longest ago go first. */
const hashes = new Map<string, { stamp: string; hash: string }>();
const MAX_HASHES = 10_000;
/** Models that are looked into at the same time: a folder may hold hundreds. */
const reading = new PQueue({ concurrency: 4 });
const PIECE_BYTES = 1024 * 1024;

/** @throws Error when it is to be a model, and is none */
const hashOf = async (path: string, isModel: boolean): Promise<string> => {
  const { size, mtimeMs, ino, dev } = await statOf(path);
  const stamp = `${dev} ${ino} ${size} ${mtimeMs}`;
  const known = hashes.get(path);
  if (known?.stamp === stamp) return known.hash;
  const problem = isModel ? await notOnnx(path, size) : undefined;
  if (problem !== undefined) throw new Error(`${path} is not an ONNX model: ${problem}`);
  const sum = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: PIECE_BYTES })) sum.update(piece);
  const hash = sum.digest('hex');
  hashes.delete(path);
  hashes.set(path, { stamp, hash });
  for (const oldest of hashes.keys()) {
    if (hashes.size <= MAX_HASHES) break;
    hashes.delete(oldest);
  }
  return hash;
};

/** A cheap look: the top-level protobuf fields of a model are walked until its graph, nothing is loaded. */
const notOnnx = async (path: string, size: number): Promise<string | undefined> => {
  if (size === 0) return 'it is empty';
  const file = await open(path, 'r');
  try {
    let at = 0;
    const buffer = Buffer.alloc(32);
    for (let fields = 0; fields < 1000 && at < size; fields++) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      const tag = varint(buffer, 0, bytesRead);
      if (tag === undefined) return 'it does not begin as one';
      const [field, wire] = [Math.floor(tag.value / 8), tag.value % 8];
      const value = varint(buffer, tag.next, bytesRead);
      if (value === undefined || field === 0 || field > 30 || (wire !== 0 && wire !== 2)) return 'it does not begin as one';
      if (field === 7 && wire === 2) return at + value.next + value.value > size ? 'it is cut off' : undefined;
      at += wire === 0 ? value.next : value.next + value.value;
    }
    return 'it has no graph';
  } finally {
    await file.close();
  }
};

const varint = (bytes: Buffer, from: number, end: number): { value: number; next: number } | undefined => {
  let value = 0;
  for (let index = from; index < Math.min(end, from + 8); index++) {
    const byte = bytes[index] as number;
    value += (byte & 0x7f) * 2 ** (7 * (index - from));
    if (byte < 0x80) return { value, next: index + 1 };
  }
  return undefined;
};

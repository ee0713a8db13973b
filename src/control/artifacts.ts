/** Finds on disk what deployments run: compiles code, looks at models, and tells what is wrong with them before a replica is started. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import type { ApplicationSpec, Runnable } from '../domain/desired.ts';
import { CodeError, type CompiledCode, compileCode, stopCompiler } from './code.ts';
import type { Artifact, PolicyCode } from './target.ts';

export interface Artifacts {
  /** By deployment name. */
  readonly found: ReadonlyMap<string, Artifact>;
  /** What is wrong, by deployment name; empty when the application can be built. */
  readonly problems: ReadonlyMap<string, string>;
  /** Files to watch, also of what is broken. */
  readonly files: readonly string[];
}

/** @param compiled results of this round, so that a file that several deployments name is compiled once */
export const findArtifacts = async (
  spec: ApplicationSpec,
  cacheDir: string,
  compiled: Map<string, Promise<CompiledCode>>,
): Promise<Artifacts> => {
  const found = new Map<string, Artifact>();
  const problems = new Map<string, string>();
  const files = new Set<string>();
  for (const { name, runs, autoscaling } of spec.deployments) {
    const policy = autoscaling?.policy ?? undefined;
    try {
      const artifact = runs.kind === 'model' ? await modelArtifact(runs.path) : await codeArtifact(runs, cacheDir, compiled);
      const code = policy && (await codeArtifact({ kind: 'module', ...policy }, cacheDir, compiled));
      found.set(name, code === undefined ? artifact : { ...artifact, policy: policyOf(code) });
      for (const file of [...artifact.files, ...(code?.files ?? [])]) files.add(file);
    } catch (error) {
      problems.set(name, (error as Error).message);
      files.add(runs.kind === 'model' ? runs.path : runs.file);
      if (policy !== undefined) files.add(policy.file);
    }
  }
  return { found, problems, files: [...files] };
};

/** What is wrong with files that are there; one that is missing has been told by the config's own checks. */
export const fileProblems = async (
  applications: readonly ApplicationSpec[],
  cacheDir: string,
): Promise<readonly { readonly path: string; readonly message: string }[]> => {
  const compiled = new Map<string, Promise<CompiledCode>>();
  const told: { path: string; message: string }[] = [];
  for (const [index, spec] of applications.entries()) {
    const { problems } = await findArtifacts(spec, cacheDir, compiled);
    for (const [place, { name, runs }] of spec.deployments.entries()) {
      const message = problems.get(name);
      if (message === undefined || !existsSync(runs.kind === 'model' ? runs.path : runs.file)) continue;
      told.push({
        path: `applications[${index}].deployments[${place}].${runs.kind === 'model' ? 'model' : 'import_path'}`,
        message,
      });
    }
  }
  await stopCompiler();
  return told;
};

const policyOf = ({ runs }: Artifact): PolicyCode | undefined =>
  runs.kind === 'module' ? { entry: runs.entry, export: runs.export } : undefined;

const codeArtifact = async (
  runs: Extract<Runnable, { kind: 'module' }>,
  cacheDir: string,
  compiled: Map<string, Promise<CompiledCode>>,
): Promise<Artifact> => {
  let pending = compiled.get(runs.file);
  if (pending === undefined) {
    pending = compileCode(runs.file, cacheDir);
    compiled.set(runs.file, pending);
  }
  const code = await pending;
  // An `export *` of a package is known at run time only: then the replica says what is missing.
  if (code.exports.length > 0 && !code.exports.includes(runs.export) && !code.exports.includes('*')) {
    throw new CodeError(`${runs.file} has no export \`${runs.export}\`; it has ${code.exports.join(', ')}`);
  }
  return {
    runs: { kind: 'module', entry: code.entry, source: runs.file, export: runs.export },
    fingerprint: code.fingerprint,
    files: code.files,
  };
};

/** Content hashes of models, kept while size and time of change stay: a model may be large. */
const hashes = new Map<string, { stamp: string; hash: string }>();

const modelArtifact = async (path: string): Promise<Artifact> => {
  const { size, mtimeMs, ino, dev } = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new Error(
      error.code === 'ENOENT' ? `the model ${path} is missing` : `the model ${path} cannot be read: ${error.message}`,
    );
  });
  const problem = await notOnnx(path, size);
  if (problem !== undefined) throw new Error(`${path} is not an ONNX model: ${problem}`);
  const stamp = `${dev} ${ino} ${size} ${mtimeMs}`;
  let known = hashes.get(path);
  if (known?.stamp !== stamp) {
    known = {
      stamp,
      hash: createHash('sha256')
        .update(await readFile(path))
        .digest('hex')
        .slice(0, 16),
    };
    hashes.set(path, known);
  }
  return { runs: { kind: 'model', path }, fingerprint: known.hash, files: [path] };
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

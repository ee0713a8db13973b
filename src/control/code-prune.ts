/** Takes away compiled code that nothing runs any more: edits leave a file each, and a daemon lives for months. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

export interface CodeBounds {
  /** Files that nothing runs, the newest; going back to one of them compiles nothing. */
  readonly files: number;
  readonly bytes: number;
}

const BOUNDS: CodeBounds = { files: 200, bytes: 256 * 1024 * 1024 };

/** @param inUse absolute; they stay, and do not count */
export const pruneCode = async (folder: string, inUse: ReadonlySet<string>, bounds: CodeBounds = BOUNDS): Promise<void> => {
  try {
    const names = (await readdir(folder)).filter((name) => /\.(mjs|json|tmp)$/.test(name));
    // Each edit brings two: code, and what it was compiled from.
    const paths = names.map((name) => join(folder, name)).filter((path) => !inUse.has(path));
    const files = await Promise.all(
      paths.map(async (path) => {
        const { mtimeMs, size } = await stat(path);
        return { path, mtimeMs, size };
      }),
    );
    files.sort((a, b) => b.mtimeMs - a.mtimeMs);
    let bytes = 0;
    for (const [index, { path, size }] of files.entries()) {
      bytes += size;
      if (index >= bounds.files || bytes > bounds.bytes) await rm(path, { force: true });
    }
  } catch {
    // Another time: nothing depends on it.
  }
};

/** Installs and builds what is missing, so that every command works on a fresh clone. Node's own modules only. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Runs a program to its end; a failure ends this one with the same code. */
export const run = (command, args, options = {}) => {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', ...options });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
};

export const bin = (name) => join(ROOT, 'node_modules', '.bin', name);

const newest = (folder) => {
  let latest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) latest = Math.max(latest, statSync(join(entry.parentPath ?? entry.path, entry.name)).mtimeMs);
  }
  return latest;
};

const mtime = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0);

/** `npm ci` where the lock file is newer than what is installed. */
export const ensureInstalled = () => {
  const installed = join(ROOT, 'node_modules', '.package-lock.json');
  if (mtime(installed) >= mtime(join(ROOT, 'package-lock.json'))) return;
  console.log('installing packages …');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
};

/** Compiles `src` to `dist`. */
export const build = () => {
  rmSync(join(ROOT, 'dist'), { recursive: true, force: true });
  run(process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json']);
};

/** Builds where a source is newer than what was built. */
export const ensureBuilt = () => {
  ensureInstalled();
  const built = mtime(join(ROOT, 'dist', 'cli', 'main.js'));
  if (built > 0 && (!existsSync(join(ROOT, 'src')) || built >= newest(join(ROOT, 'src')))) return;
  console.log('building …');
  build();
};

/** `npm run bench [echo …]`: ratios measured in one run, in turn; `--help` says which there are. Nothing else should run on the machine. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ensureBuilt, ROOT } from './prepare.mjs';

ensureBuilt();
const { status } = spawnSync(
  process.execPath,
  ['--import=tsx', join(ROOT, 'test', 'bench', 'main.ts'), ...process.argv.slice(2)],
  { cwd: ROOT, stdio: 'inherit' },
);
process.exit(status ?? 1);

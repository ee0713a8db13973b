/** `npm run soak [R1 …] [--scale 0.1]`: the reliability promises at full size, each also sabotaged; `--help` says which there are. Nothing else should run on the machine. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ensureBuilt, ROOT } from './prepare.mjs';

ensureBuilt();
const { status } = spawnSync(
  process.execPath,
  ['--import=tsx', join(ROOT, 'test', 'soak', 'main.ts'), ...process.argv.slice(2)],
  { cwd: ROOT, stdio: 'inherit' },
);
process.exit(status ?? 1);

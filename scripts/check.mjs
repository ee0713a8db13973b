/** `npm run check`: everything that can be said of the code without running it. */
import { bin, ensureInstalled, run } from './prepare.mjs';

ensureInstalled();
const steps = [
  ['format and lint', bin('biome'), ['check', '--error-on-warnings']],
  ['types', bin('tsc'), ['--noEmit']],
  ['dead code and unused packages', bin('knip'), []],
  ['who may import whom', bin('depcruise'), ['src', '--config', '.dependency-cruiser.cjs']],
  ['config schema', process.execPath, ['scripts/config-schema.mjs']],
  ['config reference', process.execPath, ['scripts/config-docs.mjs', '--check']],
];
for (const [name, command, args] of steps) {
  console.log(`check: ${name}`);
  run(command, args);
}

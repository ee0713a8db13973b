/** Compiled code that nothing runs is bounded; what runs stays, however old it is. */
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { pruneCode } from '../../src/control/code-prune.ts';

t.test('the newest stay, within a number and a size; and whatever is in use', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sd-code-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const fill = () => {
    for (let n = 0; n < 9; n++) {
      writeFileSync(join(folder, `${n}.mjs`), 'x'.repeat(100));
      utimesSync(join(folder, `${n}.mjs`), 1000 + n, 1000 + n);
    }
    writeFileSync(join(folder, 'README'), 'not ours');
  };
  const inUse = new Set([join(folder, '0.mjs')]);
  fill();
  await pruneCode(folder, inUse, { files: 3, bytes: 1e9 });
  t.same(readdirSync(folder).sort(), ['0.mjs', '6.mjs', '7.mjs', '8.mjs', 'README']);
  fill();
  await pruneCode(folder, inUse, { files: 100, bytes: 250 });
  t.same(readdirSync(folder).sort(), ['0.mjs', '7.mjs', '8.mjs', 'README']);
});

t.test('a folder that is not there is nobody’s business', async () => {
  await pruneCode('/nowhere/at/all', new Set());
});

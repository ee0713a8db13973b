/** A config file is read no further than its bound. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { compile } from '../../src/config/compile.ts';
import { readConfigFile } from '../../src/control/config-file.ts';
import { MAX_CONFIG_BYTES } from '../../src/domain/limits.ts';

const folder = mkdtempSync(join(tmpdir(), 'sd-config-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'config.yaml');

t.test('what is within the bound is read whole', async (t) => {
  for (const size of [0, 1, 65_536, 65_537, MAX_CONFIG_BYTES]) {
    const content = Buffer.alloc(size, 'a');
    writeFileSync(path, content);
    t.ok(content.equals(await readConfigFile(path)), `${size} bytes`);
  }
});

t.test('what is larger is refused unread: a terabyte costs nothing', async (t) => {
  writeFileSync(path, '');
  truncateSync(path, 2 ** 40);
  const text = await readConfigFile(path);
  t.equal(text.byteLength, MAX_CONFIG_BYTES + 1);
  const { diagnostics } = compile(text, { file: path, env: {}, exists: () => true });
  t.match(diagnostics, [{ code: 'TOO_LARGE', message: /at most 4194304 bytes/ }]);
});

t.test('what has no end is read to the bound', async (t) => {
  t.equal((await readConfigFile('/dev/zero')).byteLength, MAX_CONFIG_BYTES + 1);
});

t.test('what is not there, or is a folder, is told by its code', async (t) => {
  await t.rejects(readConfigFile(join(folder, 'none.yaml')), { code: 'ENOENT' });
  await t.rejects(readConfigFile(folder), { code: 'EISDIR' });
});

/** What is written to the log comes out whole and in order, however busy the machine is. */
import { spawnSync } from 'node:child_process';
import t from 'tap';

/** So many threads for files as there are, all of them busy: what is being written has to wait for one. */
const SCRIPT = `
import { pbkdf2 } from 'node:crypto';
import { openLog } from './dist/telemetry/log.js';
import { LogRules } from './dist/domain/logging.js';
const log = await openLog(new LogRules({ encoding: 'JSON', level: 'info', directory: null, accessLog: true }, []), undefined);
log.logger.info('first');
await log.written();
for (let n = 0; n < 4; n++) pbkdf2('a', 'b', 50_000, 32, 'sha256', () => {});
log.writeLines('second\\n');
log.logger.info('third');
await log.written();
log.flush();
process.exit();
`;

t.test('what is awaited comes out in order, although all threads are busy', async (t) => {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', SCRIPT], {
    encoding: 'utf8',
    env,
  });
  t.equal(stderr, '');
  t.match(stdout.trim().split('\n'), [/"msg":"first"/, 'second', /"msg":"third"/]);
});

/** Hundreds of broken configs over the live one, under constant requests: what served goes on serving. */
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { compile } from '../../src/config/compile.ts';
import { brokenConfigs, ENVIRONMENT, mistakeOf } from '../support/broken-configs.ts';
import { ask, differs, Load, startDaemon } from '../support/daemon-rig.ts';
import { configOf, ECHO, NEIGHBOUR } from './configs.ts';

t.setTimeout(280_000);

const GOOD = configOf([NEIGHBOUR]);
const COUNT = 150;

t.test('broken configs over the live one', async (t) => {
  const context = { file: '/srv/config.yaml', env: ENVIRONMENT, exists: () => false };
  // Those that would be applied, or wait for a file, are not what this is about.
  const refused = brokenConfigs().filter(({ content }) => {
    const { desired, diagnostics } = compile(content, context);
    return desired === undefined && diagnostics.length < 50;
  });
  const chosen = refused.filter((_, index) => index % Math.floor(refused.length / COUNT) === 0).slice(0, COUNT);
  t.equal(chosen.length, COUNT);
  await using daemon = await startDaemon(GOOD, { files: { 'echo.ts': ECHO }, env: ENVIRONMENT });
  const pids = await daemon.pids('neighbour', 'Only');
  const body = JSON.stringify('well');
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body };
  const url = `${daemon.url}/neighbour`;
  await using load = new Load(2, async (_, agent) => differs(await ask(url, { ...options, agent }), 200, 'well'));

  for (const { title, content } of chosen) {
    const expected = compile(content, context).diagnostics.filter(({ severity }) => severity === 'error');
    // Which files there are is not what this is about.
    const places = (errors: readonly { line: number; column: number; code: string }[]) =>
      errors.flatMap(({ line, column, code }) => (code === 'FILE_MISSING' ? [] : [`${line}:${column} ${code}`])).join(' ');
    writeFileSync(daemon.config, content);
    const { config } = await daemon.when(`${title} is told: ${places(expected)}`, ({ config }) =>
      places(config.errors.filter(({ severity }) => severity === 'error')).startsWith(places(expected).slice(0, 200)),
    );
    const mistake = mistakeOf(config.errors);
    if (mistake !== undefined) t.fail(`${title}: ${mistake}`);
  }

  await load.more(20);
  await load.stop();
  t.same(load.failures, []);
  t.comment(`${load.good} requests while ${COUNT} configs were refused`);
  const from = daemon.log.length;
  await daemon.save(GOOD);
  await daemon.waitForLog((line) => line.msg.includes('good again'), from);
  t.same(await daemon.pids('neighbour', 'Only'), pids, 'the same replica all the while');
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('a file that is cut off at a place where it is valid is applied', async (t) => {
  const config = `${GOOD}- {name: second, route_prefix: /second, deployments: [{name: Only, import_path: './echo.ts:echo'}]}\n`;
  await using daemon = await startDaemon(config, { files: { 'echo.ts': ECHO } });
  t.equal((await daemon.post('/second', 'well')).text, 'well');
  const from = daemon.log.length;
  writeFileSync(daemon.config, GOOD);
  await daemon.waitForLog('config applied', from);
  await daemon.when('the second has gone', ({ applications }) => applications['second'] === undefined);
  t.equal((await daemon.post('/second', 'well')).status, 404);
  t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
  t.same(await daemon.stop(), { code: 0, signal: null });
});

/** What stands in `deploy/`, as far as it can be tried without a container. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { parse } from 'yaml';
import { launchDaemon, startDaemon } from '../support/daemon-rig.ts';
import { configOf, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(120_000);

const files = {
  'echo.ts': 'export const echo = (input: unknown) => input;',
  'slow.ts': 'export class Slow { constructor() { return new Promise(() => {}); } call() {} }',
};
const check = (url: string): Promise<number | null> =>
  new Promise((done) => {
    const env = { ...process.env, PORT: new URL(url).port, NODE_OPTIONS: '' };
    spawn(process.execPath, ['deploy/healthcheck.mjs'], { env, stdio: 'ignore' }).once('exit', done);
  });

t.test('the health check of the image: 0 when it serves, 1 while it starts and when it has gone', async (t) => {
  {
    await using daemon = await launchDaemon(configOf([NEIGHBOUR, single('slow', '/slow', { import_path: './slow.ts:Slow' })]), {
      files,
    });
    await daemon.waitForLog('listening for HTTP');
    t.equal(await check(daemon.url), 1, 'one application is not ready');
  }
  await using daemon = await startDaemon(configOf([NEIGHBOUR]), { files });
  const { url } = daemon;
  t.equal(await check(url), 0);
  await daemon.stop();
  t.equal(await check(url), 1);
});

t.test('the Dockerfile takes what there is, does not run as root, and passes signals on', async (t) => {
  const lines = readFileSync('deploy/Dockerfile', 'utf8').replaceAll('\\\n', ' ').split('\n');
  const copied = lines
    .filter((line) => line.startsWith('COPY ') && !line.includes('--from'))
    .flatMap((line) => line.split(' ').slice(1, -1));
  t.ok(copied.length > 3);
  for (const source of copied) t.ok(existsSync(source), source);
  t.equal(
    lines.findLast((line) => line.startsWith('USER ')),
    'USER node',
  );
  t.match(
    lines.findLast((line) => line.startsWith('ENTRYPOINT ')),
    '["tini", "--", "serve-daemon"]',
    'no shell stands between',
  );
  const ignored = readFileSync('deploy/Dockerfile.dockerignore', 'utf8').split('\n');
  t.ok(ignored.includes('node_modules') && ignored.includes('.git'));
});

t.test('compose gives it time to drain', async (t) => {
  const { services } = parse(readFileSync('deploy/compose.yaml', 'utf8')) as {
    services: Record<string, { stop_grace_period: string; read_only: boolean; build: { dockerfile: string } }>;
  };
  const service = services['serve-daemon'];
  t.match(service, { stop_grace_period: '90s', read_only: true });
  t.ok(existsSync(service?.build.dockerfile ?? ''));
});

/** R10: the daemon is killed under load and started again by whoever supervises it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configOf, single } from '../e2e/configs.ts';
import { allGone, isGone, startDaemon } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { code, echoes, QUIET } from './parts.ts';
import { Findings, type Promised, pause, percentile, type World } from './soak.ts';

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

const LOOP = `export class Loop { call() { while (true); } }\n`;

const run = async ({ size, pace, strict, program }: World) => {
  const found = new Findings();
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), 'sd-e2e-'));
  const config = configOf(
    [
      single('echo', '/echo', { import_path: './code.ts:Echo', num_replicas: 2, max_ongoing_requests: 20 }),
      single('loop', '/loop', { import_path: './loop.ts:Loop' }),
    ],
    QUIET.replace('port: 0}', `port: ${port}}`),
  );
  const files = { 'code.ts': code(), 'loop.ts': LOOP };
  const goneMs: number[] = [];
  const againMs: number[] = [];
  const hashes = new Set<string>();
  const rounds = size(50, 2);
  let sent = 0;
  try {
    for (let round = 0; round <= rounds; round++) {
      const began = performance.now();
      await using daemon = await startDaemon(config, { files, folder, program });
      againMs.push(performance.now() - began);
      hashes.add((await daemon.status()).config.hash);
      await daemon.running();
      await using load = new OpenLoop(() => `http://127.0.0.1:${port}`, [echoes('echo', '/echo', pace(200, 40))]);
      await load.more(40);
      found.expect(load.failures.length === 0, `requests failed before it was killed: ${load.failures}`);
      sent += load.sent;
      void daemon.post('/loop', null).catch(() => {});
      await daemon.when('one loops', ({ applications }) => applications['loop']?.deployments['Only']?.ongoing === 1);
      await pause(50);
      const replicas = daemon.processes().filter((pid) => pid !== daemon.pid);
      daemon.signal('SIGKILL');
      const killed = performance.now();
      await daemon.exited;
      try {
        await allGone(replicas, strict ? 2000 : 10_000);
        goneMs.push(performance.now() - killed);
      } catch (error) {
        found.broken.push(`replicas outlive the daemon: ${(error as Error).message}`);
        for (const pid of replicas) if (!isGone(pid)) process.kill(pid, 'SIGKILL');
        break;
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  found.expect(hashes.size === 1, `${hashes.size} configs were served`);
  const slowestMs = Math.round(Math.max(...againMs.slice(1)));
  found.expect(!strict || slowestMs <= 3000, `it served again only after ${slowestMs} ms`);
  return {
    figures: {
      kills: rounds + 1,
      sent,
      gone_ms_max: Math.round(Math.max(...goneMs)),
      serving_again_ms_p95: Math.round(percentile(againMs.slice(1), 0.95)),
      serving_again_ms_max: slowestMs,
    },
    broken: found.broken,
  };
};

export const daemonDeath: Promised = {
  id: 'R10',
  title: 'a killed daemon leaves nothing, and serves again when it is started',
  run,
  sabotages: [
    {
      what: 'no signal comes from the kernel when the daemon dies',
      patches: [{ file: 'control/platform.js', from: "const setpriv = found('setpriv');", to: 'const setpriv = undefined;' }],
      shows: /replicas outlive the daemon/,
    },
  ],
};

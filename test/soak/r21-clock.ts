/** R21: the wall clock of the daemon jumps a day ahead, a day back, and steps back again and again, while it serves and reloads. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { configOf, single } from '../e2e/configs.ts';
import { startDaemon } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { code, echoes, QUIET } from './parts.ts';
import { Findings, type Promised, type World } from './soak.ts';

const DAY_MS = 86_400_000;

const config = (v: number): string =>
  configOf(
    [
      single('echo', '/echo', {
        import_path: './code.ts:Echo',
        num_replicas: 2,
        max_ongoing_requests: 20,
        request_timeout_s: 20,
        user_config: v,
        health_check_period_s: 0.2,
        retry: { idempotent: true },
      }),
      single('dies', '/dies', { import_path: './dies.ts:Dies', max_constructor_retry_count: 1000, init_args: { v } }),
    ],
    QUIET,
  );

const run = async ({ size, pace, program }: World) => {
  const found = new Findings();
  const folder = mkdtempSync(join(tmpdir(), 'sd-clock-'));
  const clock = join(folder, 'offset');
  writeFileSync(clock, '0');
  try {
    await using daemon = await startDaemon(config(0), {
      files: { 'code.ts': code(), 'dies.ts': 'export class Dies { constructor() { process.exit(3); } call() {} }\n' },
      program,
      ready: false,
      node: ['--import', fileURLToPath(new URL('./shift-clock.mjs', import.meta.url))],
      env: { SOAK_CLOCK: clock },
    });
    await daemon.when('it serves', ({ applications }) => applications['echo']?.status === 'RUNNING');
    await using load = new OpenLoop(() => daemon.url, [echoes('echo', '/echo', pace(100, 40), 'kept', { ms: 100 })]);
    const offsets = [DAY_MS, -DAY_MS, 0, ...Array.from({ length: size(60, 2) }, (_, n) => -1000 * (n + 1))];
    for (const [index, offset] of offsets.entries()) {
      const starts = () =>
        daemon.log.filter(({ msg, replica }) => msg === 'replica died' && String(replica).startsWith('dies/')).length;
      const died = starts();
      writeFileSync(clock, String(offset));
      const from = daemon.log.length;
      await load.more(30);
      // A day behind, its log says so: the clock did jump.
      const [pid] = await daemon.pids('echo', 'Only');
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
      await daemon.save(config(index + 1));
      const line = await daemon.waitForLog('config applied', from);
      found.expect(
        Math.abs(Number(line['time']) - Date.now() - offset) < 60_000,
        `the clock of the daemon is not ${offset} ms off`,
      );
      await daemon
        .when(
          'two run again',
          ({ applications }) =>
            applications['echo']?.deployments['Only']?.replicas.filter(({ state }) => state === 'RUNNING').length === 2,
        )
        .catch(() => found.broken.push(`after ${offset} ms: a killed replica does not come back`));
      // The edit brings a new version of what dies: it is tried twice at once, and then waits.
      await daemon
        .waitForLog((each) => each.msg === 'replica died' && String(each['replica']).startsWith('dies/'), from)
        .catch(() => found.broken.push(`after ${offset} ms: back-off never ends`));
      found.expect(starts() - died < 12, `after ${offset} ms: ${starts() - died} starts without a wait`);
    }
    await load.stop();
    found.expect(load.failures.length === 0, `requests failed: ${load.failures}`);
    const deaths = daemon.log.filter(
      ({ msg, cause }) => msg === 'replica died' && ['unresponsive', 'health', 'startup', 'stuck'].includes(String(cause)),
    );
    found.expect(deaths.length === 0, `replicas were replaced for nothing: ${JSON.stringify(deaths[0])}`);
    const exit = await daemon.stop();
    found.expect(exit.code === 0, `it ended with ${exit.code ?? exit.signal}`);
    return { figures: { jumps: offsets.length, sent: load.sent, failed: load.failures.length }, broken: found.broken };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

export const clockJumps: Promised = {
  id: 'R21',
  title: 'jumps of the wall clock change nothing',
  run,
  sabotages: [
    {
      what: 'the heartbeats of replicas are timed by the wall clock',
      patches: [{ file: 'proxy/worker.js', from: 'const now = () => performance.now();', to: 'const now = () => Date.now();' }],
      shows: /requests failed|replaced for nothing|does not come back/,
    },
  ],
};

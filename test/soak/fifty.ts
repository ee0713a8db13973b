/** Fifty deployments of four replicas each start, reload and stop, with no more of them coming up at once than there are places. */
import { availableParallelism } from 'node:os';
import { configOf } from '../e2e/configs.ts';
import { startDaemon } from '../support/daemon-rig.ts';
import { code, QUIET } from './parts.ts';
import { Findings, type Promised, type World } from './soak.ts';

const run = async ({ size, program }: World) => {
  const found = new Findings();
  const [deployments, replicas] = [size(50, 6), size(4, 2)];
  const config = (v: number) =>
    configOf(
      Array.from({ length: Math.ceil(deployments / 10) }, (_, app) => ({
        name: `app${app}`,
        route_prefix: `/app${app}`,
        graph: { ingress: 'D0', calls: {} },
        deployments: Array.from({ length: Math.min(10, deployments - 10 * app) }, (_each, index) => ({
          name: `D${index}`,
          import_path: './code.ts:Echo',
          num_replicas: replicas,
          // The first of each application gets new replicas, the others only hear of it.
          ...(index === 0 ? { init_args: { v } } : { user_config: { v } }),
        })),
      })),
      QUIET,
    );
  const within = 180_000;
  const began = performance.now();
  await using daemon = await startDaemon(config(0), { files: { 'code.ts': code() }, program, ready: false });
  let most = 0;
  const started = await daemon.when(
    'all run',
    ({ applications }) => {
      const all = Object.values(applications).flatMap((app) => Object.values(app.deployments).flatMap((each) => each.replicas));
      most = Math.max(most, all.filter(({ state, pid }) => state === 'STARTING' && pid !== null).length);
      return Object.values(applications).length > 0 && Object.values(applications).every(({ status }) => status === 'RUNNING');
    },
    within,
  );
  const startedMs = performance.now() - began;
  const all = Object.values(started.applications).flatMap((app) =>
    Object.values(app.deployments).flatMap((each) => each.replicas),
  );
  found.expect(all.length === deployments * replicas, `${all.length} replicas run, expected ${deployments * replicas}`);
  // A place is given on after a second, so on a machine that is busy there may be more; never all.
  const places = Math.max(2, availableParallelism());
  found.expect(most < all.length / 2 || most <= 4 * places, `${most} came up at once`);
  const from = daemon.log.length;
  const reloading = performance.now();
  await daemon.save(config(1));
  await daemon.waitForLog('config applied', from, within);
  const after = await daemon.running(within);
  const reloadedMs = performance.now() - reloading;
  const kept = new Set(all.map(({ pid }) => pid));
  const exchanged = Object.values(after.applications)
    .flatMap((app) => Object.values(app.deployments).flatMap((each) => each.replicas))
    .filter(({ pid }) => !kept.has(pid)).length;
  const applications = Math.ceil(deployments / 10);
  found.expect(
    exchanged === applications * replicas,
    `${exchanged} replicas were exchanged, expected ${applications * replicas}`,
  );
  for (let app = 0; app < applications; app++) {
    const { status } = await daemon.post(`/app${app}`, { n: app });
    found.expect(status === 200, `application ${app} answers ${status}`);
  }
  const deaths = daemon.log.filter(({ msg }) => msg === 'replica died').length;
  found.expect(deaths === 0, `${deaths} replicas died`);
  const stopping = performance.now();
  const exit = await daemon.stop('SIGTERM', 60_000);
  found.expect(exit.code === 0, `it ended with ${exit.code ?? exit.signal}`);
  found.expect(daemon.processes().length === 0, `${daemon.processes().length} processes are left`);
  return {
    figures: {
      replicas: all.length,
      most_at_once: most,
      started_s: Math.round(startedMs / 100) / 10,
      reloaded_s: Math.round(reloadedMs / 100) / 10,
      stopped_s: Math.round((performance.now() - stopping) / 100) / 10,
    },
    broken: found.broken,
  };
};

export const fifty: Promised = {
  id: 'FIFTY',
  title: '50 deployments of 4 replicas start, reload and stop cleanly',
  run,
  sabotages: [
    {
      what: 'replicas are started all at once',
      patches: [{ file: 'control/fleet.js', from: 'concurrency: options.concurrentStarts', to: 'concurrency: 1_000' }],
      shows: /came up at once/,
    },
  ],
};

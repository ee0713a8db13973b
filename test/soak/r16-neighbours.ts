/**
 * R16: a deployment that uses CPU up to its quota, and memory up to its limit again and again, beside one with its work half full: the
 * other loses nothing and is hardly slower, and what was done is put down to the one that did it.
 */
import { availableParallelism } from 'node:os';
import { configOf, single } from '../e2e/configs.ts';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { code, echoes, QUIET } from './parts.ts';
import { Findings, type Promised, pause, type World } from './soak.ts';

/** Of one slot: 5 ms of work, a hundred times a second. */
const WORK = { busy: 5 };
const FULL_PER_SECOND = 1000 / WORK.busy;

const GREEDY = `import { spawn } from 'node:child_process';
const spin = 'while (true);';
export class Greedy {
  kept = [];
  async call({ eat, spin: threads }) {
    for (let n = 0; n < (threads ?? 0); n++) spawn(process.execPath, ['-e', spin], { stdio: 'ignore' });
    // Beyond what it may have, and no further where nobody stops it; then so long that whoever looks now and then has looked.
    for (let n = 0; n < (eat ?? 0); n++) { this.kept.push(Buffer.alloc(2 ** 23, 1)); await new Promise((resolve) => setTimeout(resolve, 2)); }
    if (eat) await new Promise((resolve) => setTimeout(resolve, 1500));
    return 'still here';
  }
}
`;
const MEMORY_MIB = 192;
const PIECES = 40;

const config = (cpu_limit: number) =>
  configOf(
    [
      single('greedy', '/greedy', {
        import_path: './greedy.ts:Greedy',
        ray_actor_options: { num_cpus: 0.5, cpu_limit, memory: `${MEMORY_MIB}MiB` },
      }),
      single('steady', '/steady', { import_path: './code.ts:Echo', max_ongoing_requests: 1, ray_actor_options: { num_cpus: 1 } }),
    ],
    QUIET,
  );

/** The sum of a metric over the replicas of an application; undefined: nobody tells it. */
const sumOf = (text: string, name: string, labels: string): number | undefined => {
  const values = [...text.matchAll(new RegExp(`^${name}\\{${labels}[^}]*\\} ([\\d.e+-]+)$`, 'gm'))].map(([, value]) =>
    Number(value),
  );
  return values.length === 0 ? undefined : values.reduce((sum, each) => sum + each, 0);
};

const told = async (daemon: DaemonRig, name: string, labels: string): Promise<number | undefined> =>
  sumOf((await daemon.ask('/metrics', {}, daemon.adminUrl)).text, name, labels);

const throttledOf = (daemon: DaemonRig, application: string) =>
  told(daemon, 'serve_replica_cpu_throttled_seconds_total', `application="${application}"`);
const deathsOf = (daemon: DaemonRig, application: string, cause = '') =>
  told(daemon, 'serve_replica_deaths_total', `application="${application}",deployment="Only",cause="${cause}`);

const run = async ({ size, pace, strict, program }: World) => {
  const found = new Findings();
  // So little in the short form that a busy machine gives it as much.
  await using daemon = await startDaemon(config(pace(0.5, 0.1)), { files: { 'code.ts': code(), 'greedy.ts': GREEDY }, program });
  const { applications } = await daemon.running();
  const mechanism = applications['greedy']?.deployments['Only']?.replicas[0]?.quota?.mechanism ?? '';
  await using load = new OpenLoop(
    () => daemon.url,
    [echoes('steady', '/steady', FULL_PER_SECOND * pace(0.5, 0.2), 'kept', WORK)],
  );
  const seconds = size(60, 1);
  await load.more(20);
  load.resetLatency();
  await pause(seconds * 1000);
  const aloneMs = load.p99Ms('steady');

  // CPU, with more threads than there are CPUs.
  await daemon.post('/greedy', { spin: 2 * availableParallelism() });
  load.resetLatency();
  await pause(seconds * 1000);
  const besideCpuMs = load.p99Ms('steady');
  const byGroups = mechanism !== 'none' && mechanism !== 'rlimit+watchdog';
  const held = () => throttledOf(daemon, 'greedy');
  if (byGroups) await until('it is held back', async () => ((await held()) ?? 0) > 0, 10_000).catch(() => {});
  const throttledS = await held();
  found.expect(!byGroups || (throttledS ?? 0) > 0, `the greedy one was held back for ${throttledS ?? 'no'} s by the metrics`);
  const replicas = await daemon.replicas('greedy', 'Only');
  found.expect(
    !byGroups || replicas.some(({ cpu_throttled_s }) => (cpu_throttled_s ?? 0) > 0),
    `the greedy one was held back for ${replicas[0]?.cpu_throttled_s} s by the status`,
  );

  // Memory: each time it is ended, and comes back.
  const times = size(8, 2);
  let survived = 0;
  load.resetLatency();
  for (let n = 0; n < times; n++) {
    await daemon.running(60_000);
    // One that has lived for ten seconds is replaced without back-off.
    await pause(pace(10_500, 0));
    const { status } = await daemon.post('/greedy', { eat: PIECES });
    if (status === 200) survived += 1;
    else await until('its death is counted', async () => ((await deathsOf(daemon, 'greedy')) ?? 0) > n);
  }
  found.expect(survived === 0, `the greedy one passed its memory ${survived} × and was not ended for it`);
  await load.more(20);
  const besideMemoryMs = load.p99Ms('steady');
  await load.stop();
  found.expect(load.failures.length === 0, `requests of the neighbour failed: ${load.failures.join('; ').slice(0, 500)}`);
  const oom = await deathsOf(daemon, 'greedy', 'oom"');
  found.expect(oom === times, `${oom ?? 'no'} deaths of the greedy one are put down to its memory, expected ${times}`);
  const { last_death, deaths } = (await daemon.status()).applications['greedy']?.deployments['Only'] ?? {};
  found.expect(
    deaths?.['oom'] === times && /^OOM_KILLED: /.test((last_death as { message?: string } | null)?.message ?? ''),
    `the status says of its end ${JSON.stringify(last_death)}`,
  );
  const others = [await deathsOf(daemon, 'steady'), (await throttledOf(daemon, 'steady')) ?? 0];
  found.expect(others[0] === 0 && others[1] === 0, `its neighbour has ${others[0]} deaths and was held back ${others[1]} s`);
  for (const [what, ms] of [
    ['CPU', besideCpuMs],
    ['memory', besideMemoryMs],
  ] as const)
    found.expect(
      !strict || ms <= 1.3 * aloneMs,
      `p99 of the neighbour went from ${aloneMs} to ${ms} ms beside one that uses up its ${what}`,
    );
  const exit = await daemon.stop();
  found.expect(exit.code === 0, `the daemon ended with ${exit.code ?? exit.signal}`);
  return {
    figures: {
      mechanism,
      sent: load.sent,
      alone_p99_ms: aloneMs,
      beside_cpu_p99_ms: besideCpuMs,
      beside_memory_p99_ms: besideMemoryMs,
      throttled_s: Math.round((throttledS ?? 0) * 1000) / 1000,
      oom_kills: oom ?? 0,
    },
    broken: found.broken,
  };
};

export const fairNeighbours: Promised = {
  id: 'R16',
  title: 'who uses up his CPU and memory is held to them by name, and his neighbour goes on as before',
  run,
  sabotages: [
    {
      what: 'quotas are not enforced',
      patches: [{ file: 'quota/enforcer.js', from: "enforce === 'off' ? [] : LADDER", to: '[]' }],
      shows: /was not ended for it/,
    },
    {
      what: 'a death for want of memory is told as any other',
      patches: [
        {
          file: 'control/replica-process.js',
          from: 'cause: this.#verdict ?? (oom',
          to: "cause: oom !== undefined || this.#verdict === 'oom' ? 'signal' : this.#verdict ?? (oom",
        },
      ],
      shows: /put down to its memory/,
    },
    {
      what: 'nobody asks for how long a replica was held back',
      patches: [{ file: 'quota/enforcer.js', from: 'return this.#group?.throttledS();', to: 'return 0;' }],
      shows: /held back for 0 s/,
    },
  ],
};

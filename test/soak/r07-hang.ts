/** R7: a replica that loops for ever, or is stopped, is out of the rotation soon, and is replaced; requests on it end at their own deadline. */
import { configOf, single } from '../e2e/configs.ts';
import { type DaemonRig, startDaemon } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { echoes, QUIET } from './parts.ts';
import { Findings, type Promised, pause, type World } from './soak.ts';

const CODE = `import { createHash } from 'node:crypto';
const sum = (input) => createHash('sha1').update(JSON.stringify(input)).digest('hex').slice(0, 12);
export class Echo { call(input) { if (input.loop) while (true); return { n: input.n, sum: sum(input) }; } }
`;
const UNRESPONSIVE_S = 4;
const DEADLINE_MS = 1500;

const CONFIG = configOf(
  ['patient', 'hurried'].map((name) =>
    single(name, `/${name}`, {
      import_path: './code.ts:Echo',
      num_replicas: 3,
      max_ongoing_requests: 4,
      retry: { idempotent: true },
      unresponsive_timeout_s: UNRESPONSIVE_S,
      ...(name === 'hurried' ? { request_timeout_s: DEADLINE_MS / 1000 } : {}),
    }),
  ),
  QUIET,
);

const restarts = async (daemon: DaemonRig, name: string): Promise<number> =>
  (await daemon.status()).applications[name]?.deployments['Only']?.restarts ?? 0;

const run = async ({ size, pace, strict, program }: World) => {
  const found = new Findings();
  await using daemon = await startDaemon(CONFIG, { files: { 'code.ts': CODE }, program });
  await daemon.running();
  const latest = strict ? 100 : 2000;
  let worstLateMs = 0;
  let worstSeconds = 0;
  const rounds = size(20, 1);
  for (let round = 0; round < rounds; round++) {
    for (const how of ['loop', 'SIGSTOP'] as const) {
      if (found.broken.length > 0) break;
      await using load = new OpenLoop(() => daemon.url, [echoes('others', '/patient', pace(100, 30))]);
      await load.more(30);
      const before = [await restarts(daemon, 'patient'), await restarts(daemon, 'hurried')] as const;
      const began = performance.now();
      if (how === 'loop') {
        const since = performance.now();
        void daemon.post('/patient', { n: -1, loop: true }).catch(() => {});
        const { status } = await daemon.post('/hurried', { n: -1, loop: true });
        const lateMs = performance.now() - since - DEADLINE_MS;
        worstLateMs = Math.max(worstLateMs, Math.abs(lateMs));
        found.expect(status === 408, `a request on a replica that loops was answered ${status}`);
        found.expect(Math.abs(lateMs) <= latest, `it was answered ${Math.round(lateMs)} ms after its deadline`);
      } else {
        const [pid] = (await daemon.pids('patient', 'Only')) as [number];
        process.kill(pid, 'SIGSTOP');
      }
      await daemon
        .when(
          'it is replaced',
          ({ applications }) => (applications['patient']?.deployments['Only']?.restarts ?? 0) > before[0],
          (strict ? UNRESPONSIVE_S + 2 : 25) * 1000,
        )
        .catch(() => found.broken.push(`${how}: it is not replaced`));
      worstSeconds = Math.max(worstSeconds, (performance.now() - began) / 1000);
      await pause(100);
      await load.stop();
      // The one that hung may have had requests that it had not begun: nobody loses by it.
      found.expect(load.failures.length === 0, `${how}: others failed: ${load.failures}`);
      await daemon.running(30_000);
      void before[1];
    }
  }
  const { applications } = await daemon.status();
  const death = applications['patient']?.deployments['Only']?.last_death as { cause?: string } | null;
  found.expect(found.broken.length > 0 || death?.cause === 'unresponsive', `the status names ${death?.cause} as the cause`);
  return {
    figures: {
      hangs: rounds * 3,
      deadline_missed_by_ms: Math.round(worstLateMs),
      replaced_within_s: Math.round(worstSeconds * 10) / 10,
    },
    broken: found.broken,
  };
};

export const hang: Promised = {
  id: 'R7',
  title: 'a replica that hangs is found and replaced, and costs no other request',
  run,
  sabotages: [
    {
      what: 'a late heartbeat means nothing',
      patches: [{ file: 'dispatch/dispatcher.js', from: 'if (link.lateMs > limitMs)', to: 'if (false)' }],
      shows: /it is not replaced/,
    },
  ],
};

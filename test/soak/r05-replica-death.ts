/** R5 and R6: replicas are killed at random; no idempotent request is lost, no other is run twice, and each replica is soon back. */
import { configOf, single } from '../e2e/configs.ts';
import { type DaemonRig, startDaemon } from '../support/daemon-rig.ts';
import { OpenLoop, type Stream } from './open-loop.ts';
import { code, echoes, type Kill, Killer, Ledger, QUIET, wrongEcho } from './parts.ts';
import { Findings, type Promised, pause, percentile, seeded, type World } from './soak.ts';

const CONFIG = configOf(
  [
    single('again', '/again', {
      import_path: './code.ts:Echo',
      num_replicas: 3,
      max_ongoing_requests: 8,
      retry: { idempotent: true },
    }),
    single('once', '/once', { import_path: './code.ts:Echo', num_replicas: 3, max_ongoing_requests: 8 }),
  ],
  QUIET,
);

const DIED = 'REPLICA_DIED, as said';

/** Long enough that a kill finds requests at work. */
const WORK = { ms: 100 };

/** Work that must not be repeated: a death is told, with this answer and no other. */
const once = (perSecond: number): Stream => ({
  ...echoes('once', '/once', perSecond, 'kept', WORK),
  wrong: (n, answer) =>
    answer.status === 503 && answer.headers['x-serve-error'] === 'REPLICA_DIED' ? DIED : wrongEcho(n, answer, WORK),
});

const run = async ({ size, pace, strict, program, harm }: World) => {
  const found = new Findings();
  const periodMs = pace(2000, 400);
  const perSecond = pace(100, 40);
  using ledger = new Ledger();
  await using daemon = await startDaemon(CONFIG, {
    files: {
      'code.ts':
        harm === 'a replica that notes every request twice'
          ? code().replace('note(input);', 'note(input); note(input);')
          : code(),
    },
    program,
    env: { LEDGER: ledger.path },
  });
  await daemon.running();
  await using load = new OpenLoop(() => daemon.url, [echoes('again', '/again', perSecond, 'kept', WORK), once(perSecond)]);
  await load.more(perSecond);
  const began = performance.now();
  // Under way for a while only: the short form waits until three of them run, so that a slow machine is no excuse.
  await using killer = new Killer(daemon, ['again', 'once'], periodMs, strict ? 1 : 3, seeded(5));
  const wanted = size(300, 8);
  while (killer.kills.length < wanted && performance.now() - began < (wanted * periodMs + 15_000) * 2) await pause(50);
  await killer.stop();
  await load.more(perSecond);
  await load.stop();
  const healed = await daemon.running().then(
    () => true,
    () => false,
  );
  found.expect(healed, 'a killed replica has not come back 20 s after the last kill');
  const [again, single] = load.tallies as [(typeof load.tallies)[0], (typeof load.tallies)[0]];
  found.expect(
    again.failures.size === 0,
    `idempotent requests failed: ${[...again.failures].map(([text, count]) => `${count} × ${text}`)}`,
  );
  const others = [...single.failures].filter(([text]) => text !== DIED);
  found.expect(
    others.length === 0,
    `other requests failed otherwise than with REPLICA_DIED: ${others.map(([text, count]) => `${count} × ${text}`)}`,
  );
  const runs = ledger.read();
  const idempotent = new Set<string>();
  for (const n of again.numbers) idempotent.add(String(n));
  const twice = [...runs].filter(([n, times]) => times > 1 && !idempotent.has(n));
  found.expect(
    twice.length === 0,
    `${twice.length} requests that are not idempotent were run twice, the first is ${twice[0]?.[0]}`,
  );
  found.expect(runs.size >= single.good, `the ledger has ${runs.size} requests, and ${single.good} were answered`);
  const lateMs = lateness(daemon, killer.kills);
  const p95Ms = Math.round(percentile(lateMs, 0.95));
  found.expect(
    killer.kills.length >= wanted,
    `${killer.kills.length} of ${wanted} kills could be done: replicas do not come back`,
  );
  found.expect(
    lateMs.length >= killer.kills.length * 0.9,
    `${lateMs.length} of ${killer.kills.length} killed replicas came back`,
  );
  // R6; on a machine that does other things, only that they do come back.
  found.expect(
    !strict || p95Ms <= 200,
    `a killed replica was replaced ${p95Ms} ms later than its start takes (p95), expected ≤ 200`,
  );
  return {
    figures: {
      sent: load.sent,
      kills: killer.kills.length,
      idempotent_failed: again.failures.size,
      once_died: single.failures.get(DIED) ?? 0,
      run_twice: twice.length,
      back_beyond_start_ms_p95: p95Ms,
      again_p99_ms: load.p99Ms('again'),
    },
    broken: found.broken,
  };
};

/** For each kill, how long after it the start of the one that replaced it began, in milliseconds. */
const lateness = (daemon: DaemonRig, kills: readonly Kill[]): number[] =>
  ['again', 'once'].flatMap((application) => {
    const starts = daemon.log
      .filter(({ msg, replica }) => msg === 'replica is ready' && String(replica).startsWith(`${application}/`))
      .map((line) => Number(line['time']) - Number(line['ms']));
    let next = 0;
    return kills
      .filter((kill) => kill.application === application)
      .flatMap(({ at }) => {
        while (next < starts.length && (starts[next] as number) < at - 5) next += 1;
        const start = starts[next++];
        return start === undefined ? [] : [start - at];
      });
  });

export const replicaDeath: Promised = {
  id: 'R5 R6',
  title: 'replica death loses no idempotent work and repeats no other; the replica comes back',
  run,
  sabotages: [
    {
      what: 'what was begun counts as not begun',
      patches: [{ file: 'dispatch/again.js', from: 'return !call.begun || (idempotent', to: 'return true || (idempotent' }],
      shows: /were run twice/,
    },
    { what: 'a forged ledger', harm: 'a replica that notes every request twice', shows: /were run twice/ },
    {
      what: 'nothing is tried again',
      patches: [{ file: 'dispatch/again.js', from: 'return !call.begun || (idempotent', to: 'return false && (idempotent' }],
      shows: /idempotent requests failed/,
    },
    {
      what: 'a dead replica is not replaced',
      patches: [
        { file: 'control/restart.js', from: 'notBefore: now + backoffMs(failures, rand)', to: 'notBefore: now + 3_600_000' },
      ],
      shows: /not come back/,
    },
  ],
};

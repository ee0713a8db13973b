/** R9: a request that kills whatever replica works on it, among requests that do not. */
import { configOf, single } from '../e2e/configs.ts';
import { startDaemon } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { code, echoes, QUIET } from './parts.ts';
import { Findings, type Promised, pause, type World } from './soak.ts';

const CONFIG = configOf(
  [
    single('again', '/again', {
      import_path: './code.ts:Echo',
      num_replicas: 3,
      max_ongoing_requests: 8,
      retry: { idempotent: true },
    }),
    single('once', '/once', { import_path: './code.ts:Echo', num_replicas: 1 }),
  ],
  QUIET,
);

const run = async ({ size, pace, program }: World) => {
  const found = new Findings();
  await using daemon = await startDaemon(CONFIG, { files: { 'code.ts': code() }, program });
  await daemon.running();
  const deaths = async (name: string) => (await daemon.status()).applications[name]?.deployments['Only']?.restarts ?? 0;
  const poison = (path: string) => daemon.post(path, { n: -1, die: true });
  await using load = new OpenLoop(() => daemon.url, [echoes('others', '/again', pace(100, 40), 'kept', { ms: 100 })]);
  await load.more(20);
  const wanted = size(100, 4);
  let most = 0;
  let before = 0;
  for (let n = 0; n < wanted; n++) {
    const { status, headers } = await poison('/again');
    found.expect(
      status === 503 && headers['x-serve-error'] === 'REPLICA_DIED',
      `the poison was answered ${status} ${headers['x-serve-error']}`,
    );
    await daemon.when('three run again', ({ applications }) => {
      const replicas = applications['again']?.deployments['Only']?.replicas ?? [];
      return replicas.filter(({ state }) => state === 'RUNNING').length >= 3;
    });
    await pause(1000);
    const after = await deaths('again');
    most = Math.max(most, after - before);
    before = after;
  }
  // Where requests are not repeated, one death each; and nobody else is there to be harmed.
  const once = await poison('/once');
  found.expect(once.headers['x-serve-error'] === 'REPLICA_DIED', `not idempotent: ${once.status} ${once.text.slice(0, 80)}`);
  await daemon.when('its death is known', ({ applications }) => (applications['once']?.deployments['Only']?.restarts ?? 0) > 0);
  await daemon.running();
  const deathsOnce = await deaths('once');
  found.expect(deathsOnce === 1, `not idempotent: ${deathsOnce} deaths for one poison`);
  await load.stop();
  found.expect(most <= 2, `one poison killed ${most} replicas`);
  found.expect(load.failures.length === 0, `others failed: ${load.failures}`);
  return {
    figures: {
      poisons: wanted,
      deaths: before,
      most_deaths_of_one: most,
      others: load.sent,
      others_failed: load.failures.length,
    },
    broken: found.broken,
  };
};

export const poison: Promised = {
  id: 'R9',
  title: 'one request kills at most two replicas, and harms no other request',
  run,
  sabotages: [
    {
      what: 'a poison is tried as often as any request',
      patches: [
        { file: 'dispatch/again.js', from: 'call.deathsAlone >= MAX_DEATHS_ALONE', to: 'false' },
        { file: 'dispatch/again.js', from: 'call.attempts < maxAttempts', to: 'call.attempts < 6' },
      ],
      shows: /one poison killed [3-9]/,
    },
    {
      what: 'its company is not repeated',
      patches: [
        { file: 'dispatch/again.js', from: '(idempotent && call.attempts < maxAttempts)', to: '(idempotent && call.suspect)' },
      ],
      shows: /others failed/,
    },
  ],
};

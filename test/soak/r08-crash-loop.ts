/** R8: code that dies at its start, or with its first request, is started less and less often; its neighbour does not notice. */
import { configOf, single } from '../e2e/configs.ts';
import { startDaemon } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { code, echoes, QUIET } from './parts.ts';
import { Findings, type Promised, pause, type World } from './soak.ts';

const CODE = `export class Exits { constructor() { console.error('last words'); process.exit(3); } call() {} }
export class DiesAtWork { call() { process.kill(process.pid, 'SIGKILL'); } }
`;
const CONFIG = configOf(
  [
    single('good', '/good', { import_path: './code.ts:Echo', max_ongoing_requests: 20 }),
    single('exits', '/exits', { import_path: './dies.ts:Exits', max_constructor_retry_count: 1000 }),
    single('dies', '/dies', { import_path: './dies.ts:DiesAtWork' }),
  ],
  QUIET,
);

/** Milliseconds that the curve asks for before the start that follows so many failures. */
const waitMs = (failures: number): number => (failures <= 1 ? 0 : Math.min(60_000, 500 * 2 ** (failures - 2)));

/** Starts that the curve allows in so many seconds, where every wait is as short as it may be. */
const startsWithin = (seconds: number): number => {
  let starts = 1;
  for (let at = 0; at <= seconds * 1000 && starts < 100; starts++) at += 0.8 * waitMs(starts);
  return starts;
};

const run = async ({ size, pace, strict, program }: World) => {
  const found = new Findings();
  await using daemon = await startDaemon(CONFIG, { files: { 'code.ts': code(), 'dies.ts': CODE }, program, ready: false });
  const seconds = size(600, 5);
  await daemon.when('the good one runs', ({ applications }) => applications['good']?.status === 'RUNNING');
  await using load = new OpenLoop(
    () => daemon.url,
    [
      echoes('good', '/good', pace(100, 40)),
      {
        name: 'dies',
        perSecond: 5,
        connection: 'kept',
        request: () => ({ path: '/dies', body: null }),
        wrong: (_n, { status }) => (status === 503 ? undefined : `${status}`),
      },
    ],
  );
  await pause(seconds * 1000);
  await load.stop();
  const { applications } = await daemon.status();
  const figures: Record<string, number> = { seconds, sent: load.sent };
  for (const name of ['exits', 'dies']) {
    const deaths = daemon.log
      .filter(({ msg, replica }) => msg === 'replica died' && String(replica).startsWith(`${name}/`))
      .map(({ time }) => Number(time));
    figures[`${name}_deaths`] = deaths.length;
    // A start takes its time on top of each wait; too soon is what the promise is about.
    for (const [index, at] of deaths.slice(1).entries()) {
      const gap = at - (deaths[index] as number);
      found.expect(
        gap >= 0.8 * waitMs(index + 1) - 5,
        `${name}: death ${index + 2} came ${gap} ms after the one before, expected ≥ ${0.8 * waitMs(index + 1)}`,
      );
      found.expect(!strict || gap <= 1.2 * waitMs(index + 1) + 1500, `${name}: death ${index + 2} came only after ${gap} ms`);
    }
    found.expect(deaths.length >= 2, `${name}: ${deaths.length} deaths, it is not tried again`);
    const most = startsWithin(seconds);
    found.expect(deaths.length <= most, `${name}: ${deaths.length} starts in ${seconds} s`);
    const status = applications[name]?.deployments['Only'];
    found.expect(
      status?.restarts === deaths.length,
      `${name}: the status says ${status?.restarts} restarts, the log ${deaths.length}`,
    );
  }
  const shown = applications['exits']?.deployments['Only'];
  found.expect(
    JSON.stringify(shown).includes('last words'),
    `the status does not have the last words: ${JSON.stringify(shown?.last_death)}`,
  );
  found.expect(applications['good']?.status === 'RUNNING', `the neighbour is ${applications['good']?.status}`);
  found.expect(load.failures.length === 0, `requests failed: ${load.failures}`);
  return { figures: { ...figures, good_p99_ms: load.p99Ms('good') }, broken: found.broken.slice(0, 6) };
};

export const crashLoop: Promised = {
  id: 'R8',
  title: 'crash loops back off, and neighbours do not notice',
  run,
  sabotages: [
    {
      what: 'there is no back-off',
      patches: [{ file: 'control/restart.js', from: 'notBefore: now + backoffMs(failures, rand)', to: 'notBefore: now' }],
      shows: /came \d+ ms after the one before/,
    },
  ],
};

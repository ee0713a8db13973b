/** R12: three times what can be served: what is admitted is served, the rest is told so at once, and memory stays. */
import { configOf, single } from '../e2e/configs.ts';
import { startDaemon } from '../support/daemon-rig.ts';
import { OpenLoop, type Stream } from './open-loop.ts';
import { QUIET, residentMb } from './parts.ts';
import { Findings, type Promised, pause, type World } from './soak.ts';

const SLOTS = 4;
const WORK_MS = 10;
const QUEUE = 16;
const CODE = `export class Work {
  call() { return new Promise((resolve) => setTimeout(resolve, ${WORK_MS}, 'done')); }
}
`;
const CONFIG = configOf(
  [
    single('work', '/work', {
      import_path: './code.ts:Work',
      max_ongoing_requests: SLOTS,
      max_queued_requests: QUEUE,
      backpressure_config: { retry_after_s: 2 },
    }),
  ],
  QUIET,
);

const run = async ({ size, pace, strict, program }: World) => {
  const found = new Findings();
  await using daemon = await startDaemon(CONFIG, { files: { 'code.ts': CODE }, program });
  await daemon.running();
  const counts = { served: 0, refused: 0 };
  const stream = (name: string, perSecond: number): Stream => ({
    name,
    perSecond,
    connection: 'kept',
    request: () => ({ path: '/work', body: null }),
    wrong: (_n, { status, headers, text }) => {
      if (status === 200) counts.served += 1;
      else if (status === 503 && headers['retry-after'] === '2' && headers['x-serve-error'] === 'QUEUE_FULL') counts.refused += 1;
      else return `${status} ${text.slice(0, 80)}`;
      return undefined;
    },
  });
  const measure = async (perSecond: number, seconds: number): Promise<number> => {
    await using load = new OpenLoop(() => daemon.url, [stream('load', perSecond)]);
    await pause(500);
    const [began, before] = [performance.now(), counts.served];
    await pause(seconds * 1000);
    const rate = ((counts.served - before) * 1000) / (performance.now() - began);
    await load.stop();
    found.expect(load.failures.length === 0, `requests failed: ${load.failures.join('; ').slice(0, 500)}`);
    return rate;
  };
  const seconds = size(60, 2);
  // Just more than can be served finds what that is.
  const most = (SLOTS * 1000) / WORK_MS;
  const capacity = await measure(most * 1.1, Math.min(10, seconds));
  const before = residentMb(daemon.pid);
  let peak = before;
  const sampler = setInterval(() => {
    peak = Math.max(peak, residentMb(daemon.pid));
  }, 50);
  const goodput = await measure(capacity * pace(3, 3), seconds);
  clearInterval(sampler);
  found.expect(counts.refused > 0, 'nothing was refused');
  found.expect(!strict || goodput >= 0.9 * capacity, `goodput ${goodput.toFixed(0)}/s of ${capacity.toFixed(0)}/s`);
  found.expect(peak - before <= 64, `resident memory went from ${before.toFixed(0)} to ${peak.toFixed(0)} MB`);
  const { applications } = await daemon.status();
  const work = applications['work']?.deployments['Only'];
  found.expect(work?.queued === 0 && work.ongoing === 0, `${work?.queued} queued and ${work?.ongoing} at work, and nobody waits`);
  return {
    figures: { capacity: Math.round(capacity), goodput: Math.round(goodput), refused: counts.refused, peak_mb: Math.round(peak) },
    broken: found.broken,
  };
};

export const overload: Promised = {
  id: 'R12',
  title: 'three times the capacity is served as far as it goes, and the rest refused at once',
  run,
  sabotages: [
    {
      what: 'the queue has no bound',
      patches: [{ file: 'dispatch/queue.js', from: '!exempt && maxQueuedRequests >= 0 &&', to: 'false &&' }],
      shows: /nothing was refused/,
    },
  ],
};

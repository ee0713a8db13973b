/** R24: what `/metrics` says is what was sent: small, large, streamed, failing, refused and abandoned requests, each counted once. */
import { configOf, single } from '../e2e/configs.ts';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { toldByMetrics } from '../support/mixed-traffic.ts';
import { abandon, QUIET } from './parts.ts';
import { Findings, type Promised, seeded, type World } from './soak.ts';

const CODE = `const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export class Work {
  async call(input, context) {
    if (input.fail) throw new Error('as asked');
    if (input.ms) await sleep(input.ms);
    if (input.chunks) return (async function* () { for (let n = 0; n < input.chunks; n++) yield 'chunk ' + n + '\\n'; })();
    return input;
  }
}
`;
const CONFIG = configOf(
  [
    single('work', '/work', { import_path: './code.ts:Work', max_ongoing_requests: 50 }),
    single('tight', '/tight', { import_path: './code.ts:Work', max_ongoing_requests: 1, max_queued_requests: 0 }),
  ],
  QUIET,
);

const told = async (daemon: DaemonRig): Promise<Record<string, number>> =>
  toldByMetrics((await daemon.ask('/metrics', {}, daemon.adminUrl)).text);

const run = async ({ size, program }: World) => {
  const found = new Findings();
  await using daemon = await startDaemon(CONFIG, { files: { 'code.ts': CODE }, program });
  await daemon.running();
  const before = await told(daemon);
  const sent: Record<string, number> = { ...before };
  const count = (application: string, status: number) => {
    sent[`${application} ${status}`] = (sent[`${application} ${status}`] ?? 0) + 1;
  };
  const rand = seeded(24);
  const requests = size(20_000, 400);
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next++ < requests) {
      const kind = Math.floor(rand() * 8);
      if (kind === 0) count('work', (await daemon.post('/work', { fail: true })).status);
      else if (kind === 1) count('work', (await daemon.post('/work', { pad: 'x'.repeat(100_000) })).status);
      else if (kind === 2) count('work', (await daemon.post('/work', { chunks: 50 })).status);
      else if (kind === 3) count('', (await daemon.ask('/nowhere')).status);
      else if (kind === 4) count('tight', (await daemon.post('/tight', { ms: 20 })).status);
      else if (kind === 5)
        count('work', (await daemon.post('/work', { ms: 300 }, { 'x-request-timeout-seconds': '0.05' })).status);
      else if (kind === 6 && rand() < 0.2) {
        await abandon(`${daemon.url}/work`, { ms: 400 });
        count('work', 499);
      } else count('work', (await daemon.post('/work', { n: next })).status);
    }
  };
  await Promise.all(Array.from({ length: 12 }, worker));
  const same = async () =>
    JSON.stringify(Object.entries(await told(daemon)).sort()) === JSON.stringify(Object.entries(sent).sort());
  // The daemon learns of a client that has left a moment later.
  await until('the counts agree', same, 5000).catch(() => {});
  const after = await told(daemon);
  found.expect(await same(), `sent ${JSON.stringify(sent)}, told ${JSON.stringify(after)}`);
  for (const kind of ['work 500', 'work 200', 'work 408', 'work 499', ' 404', 'tight 503'])
    found.expect((sent[kind] ?? 0) > 0, `nothing was ${kind}: the mix says little`);
  const { text } = await daemon.ask('/metrics', {}, daemon.adminUrl);
  for (const gauge of ['serve_http_requests_in_flight', 'serve_deployment_queue_length{application="work",deployment="Only"}'])
    found.expect(text.includes(`\n${gauge} 0\n`), `${gauge} is not 0 when all is over`);
  return { figures: { requests, counts: JSON.stringify(after) }, broken: found.broken };
};

export const truthfulNumbers: Promised = {
  id: 'R24',
  title: 'every request is counted once, by what became of it',
  run,
  sabotages: [
    {
      what: 'clients that leave are not counted',
      patches: [
        {
          file: 'proxy/ingress-request.js',
          from: "if (refusal === undefined)\n            this.#finish(499, 'CLIENT_CLOSED');",
          to: 'if (refusal === undefined) { this.#finished = true; this.#over(); }',
        },
      ],
      shows: /^sent /,
    },
  ],
};

/** R11: SIGTERM under load, with slow requests, streams and batches under way. */
import { Agent } from 'node:http';
import { configOf, single } from '../e2e/configs.ts';
import { ask, startDaemon, until } from '../support/daemon-rig.ts';
import { OpenLoop, type Stream } from './open-loop.ts';
import { code, echoes, QUIET } from './parts.ts';
import { Findings, type Promised, pause, type World } from './soak.ts';

const CODE = `${code()}
export async function* stream(input) { for (let i = 0; i < 10; i++) { await new Promise((r) => setTimeout(r, 30)); yield input.n + ' '; } }
`;
const GRACE_S = 0.5;

const run = async ({ size, pace, strict, program }: World) => {
  const found = new Findings();
  const slowMs = strict ? 2000 : 800;
  const config = configOf(
    [
      single('slow', '/slow', { import_path: './code.ts:Echo', num_replicas: 2, max_ongoing_requests: 200 }),
      single('many', '/many', {
        import_path: './code.ts:Many',
        max_ongoing_requests: 64,
        batching: { max_batch_size: 8, method: 'call' },
      }),
      single('stream', '/stream', { import_path: './code.ts:stream', max_ongoing_requests: 100 }),
    ],
    QUIET.replace('port: 0}', `port: 0, drain_grace_s: ${GRACE_S}}`),
  );
  const rounds = size(20, 1);
  let sent = 0;
  let refused = 0;
  let endedMs = 0;
  for (let round = 0; round < rounds; round++) {
    await using daemon = await startDaemon(config, { files: { 'code.ts': CODE }, program });
    await daemon.running();
    let asked = false;
    // What is not accepted any more, or comes on an idle connection that is being closed, was never accepted.
    const excused = (error: NodeJS.ErrnoException, reused: boolean) =>
      asked && (error.code === 'ECONNREFUSED' || (error.code === 'ECONNRESET' && reused && error.message !== 'aborted'));
    const streams: readonly Stream[] = [
      echoes('slow', '/slow', pace(40, 20), 'kept', { ms: slowMs }),
      echoes('new', '/slow', pace(40, 10), 'new', { ms: slowMs / 4 }),
      echoes('batched', '/many', pace(100, 30)),
      {
        name: 'streams',
        perSecond: pace(30, 10),
        connection: 'kept',
        request: (n) => ({ path: '/stream', body: { n } }),
        wrong: (n, { status, text }) =>
          status === 200 && text === `${n} `.repeat(10) ? undefined : `${status} ${text.slice(0, 60)}`,
      },
    ];
    await using load = new OpenLoop(
      () => daemon.url,
      streams.map((each) => ({ ...each, excused })),
    );
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    await ask(`${daemon.url}/-/healthz`, { agent });
    await load.more(60);
    asked = true;
    daemon.signal('SIGTERM');
    const began = performance.now();
    await daemon.waitForLog((line) => line.msg.startsWith('stopping'));
    const health = await until('it says that it is not ready', async () => {
      const answer = await ask(`${daemon.url}/-/healthz`, { agent });
      return answer.status === 503 && answer;
    }).catch((error: Error) => error);
    if (health instanceof Error) found.expect(!strict, `while it stopped: ${health.message}`);
    else found.expect(health.headers.connection === 'close', `a kept connection is told ${health.headers.connection}`);
    const exit = await daemon.exited;
    endedMs = Math.max(endedMs, performance.now() - began);
    await load.stop();
    agent.destroy();
    found.expect(exit.code === 0, `it ended with ${exit.code ?? exit.signal}`);
    found.expect(load.failures.length === 0, `accepted requests failed: ${load.failures}`);
    found.expect(daemon.processes().length === 0, `${daemon.processes().length} processes are left`);
    sent += load.sent;
    refused += load.tallies.reduce((sum, each) => sum + each.excused, 0);
  }
  found.expect(!strict || endedMs <= 1000 * GRACE_S + slowMs + 1500, `it took ${Math.round(endedMs)} ms to end`);
  // A second signal does not wait.
  await using daemon = await startDaemon(config, { files: { 'code.ts': CODE }, program });
  void daemon.post('/slow', { n: 1, ms: 60_000 }).catch(() => {});
  await daemon.when('it is at work', ({ applications }) => applications['slow']?.deployments['Only']?.ongoing === 1);
  daemon.signal('SIGTERM');
  await daemon.waitForLog((line) => line.msg.startsWith('stopping'));
  await pause(250);
  const exit = await daemon.stop('SIGTERM', 10_000);
  found.expect(exit.code === 1, `a second signal ended it with ${exit.code ?? exit.signal}`);
  return { figures: { stops: rounds, sent, not_accepted: refused, ended_ms_max: Math.round(endedMs) }, broken: found.broken };
};

export const gracefulStop: Promised = {
  id: 'R11',
  title: 'SIGTERM answers all that was accepted',
  run,
  sabotages: [
    {
      what: 'nothing is waited for',
      patches: [{ file: 'proxy/worker.js', from: 'await ingress.quiet();', to: '' }],
      shows: /accepted requests failed/,
    },
  ],
};

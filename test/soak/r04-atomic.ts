/** R4: a reload of which one deployment cannot start moves nothing, tells why, and leaves nothing behind. */
import { configOf } from '../e2e/configs.ts';
import { type DaemonRig, startDaemon } from '../support/daemon-rig.ts';
import { OpenLoop } from './open-loop.ts';
import { QUIET } from './parts.ts';
import { Findings, type Promised, type World } from './soak.ts';

/** `A` answers with its own version and that of the `B` that it calls: they must be one. */
const CODE = `export class A { constructor({ v, b }) { this.v = v; this.b = b; } async call(n) { return { n, a: this.v, b: await this.b.call(n) }; } }
export class B {
  constructor({ v, how }) {
    this.v = v;
    if (how === 'throws') throw new TypeError('no constructor of mine');
    if (how === 'exits') process.exit(3);
    if (how === 'hangs') return new Promise(() => setInterval(() => {}, 1000));
    if (how === 'loops') while (true);
  }
  async call() { return this.v; }
}
`;
const WAYS = ['throws', 'exits', 'hangs', 'loops'] as const;

const config = (v: number, how: (typeof WAYS)[number] | 'starts'): string =>
  configOf(
    [
      {
        name: 'app',
        route_prefix: '/app',
        graph: { ingress: 'A', calls: { A: { b: 'B' } } },
        deployments: [
          { name: 'A', import_path: './code.ts:A', init_args: { v } },
          {
            name: 'B',
            import_path: './code.ts:B',
            init_args: { v, how },
            startup_timeout_s: how === 'starts' ? 60 : 1,
            max_constructor_retry_count: 2,
          },
        ],
      },
    ],
    QUIET,
  );

const replicasOf = (daemon: DaemonRig): Promise<readonly (number | null)[]> =>
  daemon
    .status()
    .then(({ applications }) =>
      Object.values(applications['app']?.deployments ?? {}).flatMap(({ replicas }) => replicas.map(({ pid }) => pid)),
    );

const run = async ({ size, pace, program }: World) => {
  const found = new Findings();
  await using daemon = await startDaemon(config(0, 'starts'), { files: { 'code.ts': CODE }, program });
  let good = 0;
  await using load = new OpenLoop(
    () => daemon.url,
    [
      {
        name: 'pairs',
        perSecond: pace(100, 40),
        connection: 'kept',
        request: (n) => ({ path: '/app', body: n }),
        wrong: (n, { status, text }) => {
          if (status !== 200) return `${status} ${text.slice(0, 100)}`;
          const answer = JSON.parse(text) as { n: number; a: number; b: number };
          if (answer.n !== n) return 'the answer to another request';
          return answer.a === answer.b && answer.a <= good ? undefined : 'a mix of versions, or one that was never good';
        },
      },
    ],
  );
  const before = await replicasOf(daemon);
  let told = 0;
  let pids = before;
  const wanted = size(40, 3);
  for (let n = 0; n < wanted; n++) {
    const how = WAYS[n % WAYS.length] as (typeof WAYS)[number];
    if (found.broken.length > 0) break;
    const from = daemon.log.length;
    await daemon.save(config(n + 1, how));
    await daemon.waitForLog('config applied', from);
    const { applications } = await daemon.when(
      'it failed',
      ({ applications }) => applications['app']?.status === 'DEPLOY_FAILED',
    );
    const message = applications['app']?.message ?? '';
    const cause = {
      throws: /no constructor of mine/,
      exits: /exit code 3/,
      hangs: /not ready within 1 s/,
      loops: /not ready within 1 s/,
    }[how];
    if (cause.test(message) && /goes on serving/.test(message)) told += 1;
    else found.broken.push(`${how}: the status says ${message}`);
    // A moment for what was started to go again.
    await daemon
      .when('only what serves is left', ({ applications }) => {
        const left = Object.values(applications['app']?.deployments ?? {}).flatMap(({ replicas }) => replicas);
        return left.length === 2 && left.every(({ pid }) => pids.includes(pid));
      })
      .catch(async () =>
        found.broken.push(`${how}: ${JSON.stringify(await replicasOf(daemon))} run where ${JSON.stringify(pids)} served`),
      );
    await load.more(10).catch((error: Error) => found.broken.push(error.message));
    if (n % 2 === 1) {
      good = n + 1;
      await daemon.apply(config(good, 'starts'));
      pids = await replicasOf(daemon);
    }
  }
  await load.stop();
  found.expect(load.failures.length === 0, `requests failed: ${load.failures}`);
  found.expect(daemon.processes().length === 3, `${daemon.processes().length} processes where 3 serve`);
  return { figures: { reloads: wanted, causes_told: told, sent: load.sent, failed: load.failures.length }, broken: found.broken };
};

export const atomic: Promised = {
  id: 'R4',
  title: 'a reload of which one deployment cannot start moves nothing',
  run,
  sabotages: [
    {
      what: 'a snapshot moves as soon as one deployment is ready',
      patches: [
        {
          file: 'control/plan.js',
          from: 'const isReady = (target, serving, actual, live) => target.deployments.every(',
          to: 'const isReady = (target, serving, actual, live) => target.deployments.some(',
        },
      ],
      shows: /requests failed|run where|the status says/,
    },
  ],
};

/**
 * R23: what health says is so, and soon: while the daemon starts, when every replica is dead, in a crash loop, overloaded, with an
 * application more, and while it drains. Over HTTP: gRPC health is served by nothing yet.
 *
 * `/-/healthz` is for who sends requests: 503 until every application of the first config serves or has failed, and from SIGTERM on. One
 * application of many that fails answers for itself, and takes no node out of rotation. `/readyz` is for who deploys: every application of
 * the config in force. `/healthz` is for who restarts: it depends on no replica.
 */
import { configOf, single } from '../e2e/configs.ts';
import { ask, type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { code, QUIET, wrongEcho } from './parts.ts';
import { Findings, type Promised, type World } from './soak.ts';

const FLIP_MS = 1000;
const GRACE_S = 3;
const GATED = `import { existsSync } from 'node:fs';
while (!existsSync(process.env.GATE)) await new Promise((resolve) => setTimeout(resolve, 10));
export function gated() { return 'open'; }
`;
const gated = (name: string, gate: string) =>
  single(name, `/${name}`, { import_path: './gated.ts:gated', ray_actor_options: { runtime_env: { env_vars: { GATE: gate } } } });

const configWith = (applications: readonly object[]) =>
  configOf(
    [
      single('steady', '/steady', { import_path: './code.ts:Echo', num_replicas: 2, max_ongoing_requests: 20 }),
      single('fragile', '/fragile', { import_path: './code.ts:Echo', max_constructor_retry_count: 2 }),
      single('tight', '/tight', { import_path: './code.ts:Echo', max_ongoing_requests: 1, max_queued_requests: 1 }),
      ...applications,
    ],
    QUIET.replace('port: 0}', `port: 0, drain_grace_s: ${GRACE_S}}`),
  );

interface Health {
  /** `/healthz` of the admin listener. */
  readonly live: number;
  /** `/readyz` of the admin listener. */
  readonly ready: number;
  /** `/-/healthz`. */
  readonly health: number;
}

/** 0: no answer. */
const statusOf = (url: string): Promise<number> =>
  ask(url, { signal: AbortSignal.timeout(5000) }).then(
    ({ status }) => status,
    () => 0,
  );

const healthOf = async ({ url, adminUrl }: DaemonRig): Promise<Health> => {
  const [live, ready, health] = await Promise.all(
    [`${adminUrl}/healthz`, `${adminUrl}/readyz`, `${url}/-/healthz`].map(statusOf),
  );
  return { live: live as number, ready: ready as number, health: health as number };
};

const run = async ({ size, strict, program }: World) => {
  const found = new Findings();
  const slowestMs: Record<string, number> = {};
  const rounds = size(10, 1);
  for (let round = 0; round < rounds; round++) await course(strict, program, found, slowestMs);
  return { figures: { rounds, ...slowestMs }, broken: [...new Set(found.broken)] };
};

const course = async (
  strict: boolean,
  program: string | undefined,
  found: Findings,
  slowestMs: Record<string, number>,
): Promise<void> => {
  await using daemon = await startDaemon(configWith([gated('first', './open-first')]), {
    files: { 'code.ts': code(), 'gated.ts': GATED },
    program,
    ready: false,
  });
  /** It is so, and from an event on it was not long until then. */
  const flips = async (what: string, wanted: Health, since = performance.now()): Promise<void> => {
    let last: Health | undefined;
    const same = await until(what, async () => {
      last = await healthOf(daemon);
      return JSON.stringify(last) === JSON.stringify(wanted);
    }).catch(() => false);
    const ms = Math.round(performance.now() - since);
    slowestMs[`${what}_ms`] = Math.max(slowestMs[`${what}_ms`] ?? 0, ms);
    found.expect(same, `${what}: health is ${JSON.stringify(last)}, expected ${JSON.stringify(wanted)}`);
    found.expect(!strict || ms <= FLIP_MS, `${what}: health followed after ${ms} ms`);
  };
  /** It is so now, and each time that somebody looks until something else has come about. */
  const stays = async (what: string, wanted: Health, come: () => Promise<boolean>): Promise<void> => {
    const others = new Set<string>();
    const came = await until(what, async () => {
      const is = await healthOf(daemon);
      if (JSON.stringify(is) !== JSON.stringify(wanted)) others.add(JSON.stringify(is));
      return come();
    }).catch(() => false);
    found.expect(came, `${what}: it has not come about`);
    found.expect(others.size === 0, `${what}: health is ${[...others].join(', ')}, expected ${JSON.stringify(wanted)}`);
  };
  const answers = async (path: string): Promise<string | undefined> =>
    daemon.post(path, { n: 1, pad: '1 ' }).then(
      (answer) => wrongEcho(1, answer),
      (error: Error) => error.message,
    );
  const wordOf = async (name: string) => (await daemon.status()).applications[name]?.status;
  const well = { live: 200, ready: 200, health: 200 };

  await stays('starting', { live: 200, ready: 503, health: 503 }, async () => (await answers('/steady')) === undefined);
  found.expect((await daemon.ask('/first')).status === 503, 'starting: the application that starts answers');
  await daemon.write('open-first', '');
  const line = await daemon.waitForLog((each) => each.msg === 'replica is ready' && String(each['replica']).startsWith('first'));
  await flips('started', well, performance.now() - (Date.now() - Number(line['time'])));
  found.expect((await daemon.ask('/first')).text === 'open', 'started: the application that has started does not answer');

  const killed = new Set(await daemon.pids('steady', 'Only'));
  for (const pid of killed) process.kill(pid, 'SIGKILL');
  await stays('dead', well, async () => (await daemon.pids('steady', 'Only')).some((pid) => !killed.has(pid)));
  const afterDeath = await answers('/steady');
  found.expect(afterDeath === undefined, `dead: what waited for a replica got ${afterDeath}`);

  const crash = async (): Promise<boolean> => {
    await daemon.post('/fragile', { n: 1, die: true });
    return (await wordOf('fragile')) === 'UNHEALTHY';
  };
  await stays('crash loop', well, crash);
  const refusal = await daemon.post('/fragile', { n: 1, pad: '1 ' });
  // The next replica may have come meanwhile: then the status says that, too.
  found.expect(
    refusal.status === 503 || (await wordOf('fragile')) !== 'UNHEALTHY',
    `crash loop: the status is UNHEALTHY, and a request gets ${refusal.status}`,
  );
  found.expect((await answers('/steady')) === undefined, 'crash loop: its neighbour does not answer');
  await stays('recovery', well, async () => (await wordOf('fragile')) === 'RUNNING');
  const afterCrash = await answers('/fragile');
  found.expect(afterCrash === undefined, `recovery: the status is RUNNING, and a request gets ${afterCrash}`);

  let open = 20;
  let refused = 0;
  let served = 0;
  const burst = Promise.all(
    Array.from({ length: open }, async () => {
      const { status, headers } = await daemon.post('/tight', { n: 1, ms: 500 });
      open -= 1;
      if (status === 503 && headers['x-serve-error'] === 'QUEUE_FULL') refused += 1;
      else if (status === 200) served += 1;
    }),
  );
  await stays('overload', well, async () => open === 0);
  await burst;
  found.expect(refused > 0 && refused + served === 20, `overload: of 20 requests ${served} were served and ${refused} refused`);

  // An application more: what serves goes on, and who deploys is told when all is there.
  const from = daemon.log.length;
  await daemon.save(configWith([gated('first', './open-first'), gated('second', './open-second')]));
  await daemon.waitForLog('config applied', from);
  await flips('adding', { live: 200, ready: 503, health: 200 });
  await daemon.write('open-second', '');
  await daemon.waitForLog((each) => each.msg === 'replica is ready' && String(each['replica']).startsWith('second'), from);
  await flips('added', well);

  const slow = daemon.post('/steady', { n: 1, ms: 1000 }).then(
    ({ status: told }) => told,
    (error: Error) => error.message,
  );
  await daemon.when('it is at work', ({ applications }) => applications['steady']?.deployments['Only']?.ongoing === 1);
  const asked = performance.now();
  daemon.signal('SIGTERM');
  await flips('draining', { live: 200, ready: 503, health: 503 }, asked);
  const status = await slow;
  found.expect(status === 200, `draining: what was at work got ${status}`);
  const exit = await daemon.exited;
  found.expect(exit.code === 0, `it ended with ${exit.code ?? exit.signal}`);
};

export const truthfulHealth: Promised = {
  id: 'R23',
  title: 'health says what is so within a second, and no replica makes the daemon look dead',
  run,
  sabotages: [
    {
      what: 'a daemon that starts says that all is well',
      patches: [{ file: 'proxy/ingress.js', from: '!snapshot.ready', to: 'false' }],
      shows: /^starting: health is/,
    },
    {
      what: 'a daemon that stops says that all is well',
      patches: [
        {
          file: 'proxy/ingress.js',
          from: "if (this.#draining)\n                return request.text(503, 'draining",
          to: "if (false)\n                return request.text(503, 'draining",
        },
      ],
      shows: /^draining: health is/,
    },
    {
      what: 'whoever restarts daemons hears of their replicas',
      patches: [
        {
          file: 'admin/routes.js',
          from: "handle: () => ({ status: 200, body: { status: 'alive' } })",
          to: 'handle: () => ({ status: daemon.notReady() === undefined ? 200 : 503, body: {} })',
        },
      ],
      shows: /^starting: health is/,
    },
  ],
};

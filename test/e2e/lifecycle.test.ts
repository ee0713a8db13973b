/** What users of Ray Serve know of the life of a deployment: first checks, user_config, updates in waves, graceful and forced ends, bounds. */
import { existsSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { allGone, differs, isGone, Load, pidsOf, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, ECHO, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(180_000);

const CODE = (version: string) => `import { existsSync, writeFileSync } from 'node:fs';
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
export class Sick { checkHealth() { if (!existsSync('./cured')) throw new Error('not cured yet'); } call() { return process.pid; } }
export class Told {
  told = [];
  constructor() { this.told.push('constructor'); }
  reconfigure(config) { this.told.push(config); }
  call() { return this.told; }
}
export class Slow {
  async call(input) {
    writeFileSync('./begun-' + input.id, '');
    if (input.until !== undefined) while (!existsSync(input.until)) await sleep(10);
    return { version: '${version}', pid: process.pid };
  }
}
export class Broken { constructor() { ${version === 'broken' ? "throw new Error('this version does not start');" : ''} } call(input) { return input; } }
export function build({ to }) {
  if (typeof to !== 'string') throw new TypeError('expected args.to to be text, got ' + JSON.stringify(to));
  throw new Error('not reached in this test');
}
`;
const code = (name: string, more: object = {}) => ({ import_path: `./code.ts:${name}`, ...more });
const files = { 'code.ts': CODE('one'), 'echo.ts': ECHO };

t.test('a replica whose first health check fails gets no request; when it passes, it serves', async (t) => {
  const config = configOf([NEIGHBOUR, single('sick', '/sick', code('Sick', { max_constructor_retry_count: 100 }))]);
  await using daemon = await startDaemon(config, { files, ready: false });
  const status = await daemon.when('the failure is told', ({ applications }) =>
    /not cured yet/.test(applications['sick']?.message ?? ''),
  );
  t.match(status.applications['sick'], { status: 'DEPLOYING', message: /\(\d of 100\): .*not cured yet/ });
  t.match(await daemon.ask('/sick'), { status: 503, text: /is starting/ });
  await daemon.write('cured', '');
  const { applications } = await daemon.running(40_000);
  t.equal(Number((await daemon.ask('/sick')).text), pidsOf(applications['sick']?.deployments['Only'])[0]);
});

t.test(
  'user_config: reconfigure is called once after the constructor, before the first request, and once for a change',
  async (t) => {
    const config = (word: unknown) => configOf([single('told', '/told', code('Told', { user_config: { word } }))]);
    await using daemon = await startDaemon(config('first'), { files });
    t.same(JSON.parse((await daemon.ask('/told')).text), ['constructor', { word: 'first' }]);
    await daemon.apply(config('second'));
    t.same(JSON.parse((await daemon.ask('/told')).text), ['constructor', { word: 'first' }, { word: 'second' }]);
  },
);

t.test('an option that leaves the file has its default again, and no process that stays is touched', async (t) => {
  const config = (more: object) => configOf([single('echo', '/echo', { import_path: './echo.ts:echo', ...more })]);
  await using daemon = await startDaemon(config({ num_replicas: 3, max_ongoing_requests: 7 }), { files });
  await daemon.running();
  const before = await daemon.pids('echo', 'Only');
  t.equal(before.length, 3);
  await daemon.apply(config({}));
  const status = await daemon.when('one is left', ({ applications }) => {
    const deployment = applications['echo']?.deployments['Only'];
    return deployment?.status === 'HEALTHY' && deployment.replicas.length === 1;
  });
  const only = status.applications['echo']?.deployments['Only'];
  t.same(pidsOf(only), before.slice(0, 1));
  t.match(only?.deployment_config, { num_replicas: 1, max_ongoing_requests: 5 });
});

t.test('num_replicas: auto, and what it comes to, is in the status', async (t) => {
  const auto = { import_path: './echo.ts:echo', num_replicas: 'auto', autoscaling_config: { target_ongoing_requests: 3 } };
  await using daemon = await startDaemon(configOf([single('echo', '/echo', auto)]), { files });
  const { applications } = await daemon.status();
  t.match(applications['echo']?.deployments['Only']?.deployment_config, {
    num_replicas: 'auto',
    autoscaling_config: { min_replicas: 1, max_replicas: 100, target_ongoing_requests: 3 },
  });
});

t.test('an application without a route runs, is not on HTTP, and is called by others', async (t) => {
  const hidden = { ...single('hidden', '/', { import_path: './echo.ts:echo' }), route_prefix: null };
  const door = {
    name: 'door',
    route_prefix: '/door',
    deployments: [{ name: 'Own', import_path: './echo.ts:echo' }],
    graph: { steps: { there: { call: 'hidden/Only', input: '$request.json' }, own: { call: 'Own', input: '$there' } } },
  };
  await using daemon = await startDaemon(configOf([hidden]), { files });
  t.equal((await daemon.ask('/-/healthz')).status, 200, 'it is all there is, and all is well');
  t.equal((await daemon.ask('/')).status, 404);
  t.same(JSON.parse((await daemon.ask('/-/routes')).text), {});
  await daemon.apply(configOf([hidden, door]));
  t.equal((await daemon.post('/door', 'through')).text, 'through');
  t.same(JSON.parse((await daemon.ask('/-/routes')).text), { '/door': 'door' });
});

t.test('arguments that the code does not take make its application DEPLOY_FAILED, with what it says', async (t) => {
  const built = { name: 'built', route_prefix: '/built', import_path: './code.ts:build', args: { to: 5 } };
  await using daemon = await startDaemon(configOf([NEIGHBOUR, built]), { files });
  const { applications } = await daemon.status();
  t.match(applications['built'], { status: 'DEPLOY_FAILED', message: /expected args\.to to be text, got 5/ });
  t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
});

t.test('a request that a replica is at work on is answered by it, although its code was replaced meanwhile', async (t) => {
  await using daemon = await startDaemon(configOf([single('slow', '/slow', code('Slow'))]), { files });
  const [old] = await daemon.pids('slow', 'Only');
  const pending = daemon.post('/slow', { id: 1, until: './go' });
  await until('it is at work', () => existsSync(daemon.path('begun-1')));
  await daemon.write('code.ts', CODE('two'));
  await daemon.waitForLog('application updated');
  t.match(JSON.parse((await daemon.post('/slow', { id: 2 })).text), { version: 'two' });
  t.notOk(isGone(old ?? 0), 'the old one is still there for what it has');
  await daemon.write('go', '');
  t.same(JSON.parse((await pending).text), { version: 'one', pid: old });
  await allGone([old ?? 0], 10_000);
});

t.test('what takes longer than graceful_shutdown_timeout_s is ended with its replica', async (t) => {
  const config = configOf([single('slow', '/slow', code('Slow', { graceful_shutdown_timeout_s: 0.5 }))]);
  await using daemon = await startDaemon(config, { files });
  const [old] = await daemon.pids('slow', 'Only');
  const pending = daemon.post('/slow', { id: 1, until: './never' });
  await until('it is at work', () => existsSync(daemon.path('begun-1')));
  await daemon.write('code.ts', CODE('two'));
  t.match(await pending, { status: 503, headers: { 'x-serve-error': 'REPLICA_DIED' } });
  await allGone([old ?? 0], 10_000);
  t.match(JSON.parse((await daemon.post('/slow', { id: 2 })).text), { version: 'two' });
  await daemon.running();
});

t.test('rolling_update_percentage: waves of so many, none beside them, and no request is lost', async (t) => {
  const config = (word: string) =>
    configOf([
      single('waves', '/waves', {
        import_path: './echo.ts:echo',
        num_replicas: 4,
        rolling_update_percentage: 0.5,
        max_ongoing_requests: 100,
        ray_actor_options: { runtime_env: { env_vars: { WORD: word } } },
      }),
    ]);
  await using daemon = await startDaemon(config('old'), { files });
  await daemon.running();
  const before = await daemon.pids('waves', 'Only');
  await using load = new Load(4, async (n, agent) =>
    differs(
      await daemon.ask('/waves', { method: 'POST', headers: { 'content-type': 'application/json' }, body: `${n}`, agent }),
      200,
      `${n}`,
    ),
  );
  await load.more(20);
  await daemon.save(config('new'));
  let least = 4;
  let most = 0;
  await daemon.when('all four are new', ({ applications }) => {
    const { replicas = [], status } = applications['waves']?.deployments['Only'] ?? {};
    const alive = replicas.filter(({ state }) => state !== 'PENDING' && state !== 'DRAINING' && state !== 'STOPPING');
    least = Math.min(least, replicas.filter(({ state }) => state === 'RUNNING').length);
    most = Math.max(most, alive.length);
    const pids = replicas.map(({ pid }) => pid);
    return applications['waves']?.status === 'RUNNING' && status === 'HEALTHY' && !before.some((pid) => pids.includes(pid));
  });
  t.ok(least >= 2, `never fewer than two ran: ${least}`);
  t.ok(most <= 4, `never more than four were there: ${most}`);
  await load.more(20);
  await load.stop();
  t.same(load.failures, []);
});

t.test('max_replicas_per_node bounds how many run here, and says so', async (t) => {
  const echo = { import_path: './echo.ts:echo', num_replicas: 3, max_replicas_per_node: 2 };
  await using daemon = await startDaemon(configOf([single('bound', '/bound', echo)]), { files });
  const { applications } = await daemon.when(
    'two run',
    (status) => pidsOf(status.applications['bound']?.deployments['Only']).length === 2,
  );
  t.match(applications['bound']?.deployments['Only']?.replicas.at(-1), { state: 'PENDING', reason: /max_replicas_per_node/ });
  t.equal((await daemon.post('/bound', 1)).text, '1');
});

t.test('a version that does not start costs no request', async (t) => {
  const config = configOf([single('app', '/app', code('Broken', { num_replicas: 2, max_ongoing_requests: 100 }))]);
  await using daemon = await startDaemon(config, { files });
  await daemon.running();
  const before = await daemon.pids('app', 'Only');
  await using load = new Load(4, async (n, agent) =>
    differs(
      await daemon.ask('/app', { method: 'POST', headers: { 'content-type': 'application/json' }, body: `${n}`, agent }),
      200,
      `${n}`,
    ),
  );
  await load.more(20);
  await daemon.write('code.ts', CODE('broken'));
  const failed = await daemon.when(
    'it is given up',
    ({ applications }) => applications['app']?.status === 'DEPLOY_FAILED',
    40_000,
  );
  t.match(failed.applications['app']?.message, /this version does not start.*the version before it goes on serving/);
  await load.more(20);
  await load.stop();
  t.same(load.failures, []);
  t.same(await daemon.pids('app', 'Only'), before);
});

t.test('compiled code that nothing runs is taken away with the next edit; what runs is started again from its own', async (t) => {
  await using daemon = await startDaemon(configOf([NEIGHBOUR, single('slow', '/slow', code('Slow'))]), { files });
  const state = join(daemon.root, 'state', 'serve-daemon');
  const folder = join(state, readdirSync(state)[0] ?? '', 'code');
  const own = readdirSync(folder).filter((name) => name.endsWith('.mjs'));
  t.equal(own.length, 2);
  // What runs is the oldest of all.
  for (const name of own) utimesSync(join(folder, name), 1, 1);
  for (let n = 0; n < 500; n++) writeFileSync(join(folder, `old-${n}.mjs`), 'x');
  await daemon.write('echo.ts', `${ECHO}export const edited = 1;\n`);
  await daemon.waitForLog('application updated');
  await until('the rest is bounded', () => readdirSync(folder).filter((name) => name.startsWith('old-')).length <= 200);
  const [pid] = await daemon.pids('slow', 'Only');
  process.kill(pid ?? 0, 'SIGKILL');
  await daemon.when('another one runs', ({ applications }) => {
    const [now] = pidsOf(applications['slow']?.deployments['Only']);
    return now !== undefined && now !== pid;
  });
  t.match(JSON.parse((await daemon.post('/slow', { id: 1 })).text), { version: 'one' });
});

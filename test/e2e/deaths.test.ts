/** Replicas die: what had not begun goes on elsewhere, the replica comes back, and what kills again and again is stopped. */
import t from 'tap';
import { allGone, differs, Load, startDaemon, until } from '../support/daemon-rig.ts';
import { addModel } from '../support/onnx-writer.ts';
import { configOf, ECHO, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `export class Work { async call(input) { if (input.die) process.kill(process.pid, 'SIGKILL'); if (input.exit) process.exit(7); await new Promise((r) => setTimeout(r, input.ms ?? 1)); return input.n; } }
export class Many { async call(inputs) { if (inputs.some((input) => input.die)) process.kill(process.pid, 'SIGKILL'); await new Promise((r) => setTimeout(r, 3)); return inputs.map((input) => input.n); } }
export class Dies { constructor() { console.error('the last words of the constructor'); throw new TypeError('no constructor of mine'); } call() {} }
export class Exits { constructor() { console.error('about to leave'); process.exit(3); } call() {} }
`;
const files = { 'work.ts': CODE, 'echo.ts': ECHO, 'add.onnx': addModel([1, 1]) };
const post = (value: unknown) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(value),
});

t.test('an idle replica that is killed is back by itself', async (t) => {
  await using daemon = await startDaemon(configOf([single('work', '/work', { import_path: './work.ts:Work' })]), { files });
  const [pid] = (await daemon.pids('work', 'Only')) as [number];
  process.kill(pid, 'SIGKILL');
  const status = await daemon.when('another pid runs', ({ applications }) => {
    const [replica] = applications['work']?.deployments['Only']?.replicas ?? [];
    return replica?.state === 'RUNNING' && replica.pid !== pid;
  });
  t.match(status.applications['work']?.deployments['Only'], { restarts: 1, last_death: { cause: 'signal', signal: 'SIGKILL' } });
  t.equal((await daemon.post('/work', { n: 5 })).text, '5');
  // While it is away requests wait for it.
  const [next] = (await daemon.pids('work', 'Only')) as [number];
  process.kill(next, 'SIGKILL');
  await allGone([next], 2000);
  t.equal((await daemon.post('/work', { n: 6 })).text, '6');
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('kill -9 under load', async (t) => {
  const config = configOf([
    single('once', '/once', { import_path: './work.ts:Work', num_replicas: 2, max_ongoing_requests: 2 }),
    single('again', '/again', {
      import_path: './work.ts:Work',
      num_replicas: 2,
      max_ongoing_requests: 2,
      retry: { idempotent: true },
    }),
    single('model', '/model', { model: 'add.onnx', num_replicas: 2, batching: { max_batch_size: 4 } }),
  ]);
  await using daemon = await startDaemon(config, { files });

  await t.test('what had begun is 503 REPLICA_DIED, what only waited is answered', async (t) => {
    await using load = new Load(12, async (n, agent) => {
      const answer = await daemon.ask('/once', { ...post({ n, ms: 20 }), agent });
      if (answer.status === 503 && answer.headers['x-serve-error'] === 'REPLICA_DIED' && /died/.test(answer.text)) return 'died';
      return differs(answer, 200, `${n}`);
    });
    for (let kill = 1; kill <= 4; kill++) {
      await load.more(30);
      const [pid] = (await daemon.pids('once', 'Only')) as [number];
      process.kill(pid, 'SIGKILL');
      await daemon.when('two run again', ({ applications }) => {
        const running = applications['once']?.deployments['Only']?.replicas.filter(({ state }) => state === 'RUNNING') ?? [];
        return running.length === 2 && running.every((replica) => replica.pid !== pid);
      });
      const died = load.failures.filter((failure) => failure.endsWith('died')).length;
      t.ok(died <= 2 * kill, `${died} had begun`);
    }
    await load.more(30);
    await load.stop();
    t.same(
      load.failures.filter((failure) => !failure.endsWith('died')),
      [],
    );
  });

  await t.test('nothing fails where requests are idempotent, nor of a model', async (t) => {
    await using load = new Load(12, async (n, agent) =>
      n % 2 === 0
        ? differs(await daemon.ask('/again', { ...post({ n, ms: 15 }), agent }), 200, `${n}`)
        : differs(await daemon.ask('/model', { ...post({ x: [[n, 0]] }), agent }), 200, `{"y":[[${n + 1},1]]}`),
    );
    for (let kill = 0; kill < 6; kill++) {
      await load.more(30);
      const name = kill % 2 === 0 ? 'again' : 'model';
      const [pid] = (await daemon.pids(name, 'Only')) as [number];
      process.kill(pid, 'SIGKILL');
      await daemon.when('two run again', ({ applications }) => {
        const running = applications[name]?.deployments['Only']?.replicas.filter(({ state }) => state === 'RUNNING') ?? [];
        return running.length === 2 && running.every((replica) => replica.pid !== pid);
      });
    }
    await load.more(30);
    await load.stop();
    t.same(load.failures, []);
  });
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('a request that kills its replica is contained', async (t) => {
  const config = configOf([
    single('once', '/once', { import_path: './work.ts:Work', num_replicas: 1 }),
    single('again', '/again', {
      import_path: './work.ts:Work',
      num_replicas: 2,
      max_ongoing_requests: 4,
      retry: { idempotent: true },
    }),
    single('many', '/many', {
      import_path: './work.ts:Many',
      num_replicas: 1,
      max_ongoing_requests: 16,
      batching: { max_batch_size: 8, method: 'call', batch_wait_timeout_s: 0.1 },
      retry: { idempotent: true },
    }),
  ]);
  await using daemon = await startDaemon(config, { files });
  const restarts = async (name: string) => (await daemon.status()).applications[name]?.deployments['Only']?.restarts ?? 0;

  await t.test('not idempotent: one death, and 503 for it', async (t) => {
    t.match(await daemon.post('/once', { die: true }), { status: 503, headers: { 'x-serve-error': 'REPLICA_DIED' } });
    t.equal((await daemon.post('/once', { n: 1 })).text, '1');
    t.equal(await restarts('once'), 1);
  });

  await t.test('idempotent: two deaths at most, and no other request fails', async (t) => {
    const others = Array.from({ length: 12 }, (_, n) => daemon.post('/again', { n, ms: 30 }));
    const poison = daemon.post('/again', { die: true });
    const late = Array.from({ length: 12 }, (_, n) => daemon.post('/again', { n: n + 12, ms: 30 }));
    t.match(await poison, { status: 503, headers: { 'x-serve-error': 'REPLICA_DIED' } });
    const answers = await Promise.all([...others, ...late]);
    t.same(
      answers.map((answer, n) => differs(answer, 200, `${n}`)).filter((wrong) => wrong !== undefined),
      [],
    );
    t.ok((await restarts('again')) <= 2, `${await restarts('again')} deaths`);
  });

  await t.test('in a batch: its company runs alone and is answered', async (t) => {
    const answers = await Promise.all(Array.from({ length: 8 }, (_, n) => daemon.post('/many', { n, die: n === 3 })));
    t.same(
      answers.map(({ status }) => status),
      [200, 200, 200, 503, 200, 200, 200, 200],
    );
    t.ok((await restarts('many')) <= 2, `${await restarts('many')} deaths`);
  });
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('a constructor that fails', async (t) => {
  await using daemon = await startDaemon(
    configOf([
      NEIGHBOUR,
      single('dies', '/dies', { import_path: './work.ts:Dies' }),
      single('exits', '/exits', { import_path: './work.ts:Exits' }),
    ]),
    { files },
  );

  await t.test('is tried three times, with back-off, then DEPLOY_FAILED with cause and last words', async (t) => {
    const { applications } = await daemon.when(
      'both failed',
      ({ applications }) => applications['dies']?.status === 'DEPLOY_FAILED' && applications['exits']?.status === 'DEPLOY_FAILED',
    );
    t.match(applications['dies']?.message, /no constructor of mine/);
    t.match(applications['dies']?.deployments['Only'], {
      restarts: 3,
      last_death: { cause: 'startup', exit_code: 1, message: 'TypeError: no constructor of mine' },
    });
    t.match(applications['dies']?.deployments['Only']?.last_death, { stderr: ['the last words of the constructor'] });
    t.match(applications['exits']?.deployments['Only'], {
      restarts: 3,
      last_death: { cause: 'exit', exit_code: 3, stderr: ['about to leave'] },
    });
    const deaths = daemon.log.filter((line) => line.msg === 'replica died' && String(line['replica']).startsWith('dies/'));
    t.equal(deaths.length, 3);
    const [first, , third] = deaths.map((line) => Number(line['time'])) as [number, number, number];
    t.ok(third - first >= 400, `the third came ${third - first} ms after the first`);
  });

  await t.test('its route tells why, others are not touched, and it is ready', async (t) => {
    t.match(await daemon.ask('/dies'), { status: 503, text: /Application dies could not be deployed.*no constructor of mine/ });
    t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
    t.equal((await daemon.ask('/-/healthz')).status, 200);
  });

  await t.test('it is tried again after SIGHUP', async () => {
    const from = daemon.log.length;
    daemon.signal('SIGHUP');
    await daemon.waitForLog((line) => line.msg === 'replica died' && String(line['replica']).startsWith('dies/'), from);
  });

  await t.test('mended code serves', async (t) => {
    await daemon.write('work.ts', CODE.replace(/throw new TypeError[^;]*;/, ''));
    await until('it answers', async () => (await daemon.ask('/dies')).status === 200);
    t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
  });
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('a new version that cannot start leaves the old one serving, and the old text is RUNNING at once', async (t) => {
  const old = configOf([single('app', '/app', { import_path: './work.ts:Work' })]);
  await using daemon = await startDaemon(old, { files });
  const pids = await daemon.pids('app', 'Only');
  await using load = new Load(4, async (n, agent) => differs(await daemon.ask('/app', { ...post({ n }), agent }), 200, `${n}`));
  await daemon.save(configOf([single('app', '/app', { import_path: './work.ts:Dies' })]));
  const failed = await daemon.when('DEPLOY_FAILED', ({ applications }) => applications['app']?.status === 'DEPLOY_FAILED');
  t.match(failed.applications['app']?.message, /no constructor of mine.*goes on serving/);
  await load.more(50);
  await daemon.save(old);
  await daemon.running(2000);
  t.same(await daemon.pids('app', 'Only'), pids);
  await load.more(50);
  await load.stop();
  t.same(load.failures, []);
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('a replica that is stopped by a signal or hangs is found and replaced', async (t) => {
  const loop = `export class Loop { call(input) { if (input === 'loop') while (true); return input; } }\n`;
  await using daemon = await startDaemon(
    configOf([
      NEIGHBOUR,
      single('loop', '/loop', { import_path: './loop.ts:Loop', num_replicas: 2, unresponsive_timeout_s: 1.5 }),
    ]),
    { files: { ...files, 'loop.ts': loop } },
  );
  const hung = daemon.post('/loop', 'loop');
  // The other one goes on.
  for (let n = 0; n < 20; n++) t.equal((await daemon.post('/neighbour', n)).text, `${n}`);
  t.match(await hung, { status: 503, headers: { 'x-serve-error': 'REPLICA_DIED' } });
  const { applications } = await daemon.when(
    'it was replaced',
    ({ applications }) => applications['loop']?.deployments['Only']?.restarts === 1,
  );
  t.match(applications['loop']?.deployments['Only'], { last_death: { cause: 'unresponsive' } });
  await daemon.running();
  const [pid] = (await daemon.pids('loop', 'Only')) as [number];
  process.kill(pid, 'SIGSTOP');
  await daemon.when('it was replaced', ({ applications }) => applications['loop']?.deployments['Only']?.restarts === 2);
  await daemon.running();
  t.equal((await daemon.post('/loop', 'here')).text, 'here');
  t.same(await daemon.stop(), { code: 0, signal: null });
});

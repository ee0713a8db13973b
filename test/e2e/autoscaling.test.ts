/** Replicas come with load and go with quiet; the last one goes and comes back, and no request is lost by it. */
import t from 'tap';
import { allGone, differs, Load, pidsOf, startDaemon } from '../support/daemon-rig.ts';
import { configOf, ECHO, single } from './configs.ts';

t.setTimeout(120_000);

const files = {
  'echo.ts': ECHO,
  'slow.ts': `export async function slow(input: unknown) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  return input;
}
`,
  'broken.ts': `export class Broken { constructor() { throw new Error('this one never starts'); } call() {} }\n`,
};

/** Reacts as fast as a test wants to wait. */
const FAST = { look_back_period_s: 1, upscale_delay_s: 0.1, downscale_delay_s: 0.5, target_ongoing_requests: 1 };
const slow = (autoscaling: object | undefined, more: object = {}) =>
  single('slow', '/slow', { import_path: './slow.ts:slow', autoscaling_config: autoscaling, ...more });

t.test('load makes replicas come, quiet makes them go', async (t) => {
  await using daemon = await startDaemon(configOf([slow({ ...FAST, max_replicas: 3 })]), { files });
  const [first] = await daemon.pids('slow', 'Only');
  const words = new Set<string>();
  const look = (replicas: number) =>
    daemon.when(`${replicas} replicas`, ({ applications }) => {
      const { status, deployments } = applications['slow'] as (typeof applications)[string];
      const {
        status: word,
        status_trigger: trigger,
        target_num_replicas: target,
      } = deployments['Only'] as (typeof deployments)[string];
      words.add(`${status} ${word} ${trigger}`);
      return target === replicas && word === 'HEALTHY' && pidsOf(deployments['Only']).length === replicas;
    });
  await using load = new Load(8, async (n, agent) =>
    differs(await daemon.ask('/slow', { method: 'POST', body: `${n}`, agent }), 200, `${n}`),
  );
  await look(3);
  t.ok((await daemon.pids('slow', 'Only')).includes(first as number), 'the one that was there stays');
  const three = await daemon.pids('slow', 'Only');
  await load.stop();
  await look(1);
  t.same(await daemon.pids('slow', 'Only'), [first], 'the newest went');
  await allGone(
    three.filter((pid) => pid !== first),
    5000,
  );
  t.same(load.failures, []);
  t.same(
    [...words].filter((word) => !word.startsWith('RUNNING ')),
    [],
    'an application that scales runs',
  );
  t.ok(words.has('RUNNING UPSCALING AUTOSCALING'), [...words].join());
  t.ok(words.has('RUNNING HEALTHY DOWNSCALE_COMPLETED'), [...words].join());
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('beginning to scale, other limits, and ending it keep every process', async (t) => {
  await using daemon = await startDaemon(configOf([slow(undefined, { num_replicas: 2 })]), { files });
  /** Applies it, and waits until so many replicas run and nothing is on its way. */
  const pidsAt = async (replicas: number, deployment: object, head?: string) => {
    const from = daemon.log.length;
    await daemon.save(configOf([deployment], head));
    await daemon.waitForLog('config applied', from);
    const { applications } = await daemon.when(`${replicas} replicas`, ({ applications }) => {
      const only = applications['slow']?.deployments['Only'];
      return only?.status === 'HEALTHY' && only.target_num_replicas === replicas && only.replicas.length === replicas;
    });
    return pidsOf(applications['slow']?.deployments['Only']);
  };
  await daemon.running();
  const pids = await daemon.pids('slow', 'Only');
  const patient = { min_replicas: 1, max_replicas: 4, downscale_delay_s: 1000 };
  t.same(await pidsAt(2, slow(patient)), pids, 'it begins with what it has');
  t.same(await pidsAt(2, slow({ ...patient, target_ongoing_requests: 3, upscale_delay_s: 7 })), pids);
  const three = await pidsAt(3, slow({ ...patient, min_replicas: 3 }));
  t.ok(pids.every((pid) => three.includes(pid)));
  t.same(await pidsAt(3, slow(undefined, { num_replicas: 3 })), three);
  const half = 'target_capacity: 50\nhttp_options: {port: 0}\nadmin_options: {port: 0}\n';
  t.same(await pidsAt(2, slow(undefined, { num_replicas: 3 }), half), pids, 'half of three is two');
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('to zero and back: requests are held until a replica is up, and none fails', async (t) => {
  const zero = { ...FAST, min_replicas: 0, max_replicas: 2, downscale_to_zero_delay_s: 0.2 };
  const door = single('door', '/door', { import_path: './slow.ts:slow', max_queued_requests: 0, autoscaling_config: zero });
  const broken = single('broken', '/broken', {
    import_path: './broken.ts:Broken',
    max_constructor_retry_count: 2,
    autoscaling_config: zero,
  });
  await using daemon = await startDaemon(configOf([slow(zero), door, broken]), { files });
  const none = (application: string) =>
    daemon.when('no replica', ({ applications }) => {
      const only = applications[application]?.deployments['Only'];
      return only?.target_num_replicas === 0 && only.replicas.length === 0;
    });

  await t.test('it begins without replicas, and serves', async (t) => {
    const { applications } = await none('slow');
    t.equal(applications['slow']?.status, 'RUNNING');
    t.equal(applications['slow']?.deployments['Only']?.status, 'HEALTHY');
  });

  await t.test('ten requests at once are held, and answered', async (t) => {
    for (const round of [1, 2, 3]) {
      const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => daemon.post('/slow', n)));
      t.same(
        answers.map(({ status, text }) => `${status} ${text}`),
        Array.from({ length: 10 }, (_, n) => `200 ${n}`),
        `round ${round}`,
      );
      await none('slow');
    }
  });

  await t.test('requests that come at any time of going and coming are answered', async (t) => {
    await using load = new Load(1, async (n, agent) => {
      const answer = await daemon.ask('/slow', { method: 'POST', body: `${n}`, agent });
      // Longer and longer pauses, so that some end while the last replica goes.
      await new Promise((resolve) => setTimeout(resolve, (n % 12) * 150));
      return differs(answer, 200, `${n}`);
    });
    await load.more(24, 60_000);
    await load.stop();
    t.same(load.failures, []);
    const starts = daemon.log.filter(({ msg, to }) => msg === 'deployment scales' && to === 1);
    t.ok(starts.length > 4, `it came back ${starts.length} times`);
  });

  await t.test('where nothing may wait a request is refused, and calls a replica all the same', async (t) => {
    t.equal((await daemon.post('/door', 1)).status, 503);
    await daemon.when('a replica', ({ applications }) => applications['door']?.deployments['Only']?.replicas.length === 1);
  });

  await t.test('code that never starts refuses what was held, and does not hold for ever', async (t) => {
    const { status, text } = await daemon.post('/broken', 1);
    t.equal(status, 503);
    t.match(text, /DEPLOY_FAILED.*this one never starts/);
  });

  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('an external scaler sets the number of replicas, until the file says another', async (t) => {
  const set = (numReplicas: number, may = true) => ({
    ...single('slow', '/slow', { import_path: './slow.ts:slow', num_replicas: numReplicas }),
    external_scaler_enabled: may,
  });
  await using daemon = await startDaemon(configOf([set(1), single('own', '/own', { import_path: './echo.ts:echo' })]), { files });
  const [first] = await daemon.pids('slow', 'Only');
  const scale = (path: string, body: string, headers: Readonly<Record<string, string>> = {}, method = 'POST') =>
    daemon.ask(`/api/v1/applications/${path}/scale`, { method, body, headers }, daemon.adminUrl);
  const runs = (replicas: number) =>
    daemon.when(`${replicas} replicas`, ({ applications }) => {
      const only = applications['slow']?.deployments['Only'];
      return only?.status === 'HEALTHY' && only.target_num_replicas === replicas && only.replicas.length === replicas;
    });

  const three = await scale('slow/deployments/Only', '{"target_num_replicas": 3}');
  t.equal(three.status, 200, three.text);
  t.ok(pidsOf((await runs(3)).applications['slow']?.deployments['Only']).includes(first as number));

  for (const [path, body, status] of [
    ['slow/deployments/Only', '{"target_num_replicas": -1}', 400],
    ['slow/deployments/Only', '{"target_num_replicas": 1.5}', 400],
    ['slow/deployments/Only', '{"target_num_replicas": "2"}', 400],
    ['slow/deployments/Only', '{"target_num_replicas": 1001}', 400],
    ['slow/deployments/Only', '{', 400],
    ['slow/deployments/Only', '', 400],
    ['slow/deployments/Only', `"${'x'.repeat(10_000)}"`, 400],
    ['slow/deployments/Nobody', '{"target_num_replicas": 2}', 400],
    ['nobody/deployments/Only', '{"target_num_replicas": 2}', 400],
    ['own/deployments/Only', '{"target_num_replicas": 2}', 412],
  ] as const) {
    const answer = await scale(path, body);
    t.equal(answer.status, status, `${path} ${body.slice(0, 40)}`);
    t.type(JSON.parse(answer.text).error, 'string');
  }
  t.equal((await scale('slow/deployments/Only', '{"target_num_replicas": 2}', { origin: 'http://evil' })).status, 403);
  t.equal((await scale('slow/deployments/Only', '', {}, 'GET')).status, 405);

  await daemon.apply(configOf([set(1)]));
  await runs(3);
  t.pass('an edit elsewhere leaves it in force');
  const from = daemon.log.length;
  await daemon.save(configOf([set(2)]));
  await daemon.waitForLog('config applied', from);
  await runs(2);
  t.equal((await scale('slow/deployments/Only', '{"target_num_replicas": 0}')).status, 200);
  await runs(0);
  const held = daemon.post('/slow', 7);
  t.equal((await scale('slow/deployments/Only', '{"target_num_replicas": 1}')).status, 200);
  t.equal((await held).text, '7', 'what came meanwhile was held');
  await daemon.apply(configOf([set(2, false)]));
  t.equal((await scale('slow/deployments/Only', '{"target_num_replicas": 1}')).status, 412);
  await runs(2);
  t.same(await daemon.stop(), { code: 0, signal: null });
});

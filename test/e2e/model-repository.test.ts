/** A folder of models: each is served, comes, changes, breaks and goes by itself, and nobody else notices. */
import { appendFileSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import t from 'tap';
import type { Difference } from '../../src/control/difference.ts';
import { type DaemonRig, differs, Load, runProgram, startDaemon, until } from '../support/daemon-rig.ts';
import { infer } from '../support/inference.ts';
import { addModel } from '../support/onnx-writer.ts';
import { configOf, HEAD, single } from './configs.ts';

t.setTimeout(240_000);

const zoo = (models: object = {}, name = 'zoo') => ({ name, route_prefix: `/${name}`, models: { path: `./${name}`, ...models } });
/** By folder: a model that adds this number to what it is given. */
const adding = (models: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.entries(models).map(([path, number]) => [`${path}/model.onnx`, addModel([number])]));
const BODY = JSON.stringify({ inputs: [{ name: 'x', shape: [1, 1], datatype: 'FP32', data: [0] }] });
const CUT_OFF = addModel([9]).subarray(0, 60);

/** What a model answers to 0: its number, or the status of the refusal. */
const answer = async (daemon: DaemonRig, model: string): Promise<unknown> => {
  const { status, json } = await infer(daemon, `${model}/infer`, BODY);
  return status === 200 ? json.outputs[0]?.data?.[0] : status;
};
const application = async (daemon: DaemonRig, name: string) => (await daemon.status()).applications[name];
const states = async (daemon: DaemonRig) =>
  Object.fromEntries(Object.values((await daemon.status()).applications).map(({ name, status }) => [name, status]));
const listed = async (daemon: DaemonRig, path = '/zoo') =>
  (JSON.parse((await daemon.ask(path)).text).models as { name: string; state: string }[]).map(
    ({ name, state }) => `${name} ${state}`,
  );

for (const server of ['uws', 'node'] as const) {
  t.test(`${server}: every model that is there is served, and what is wrong with the others is told`, async (t) => {
    const head = HEAD.replace('port: 0}', `port: 0, server: ${server}}`);
    await using daemon = await startDaemon(configOf([zoo()], head), {
      files: {
        ...adding({ 'zoo/a/1': 1, 'zoo/a/2': 2, 'zoo/flat': 3, 'zoo/2nd/1': 4 }),
        'zoo/broken/1/model.onnx': CUT_OFF,
        'zoo/wrong/1/model.onnx': addModel([5]),
        'zoo/wrong/config.pbtxt': 'platform: "tensorrt_plan"\n',
        'zoo/README.md': 'x',
      },
    });
    t.same(await states(daemon), {
      zoo: 'RUNNING',
      'zoo.a': 'RUNNING',
      'zoo.flat': 'RUNNING',
      'zoo.broken': 'DEPLOY_FAILED',
      'zoo.wrong': 'DEPLOY_FAILED',
    });
    t.same(JSON.parse((await daemon.post('/zoo/a', [[0]])).text), { y: [[2]] });
    t.same(JSON.parse((await daemon.post('/zoo/flat', [[0]])).text), { y: [[3]] });
    t.equal(await answer(daemon, 'a'), 2);
    t.equal(await answer(daemon, 'broken'), 503);
    t.same(await listed(daemon), ['a READY', 'broken UNAVAILABLE', 'flat READY', 'wrong UNAVAILABLE']);
    t.match(await daemon.ask('/zoo/none'), { status: 404, text: /There is a, broken, flat, wrong/ });
    t.match(await daemon.post('/zoo', {}), { status: 405, text: /each model has a path of its own/ });
    t.equal((await daemon.ask('/v2/health/ready')).status, 200, 'one that never served takes nobody out of service');
    const index = JSON.parse((await daemon.ask('/v2/repository/index', { method: 'POST' })).text);
    const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
    t.match(index.sort(byName), [
      { name: 'a', version: '2', state: 'READY' },
      { name: 'broken', state: 'UNAVAILABLE', reason: /is not an ONNX model: it is cut off/ },
      { name: 'flat', state: 'READY' },
      { name: 'wrong', state: 'UNAVAILABLE', reason: /config\.pbtxt:1:11: expected `onnxruntime_onnx`, got `tensorrt_plan`/ },
    ]);
    const { errors } = (await daemon.status()).config;
    t.match(
      errors.map(({ code, file, line, application }) => [code, file.slice(daemon.folder.length), line, application ?? '']),
      [
        ['BAD_NAME', '/config.yaml', 4, ''],
        ['FILE_BROKEN', '/config.yaml', 4, 'zoo.broken'],
        ['NOT_SERVED', '/zoo/wrong/config.pbtxt', 1, 'zoo.wrong'],
      ],
    );
  });
}

t.test('models come, change, break, are mended and go, and a sibling answers every request', async (t) => {
  const neighbour = (replicas: number) => ({
    name: 'other',
    route_prefix: '/other',
    deployments: [{ name: 'Other', model: './other.onnx', num_replicas: replicas }],
  });
  await using daemon = await startDaemon(configOf([zoo(), neighbour(1)]), {
    files: { ...adding({ 'zoo/steady/1': 7, 'zoo/moving/1': 1 }), 'other.onnx': addModel([0]) },
  });
  const pids = await daemon.pids('zoo.steady', 'steady');
  await using load = new Load(2, async (_, agent) =>
    differs(
      await daemon.ask('/zoo/steady', { method: 'POST', body: '[[0]]', headers: { 'content-type': 'application/json' }, agent }),
      200,
      '{"y":[[7]]}',
    ),
  );
  await using moving = new Load(1, async (_, agent) => {
    const { status, text } = await daemon.ask('/zoo/moving', {
      method: 'POST',
      body: '[[0]]',
      headers: { 'content-type': 'application/json' },
      agent,
    });
    return status === 200 && /^\{"y":\[\[[1-3]\]\]\}$/.test(text) ? undefined : `${status} ${text}`;
  });

  await mkdir(daemon.path('zoo/fresh/1'), { recursive: true });
  await daemon.write('zoo/fresh/1/model.onnx', addModel([4]));
  await until('a new model answers', async () => (await answer(daemon, 'fresh')) === 4);

  await daemon.write('zoo/moving/2/model.onnx', addModel([2]));
  await until('a new version answers', async () => (await answer(daemon, 'moving')) === 2);

  await daemon.write('zoo/moving/3/model.onnx', CUT_OFF);
  const broken = await daemon.when(
    'its state says so',
    ({ applications }) => applications['zoo.moving']?.status === 'DEPLOY_FAILED',
  );
  t.match(
    broken.applications['zoo.moving']?.message,
    /3\/model\.onnx is not an ONNX model: it is cut off; the version before it goes on serving/,
  );
  t.equal(await answer(daemon, 'moving'), 2, 'what served goes on');

  await daemon.write('zoo/bad/1/model.onnx', CUT_OFF);
  await daemon.when(
    'a new one that is broken says so too',
    ({ applications }) => applications['zoo.bad']?.status === 'DEPLOY_FAILED',
  );

  await daemon.save(configOf([zoo(), neighbour(2)]));
  await daemon.when(
    'the config is edited all the same',
    ({ applications }) => applications['other']?.deployments['Other']?.replica_states['RUNNING'] === 2,
  );
  await daemon.write('zoo/late/1/model.onnx', addModel([5]));
  await until('and others come', async () => (await answer(daemon, 'late')) === 5);
  t.equal((await application(daemon, 'zoo.moving'))?.status, 'DEPLOY_FAILED', 'it still says so');

  await daemon.write('zoo/moving/3/model.onnx', addModel([3]));
  await until('it is mended', async () => (await answer(daemon, 'moving')) === 3);
  await moving.stop();
  await rm(daemon.path('zoo/moving'), { recursive: true });
  await rm(daemon.path('zoo/bad'), { recursive: true });
  const after = await daemon.when(
    'they have gone',
    ({ applications }) => !('zoo.moving' in applications) && !('zoo.bad' in applications),
  );
  t.same(Object.keys(after.applications).sort(), ['other', 'zoo', 'zoo.fresh', 'zoo.late', 'zoo.steady']);
  t.equal(await answer(daemon, 'moving'), 404);

  await load.more(10);
  await load.stop();
  t.same(load.failures, []);
  t.same(moving.failures, [], 'nor has the one that changed lost any');
  t.ok(load.good > 20 && moving.good > 20, `${load.good} and ${moving.good} answers`);
  t.same(await daemon.pids('zoo.steady', 'steady'), pids, 'by the process of the beginning');
});

t.test('a model that is being written holds up nothing, and is taken when it is whole', async (t) => {
  await using daemon = await startDaemon(configOf([zoo()]), { files: adding({ 'zoo/a/1': 1 }) });
  const whole = addModel([8]);
  await mkdir(daemon.path('zoo/big/1'), { recursive: true });
  // A writer that never pauses for as long as a file has to be quiet.
  const slowly = setInterval(() => appendFileSync(daemon.path('zoo/big/1/model.onnx'), whole.subarray(0, 1)), 10);
  try {
    await daemon.save(configOf([zoo({ defaults: { max_queued_requests: 3 } })]));
    await daemon.waitForLog('config applied', daemon.log.findIndex(({ msg }) => msg === 'config applied') + 1);
    await daemon.write('zoo/small/1/model.onnx', addModel([2]));
    await until('another answers', async () => (await answer(daemon, 'small')) === 2);
  } finally {
    clearInterval(slowly);
  }
  await daemon.write('zoo/big/1/model.onnx', whole);
  await until('it answers', async () => (await answer(daemon, 'big')) === 8);
  t.equal(await answer(daemon, 'a'), 1);
});

t.test('one that is being written while the config is read is taken also where nothing is watched', async () => {
  await using daemon = await startDaemon(configOf([zoo()]), { files: adding({ 'zoo/a/1': 1 }), args: ['--no-watch-code'] });
  await mkdir(daemon.path('zoo/big/1'), { recursive: true });
  const whole = addModel([8]);
  const slowly = setInterval(() => appendFileSync(daemon.path('zoo/big/1/model.onnx'), whole.subarray(0, 1)), 10);
  try {
    await daemon.save(configOf([zoo({ defaults: { max_queued_requests: 3 } })]));
    await daemon.waitForLog('config applied', daemon.log.findIndex(({ msg }) => msg === 'config applied') + 1);
  } finally {
    clearInterval(slowly);
  }
  await daemon.write('zoo/big/1/model.onnx', whole);
  await until('it answers', async () => (await answer(daemon, 'big')) === 8);
});

t.test('a model that comes and does not start takes nobody out of service', async (t) => {
  const wrong = { max_constructor_retry_count: 100, model: { warmup: [{ inputs: { none: { shape: [1] } } }] } };
  await using daemon = await startDaemon(configOf([zoo({ overrides: { b: wrong } })]), { files: adding({ 'zoo/a/1': 1 }) });
  const admin = async () => (await fetch(`${daemon.adminUrl}/readyz`)).status;
  t.equal(await admin(), 200);
  await daemon.write('zoo/b/1/model.onnx', addModel([2]));
  await daemon.when('it is tried', ({ applications }) => applications['zoo.b']?.status === 'DEPLOYING');
  t.equal(await admin(), 200);
  t.equal((await daemon.ask('/v2/health/ready')).status, 200);
  t.equal((await daemon.ask('/-/healthz')).status, 200);
});

t.test('what the config and a config.pbtxt say of one model moves that model alone', async (t) => {
  await using daemon = await startDaemon(configOf([zoo()]), { files: adding({ 'zoo/a/1': 1, 'zoo/a/2': 2, 'zoo/b/1': 3 }) });
  const before = await daemon.pids('zoo.b', 'b');
  const replicas = async (name: string) =>
    (await application(daemon, `zoo.${name}`))?.deployments[name]?.replica_states['RUNNING'];
  const config = async (model: string) => JSON.parse((await daemon.ask(`/v2/models/${model}/config`)).text);
  await daemon.write('zoo/a/config.pbtxt', 'max_batch_size: 4\ninstance_group { count: 2 }\nversion_policy { all {} }\n');
  await daemon.when(
    'two replicas',
    ({ applications }) => applications['zoo.a']?.deployments['a']?.replica_states['RUNNING'] === 2,
  );
  await until('both versions', async () => (await answer(daemon, 'a/versions/1')) === 1);
  t.match(await config('a'), { max_batch_size: 4 });
  t.match(await config('b'), { max_batch_size: 0 });

  const edited = configOf([zoo({ overrides: { a: { num_replicas: 1, batching: { max_batch_size: 9 } } } })]);
  const { out } = await (async () => {
    await daemon.write('next.yaml', edited);
    return runProgram(['plan', daemon.path('next.yaml'), '--address', daemon.adminUrl, '--json']);
  })();
  t.match(JSON.parse(out) satisfies Difference, {
    restarts: 0,
    applications: {
      zoo: { change: 'nothing' },
      'zoo.a': { change: 'live', deployments: { a: { replicas: { from: 2, to: 1 } } } },
      'zoo.b': { change: 'nothing' },
    },
  });
  await daemon.save(edited);
  await daemon.when('one replica', ({ applications }) => applications['zoo.a']?.deployments['a']?.replicas.length === 1);
  t.match(await config('a'), { max_batch_size: 9 });

  await daemon.write('zoo/a/config.pbtxt', 'max_batch_size: "4"');
  await daemon.when('it says what is wrong', ({ applications }) =>
    /config\.pbtxt:1:17: expected an integer, got `4`; the version before it goes on serving/.test(
      applications['zoo.a']?.message ?? '',
    ),
  );
  t.equal(await answer(daemon, 'a'), 2);
  await rm(daemon.path('zoo/a/config.pbtxt'));
  await daemon.running();
  t.equal(await answer(daemon, 'a/versions/1'), 404, 'the newest alone, as nothing says otherwise');
  t.equal(await replicas('b'), 1);
  t.same(await daemon.pids('zoo.b', 'b'), before);
});

t.test('the same name in two folders', async (t) => {
  await using daemon = await startDaemon(configOf([zoo({}, 'one'), zoo({}, 'two')]), {
    files: adding({ 'one/m/1': 1, 'two/m/1': 2, 'two/n/1': 3 }),
  });
  const names = async () =>
    JSON.parse((await daemon.ask('/v2/repository/index', { method: 'POST' })).text).map(({ name }: { name: string }) => name);
  t.same((await names()).sort(), ['m', 'n', 'two/m']);
  t.same([await answer(daemon, 'one/m'), await answer(daemon, 'two%2Fm'), await answer(daemon, 'n')], [1, 2, 3]);
  t.equal(await answer(daemon, 'm'), 1, 'the first has the name');
  await rm(daemon.path('one/m'), { recursive: true });
  await until('the other has the name alone', async () => (await answer(daemon, 'm')) === 2);
  t.same(await listed(daemon, '/one'), []);
});

t.test('a path that the config gives to somebody else is his; and a folder takes nothing from the protocol', async (t) => {
  const other = (route: string) => single('other', route, { model: './other.onnx' });
  const root = { name: 'zoo', route_prefix: '/', models: { path: './zoo' } };
  await using daemon = await startDaemon(configOf([root, other('/other')]), {
    files: { ...adding({ 'zoo/a/1': 1, 'zoo/v2/1': 3 }), 'other.onnx': addModel([2]) },
  });
  t.equal(await answer(daemon, 'a'), 1, 'a folder `v2` is refused alone');
  t.match(await application(daemon, 'zoo.v2'), { status: 'DEPLOY_FAILED', message: /that of the Open Inference Protocol/ });
  await daemon.save(configOf([root, other('/a')]));
  await until('it answers there', async () => (await daemon.post('/a', [[0]])).text === '{"y":[[2]]}');
  t.match(await application(daemon, 'zoo.a'), { status: 'DEPLOY_FAILED', message: /which is that of the application `other`/ });
});

t.test('a daemon that starts with a model that is broken serves the others, and it when it is mended', async (t) => {
  const files = { ...adding({ 'zoo/a/1': 1, 'zoo/b/1': 2 }) };
  await using daemon = await startDaemon(configOf([zoo()]), { files });
  await daemon.write('zoo/b/1/model.onnx', CUT_OFF);
  await daemon.when('b says so', ({ applications }) => applications['zoo.b']?.status === 'DEPLOY_FAILED');
  t.equal(await answer(daemon, 'b'), 2, 'the one that was loaded goes on');
  await daemon.stop();
  await using again = await startDaemon(undefined, { folder: daemon.root });
  t.equal(await answer(again, 'a'), 1);
  t.match(await application(again, 'zoo.b'), { status: 'DEPLOY_FAILED', message: /it is cut off/ });
  await again.write('zoo/b/1/model.onnx', addModel([6]));
  await until('b answers', async () => (await answer(again, 'b')) === 6);
});

t.test('a folder that goes away takes nothing with it; one that is emptied does', async (t) => {
  await using daemon = await startDaemon(configOf([zoo()]), { files: adding({ 'zoo/a/1': 1 }) });
  await rename(daemon.path('zoo'), daemon.path('away'));
  const gone = await daemon.when('it is told', ({ applications }) => applications['zoo']?.status === 'DEPLOY_FAILED');
  t.match(gone.applications['zoo']?.message, /the folder of models is not there/);
  t.equal(await answer(daemon, 'a'), 1);
  await rename(daemon.path('away'), daemon.path('zoo'));
  await daemon.running();
  t.equal(await answer(daemon, 'a'), 1);
  await rm(daemon.path('zoo/a'), { recursive: true });
  await daemon.when('it is gone', ({ applications }) => !('zoo.a' in applications));
  t.equal((await daemon.ask('/v2/health/ready')).status, 200);
  await daemon.write('zoo/b/model.onnx', addModel([3]));
  await until('another comes', async () => (await answer(daemon, 'b')) === 3);
});

t.test('a folder that is not there yet is waited for, and so are those above it', async (t) => {
  await using daemon = await startDaemon(configOf([zoo(), zoo({ path: './deep/down/zoo' }, 'deep')]));
  t.same(await listed(daemon), []);
  const wait = { code: 'NO_MODELS', severity: 'warning' };
  t.match((await daemon.status()).config.errors, [wait, wait]);
  await daemon.write('zoo/a/1/model.onnx', addModel([1]));
  await until('its model answers', async () => (await answer(daemon, 'a')) === 1);
  t.match((await daemon.status()).config.errors, [wait]);
  await daemon.write('deep/down/zoo/b/1/model.onnx', addModel([2]));
  await until('this one too', async () => (await answer(daemon, 'b')) === 2);
  t.same((await daemon.status()).config.errors, []);
});

t.test('validate tells what is wrong with each model, and plan what would be served, without a daemon', async (t) => {
  await using daemon = await startDaemon(configOf([single('other', '/other', { model: './other.onnx' })]), {
    files: {
      'other.onnx': addModel([0]),
      ...adding({ 'zoo/a/1': 1, 'zoo/b/1': 2 }),
      'zoo/b/config.pbtxt': 'max_batch_size: 4\npriority: 1\n',
      'zoo/c/1/model.onnx': CUT_OFF,
      'next.yaml': configOf([zoo()]),
    },
  });
  const validated = await runProgram(['validate', 'next.yaml'], { cwd: daemon.folder });
  t.equal(validated.code, 1);
  t.match(
    validated.out,
    /next\.yaml:4:\d+: error FILE_BROKEN applications\[0\]\.models\.path: .*c\/1\/model\.onnx is not an ONNX model/,
  );
  t.match(validated.out, /zoo\/b\/config\.pbtxt:2:1: warning UNKNOWN_KEY priority: .*\n {4}priority: 1\n {4}\^/);
  t.match(validated.out, /next\.yaml: 1 errors, 1 warnings\n$/);
  const planned = await runProgram(['plan', 'next.yaml', '--address', daemon.adminUrl], { cwd: daemon.folder });
  t.match(planned.out, /zoo\.a: start\n {2}a {2}start {2}0 → 1 replicas\n/);
  t.match(planned.out, /zoo\.c: nothing; .*it is cut off/);
  const missing = configOf([zoo(), single('other', '/other', { model: './none.onnx' })]);
  const sent = await (await fetch(`${daemon.adminUrl}/api/serve/plan`, { method: 'POST', body: missing })).text();
  t.match(sent, /"file": *"the config that was sent"/);
  t.match(sent, /"file": *"[^"]*zoo\/b\/config\.pbtxt"/, 'what is beside a model stands there');
});

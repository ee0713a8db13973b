/** Saving the file is the only deploy step: what changes, what stays, and what a broken text does. */
import { rename, symlink, unlink } from 'node:fs/promises';
import t from 'tap';
import { allGone, pidsOf, startDaemon, until } from '../support/daemon-rig.ts';
import { addModel } from '../support/onnx-writer.ts';
import { configOf, ECHO, HEAD, single } from './configs.ts';

t.setTimeout(120_000);

const VERSIONED = (version: string) => `import { SUFFIX } from './suffix.ts';
export const version = '${version}';
export class Main {
  config = 'none';
  reconfigure(config) { if (config?.bad) throw new Error('this user_config is bad'); this.config = config?.word ?? 'none'; }
  call() { return version + SUFFIX + ' ' + this.config; }
}
export async function many(inputs) { return inputs.map((input) => [input, inputs.length]); }
`;

const files = {
  'main.ts': VERSIONED('v1'),
  'suffix.ts': `export const SUFFIX = '!';\n`,
  'echo.ts': ECHO,
  'add.onnx': addModel([1, 2]),
};
const main = (options: object = {}) => single('main', '/main', { import_path: './main.ts:Main', ...options });
const many = (options: object = {}) =>
  single('many', '/many', { import_path: './main.ts:many', max_ongoing_requests: 50, ...options });
const model = single('model', '/model', { model: 'add.onnx' });
const echo = single('echo', '/echo', { import_path: './echo.ts:echo' });

t.test('what a save changes', async (t) => {
  await using daemon = await startDaemon(configOf([main(), echo, model]), { files });
  const [first] = await daemon.pids('main', 'Only');
  const echoPids = await daemon.pids('echo', 'Only');

  await t.test('num_replicas 1 → 3 → 1: two come, the newest two go, the first stays', async (t) => {
    await daemon.apply(configOf([main({ num_replicas: 3 }), echo, model]));
    const three = await daemon.pids('main', 'Only');
    t.equal(new Set(three).size, 3);
    t.ok(three.includes(first as number));
    await daemon.apply(configOf([main(), echo, model]));
    t.same(await daemon.pids('main', 'Only'), [first]);
    await allGone(
      three.filter((pid) => pid !== first),
      5000,
    );
  });

  await t.test('a renamed route moves, and its replicas stay', async (t) => {
    const moved = { ...main(), route_prefix: '/elsewhere' };
    await daemon.apply(configOf([moved, echo, model]));
    t.equal((await daemon.ask('/main')).status, 404);
    t.equal((await daemon.ask('/elsewhere')).text, 'v1! none');
    await daemon.apply(configOf([main(), echo, model]));
    t.equal((await daemon.ask('/main')).text, 'v1! none');
    t.same(await daemon.pids('main', 'Only'), [first]);
  });

  await t.test('an application that is added serves, one that leaves the file is gone with its replicas', async (t) => {
    await daemon.apply(configOf([main(), echo, model, many()]));
    t.equal((await daemon.post('/many', 'x')).status, 500, 'it is written for arrays');
    const pids = await daemon.pids('many', 'Only');
    t.equal(pids.length, 1);
    await daemon.apply(configOf([main(), echo, model]));
    t.equal((await daemon.ask('/many')).status, 404);
    await allGone(pids, 5000);
    t.notOk('many' in (await daemon.status()).applications);
  });

  await t.test('a deployment that is added to an application runs, one that leaves goes', async (t) => {
    const two = {
      name: 'main',
      route_prefix: '/main',
      graph: { ingress: 'Only' },
      deployments: [
        { name: 'Only', import_path: './main.ts:Main' },
        { name: 'Beside', import_path: './echo.ts:echo' },
      ],
    };
    await daemon.apply(configOf([two, echo, model]));
    const beside = await daemon.pids('main', 'Beside');
    t.equal(beside.length, 1);
    await daemon.apply(configOf([main(), echo, model]));
    await allGone(beside, 5000);
    t.same(await daemon.pids('main', 'Only'), [first]);
  });

  await t.test('code that is edited, or that it imports, rolls the deployments that run it and no others', async (t) => {
    await daemon.write('main.ts', VERSIONED('v2'));
    await until('v2 answers', async () => (await daemon.ask('/main')).text === 'v2! none');
    await daemon.running();
    await allGone([first as number], 5000);
    await daemon.write('suffix.ts', `export const SUFFIX = '?';\n`);
    await until('the new import answers', async () => (await daemon.ask('/main')).text === 'v2? none');
    await daemon.running();
    t.same(await daemon.pids('echo', 'Only'), echoPids);
  });

  await t.test('a model file that is replaced rolls the deployment', async (t) => {
    const sum = async () => JSON.parse((await daemon.post('/model', { x: [[10, 20]] })).text);
    t.same(await sum(), { y: [[11, 22]] });
    await daemon.write('add.onnx', addModel([5, 5]));
    await until('the new model answers', async () => JSON.stringify(await sum()) === '{"y":[[15,25]]}');
    await daemon.running();
    t.same(await daemon.pids('echo', 'Only'), echoPids);
  });

  await t.test('user_config calls reconfigure and keeps the process; one that it refuses changes nothing', async (t) => {
    await daemon.apply(configOf([main({ user_config: { word: 'one' } }), echo, model]));
    const pids = await daemon.pids('main', 'Only');
    t.equal((await daemon.ask('/main')).text, 'v2? one');
    await daemon.apply(configOf([main({ user_config: { word: 'two' } }), echo, model]));
    await until('the new word answers', async () => (await daemon.ask('/main')).text === 'v2? two');
    t.same(await daemon.pids('main', 'Only'), pids);
    await daemon.save(configOf([main({ user_config: { bad: true } }), echo, model]));
    const status = await daemon.when('DEPLOY_FAILED', ({ applications }) => applications['main']?.status === 'DEPLOY_FAILED');
    t.match(status.applications['main']?.message, /this user_config is bad/);
    t.equal((await daemon.ask('/main')).text, 'v2? two');
    await daemon.apply(configOf([main({ user_config: { word: 'two' } }), echo, model]));
    t.equal((await daemon.ask('/main')).text, 'v2? two');
    t.same(await daemon.pids('main', 'Only'), pids);
  });

  await t.test('limits and batching are changed in the running replicas', async (t) => {
    await daemon.apply(configOf([main(), echo, many()]));
    const pids = await daemon.pids('many', 'Only');
    // Without batching the method gets one input, which has no `map`.
    t.equal((await daemon.post('/many', 1)).status, 500);
    const batched = many({ batching: { max_batch_size: 4, batch_wait_timeout_s: 0.05, method: 'call' } });
    await daemon.apply(configOf([main(), echo, batched]));
    const answers = await Promise.all(Array.from({ length: 8 }, (_, index) => daemon.post('/many', index)));
    const sizes = answers.map(({ text }, index) => {
      const [input, size] = JSON.parse(text) as [number, number];
      t.equal(input, index);
      return size;
    });
    t.ok(Math.max(...sizes) > 1 && Math.max(...sizes) <= 4, `batches of ${sizes}`);
    await daemon.apply(configOf([main(), echo, many({ max_ongoing_requests: 1, max_queued_requests: 0 })]));
    t.same(await daemon.pids('many', 'Only'), pids);
  });

  await t.test('the same text again does nothing, nor does a touched file', async (t) => {
    const config = configOf([main(), echo, model]);
    await daemon.apply(config);
    const before = await daemon.status();
    const from = daemon.log.length;
    await daemon.save(config);
    await daemon.save(`${config}# a comment\n`);
    // A change behind it shows that those before it were read.
    await daemon.apply(configOf([main({ num_replicas: 2 }), echo, model]));
    t.equal(daemon.log.slice(from).filter(({ msg }) => msg === 'config applied').length, 1);
    t.same(
      pidsOf((await daemon.status()).applications['echo']?.deployments['Only']),
      pidsOf(before.applications['echo']?.deployments['Only']),
    );
  });

  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('how a file is saved', async (t) => {
  const words = (word: string) => configOf([main({ user_config: { word } })]);
  await using daemon = await startDaemon(words('start'), { files });
  const answers = (word: string) => until(`${word} answers`, async () => (await daemon.ask('/main')).text === `v1! ${word}`);
  const applied = () => daemon.log.filter(({ msg }) => msg === 'config applied').length;

  await t.test('written in place', async () => {
    daemon.saveInPlace(words('in-place'));
    await answers('in-place');
  });

  await t.test('removed, and made anew', async () => {
    await unlink(daemon.config);
    await daemon.waitForLog(
      (line) => line.msg.startsWith('the config was rejected') && JSON.stringify(line).includes('there is no such file'),
    );
    await answers('in-place');
    await daemon.save(words('anew'));
    await answers('anew');
  });

  await t.test('a burst of 20 saves applies the last one, and not each', async (t) => {
    const before = applied();
    for (let count = 1; count <= 20; count++) await daemon.save(words(`burst-${count}`));
    await answers('burst-20');
    t.ok(applied() - before <= 3, `${applied() - before} were applied`);
  });

  await t.test('a symlink that is swapped, as Kubernetes mounts do', async () => {
    await daemon.write('..1/config.yaml', words('link-1'));
    await daemon.write('..2/config.yaml', words('link-2'));
    await symlink('..1', daemon.path('..data'));
    await unlink(daemon.config);
    await symlink('..data/config.yaml', daemon.config);
    await answers('link-1');
    await symlink('..2', daemon.path('..data_new'));
    await rename(daemon.path('..data_new'), daemon.path('..data'));
    await answers('link-2');
    await unlink(daemon.config);
    await daemon.save(words('file'));
    await answers('file');
  });

  await t.test('half of it is written, then the rest: the old one serves until it is whole', async (t) => {
    const from = daemon.log.length;
    const config = words('whole');
    daemon.saveInPlace(config.slice(0, config.indexOf('import_path')));
    const rejected = await daemon.waitForLog((line) => line.msg.startsWith('the config was rejected'), from);
    t.ok(Array.isArray(rejected['diagnostics']));
    t.equal((await daemon.ask('/main')).text, 'v1! file');
    daemon.saveInPlace(config, 5);
    await answers('whole');
  });

  await t.test('a file beside it that is written all the time does not keep a save from being read', async () => {
    let going = true;
    const writing = (async () => {
      for (let count = 0; going; count++) {
        await daemon.write('beside.txt', `${count}`);
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    })();
    try {
      await daemon.save(words('beside'));
      await answers('beside');
    } finally {
      going = false;
      await writing;
    }
  });

  await t.test('SIGHUP reads it again', async () => {
    const from = daemon.log.length;
    daemon.signal('SIGHUP');
    await daemon.waitForLog('config applied', from);
    await answers('beside');
  });

  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('what a broken save does', async (t) => {
  const good = configOf([main(), echo]);
  await using daemon = await startDaemon(good, { files });
  const pids = await daemon.pids('main', 'Only');

  await t.test('broken YAML is told with line and column, in log and status, and what served serves', async (t) => {
    const from = daemon.log.length;
    await daemon.save(`${HEAD}applications:\n- name: main\n  deployments: [\n`);
    const line = await daemon.waitForLog((line) => line.msg.startsWith('the config was rejected'), from);
    const [diagnostic] = line['diagnostics'] as { line: number; column: number; severity: string }[];
    t.match(diagnostic, { severity: 'error', line: 5 });
    const status = await daemon.when('errors in the status', ({ config }) => config.errors.length > 0);
    t.match(status.config.errors[0], { line: 5, file: daemon.config });
    t.equal(status.applications['main']?.status, 'RUNNING');
    t.equal((await daemon.ask('/main')).text, 'v1! none');
    t.same(await daemon.pids('main', 'Only'), pids);
  });

  await t.test('an unknown key is told with the one that may be meant', async (t) => {
    const from = daemon.log.length;
    await daemon.save(configOf([main({ num_replica: 3 }), echo]));
    const line = await daemon.waitForLog((line) => line.msg.startsWith('the config was rejected'), from);
    t.match(JSON.stringify(line), /num_replica\b.*num_replicas/);
    t.equal((await daemon.ask('/main')).text, 'v1! none');
  });

  await t.test('mended: good again, nothing restarts', async (t) => {
    const from = daemon.log.length;
    await daemon.save(good);
    await daemon.waitForLog((line) => line.msg.includes('good again'), from);
    t.same((await daemon.status()).config.errors, []);
    t.same(await daemon.pids('main', 'Only'), pids);
  });

  await t.test(
    'code that does not compile leaves the old version serving, with file, line and column; mended, it rolls',
    async (t) => {
      await daemon.write('main.ts', `export class Main {\n  call() { return 'never' }}}\n`);
      const status = await daemon.when('DEPLOY_FAILED', ({ applications }) => applications['main']?.status === 'DEPLOY_FAILED');
      t.match(status.applications['main']?.message, /main\.ts:2:\d+/);
      const line = good.slice(0, good.indexOf('./main.ts')).split('\n').length;
      const place = { code: 'FILE_BROKEN', file: daemon.config, line, path: 'applications[0].deployments[0].import_path' };
      const cause = { file: daemon.path('main.ts'), line: 2, excerpt: /call\(\) \{ return 'never' \}\}\}\n +\^/ };
      t.match(status.config.errors, [{ ...place, related: [cause] }]);
      t.equal((await daemon.ask('/main')).text, 'v1! none');
      await daemon.write('main.ts', VERSIONED('v1'));
      await daemon.running();
      t.same(await daemon.pids('main', 'Only'), pids);
      await daemon.write('main.ts', VERSIONED('v2'));
      await until('v2 answers', async () => (await daemon.ask('/main')).text === 'v2! none');
    },
  );

  t.same(await daemon.stop(), { code: 0, signal: null });
});

/** Numbered versions of a model in a folder: which are served, each under its number, and new ones that come while it serves. */
import { mkdir, rm } from 'node:fs/promises';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { infer } from '../support/inference.ts';
import { addModel } from '../support/onnx-writer.ts';
import { configOf } from './configs.ts';

t.setTimeout(120_000);

/** The model of a version adds its number. */
const versions = (...numbers: readonly number[]) =>
  Object.fromEntries(numbers.map((number) => [`m/${number}/model.onnx`, addModel([number])]));
const config = (model: object, more: object = {}) =>
  configOf([{ name: 'app', route_prefix: '/', deployments: [{ name: 'm', model: { path: './m', ...model }, ...more }] }]);
const BODY = JSON.stringify({ inputs: [{ name: 'x', shape: [1, 1], datatype: 'FP32', data: [0] }] });

/** What a version answers to 0: its number, or the status of the refusal. */
const answer = async (daemon: DaemonRig, version?: number): Promise<unknown> => {
  const { status, json } = await infer(daemon, `m${version === undefined ? '' : `/versions/${version}`}/infer`, BODY);
  return status === 200 ? json.outputs[0]?.data?.[0] : status;
};
const served = async (daemon: DaemonRig) => JSON.parse((await daemon.ask('/v2/models/m')).text).versions as readonly string[];

t.test('policies say which versions are served', async (t) => {
  await using daemon = await startDaemon(config({}), {
    files: { ...versions(1, 2, 10), 'm/notes/model.onnx': 'x', 'm/README': 'x' },
  });
  const rows: readonly (readonly [object, readonly string[], number])[] = [
    [{}, ['10'], 10],
    [{ version_policy: { latest: 2 } }, ['2', '10'], 10],
    [{ version_policy: 'all' }, ['1', '2', '10'], 10],
    [{ version_policy: { specific: [2, 1] } }, ['1', '2'], 2],
  ];
  for (const [model, expected, newest] of rows) {
    if (model !== rows[0]?.[0]) await daemon.apply(config(model));
    t.same(await served(daemon), expected);
    t.equal(await answer(daemon), newest, 'the newest answers who names none');
    t.same(JSON.parse((await daemon.post('/', [[0]])).text), { y: [[newest]] });
    for (const version of [1, 2, 10]) t.equal(await answer(daemon, version), expected.includes(String(version)) ? version : 404);
  }
  const stats = JSON.parse((await daemon.ask('/v2/models/m/versions/1/stats')).text);
  t.match(stats, { model_stats: [{ version: '1', inference_count: 2 }] }, 'counted apart');
});

t.test('a batch has one version only', async (t) => {
  const batching = { max_batch_size: 8, batch_wait_timeout_s: 0.05 };
  await using daemon = await startDaemon(config({ version_policy: 'all' }, { batching }), { files: versions(1, 2) });
  const asked = Array.from({ length: 16 }, (_, index) => (index % 3 === 0 ? undefined : index % 3));
  t.same(
    await Promise.all(asked.map((version) => answer(daemon, version))),
    asked.map((version) => version ?? 2),
  );
});

t.test('a new version is picked up by itself, and no request fails', async (t) => {
  await using daemon = await startDaemon(config({ version_policy: { latest: 2 } }), { files: versions(1) });
  const seen = new Set<unknown>();
  let over = false;
  const client = (async () => {
    while (!over) seen.add(await answer(daemon));
  })();
  try {
    await mkdir(daemon.path('m/2'));
    // A folder that is being filled is no version yet.
    await daemon.write('m/2/labels.txt', 'a');
    await daemon.write('m/2/model.onnx', addModel([2]));
    await until('version 2 answers', async () => (await answer(daemon)) === 2);
    t.same(await served(daemon), ['1', '2']);
    await daemon.write('m/3/model.onnx', addModel([3]));
    await until('version 3 answers', async () => (await answer(daemon)) === 3);
    t.same(await served(daemon), ['2', '3']);
    await rm(daemon.path('m/3'), { recursive: true });
    await until('version 2 answers again', async () => (await answer(daemon)) === 2);
  } finally {
    over = true;
    await client;
  }
  t.same(
    [...seen],
    [1, 2, 3].filter((version) => seen.has(version)),
    'nothing but answers',
  );
  t.ok(seen.has(1) && seen.has(2));
});

t.test('a new version that is broken leaves the old one in service until it is mended', async (t) => {
  await using daemon = await startDaemon(config({}), { files: versions(1) });
  const whole = addModel([2]);
  await daemon.write('m/2/model.onnx', whole.subarray(0, 60));
  await daemon.waitForLog((line) => /m\/2\/model\.onnx is not an ONNX model: it is cut off/.test(JSON.stringify(line)));
  t.equal(await answer(daemon), 1);
  await daemon.write('m/2/model.onnx', whole);
  await until('version 2 answers', async () => (await answer(daemon)) === 2);
  await daemon.write('m/2/other.onnx', whole);
  await daemon.waitForLog((line) =>
    /expected one \.onnx in each version, got model\.onnx, other\.onnx/.test(JSON.stringify(line)),
  );
  t.equal(await answer(daemon), 2);
});

t.test('a folder without what is wanted says so, and serves when it comes', async (t) => {
  await using daemon = await startDaemon(config({ version_policy: { specific: [2] } }), { files: versions(1) });
  t.match((await daemon.status()).applications['app']?.message, /has no version 2 with an \.onnx/);
  t.match(JSON.parse((await daemon.ask('/v2/models/m')).text), { error: /has no version 2/ });
  await daemon.write('m/2/model.onnx', addModel([2]));
  await until('version 2 answers', async () => (await answer(daemon)) === 2);
});

t.test('a folder that is empty', async (t) => {
  await using daemon = await startDaemon(config({}), { files: { 'm/README': 'x' } });
  t.match((await daemon.status()).applications['app']?.message, /is a folder without versions: expected .*m\/1\/model\.onnx/);
  await daemon.write('m/7/any-name.onnx', addModel([7]));
  await until('version 7 answers', async () => (await answer(daemon)) === 7);
});

/** What a config says of how a model runs: where, with which options, and what runs before it is ready. */
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { addModel, onnxModel } from '../support/onnx-writer.ts';
import { configOf } from './configs.ts';

t.setTimeout(120_000);

/** A provider that this platform cannot have. */
const ABSENT = process.platform === 'win32' ? 'coreml' : 'dml';

/** Fails where its inputs cannot be broadcast. */
const SUM = onnxModel({
  inputs: [
    { name: 'a', element: 'float32', shape: ['n'] },
    { name: 'b', element: 'float16', shape: ['m'] },
  ],
  outputs: [{ name: 'y', element: 'float32', shape: ['k'] }],
  nodes: [
    { op: 'Cast', inputs: ['b'], outputs: ['b2'], attributes: { to: 1 } },
    { op: 'Add', inputs: ['a', 'b2'], outputs: ['y'] },
  ],
});
const files = { 'add.onnx': addModel([1]), 'sum.onnx': SUM };
const config = (path: string, model: object) =>
  configOf([
    { name: 'app', route_prefix: '/', deployments: [{ name: 'm', model: { path, ...model }, max_constructor_retry_count: 1 }] },
  ]);
const replicaOf = async (daemon: DaemonRig) => (await daemon.replicas('app', 'm'))[0];
const messageOf = async (daemon: DaemonRig) => (await daemon.status()).applications['app']?.message;

t.test('a model runs on the first provider that works, and the status says on which and why', async (t) => {
  await using daemon = await startDaemon(config('./add.onnx', { execution_providers: [ABSENT, 'cpu'] }), { files });
  t.match((await replicaOf(daemon))?.model_versions, {
    1: { execution_provider: 'cpu', instead_of: [new RegExp(`^${ABSENT}: .*not found`)] },
  });
  t.same(JSON.parse((await daemon.post('/', [[1]])).text), { y: [[2]] });
  await daemon.apply(config('./add.onnx', {}));
  t.same((await replicaOf(daemon))?.model_versions, { 1: { execution_provider: 'cpu', instead_of: [] } });
});

t.test('without the CPU in the list a model does not fall back to it', async (t) => {
  await using daemon = await startDaemon(config('./add.onnx', { execution_providers: [ABSENT] }), { files });
  t.match(await messageOf(daemon), new RegExp(`no execution provider of ${ABSENT} can run the model: ${ABSENT}: `));
});

t.test('warm-up runs before the replica is ready: one that fails keeps it from being so', async (t) => {
  const warmup = (inputs: object) => config('./sum.onnx', { warmup: [{ inputs, count: 2 }] });
  await using daemon = await startDaemon(warmup({ a: { shape: [2], fill: 'random' }, b: { shape: [3], fill: 'one' } }), {
    files,
  });
  t.match(await messageOf(daemon), /Add node/);
  for (const inputs of [{}, { a: { shape: [3] }, b: { fill: 'random' } }, { b: { shape: [0] } }]) {
    await daemon.apply(warmup(inputs));
    t.same(JSON.parse((await daemon.post('/', { a: [1], b: [0.5] })).text), { y: [1.5] });
  }
});

t.test('a warm-up that does not fit the model says how', async (t) => {
  for (const [inputs, message] of [
    [{ z: {} }, /expected inputs of the model \(`a`, `b`\) in `warmup`, got `z`/],
    [{ a: { shape: [1, 1] } }, /expected a shape of \[\?\] for `a` in `warmup`, got \[1, 1\]/],
  ] as const) {
    await using daemon = await startDaemon(config('./sum.onnx', { warmup: [{ inputs }] }), { files });
    t.match(await messageOf(daemon), message);
  }
});

t.test('options of the session are those of the runtime', async (t) => {
  const session = {
    intra_op_num_threads: 2,
    inter_op_num_threads: 2,
    execution_mode: 'parallel',
    graph_optimization_level: 'basic',
    enable_cpu_mem_arena: false,
    enable_mem_pattern: false,
  };
  await using daemon = await startDaemon(config('./add.onnx', { session }), { files });
  t.same(JSON.parse((await daemon.post('/', [[1], [2], [3], [4]])).text), { y: [[2], [3], [4], [5]] });
  const [before] = await daemon.pids('app', 'm');
  await daemon.apply(config('./add.onnx', { session: { ...session, graph_optimization_level: 'all' } }));
  t.not((await daemon.pids('app', 'm'))[0], before, 'another option is another replica');
  await daemon.save(config('./add.onnx', { session: { config_entries: { 'session.disable_cpu_ep_fallback': '1' } } }));
  const refusal = /fallback to CPU EP has been explicitly disabled/;
  t.ok(await until('entries reach the runtime', async () => refusal.test((await messageOf(daemon)) ?? '')));
});

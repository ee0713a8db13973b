// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is the config's own syntax
/** A folder of models in the config: one application for each model, from what the file says, what stands beside it, and its defaults. */
import t from 'tap';
import { type Compiled, compile } from '../../src/config/compile.ts';
import type { FoundModel, Repository } from '../../src/config/repository.ts';

/** A model as it would be found; `config` is the text of its config.pbtxt. */
const found = (name: string, config?: string, problem?: string): FoundModel => ({
  name,
  folder: `/srv/models/${name}`,
  root: '/srv/models',
  path: `/srv/models/${name}`,
  ...(config === undefined ? {} : { config: Buffer.from(config) }),
  ...(problem === undefined ? {} : { problem }),
});

const folder = (...models: readonly FoundModel[]): Repository => ({ models, left: 0 });

const compiled = (text: string, repository: Repository | ((path: string) => Repository)): Compiled =>
  compile(text, {
    file: '/srv/config.yaml',
    env: { FOLDER: 'models', SECRET: '/very/secret' },
    exists: (path) => !path.includes('missing') && !path.includes('secret'),
    look: typeof repository === 'function' ? repository : () => repository,
  });

const CONFIG = 'applications: [{name: zoo, route_prefix: /zoo, models: {path: ./models}}]';
const withModels = (models: string, more = '') =>
  `applications:\n- name: zoo\n  route_prefix: /zoo\n${more}  models:\n    path: ./models\n${models}`;

const told = ({ diagnostics }: Compiled) =>
  diagnostics.map(({ severity, code, line, column, file, application }) =>
    [severity, code, `${file.replace('/srv/', '')}:${line}:${column}`, application].filter(Boolean).join(' '),
  );
const deployment = (result: Compiled, name = 'zoo.a') => {
  const spec = result.desired?.applications.find((each) => each.name === name)?.deployments[0];
  if (spec === undefined) throw new Error(JSON.stringify(result.diagnostics));
  return spec;
};

t.test('each model is an application of its own, behind those of the file', async (t) => {
  const text = `${CONFIG.slice(0, -1)}, {name: other, route_prefix: /other, deployments: [{name: M, model: m.onnx}]}]`;
  const result = compiled(text, (path) => (path === '/srv/models' ? folder(found('a'), found('b')) : { problem: path }));
  t.same(told(result), []);
  const { applications = [] } = result.desired ?? {};
  t.same(
    applications.map(({ name, routePrefix, repository, deployments }) => [name, routePrefix, repository, deployments[0]?.name]),
    [
      ['zoo', '/zoo', undefined, undefined],
      ['other', '/other', undefined, 'M'],
      ['zoo.a', '/zoo/a', 'zoo', 'a'],
      ['zoo.b', '/zoo/b', 'zoo', 'b'],
    ],
  );
  t.same(applications[0]?.ingress, { kind: 'models' });
  t.match(deployment(result).runs, {
    kind: 'model',
    path: '/srv/models/a',
    within: '/srv/models',
    options: { versions: { latest: 1 } },
  });
  t.same([...result.models.follows.keys()], ['zoo', 'zoo.a', 'zoo.b']);
  t.same(
    result.named.map(({ application }) => application),
    ['other', 'zoo.a', 'zoo.b'],
  );
});

t.test('routes: under the root, and off HTTP', async (t) => {
  const route = (prefix: string) =>
    compiled(CONFIG.replace('/zoo', prefix), folder(found('a'))).desired?.applications[1]?.routePrefix;
  t.equal(route('/'), '/a');
  t.equal(route('null'), null);
});

t.test('what the file says of a model wins over its config.pbtxt, and that over the defaults', async (t) => {
  const models = `    defaults: {num_replicas: 2, max_queued_requests: 7, batching: {max_batch_size: 2, max_concurrent_batches: 3}, model: {execution_providers: [cuda]}}
    overrides: {a: {max_queued_requests: 9, model: {version_policy: all}}}
`;
  const pbtxt = 'max_batch_size: 8 instance_group { count: 4 } version_policy { latest { num_versions: 2 } }';
  const result = compiled(withModels(models), folder(found('a', pbtxt), found('b', pbtxt), found('c')));
  t.same(told(result), []);
  t.match(deployment(result), {
    numReplicas: 4,
    maxQueuedRequests: 9,
    batching: { maxBatchSize: 8, maxConcurrentBatches: 3 },
    runs: { options: { versions: 'all', providers: ['cuda'] } },
  });
  t.match(deployment(result, 'zoo.b'), { maxQueuedRequests: 7, runs: { options: { versions: { latest: 2 } } } });
  t.match(deployment(result, 'zoo.c'), { numReplicas: 2, batching: { maxBatchSize: 2 } });
});

t.test('what the application says holds for each of its models', async (t) => {
  const more = '  external_scaler_enabled: true\n  runtime_env: {env_vars: {A: x}}\n  logging_config: {log_level: DEBUG}\n';
  const result = compiled(withModels('', more), folder(found('a')));
  t.match(result.desired?.applications[1], { externalScaler: true, logging: { level: 'debug' } });
  t.same({ ...deployment(result).env }, { A: 'x' });
});

t.test('a config.pbtxt that is broken is told at its place, and its model alone is concerned', async (t) => {
  const result = compiled(CONFIG, folder(found('a', 'name: "a"\nmax_batch_size: "4"'), found('b')));
  t.same(told(result), ['error WRONG_TYPE models/a/config.pbtxt:2:17 zoo.a']);
  t.same([...result.models.refused], [['zoo.a', 'config.pbtxt:2:17: expected an integer, got `4`']]);
  t.match(result.diagnostics[0], { path: 'max_batch_size', excerpt: 'max_batch_size: "4"\n                ^' });
  t.same(
    result.desired?.applications.map(({ name }) => name),
    ['zoo', 'zoo.a', 'zoo.b'],
  );
  t.same(told(compiled(CONFIG, folder(found('a', 'max_batch_size: 1\0')))), [
    'error CONTROL_CHARACTER models/a/config.pbtxt:1:18 zoo.a',
  ]);
  const notText = { ...found('a'), config: new Uint8Array([0x61, 0xff]) };
  t.same(told(compiled(CONFIG, folder(notText))), ['error NOT_UTF8 models/a/config.pbtxt:1:2 zoo.a']);
});

t.test('a config.pbtxt that is too long says so, wherever it was cut off', async (t) => {
  const long = { ...found('a'), config: Buffer.from(`# ${'é'.repeat(131_072)}`).subarray(0, 256 * 1024 + 1) };
  const { diagnostics } = compiled(CONFIG, folder(long));
  t.match(diagnostics, [{ application: 'zoo.a', message: /at most 262144 bytes \(256 KiB\), got more/ }]);
});

t.test('what is said in two places and does not go together is told of that model alone', async (t) => {
  const defaults = '    defaults: {num_replicas: auto}\n';
  const more = '  external_scaler_enabled: false\n';
  t.same(told(compiled(withModels(defaults, more), folder(found('a', 'instance_group { count: 3 }')))), [], 'the number wins');
  const waits = '    overrides: {a: {batching: {latency_target_s: 0.1, batch_wait_timeout_s: 0}}}\n';
  const result = compiled(
    withModels(waits),
    folder(found('a', 'dynamic_batching { max_queue_delay_microseconds: 100 }'), found('b')),
  );
  t.same(told(result), [], 'what the file says of a wait wins');
  t.match(deployment(result).batching, { targetMs: 100, waitMs: 0 });
});

t.test('warnings of a config.pbtxt name the file and the place', async (t) => {
  const result = compiled(CONFIG, folder(found('a', '\nsequence_batching {}')));
  t.same(told(result), ['warning NOT_TAKEN_OVER models/a/config.pbtxt:2:19 zoo.a']);
});

t.test('a folder whose name no deployment may have is told, and the others are served', async (t) => {
  for (const name of ['1st', 'a.b', 'ä', '-x', 'a'.repeat(64), 'a\nb']) {
    const result = compiled(CONFIG, folder(found(name), found('b')));
    t.same(told(result), ['warning BAD_NAME config.yaml:1:63'], name);
    t.same(
      result.desired?.applications.map((each) => each.name),
      ['zoo', 'zoo.b'],
      name,
    );
  }
});

t.test('a route that is taken, and the path of the protocol, are not taken away by a folder', async (t) => {
  const other = '- {name: other, route_prefix: /zoo/a, deployments: [{name: M, model: m.onnx}]}\n';
  const taken = compiled(`${withModels('')}${other}`, folder(found('a'), found('b')));
  t.same(told(taken), ['error MODEL_REFUSED config.yaml:5:11 zoo.a']);
  t.match(taken.diagnostics[0]?.message, /would be at `\/zoo\/a`, which is that of the application `other`: rename/);
  const v2 = compiled(CONFIG.replace('/zoo', '/'), folder(found('v2')));
  t.match(v2.diagnostics, [{ code: 'MODEL_REFUSED', application: 'zoo.v2', message: /that of the Open Inference Protocol/ }]);
  for (const [result, name] of [
    [taken, 'zoo.a'],
    [v2, 'zoo.v2'],
  ] as const)
    t.equal(result.desired?.applications.find((each) => each.name === name)?.routePrefix, null, 'it has no path');
});

t.test('a model that cannot be looked at is told where the file speaks of it', async (t) => {
  const override = '    overrides: {a: {num_replicas: 2}}\n';
  const result = compiled(withModels(override), folder(found('a', undefined, 'cannot be read: permission denied')));
  t.same(told(result), ['error MODEL_REFUSED config.yaml:6:20 zoo.a']);
  t.match(result.diagnostics[0]?.message, /the model `a` cannot be read: permission denied/);
});

t.test('a folder that is empty, or is not there, is waited for', async (t) => {
  const empty = compiled(CONFIG, folder());
  t.same(told(empty), ['warning NO_MODELS config.yaml:1:63']);
  t.equal(empty.models.unseen.size, 0);
  const gone = compiled(CONFIG, { problem: 'is not there' });
  t.same(told(gone), ['warning NO_MODELS config.yaml:1:63']);
  t.match(
    gone.diagnostics[0]?.message,
    /the folder of models is not there, so none of it is served until it can be: looked for `\/srv\/models`/,
  );
  t.same([...gone.models.unseen], [['zoo', 'the folder of models is not there']]);
  t.same(
    gone.desired?.applications.map(({ name }) => name),
    ['zoo'],
  );
  t.same(gone.models.follows.get('zoo'), ['/srv/models', '/srv/models/config.pbtxt']);
});

t.test('what is missing above the folder is waited for too', async (t) => {
  const result = compiled(CONFIG.replace('./models', './missing/b/models'), { problem: 'is not there' });
  t.same(result.models.follows.get('zoo'), [
    '/srv/missing/b/models',
    '/srv/missing/b/models/config.pbtxt',
    '/srv/missing/b',
    '/srv/missing',
  ]);
});

t.test('an override of a model that is not there, and models beyond the bound, are told', async (t) => {
  const result = compiled(withModels('    overrides: {gone: {num_replicas: 2}}\n'), { models: [found('a')], left: 2 });
  t.same(told(result), ['warning TOO_MANY_MODELS config.yaml:5:11', 'warning NO_SUCH_MODEL config.yaml:6:23']);
});

t.test('a path from the environment is not printed', async (t) => {
  const { diagnostics } = compiled(CONFIG.replace('./models', '"${FOLDER}"'), folder());
  t.match(diagnostics[0]?.message, /no model in `\$\{FOLDER\}` yet/);
});

t.test('nor is anything from the environment that stands in what models have in common', async (t) => {
  const folders =
    '    defaults: {ray_actor_options: {runtime_env: {working_dir: "${SECRET}"}}}\n    overrides: {b: {num_replicas: 2}}\n';
  const missing = compiled(withModels(folders), folder(found('a', 'max_batch_size: 4'), found('b')));
  t.notMatch(JSON.stringify([missing.diagnostics, [...missing.models.refused]]), /very/);
  t.match(told(missing), [/^error FILE_MISSING/], 'once, and it is what is wrong with no model more than with another');
  t.same([...missing.models.refused], []);
});

t.test('what is only a warning about the fields leaves its config.pbtxt in force', async (t) => {
  const shared = '  autoscaling_policy: {policy_function: "./policy.ts:P"}\n';
  const result = compiled(withModels('    defaults: {num_replicas: auto}\n', shared), folder(found('a', 'max_batch_size: 4')));
  t.same(told(result), [], 'the policy decides for the models');
  t.match(deployment(result).batching, { maxBatchSize: 4 });
  t.match(told(compiled(withModels('', shared), folder(found('a')))), [/NO_EFFECT/]);
});

t.test('code that the defaults and overrides name is known', async (t) => {
  const policy = (name: string) => `{policy: {policy_function: "./${name}.ts:P"}}`;
  const models = `    defaults: {autoscaling_config: ${policy('p')}}\n    overrides: {a: {num_replicas: 2}, b: {autoscaling_config: ${policy('q')}}}\n`;
  const { named } = compiled(withModels(models), folder(found('a')));
  t.same(
    named.flatMap(({ runs }) => (runs.kind === 'module' ? [runs.file] : [])),
    ['/srv/p.ts', '/srv/q.ts'],
  );
});

t.test('a graph cannot call what comes and goes with a folder', async (t) => {
  const flow = '- {name: flow, route_prefix: /flow, deployments: [], graph: {steps: {one: {call: zoo/a, input: 1}}}}\n';
  const result = compiled(`${withModels('')}${flow}`, folder(found('a')));
  t.match(result.diagnostics, [
    { code: 'UNKNOWN_DEPLOYMENT', message: /come and go with it: name the one that is called as a deployment/ },
  ]);
});

t.test('mistakes of the defaults are told once, and those of an override where it stands', async (t) => {
  const method = '    defaults: {batching: {method: many}}\n    overrides: {a: {}, b: {batching: {max_batch_size: 2}}}\n';
  t.same(told(compiled(withModels(method), folder(found('a')))), ['error NO_EFFECT config.yaml:6:27']);
  const own = '    overrides: {b: {batching: {method: many}}}\n';
  t.same(told(compiled(withModels(own), folder(found('a')))), ['error NO_EFFECT config.yaml:6:32']);
});

t.test('of five hundred models some warnings are told', async (t) => {
  const models = Array.from({ length: 500 }, (_, index) =>
    found(`m${index}`, `name: "m${index}" max_batch_size: 4 sequence_batching {}`),
  );
  const result = compiled(CONFIG, folder(...models));
  t.equal(result.desired?.applications.length, 501);
  t.equal(result.diagnostics.length, 100, 'warnings are bounded');
});

t.test('of hundreds that are broken each is refused, though not each is told', async (t) => {
  const many = (config: string) => folder(...Array.from({ length: 250 }, (_, index) => found(`m${index}`, config)));
  for (const config of ['max_batch_size: -1', 'name: "a"', '{']) {
    const result = compiled(CONFIG, many(config));
    t.equal(result.models.refused.size, 250);
    t.equal(result.diagnostics.length, 100);
  }
});

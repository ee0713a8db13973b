/** What `plan` says beforehand is what then happens, for every field that is served; and it is what the schema declares. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import t, { type Test } from 'tap';
import { configSchema, follow, type SchemaNode, type Weight } from '../../src/config/schema.ts';
import type { Change, Difference, ListenerChange } from '../../src/control/difference.ts';
import type { Status } from '../../src/control/status.ts';
import { Certificates } from '../support/certificates.ts';
import { type DaemonRig, pidsOf, startDaemon, until } from '../support/daemon-rig.ts';
import { addModel } from '../support/onnx-writer.ts';
import { ECHO } from './configs.ts';

t.setTimeout(300_000);

const CODE = `export class Code {
  reconfigure() {}
  call(input) { return input; }
  other(inputs) { return inputs; }
  many(inputs) { return inputs; }
}
export class Again extends Code {}
`;
const certificates = new Certificates().self('a').locked('a', 'secret');
t.teardown(() => certificates.remove());
const [key, certificate] = [readFileSync(certificates.path('a.key')), readFileSync(certificates.path('a.crt'))];

const files = {
  'a.key': key,
  'a.crt': certificate,
  'b.key': key,
  'b.crt': certificate,
  'locked.key': readFileSync(certificates.path('a.locked.key')),
  'code.ts': CODE,
  'echo.ts': ECHO,
  'built.ts': `import { deployment } from 'serve-daemon';
class Told { constructor({ to }) { this.to = to; } call() { return this.to; } }
export const build = ({ to }) => deployment(Told).bind({ to });
export const other = build;
`,
  'scaler.ts': 'export const one = () => 1;\nexport const other = () => 1;\n',
  'add.onnx': addModel([1], ['rows', 'columns']),
  'more.onnx': addModel([3], ['rows', 'columns']),
  'zoo/cat/1/model.onnx': addModel([1]),
  'aviary/cat/1/model.onnx': addModel([2]),
  'sub/empty.txt': '',
  'own/empty.txt': '',
};

type Json = { [key: string]: Json } | Json[] | string | number | boolean | null;
type Config = { [key: string]: Json };

/** `Code` gets the fields of a deployment; `Model` those of a model, `Callee` those that are said twice, `Batched` those of batching. */
const base = (): Config => ({
  http_options: { host: '127.0.0.1', port: 0, server: 'node', ssl_keyfile: './a.key', ssl_certfile: './a.crt' },
  admin_options: { port: 0 },
  // Room for everything that is asked for below, whatever machine this is.
  resources: { num_cpus: 64, num_gpus: 8, memory: '64GB', custom: { tokens: 100, 'accelerator_type:T4': 100 } },
  applications: [
    {
      name: 'main',
      route_prefix: '/main',
      graph: { ingress: 'Code' },
      deployments: [
        {
          name: 'Code',
          import_path: './code.ts:Code',
          user_config: { word: 1 },
          multiplexing: { max_num_models_per_replica: 2 },
          response_cache: {},
        },
        { name: 'Callee', import_path: './echo.ts:echo' },
        { name: 'Model', model: './add.onnx', batching: {} },
        {
          name: 'Batched',
          import_path: './code.ts:Code',
          batching: { method: 'many' },
          autoscaling_config: { min_replicas: 1, max_replicas: 4 },
        },
      ],
    },
    {
      name: 'flow',
      route_prefix: '/flow',
      graph: { steps: { first: { call: 'One', input: '$request.json' }, last: { call: 'One', input: '$first' } } },
      deployments: [
        { name: 'One', import_path: './echo.ts:echo' },
        { name: 'Two', import_path: './echo.ts:echo' },
      ],
    },
    {
      name: 'scaled',
      route_prefix: '/scaled',
      deployments: [{ name: 'Only', import_path: './echo.ts:echo', autoscaling_config: { max_replicas: 2 } }],
    },
    { name: 'built', route_prefix: '/built', import_path: './built.ts:build', args: { to: 'fr' } },
    { name: 'zoo', route_prefix: '/zoo', models: { path: './zoo' } },
  ],
});

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

const both = (option: string, value: Json): Readonly<Record<string, () => Json>> => ({
  [`applications[].deployments[].ray_actor_options.${option}`]: () => value,
  [`applications[].deployments[].replica_options.${option}`]: () => value,
});

/** Values that the schema alone does not give. */
const VALUES: Readonly<Record<string, () => Json | Promise<Json>>> = {
  proxy_location: () => 'Disabled',
  'http_options.host': () => '127.0.0.2',
  'http_options.port': freePort,
  'http_options.root_path': () => '/api',
  'http_options.max_header_size': () => '32KiB',
  'http_options.server': () => 'auto',
  'http_options.ssl_keyfile': () => './b.key',
  'http_options.ssl_certfile': () => './b.crt',
  'http_options.ssl_keyfile_password': () => 'secret',
  'http_options.ssl_ca_certs': () => './a.crt',
  'admin_options.host': () => '127.0.0.2',
  'admin_options.port': freePort,
  'logging_config.encoding': () => 'JSON',
  'logging_config.log_level': () => 'DEBUG',
  'logging_config.logs_dir': () => './logs',
  'applications[].logging_config.log_level': () => 'INFO',
  'applications[].logging_config.logs_dir': () => './own-logs',
  'applications[].deployments[].logging_config.log_level': () => 'INFO',
  'applications[].deployments[].logging_config.logs_dir': () => './more-logs',
  'applications[].route_prefix': () => '/moved',
  'applications[].import_path': () => './built.ts:other',
  'applications[].args': () => ({ to: 'de' }),
  'applications[].graph.ingress': () => 'Callee',
  'applications[].graph.calls': () => ({ Code: { callee: 'Callee' } }),
  'applications[].graph.output': () => ({ all: '$last' }),
  'applications[].graph.steps.*.call': () => 'Two',
  'applications[].graph.steps.*.input': () => ({ it: '$first' }),
  'applications[].graph.steps.*.for_each': () => '$request.json',
  'applications[].graph.steps.*.on_error': () => ({ value: 1 }),
  'applications[].graph.steps.*.when': () => ({ ref: '$request.json', exists: true }),
  'applications[].graph.steps.*.model': () => '$request.query.model',
  'applications[].graph.steps.*.retry': () => ({ max_attempts: 2 }),
  'applications[].graph.steps.*.shadow': () => ({ call: 'One' }),
  'applications[].graph.steps.*.split': () => ({
    targets: [
      { call: 'One', weight: 1 },
      { call: 'Two', weight: 1 },
    ],
  }),
  'applications[].models.path': () => './aviary',
  // What is in them are fields of a deployment.
  'applications[].models.defaults': () => ({ num_replicas: 2 }),
  'applications[].models.overrides': () => ({ cat: { max_queued_requests: 7 } }),
  'applications[].autoscaling_policy.policy_function': () => './scaler.ts:one',
  'applications[].autoscaling_policy.policy_kwargs': () => ({ a: 1 }),
  'applications[].deployments[].autoscaling_config.initial_replicas': () => 3,
  'applications[].deployments[].autoscaling_config.max_replicas': () => 5,
  'applications[].deployments[].autoscaling_config.policy.policy_function': () => './scaler.ts:one',
  'applications[].deployments[].autoscaling_config.policy.policy_kwargs': () => ({ a: 1 }),
  target_capacity: () => 100,
  'resources.num_cpus': () => 63,
  'resources.num_gpus': () => 7,
  'resources.memory': () => '63GB',
  'resources.custom': () => ({ tokens: 99, 'accelerator_type:T4': 100 }),
  'resources.enforce': () => 'off',
  'applications[].deployments[].rolling_update.max_surge': () => '50%',
  ...both('num_cpus', 0.5),
  ...both('num_gpus', 0.5),
  ...both('memory', '2GB'),
  ...both('resources', { tokens: 1 }),
  ...both('accelerator_type', 'T4'),
  'applications[].deployments[].import_path': () => './code.ts:Again',
  'applications[].deployments[].model': () => './more.onnx',
  'applications[].deployments[].model.path': () => './add.onnx',
  'applications[].deployments[].init_args': () => ({ a: 1 }),
  'applications[].deployments[].user_config': () => ({ word: 2 }),
  'applications[].deployments[].num_replicas': () => 2,
  'applications[].deployments[].max_ongoing_requests': () => 50,
  'applications[].deployments[].response_cache.vary': () => ['accept'],
  'applications[].deployments[].batching.method': () => 'other',
  'applications[].deployments[].batching.pad': () => ({ x: 1 }),
};

/** From what the schema says; undefined where that is not enough. */
const valueFor = (field: string, node: SchemaNode): Json | undefined => {
  const kind = node['x-kind'];
  if (field.endsWith('working_dir')) return field.includes('_options') ? './own' : './sub';
  if (field.endsWith('env_vars')) return { PLANNED: field };
  if (node.enum !== undefined) return node.enum.find((value) => value !== node.default && value !== null) as Json;
  const types = [node.type ?? []].flat();
  if (kind === 'size') return '32MiB';
  if (types.includes('boolean')) return node.default !== true;
  if (types.includes('integer') || types.includes('number')) {
    const from = typeof node.default === 'number' ? node.default : (node.minimum ?? 1);
    return Math.min(from + 1, node.maximum ?? Number.POSITIVE_INFINITY);
  }
  return types.includes('string') ? 'other' : undefined;
};

interface Field {
  readonly field: string;
  readonly node: SchemaNode;
  readonly weight: Weight | undefined;
}

/** Every field that is served and has a value of its own. */
function* fieldsOf(node: SchemaNode, path = '', inherited?: Weight): Generator<Field> {
  const children = Object.entries(node.properties ?? {}).map(
    ([key, value]) => [path === '' ? key : `${path}.${key}`, value] as const,
  );
  if (node.items) children.push([`${path}[]`, node.items]);
  if (typeof node.additionalProperties === 'object') children.push([`${path}.*`, node.additionalProperties]);
  for (const [field, property] of children) {
    const child = follow(property);
    if (child['x-status'] !== undefined || child['x-kind'] === 'name') continue;
    const weight = child['x-weight'] ?? inherited;
    const isOne = VALUES[field] !== undefined || valueFor(field, child) !== undefined;
    if (isOne) yield { field, node: child, weight };
    // Of one that has a value as a whole only what is named above; so conditions within conditions have an end.
    if (!isOne || Object.keys(VALUES).some((key) => key.startsWith(`${field}.`))) {
      for (const each of fieldsOf(child, field, weight)) if (!isOne || each.field in VALUES) yield each;
    }
  }
}

const put = (config: Config, path: readonly (string | number)[], value: Json): Config => {
  const copy = structuredClone(config);
  let holder = copy as Record<string | number, Json>;
  for (const part of path.slice(0, -1)) {
    const held = holder[part];
    if (typeof held !== 'object' || held === null) holder[part] = {};
    holder = holder[part] as Record<string | number, Json>;
  }
  holder[path.at(-1) as string | number] = value;
  return copy;
};

const withoutCall = (config: Config): void => {
  const { applications } = config as unknown as { applications: { graph: { steps: Record<string, Config> } }[] };
  delete applications[1]?.graph.steps['last']?.['call'];
};

/** Where in `base` the field is edited. */
const placeOf = (field: string): readonly (string | number)[] => {
  const isFlow = field.includes('.steps') || field.endsWith('graph.output') || field.endsWith('external_scaler_enabled');
  const isScaled = field.includes('.autoscaling_policy');
  const deployment = /\.replica_options|rolling_update_percentage/.test(field)
    ? 1
    : /\]\.model|\.pad$|latency_target_s$/.test(field)
      ? 2
      : field.includes('.batching') || field.includes('.autoscaling_config')
        ? 3
        : 0;
  const isBuilt = field === 'applications[].import_path' || field === 'applications[].args';
  const isFolder = field.startsWith('applications[].models.');
  const indices = [isFlow ? 1 : isScaled ? 2 : isBuilt ? 3 : isFolder ? 4 : 0, deployment];
  return field
    .replaceAll('[]', '.[]')
    .replace('.*', '.last')
    .split('.')
    .map((part) => (part === '[]' ? (indices.shift() as number) : part));
};

interface Seen {
  readonly pids: Readonly<Record<string, readonly number[]>>;
  readonly httpMoves: number;
  readonly adminMoves: number;
  readonly reconfigured: number;
}

const look = (daemon: DaemonRig, status: Status): Seen => {
  const pids: Record<string, readonly number[]> = {};
  for (const [app, { deployments }] of Object.entries(status.applications))
    for (const [name, deployment] of Object.entries(deployments)) pids[`${app}/${name}`] = pidsOf(deployment);
  const count = (message: string) => daemon.log.filter(({ msg }) => msg === message).length;
  return {
    pids,
    httpMoves: count('listening for HTTP'),
    adminMoves: count('admin API is up'),
    reconfigured: count('replica reconfigured'),
  };
};

const changesOf = ({ applications }: Difference): ReadonlyMap<string, Change> =>
  new Map(
    Object.entries(applications).flatMap(([app, { deployments }]) =>
      Object.entries(deployments).map(([name, { change }]) => [`${app}/${name}`, change] as const),
    ),
  );

/** What the schema's weight allows, and what of it must be seen. */
const weightHolds = (
  weight: Weight | undefined,
  changes: readonly Change[],
  listeners: readonly ListenerChange['change'][],
): boolean => {
  const heavy = changes.filter((change) => change !== 'nothing' && change !== 'live');
  const moved = listeners.some((change) => change !== 'nothing' && change !== 'live');
  switch (weight) {
    case 'live':
      return heavy.length === 0 && !moved;
    case 'reconfigure':
      return heavy.length > 0 && heavy.every((change) => change === 'reconfigure') && !moved;
    case 'restart-replicas':
      return heavy.length > 0 && heavy.every((change) => change === 'restart') && !moved;
    case 'restart-listener':
      return heavy.length === 0 && moved;
    default:
      return false;
  }
};

t.test('every field: what the plan says, what happens, and what the schema declares are one', async (t) => {
  let config = base();
  let token: string | undefined;
  const textOf = (value: Config) => JSON.stringify(value);
  await using daemon = await startDaemon(textOf(config), { files });
  const ask = (path: string, body?: string) =>
    daemon.ask(
      path,
      {
        ...(body === undefined ? {} : { method: 'POST', body }),
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      },
      daemon.adminUrl,
    );
  const statusNow = async () => JSON.parse((await ask('/api/serve/applications/')).text) as Status;
  let last: readonly string[] = [];
  const settled = () =>
    until(
      'every application RUNNING',
      async () => {
        const status = await statusNow();
        last = Object.values(status.applications).map(({ name, status: word, message }) => `${name} ${word} ${message}`);
        return Object.values(status.applications).every((each) => each.status === 'RUNNING') && status;
      },
      undefined,
      () => last.join('; '),
    );
  const planned = async (text: string) => {
    const { status, text: answer } = await ask('/api/serve/plan', text);
    t.equal(status, 200, answer);
    return JSON.parse(answer) as Difference;
  };

  const edit = async (t: Test, next: Config, { field, weight }: Omit<Field, 'node'>) => {
    const before = look(daemon, await settled());
    const plan = await planned(textOf(next));
    t.ok(plan.changed, 'the plan says that something changes');
    const told = [
      ...plan.daemon,
      ...Object.values(plan.listeners).flatMap(({ fields }) => fields),
      ...Object.values(plan.applications).flatMap((app) => [
        ...app.fields,
        ...Object.values(app.deployments).flatMap(({ fields, why }) => [...fields, ...why]),
      ]),
    ];
    const own = field
      .replace(/^applications\[\]\.(deployments\[\]\.)?/, '')
      .replace(/^(ray_actor|replica)_options\.runtime_env/, 'runtime_env')
      .replace(/^replica_options/, 'ray_actor_options')
      .replace(/^graph\.(ingress|output|steps).*/, 'graph')
      .replace(/^autoscaling_(policy|config\.policy)\..*/, 'autoscaling_config.policy')
      .replace(/^batched_functions\..*/, 'batched_functions')
      // As each model of the folder has them.
      .replace('models.path', 'model')
      .replace('models.defaults', 'num_replicas')
      .replace('models.overrides', 'max_queued_requests')
      .replace('model.path', 'model')
      .replace('rolling_update_percentage', 'rolling_update.max_unavailable');
    t.ok(
      told.some((name) => name === own || name.startsWith(`${own}.`)),
      `it names ${own}: ${told}`,
    );

    const from = daemon.log.length;
    const moves = Object.entries(plan.listeners).filter(([, { change }]) => ['move', 'reopen', 'open'].includes(change));
    await daemon.save(textOf(next));
    await daemon.waitForLog('config applied', from);
    for (const [name] of moves) await daemon.waitForLog(name === 'http' ? 'listening for HTTP' : 'admin API is up', from);
    token = ((next['admin_options'] as Config)['token'] as string | undefined) ?? undefined;
    const changes = changesOf(plan);
    const reconfigured = [...changes].filter(([, change]) => change === 'reconfigure');
    const calls = reconfigured.reduce((sum, [name]) => sum + (before.pids[name] ?? []).length, 0);
    const status = await settled();
    // A line of the log may come after the status that it belongs to.
    await until('reconfigure is told', () => look(daemon, status).reconfigured >= before.reconfigured + calls);
    const after = look(daemon, status);

    for (const [name, change] of changes) {
      const [old, now] = [before.pids[name] ?? [], after.pids[name] ?? []];
      const kept = old.filter((pid) => now.includes(pid)).length;
      t.equal(kept, change === 'restart' ? 0 : Math.min(old.length, now.length), `${name}: ${change}, ${old} → ${now}`);
    }
    t.equal(after.reconfigured - before.reconfigured, calls, 'reconfigure is called where it was said');
    const movesOf = (name: string) => (moves.some(([moved]) => moved === name) ? 1 : 0);
    t.equal(after.httpMoves - before.httpMoves, movesOf('http'), 'HTTP listens anew where it was said');
    t.equal(after.adminMoves - before.adminMoves, movesOf('admin'), 'the admin API listens anew where it was said');
    const listeners = Object.values(plan.listeners).map(({ change }) => change);
    t.ok(
      weightHolds(weight, [...changes.values()], listeners),
      `the schema says ${weight}: ${[...changes].flat().join(' ')}, ${listeners}`,
    );
    t.notOk((await planned(textOf(next))).changed, 'and then there is nothing left to do');
    config = next;
  };

  for (const { field, node, weight } of fieldsOf(configSchema)) {
    await t.test(field, async (t) => {
      const value = (await VALUES[field]?.()) ?? valueFor(field, node);
      if (value === undefined) return t.fail('say in VALUES which other value it may have');
      const before = config;
      const place = placeOf(field);
      const next = field.endsWith('model.path') ? put(config, place.slice(0, -1), { path: value }) : put(config, place, value);
      // It stands in place of a call.
      if (field.endsWith('.split')) withoutCall(next);
      const isPassword = field === 'http_options.ssl_keyfile_password';
      await edit(t, isPassword ? put(next, ['http_options', 'ssl_keyfile'], './locked.key') : next, { field, weight });
      if (field.endsWith('.split')) await edit(t, before, { field, weight });
      // Without HTTP nothing of its listener would be seen.
      if (field === 'proxy_location') await edit(t, { ...before, proxy_location: 'EveryNode' }, { field, weight });
    });
  }

  await t.test('the same content does nothing: keys in another order, comments, another notation', async (t) => {
    const from = daemon.log.length;
    const backwards = (value: Json): Json =>
      Array.isArray(value)
        ? value.map(backwards)
        : typeof value === 'object' && value !== null
          ? Object.fromEntries(
              Object.entries(value)
                .reverse()
                .map(([key, held]) => [key, backwards(held)]),
            )
          : value;
    const same = `# a comment\n${JSON.stringify(backwards(config), undefined, 2)}\n`;
    t.notOk((await planned(same)).changed);
    await daemon.save(same);
    // A change behind it shows that it was read.
    await edit(t, { ...config, shutdown_timeout_s: 77 }, { field: 'shutdown_timeout_s', weight: 'live' });
    t.equal(daemon.log.slice(from).filter(({ msg }) => msg === 'config applied').length, 1);
  });

  await t.test('what has mistakes is told with its places', async (t) => {
    const { status, text } = await ask('/api/serve/plan', 'applications: 5\n');
    t.equal(status, 400);
    t.match(JSON.parse(text), { error: /the config has 1 error/, diagnostics: [{ line: 1, code: 'WRONG_TYPE' }] });
  });
});

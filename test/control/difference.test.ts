import t from 'tap';
import { type Before, difference } from '../../src/control/difference.ts';
import type { TargetApplication } from '../../src/control/target.ts';
import type { DesiredState } from '../../src/domain/desired.ts';
import { proxySpec } from '../support/routing.ts';
import { applicationSpec, deploymentSpec, target } from '../support/targets.ts';

const routedProxy = proxySpec();
const desired = (given: Partial<DesiredState> = {}): DesiredState => ({
  proxy: routedProxy,
  admin: { host: '127.0.0.1', port: 8265, token: null },
  logging: { encoding: null, level: 'info', directory: null, accessLog: true },
  shutdownTimeoutMs: 30_000,
  targetCapacity: null,
  resources: { numCpus: null, numGpus: null, memoryBytes: null, custom: {}, enforce: 'auto' },
  applications: [],
  ...given,
});
const serves = (...targets: TargetApplication[]): Before => ({
  desired: desired(),
  http: { host: '127.0.0.1', askedPort: 0, port: 8123, driver: 'node:http' },
  serving: new Map(targets.map((each) => [each.spec.name, { target: each, generation: 1 }])),
  targets,
});
const app = (...deployments: Parameters<typeof deploymentSpec>[0][]) =>
  applicationSpec({ deployments: deployments.map(deploymentSpec) });
const of = (before: TargetApplication, after: TargetApplication) =>
  difference(serves(before), { desired: desired(), targets: [after], broken: [] });
const deployment = (before: TargetApplication, after: TargetApplication) =>
  of(before, after).applications['app']?.deployments['A'];

const one = target();

t.test('the same, with its keys in another order: nothing', async (t) => {
  const a = target(app({ initArgs: { x: 1, y: 2 }, userConfig: { p: 1, q: { r: 1, s: 2 } } }));
  const b = target(app({ initArgs: { y: 2, x: 1 }, userConfig: { q: { s: 2, r: 1 }, p: 1 } }), 'code 1', a);
  t.match(of(a, b), { changed: false, restarts: 0, applications: { app: { change: 'nothing', fields: [] } } });
});

const table: readonly (readonly [string, TargetApplication, object])[] = [
  [
    'a limit',
    target(app({ maxOngoingRequests: 9, health: { periodMs: 1, timeoutMs: 30_000, failureThreshold: 3 } })),
    { change: 'live', fields: ['max_ongoing_requests', 'health_check_period_s'], why: [] },
  ],
  [
    'options of a batched function',
    target(app({ batchedFunctions: { embed: { maxBatchSize: 4, waitMs: 10 } } })),
    { change: 'live', fields: ['batched_functions'], why: [] },
  ],
  ['more replicas', target(app({ numReplicas: 3 })), { change: 'live', fields: ['num_replicas'], replicas: { from: 1, to: 3 } }],
  ['user_config', target(app({ userConfig: { a: 1 } })), { change: 'reconfigure', fields: ['user_config'] }],
  [
    'user_config and a limit',
    target(app({ userConfig: { a: 1 }, maxQueuedRequests: 0 })),
    { change: 'reconfigure', fields: ['user_config', 'max_queued_requests'] },
  ],
  [
    'what a model keeps of sequences',
    target(
      app({ sequence: { states: { h: { output: 'hN', shape: null } }, idleTimeoutMs: 1000, maxSequences: 5, maxStateBytes: 9 } }),
    ),
    { change: 'restart', fields: ['model.sequence'], why: ['model.sequence.state', 'model.sequence.max_state_bytes'] },
  ],
  ['code', target(undefined, 'code 2'), { change: 'restart', fields: [], why: ['code'] }],
  [
    'init_args and environment',
    target(app({ initArgs: { a: 1 }, env: { A: '1' } })),
    { change: 'restart', fields: ['init_args', 'runtime_env.env_vars'], why: ['init_args', 'runtime_env.env_vars'] },
  ],
  [
    'another file',
    target(app({ runs: { kind: 'module', file: '/app/b.ts', export: 'B' } }), 'code 2'),
    { change: 'restart', fields: ['import_path'], why: ['import_path'] },
  ],
  [
    'a handle',
    target(applicationSpec({ calls: { A: { b: { application: 'app', deployment: 'A', method: 'call' } } } })),
    {
      change: 'restart',
      why: ['graph.calls'],
    },
  ],
];
for (const [what, after, told] of table) t.test(`a change of ${what}`, async (t) => t.match(deployment(one, after), told));

t.test('bounds of sequences change live, their states do not', async (t) => {
  const keeps = (output: string, idleTimeoutMs: number, maxSequences: number) =>
    target(app({ sequence: { states: { h: { output, shape: null } }, idleTimeoutMs, maxSequences, maxStateBytes: 9 } }));
  const before = keeps('hN', 1000, 5);
  t.match(deployment(before, keeps('hN', 2000, 6)), {
    change: 'live',
    fields: ['model.sequence.idle_timeout_s', 'model.sequence.max_sequences'],
    why: [],
  });
  t.match(deployment(before, keeps('gN', 1000, 5)), { change: 'restart', why: ['model.sequence.state'] });
  t.same(deployment(before, keeps('gN', 1000, 5))?.fields, ['model.sequence.state']);
});

t.test('a user_config that is taken away starts the deployment anew', async (t) => {
  const before = target(app({ userConfig: { a: 1 } }));
  t.match(deployment(before, target(app({}), 'code 1', before)), { change: 'restart', why: ['user_config'] });
});

t.test('what comes and what goes', async (t) => {
  const before = target(app({ numReplicas: 2 }, { name: 'B' }));
  const change = of(before, target(app({ numReplicas: 2 }, { name: 'C', numReplicas: 3 }))).applications['app'];
  t.match(change?.deployments, {
    A: { change: 'nothing' },
    B: { change: 'stop', replicas: { from: 1, to: 0 } },
    C: { change: 'start', replicas: { from: 0, to: 3 } },
  });
  const other = target(applicationSpec({ name: 'other' }));
  const moved = difference(serves(before), { desired: desired(), targets: [other], broken: [] });
  t.match(moved, { changed: true, restarts: 0, applications: { app: { change: 'stop' }, other: { change: 'start' } } });
});

t.test('it counts the running replicas that would be replaced', async (t) => {
  const before = target(app({ numReplicas: 4 }));
  t.equal(of(before, target(app({ numReplicas: 2 }), 'code 2')).restarts, 4);
});

t.test('during a rollout it compares with what serves: the way back restarts nothing, the way on is under way', async (t) => {
  const next = target(undefined, 'code 2');
  const rolling: Before = { ...serves(one), targets: [next] };
  const back = difference(rolling, { desired: desired(), targets: [one], broken: [] });
  t.match(back, { changed: false, restarts: 0, applications: { app: { note: /given up/ } } });
  const on = difference(rolling, { desired: desired(), targets: [next], broken: [] });
  t.match(on.applications['app'], { change: 'restart', note: /under way/ });
});

t.test('listeners move or are changed where they are', async (t) => {
  const to = (given: Partial<DesiredState>) => difference(serves(one), { desired: desired(given), targets: [one], broken: [] });
  const moved = to({ proxy: { ...routedProxy, port: 1, keepAliveTimeoutMs: 7 } });
  t.match(moved.listeners.http, { change: 'move', fields: ['http_options.port', 'http_options.keep_alive_timeout_s'] });
  t.match(to({ proxy: { ...routedProxy, maxRequestBodyBytes: 7 } }).listeners.http, {
    change: 'live',
    fields: ['http_options.max_request_body'],
  });
  t.match(to({ proxy: { ...routedProxy, enabled: false } }).listeners.http, { change: 'close', fields: ['proxy_location'] });
  t.match(to({ admin: { host: '127.0.0.1', port: 8265, token: 'x' } }).listeners.admin, {
    change: 'live',
    fields: ['admin_options.token'],
  });
  t.match(to({ shutdownTimeoutMs: 1, logging: { encoding: 'JSON', level: 'info', directory: null, accessLog: true } }), {
    daemon: ['logging_config.encoding', 'shutdown_timeout_s'],
    listeners: { http: { change: 'nothing' } },
    changed: true,
  });
});

t.test('without a daemon everything starts', async (t) => {
  const all = difference(undefined, { desired: desired(), targets: [one], broken: [] });
  t.match(all, {
    changed: true,
    restarts: 0,
    applications: { app: { change: 'start' } },
    listeners: { http: { change: 'open' } },
  });
});

/** What a replica asks for is reserved: what has no room waits and says so, and comes by itself. */
import t from 'tap';
import { differs, Load, startDaemon } from '../support/daemon-rig.ts';
import { configOf, ECHO, HEAD, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(120_000);

/** As its users have it, but for ports, which are free ones, and a second application. */
const PRODUCTION = (more = '') => `proxy_location: EveryNode
http_options:
  host: 0.0.0.0
  port: 0
grpc_options:
  port: 9000
  grpc_servicer_functions: []
admin_options: {port: 0}
resources: {num_cpus: 2, num_gpus: 0}${more}
applications:
- name: llm
  route_prefix: /
  runtime_env: {}
  deployments:
  - name: LLM
    import_path: llm:chat
    ray_actor_options:
      num_cpus: 8
      num_gpus: 1
- ${JSON.stringify(NEIGHBOUR)}
`;

t.test('a file that asks for more than the machine has waits, and answers once it is offered', async (t) => {
  const files = {
    'llm.ts': 'export function chat(text) { return [text, process.env.CUDA_VISIBLE_DEVICES]; }\n',
    'echo.ts': ECHO,
  };
  await using daemon = await startDaemon(PRODUCTION(), { files });
  const { applications } = await daemon.status();
  t.match(applications['llm'], {
    status: 'DEPLOYING',
    deployments: {
      LLM: { replicas: [{ state: 'PENDING', pid: null, reason: 'asks 8 CPUs, 1 GPU; this machine offers 2, 0' }] },
    },
  });
  const refused = await daemon.post('/', 'hello');
  t.equal(refused.status, 503);
  t.match(refused.headers, { 'retry-after': /^\d+$/ });
  t.match(refused.text, /LLM asks 8 CPUs, 1 GPU; this machine offers 2, 0/);
  t.equal((await daemon.post('/neighbour', 'hello')).text, 'hello', 'everything else serves');
  const warned = await daemon.waitForLog((line) => line['code'] === 'DOES_NOT_FIT');
  t.match(warned.msg, 'asks 8 CPUs, 1 GPU; this machine offers 2, 0');
  const neighbours = await daemon.pids('neighbour', 'Only');

  const offered = PRODUCTION().replace('{num_cpus: 2, num_gpus: 0}', '{num_cpus: 8, num_gpus: 1}');
  await daemon.apply(offered);
  t.equal((await daemon.post('/', 'hello')).text, '["hello","0"]');
  t.same(await daemon.pids('neighbour', 'Only'), neighbours);
});

t.test('what waits starts by itself when something goes', async (t) => {
  const head = `${HEAD}resources: {num_cpus: 3}\n`;
  const asks = (name: string, num_cpus: number) =>
    single(name, `/${name}`, { import_path: './echo.ts:echo', ray_actor_options: { num_cpus } });
  await using daemon = await startDaemon(configOf([asks('one', 2), asks('two', 2)], head), { files: { 'echo.ts': ECHO } });
  await daemon.when('two is PENDING', ({ applications: { one, two } }) => {
    const [replica] = two?.deployments['Only']?.replicas ?? [];
    return one?.status === 'RUNNING' && replica?.reason === 'asks 2 CPUs; of the 3 that this machine offers 1 is free';
  });
  await daemon.apply(configOf([asks('two', 2)], head));
  t.equal((await daemon.post('/two', 1)).text, '1');
});

t.test('where the quota has no room for both versions they are exchanged one by one, and no request is lost', async (t) => {
  const code = (version: number) =>
    `export class Main { call() { return ${version}; } }\nexport class Front { constructor({ main }) { this.main = main; } async call() { return this.main.call(); } }\n`;
  const config = configOf(
    [
      {
        name: 'main',
        route_prefix: '/',
        graph: { ingress: 'Front', calls: { Front: { main: 'Main' } } },
        deployments: [
          { name: 'Front', import_path: './front.ts:Front' },
          { name: 'Main', import_path: './main.ts:Main', num_replicas: 3, ray_actor_options: { num_cpus: 1 } },
        ],
      },
    ],
    `${HEAD}resources: {num_cpus: 3}\n`,
  );
  const files = { 'main.ts': code(1), 'front.ts': code(1) };
  await using daemon = await startDaemon(config, { files });
  await daemon.running();
  const before = await daemon.pids('main', 'Main');
  t.equal(before.length, 3);
  await using load = new Load(4, async (_, agent) => {
    const answer = await daemon.ask('/', { agent });
    return differs(answer, 200, answer.text === '2' ? '2' : '1');
  });
  await load.more(20);
  const from = daemon.log.length;
  await daemon.write('main.ts', code(2));
  await daemon.waitForLog('application updated', from);
  const status = await daemon.running();
  await load.more(20);
  await load.stop();
  t.same(load.failures, []);
  t.equal((await daemon.ask('/')).text, '2');
  const steps = daemon.log.slice(from).filter(({ msg }) => msg === 'versions are exchanged in steps: one goes first');
  t.equal(steps.length, 3);
  t.match(steps[0], { why: 'the quota has no room for both versions at once' });
  t.equal(status.applications['main']?.deployments['Main']?.replicas.length, 3);
});

t.test('replicas see the devices that they hold, and fractions share one', async (t) => {
  const sees = { import_path: './sees.ts:sees', ray_actor_options: { num_gpus: 0.5 } };
  const config = configOf(
    [
      single('whole', '/whole', { import_path: './sees.ts:sees', ray_actor_options: { num_gpus: 1 } }),
      single('half', '/half', sees),
      single('other', '/other', sees),
      single('none', '/none', { import_path: './sees.ts:sees', ray_actor_options: { num_gpus: 0 } }),
      single('unsaid', '/unsaid', { import_path: './sees.ts:sees' }),
    ],
    `${HEAD}resources: {num_gpus: 2}\n`,
  );
  const files = { 'sees.ts': 'export function sees() { return process.env.CUDA_VISIBLE_DEVICES ?? "not said"; }\n' };
  await using daemon = await startDaemon(config, { files });
  await daemon.running();
  const seen = async (route: string) => (await daemon.ask(route)).text;
  t.equal(await seen('/whole'), '0');
  t.equal(await seen('/half'), '1');
  t.equal(await seen('/other'), '1');
  t.equal(await seen('/none'), '');
  t.equal((await daemon.ask('/unsaid')).text, 'not said');
});

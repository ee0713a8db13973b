/** What code knows of its replica and its request: metrics of its own, its rank, the trace. */
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `export class Counting {
  constructor(_args, context) {
    this.hits = context.metrics.counter('hits_total', { help: 'What was asked for.', labels: ['word'] });
    this.context = context;
  }
  call(word, context) {
    this.hits.inc(1, { word });
    context.metrics.gauge('depth').set(3);
    context.metrics.histogram('lengths', { buckets: [2, 4] }).observe(word.length);
    return context.rank;
  }
  many(count) { for (let user = 0; user < count; user++) this.context.metrics.counter('users_total', { labels: ['user'] }).inc(1, { user }); }
  trace(_input, context) { return context.traceparent ?? null; }
  die() { process.kill(process.pid, 'SIGKILL'); }
}
export class Front {
  constructor({ counting }) { this.counting = counting; }
  async call([method, input], context) {
    const told = await this.counting.options({ method }).call(input);
    return [told, context.traceparent ?? null];
  }
}
`;
const config = configOf([
  single('alone', '/alone', { import_path: './app.ts:Counting' }),
  {
    name: 'app',
    route_prefix: '/app',
    deployments: [
      { name: 'Front', import_path: './app.ts:Front' },
      { name: 'Counting', import_path: './app.ts:Counting', num_replicas: 3 },
    ],
    graph: { ingress: 'Front', calls: { Front: { counting: 'Counting' } } },
  },
  {
    name: 'steps',
    route_prefix: '/steps',
    deployments: [{ name: 'Counting', import_path: './app.ts:Counting' }],
    graph: { steps: { told: { call: 'Counting.trace', input: '$request.json' } }, output: '$told' },
  },
]);

const linesOf = async (daemon: DaemonRig): Promise<readonly string[]> =>
  (await daemon.ask('/metrics', {}, daemon.adminUrl)).text.split('\n');

t.test('metrics of code are at /metrics, with the replica that they are of, and go with it', async (t) => {
  await using daemon = await startDaemon(config, { files: { 'app.ts': CODE } });
  for (const word of ['one', 'one', 'three']) t.equal((await daemon.post('/alone', word)).text, '0');
  const [replica] = await daemon.replicas('alone', 'Only');
  const own = `application="alone",deployment="Only",replica="${replica?.replica_id}"`;
  const wanted = [
    '# HELP hits_total What was asked for.',
    '# TYPE hits_total counter',
    `hits_total{${own},word="one"} 2`,
    `hits_total{${own},word="three"} 1`,
    '# TYPE depth gauge',
    `depth{${own}} 3`,
    `lengths_bucket{${own},le="2"} 0`,
    `lengths_bucket{${own},le="4"} 2`,
    `lengths_bucket{${own},le="+Inf"} 3`,
    `lengths_sum{${own}} 11`,
    `lengths_count{${own}} 3`,
  ];
  let lines: readonly string[] = [];
  const missing = () => wanted.filter((line) => !lines.includes(line));
  await until(
    'all that was counted',
    async () => {
      lines = await linesOf(daemon);
      return missing().length === 0;
    },
    undefined,
    () => `${missing().join('\n')} in\n${lines.filter((line) => /hits|depth|lengths/.test(line)).join('\n')}`,
  );

  await daemon.ask('/app', { method: 'POST', body: '["many", 1500]', headers: { 'content-type': 'application/json' } });
  const line = await daemon.waitForLog((each) => each['metric'] === 'users_total');
  t.match(line, { limit: '1000 series' }, 'too many values of a label are said once');
  await until(
    'those that are kept',
    async () => (await linesOf(daemon)).filter((each) => each.startsWith('users_total{')).length > 900,
  );

  process.kill(replica?.pid ?? 0, 'SIGKILL');
  await until(
    'they go with their replica',
    async () => !(await linesOf(daemon)).some((each) => each.includes(replica?.replica_id ?? '')),
  );
});

t.test('ranks count from 0, and the number of one that dies is that of the next', async (t) => {
  await using daemon = await startDaemon(config, { files: { 'app.ts': CODE } });
  const ranks = async () =>
    (await daemon.replicas('app', 'Counting')).map(({ rank, state }) => (state === 'RUNNING' ? rank : -1));
  await until('three replicas', async () => (await ranks()).sort().join() === '0,1,2');
  const second = (await daemon.replicas('app', 'Counting')).find(({ rank }) => rank === 1);
  process.kill(second?.pid ?? 0, 'SIGKILL');
  await until('another with its rank', async () => {
    const replicas = await daemon.replicas('app', 'Counting');
    return replicas.some(({ rank, state, pid }) => rank === 1 && state === 'RUNNING' && pid !== second?.pid);
  });
  t.same((await ranks()).sort(), [0, 1, 2]);
  const told = await Promise.all(Array.from({ length: 30 }, () => daemon.post('/app', ['call', 'x'])));
  t.same([...new Set(told.map(({ text }) => (JSON.parse(text) as [number])[0]))].sort(), [0, 1, 2], 'as the code sees them');
});

t.test('the trace of a request is that of what is called for it', async (t) => {
  await using daemon = await startDaemon(config, { files: { 'app.ts': CODE } });
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  t.same(
    JSON.parse((await daemon.post('/app', ['trace', 1], { traceparent })).text),
    [traceparent, traceparent],
    'through handles',
  );
  t.equal((await daemon.post('/steps', 1, { traceparent })).text, traceparent, 'through steps');
  t.same(JSON.parse((await daemon.post('/app', ['trace', 1])).text), [null, null]);
  t.same(
    JSON.parse((await daemon.post('/app', ['trace', 1], { traceparent: 'no trace' })).text),
    [null, null],
    'what is none says nothing',
  );
});

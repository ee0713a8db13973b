/** `/metrics` tells what was sent, to the unit, in a form that Prometheus reads. */
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, ECHO, HEAD, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `export class Work {
  call(input) {
    if (input.fail) throw new Error('it is broken');
    if (input.slow) return new Promise((resolve) => setTimeout(resolve, input.slow, 'slow'));
    return input;
  }
}
export class Many { call(inputs) { return inputs; } }
`;
const files = { 'work.ts': CODE, 'echo.ts': ECHO };
const CONFIG = configOf([
  single('work', '/work', { import_path: './work.ts:Work', max_ongoing_requests: 1, max_queued_requests: 1 }),
  single('many', '/many', { import_path: './work.ts:Many', batching: { max_batch_size: 4, method: 'call' } }),
  NEIGHBOUR,
]);

const scrape = async (daemon: DaemonRig): Promise<string> => (await daemon.ask('/metrics', {}, daemon.adminUrl)).text;

/** Series → value. */
const read = async (daemon: DaemonRig): Promise<ReadonlyMap<string, number>> =>
  new Map(
    (await scrape(daemon))
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))] as const),
  );

const promtool = spawnSync('promtool', ['--version']).status === 0;

t.test('every request is counted once, by application and status, whole and refused and failed', async (t) => {
  await using daemon = await startDaemon(CONFIG, { files });
  const before = await read(daemon);
  t.equal(before.get('serve_http_requests_total{application="work",route="/work",code="200"}'), 0, 'registered at zero');
  t.equal(
    before.get('serve_replica_deaths_total{application="work",deployment="Only",cause="oom"}'),
    0,
    'so that the first is seen',
  );
  for (let n = 0; n < 7; n++) await daemon.post('/work', { n });
  for (let n = 0; n < 3; n++) t.equal((await daemon.post('/work', { fail: true })).status, 500);
  for (let n = 0; n < 2; n++) t.equal((await daemon.ask('/nowhere')).status, 404);
  const six = await Promise.all(Array.from({ length: 6 }, () => daemon.post('/work', { slow: 300 })));
  t.same(
    six.map(({ status }) => status).sort(),
    [200, 200, 503, 503, 503, 503],
    'one at work, one waits, the others are refused',
  );
  await Promise.all(Array.from({ length: 8 }, (_, n) => daemon.post('/many', n)));
  const after = await read(daemon);
  const http = (application: string, route: string, code: number) =>
    after.get(`serve_http_requests_total{application="${application}",route="${route}",code="${code}"}`);
  t.equal(http('work', '/work', 200), 9);
  t.equal(http('work', '/work', 500), 3);
  t.equal(http('work', '/work', 503), 4);
  t.equal(http('', '', 404), 2);
  t.equal(http('many', '/many', 200), 8);
  t.equal(http('neighbour', '/neighbour', 200), 0);
  const of = 'application="work",deployment="Only"';
  t.equal(after.get(`serve_deployment_requests_total{${of},result="OK"}`), 9);
  t.equal(after.get(`serve_deployment_requests_total{${of},result="USER_ERROR"}`), 3);
  t.equal(after.get(`serve_deployment_requests_total{${of},result="QUEUE_FULL"}`), 4);
  t.equal(after.get('serve_http_request_duration_seconds_count{application="work",route="/work"}'), 16);
  t.equal(after.get(`serve_deployment_processing_seconds_count{${of}}`), 12, 'what was refused was not worked on');
  t.equal(after.get(`serve_deployment_processing_seconds_bucket{${of},le="0.25"}`), 10);
  t.equal(after.get(`serve_deployment_processing_seconds_bucket{${of},le="+Inf"}`), 12);
  t.equal(after.get(`serve_deployment_queue_length{${of}}`), 0);
  t.equal(after.get(`serve_deployment_ongoing_requests{${of}}`), 0);
  t.equal(after.get('serve_batch_size_sum{application="many",deployment="Only"}'), 8);
  const dispatches = ['full', 'idle', 'window'].map((reason) =>
    Number(after.get(`serve_batch_dispatch_total{application="many",deployment="Only",reason="${reason}"}`)),
  );
  t.equal(
    dispatches.reduce((sum, each) => sum + each),
    after.get('serve_batch_size_count{application="many",deployment="Only"}'),
  );
});

t.test('deaths and reloads are counted by what became of them, and what leaves the config leaves the metrics', async (t) => {
  await using daemon = await startDaemon(CONFIG, { files });
  const [pid] = (await daemon.pids('work', 'Only')) as [number];
  process.kill(pid, 'SIGKILL');
  await daemon.waitForLog('replica died');
  await daemon.running();
  await daemon.save(`${CONFIG}mistake: 1\n`);
  await daemon.waitForLog((line) => line.msg.startsWith('the config was rejected'));
  await daemon.save(configOf([NEIGHBOUR], HEAD));
  await until('it is gone', async () => !(await scrape(daemon)).includes('application="work"'));
  const after = await read(daemon);
  t.equal(after.get('serve_config_reloads_total{result="rejected"}'), 1);
  t.equal(after.get('serve_config_reloads_total{result="applied"}'), 1);
  t.equal(after.get('serve_deployment_replicas{application="neighbour",deployment="Only",state="RUNNING"}'), 1);
  t.equal(after.get('serve_application_status{application="neighbour",status="RUNNING"}'), 1);
  t.ok((after.get('process_resident_memory_bytes') ?? 0) > 2 ** 20);
  t.ok(after.has('serve_event_loop_delay_seconds{thread="data-plane",stat="p99"}'));
});

t.test('a death is counted by its cause', async (t) => {
  await using daemon = await startDaemon(CONFIG, { files });
  const [pid] = (await daemon.pids('work', 'Only')) as [number];
  process.kill(pid, 'SIGKILL');
  await daemon.waitForLog('replica died');
  t.equal((await read(daemon)).get('serve_replica_deaths_total{application="work",deployment="Only",cause="signal"}'), 1);
});

t.test('promtool finds nothing to say', { skip: promtool ? false : 'no promtool here (Debian: prometheus)' }, async (t) => {
  await using daemon = await startDaemon(CONFIG, { files });
  await daemon.post('/work', {});
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: await scrape(daemon) });
  t.equal(status, 0, `${stdout}${stderr}`);
});

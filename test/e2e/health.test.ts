/** Who is replaced, and who is not: ill, stuck, slow, still starting, or under a daemon that was stopped itself. */
import t from 'tap';
import { type DaemonRig, differs, Load, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, single } from './configs.ts';

t.setTimeout(180_000);

const CODE = `const turn = () => new Promise((done) => setImmediate(done));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const block = (ms) => { const until = performance.now() + ms; while (performance.now() < until); };
export class Ill {
  failures = 0; hangs = false; checks = 0;
  async checkHealth() {
    this.checks += 1;
    if (this.hangs) await new Promise(() => {});
    if (this.failures-- > 0) throw new Error('no pulse');
  }
  call(input) {
    if (input === 'checks') return this.checks;
    if (input?.fail !== undefined) { this.failures = input.fail; return process.pid; }
    if (input?.hang) { this.hangs = true; return process.pid; }
    return input;
  }
}
export class Works {
  async call(input) {
    if (input?.loop) while (true);
    if (input?.sleep) await sleep(input.sleep);
    for (let n = 0; n < (input?.blocks ?? 0); n++) { block(100); await turn(); }
    return input;
  }
}
export class Busy { constructor() { block(3500); } call(input) { return input; } }
export class Never { constructor() { console.error('waiting for a file that does not come'); return new Promise(() => {}); } call() {} }
`;
const files = { 'code.ts': CODE };
const deployment = (name: string, about: object) =>
  single(name.toLowerCase(), `/${name.toLowerCase()}`, { import_path: `./code.ts:${name}`, ...about });
const stateOf = async (daemon: DaemonRig, application: string) =>
  (await daemon.status()).applications[application]?.deployments['Only'];

t.test('checkHealth: so many failures in a row, and the replica is replaced; fewer, and it is not', async (t) => {
  const health = { health_check_period_s: 0.1, health_check_timeout_s: 1, health_check_failure_threshold: 3 };
  const config = configOf([
    deployment('Ill', { num_replicas: 2, max_ongoing_requests: 1, retry: { idempotent: true }, ...health }),
  ]);
  await using daemon = await startDaemon(config, { files });
  const failed = () => daemon.log.filter(({ msg }) => msg === 'health check failed').length;

  await t.test('two failures of three', async (t) => {
    await daemon.post('/ill', { fail: 2 });
    await until('two checks failed', () => failed() === 2);
    const before = await Promise.all([daemon.post('/ill', 'checks'), daemon.post('/ill', 'checks')]);
    await until('later checks', async () => {
      const now = await Promise.all([daemon.post('/ill', 'checks'), daemon.post('/ill', 'checks')]);
      return now.every(({ text }, at) => Number(text) > Number(before[at]?.text) + 3);
    });
    t.match(await stateOf(daemon, 'ill'), { restarts: 0, status: 'HEALTHY' });
  });

  for (const [how, input, message] of [
    ['fails for good', { fail: 1e9 }, 'checkHealth failed 3 times: no pulse'],
    ['does not answer', { hang: true }, 'checkHealth failed 3 times: no answer within 1 s'],
  ] as const) {
    await t.test(`one that ${how} is replaced, and its sibling serves meanwhile`, async (t) => {
      const { restarts = 0 } = (await stateOf(daemon, 'ill')) ?? {};
      await using load = new Load(2, async (n, agent) =>
        differs(
          await daemon.ask('/ill', { method: 'POST', headers: { 'content-type': 'application/json' }, body: `${n}`, agent }),
          200,
          `${n}`,
        ),
      );
      const pid = Number((await daemon.post('/ill', input)).text);
      await daemon.when(
        'it was replaced',
        ({ applications }) => applications['ill']?.deployments['Only']?.restarts === restarts + 1,
      );
      await load.more(20);
      await daemon.running();
      t.match(await stateOf(daemon, 'ill'), { last_death: { cause: 'health', message } });
      t.notOk((await daemon.pids('ill', 'Only')).includes(pid));
      await load.stop();
      t.same(load.failures, []);
    });
  }
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('a replica in an endless loop is replaced while its sibling serves; a slow one that works is not', async (t) => {
  const config = configOf([
    deployment('Works', { num_replicas: 2, max_ongoing_requests: 1, unresponsive_timeout_s: 2, health_check_period_s: 0.5 }),
  ]);
  await using daemon = await startDaemon(config, { files });
  await daemon.running();
  const pids = await daemon.pids('works', 'Only');

  await t.test('slow: five seconds of waiting, five seconds of many short blocks', async (t) => {
    const answers = await Promise.all([daemon.post('/works', { sleep: 5000 }), daemon.post('/works', { blocks: 50 })]);
    t.same(
      answers.map(({ status }) => status),
      [200, 200],
    );
    t.same(await daemon.pids('works', 'Only'), pids);
    t.match(await stateOf(daemon, 'works'), { restarts: 0 });
  });

  await t.test('stuck', async (t) => {
    const hung = daemon.post('/works', { loop: true });
    await using load = new Load(3, async (n, agent) =>
      differs(
        await daemon.ask('/works', { method: 'POST', headers: { 'content-type': 'application/json' }, body: `${n}`, agent }),
        200,
        `${n}`,
      ),
    );
    t.match(await hung, { status: 503, headers: { 'x-serve-error': 'REPLICA_DIED' } });
    await load.more(50);
    await daemon.running();
    t.match(await stateOf(daemon, 'works'), { restarts: 1, last_death: { cause: 'unresponsive' } });
    await load.stop();
    t.same(load.failures, []);
    t.ok(load.good > 50, `${load.good} were answered meanwhile`);
  });

  await t.test('the daemon was stopped itself for longer than that', async (t) => {
    const before = await daemon.pids('works', 'Only');
    const { restarts } = (await stateOf(daemon, 'works')) ?? {};
    daemon.signal('SIGSTOP');
    await new Promise((done) => setTimeout(done, 3000));
    daemon.signal('SIGCONT');
    // Looks at the links that come after: two blocks of that length are answered on either replica.
    await Promise.all([daemon.post('/works', { sleep: 1500 }), daemon.post('/works', { sleep: 1500 })]);
    t.match(await stateOf(daemon, 'works'), { restarts });
    t.same(await daemon.pids('works', 'Only'), before);
  });
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('start-up and liveness are apart', async (t) => {
  const config = configOf([
    deployment('Busy', {
      unresponsive_timeout_s: 1,
      health_check_period_s: 0.2,
      health_check_timeout_s: 0.2,
      health_check_failure_threshold: 1,
    }),
    deployment('Never', { startup_timeout_s: 1, max_constructor_retry_count: 2 }),
  ]);
  await using daemon = await startDaemon(config, { files });

  await t.test('a constructor that is busy for longer than a replica may be late is not unresponsive', async (t) => {
    t.equal((await daemon.post('/busy', 'here')).text, 'here');
    t.match(await stateOf(daemon, 'busy'), { status: 'HEALTHY', restarts: 0 });
  });

  await t.test('one that takes longer than startup_timeout_s has failed to start', async (t) => {
    t.match(await stateOf(daemon, 'never'), {
      status: 'DEPLOY_FAILED',
      restarts: 2,
      last_death: { cause: 'startup', message: 'it was not ready within 1 s', stderr: ['waiting for a file that does not come'] },
    });
  });
  t.same(await daemon.stop(), { code: 0, signal: null });
});

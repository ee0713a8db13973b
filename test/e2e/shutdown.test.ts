/** How it ends: in order, at once, or killed; and how it begins again after that. */
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { allGone, ask, differs, type Exit, isGone, Load, launchDaemon, startDaemon, until } from '../support/daemon-rig.ts';
import { addModel } from '../support/onnx-writer.ts';
import { configOf, HEAD, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `import { writeFileSync } from 'node:fs';
export class Slow { async call(input) { await new Promise((r) => setTimeout(r, input.ms)); return input.n; } }
export class Many { async call(inputs) { await new Promise((r) => setTimeout(r, 20)); return inputs.map((input) => input.n); } }
export async function* stream(input) { for (let i = 0; i < 10; i++) { await new Promise((r) => setTimeout(r, input.ms / 10)); yield input.n + ' '; } }
export class Loop { call(input) { if (input === 'loop') { writeFileSync('looping', ''); while (true); } return input; } }
export class Native { call() { writeFileSync('waiting', ''); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); } }
export class Closes { close() { writeFileSync('closed', 'in order'); } call() { return 'open'; } }
`;
const files = { 'code.ts': CODE, 'add.onnx': addModel([1, 1]) };
const apps = [
  single('slow', '/slow', { import_path: './code.ts:Slow', num_replicas: 2, max_ongoing_requests: 4 }),
  single('many', '/many', {
    import_path: './code.ts:Many',
    max_ongoing_requests: 16,
    batching: { max_batch_size: 8, method: 'call' },
  }),
  single('stream', '/stream', { import_path: './code.ts:stream', max_ongoing_requests: 16 }),
  single('model', '/model', { model: 'add.onnx', batching: { max_batch_size: 8 } }),
];
const post = (value: unknown, agent?: Agent) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(value),
  agent,
});

t.test('SIGTERM under load: every accepted request is answered, the code is 0, and nothing is left', async (t) => {
  await using daemon = await startDaemon(configOf([...apps, single('closes', '/closes', { import_path: './code.ts:Closes' })]), {
    files,
  });
  let asked = false;
  const kinds = [
    async (n: number, agent: Agent) => differs(await daemon.ask('/slow', post({ n, ms: 100 + (n % 400) }, agent)), 200, `${n}`),
    async (n: number, agent: Agent) => differs(await daemon.ask('/many', post({ n }, agent)), 200, `${n}`),
    async (n: number, agent: Agent) => differs(await daemon.ask('/stream', post({ n, ms: 300 }, agent)), 200, `${n} `.repeat(10)),
    async (n: number, agent: Agent) =>
      differs(await daemon.ask('/model', post({ x: [[n, n]] }, agent)), 200, `{"y":[[${n + 1},${n + 1}]]}`),
  ];
  let refused = 0;
  await using load = new Load(24, async (n, agent) => {
    try {
      return await (kinds[n % kinds.length] as (typeof kinds)[0])(n, agent);
    } catch (error) {
      // A connection that is not accepted any more, or an idle one that was closed, is no accepted request.
      const { code } = error as NodeJS.ErrnoException;
      if (asked && (code === 'ECONNREFUSED' || (code === 'ECONNRESET' && (error as Error).message !== 'aborted'))) {
        refused += 1;
        await daemon.exited;
        return undefined;
      }
      throw error;
    }
  });
  await load.more(100);
  asked = true;
  const exit = await daemon.stop('SIGTERM', 10_000);
  t.same(exit, { code: 0, signal: null });
  await load.stop();
  t.same(load.failures, []);
  t.same(daemon.processes(), [], 'no process is left');
  t.same(readdirSync(join(daemon.root, 'run')), [], 'no socket is left');
  t.ok(readdirSync(daemon.folder).includes('closed'), 'close() was called');
  t.comment(`${load.good} answers, ${refused} refused`);
});

t.test('while it drains it is not ready, takes no new connection, and says close on those that it has', async (t) => {
  await using daemon = await startDaemon(configOf(apps, HEAD.replace('port: 0}', 'port: 0, drain_grace_s: 0.5}')), { files });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.equal((await ask(`${daemon.url}/-/healthz`, { agent })).status, 200);
  const slow = daemon.post('/slow', { n: 1, ms: 1500 });
  await daemon.when('it is in work', ({ applications }) => applications['slow']?.deployments['Only']?.ongoing === 1);
  daemon.signal('SIGTERM');
  await daemon.waitForLog((line) => line.msg.startsWith('stopping'));
  const health = await until('healthz is 503', async () => {
    const answer = await ask(`${daemon.url}/-/healthz`, {});
    return answer.status === 503 && answer;
  });
  t.match(health, { text: /draining/, headers: { connection: 'close' } });
  t.match(await slow, { status: 200, text: '1' });
  agent.destroy();
  t.same(await daemon.exited, { code: 0, signal: null });
});

for (const idempotent of [false, true]) {
  t.test(`what takes longer than shutdown_timeout_s gets 503, and the code is still 0 (idempotent: ${idempotent})`, async (t) => {
    const config = configOf(
      [
        single('slow', '/slow', {
          import_path: './code.ts:Slow',
          graceful_shutdown_timeout_s: 0.2,
          max_ongoing_requests: 1,
          retry: { idempotent },
        }),
      ],
      `${HEAD}shutdown_timeout_s: 0.5\n`,
    );
    await using daemon = await startDaemon(config, { files });
    const [working, waiting] = [1, 2].map((n) => daemon.post('/slow', { n, ms: 60_000 }));
    await daemon.when('one is in work, one waits', ({ applications }) => {
      const { ongoing, queued } = applications['slow']?.deployments['Only'] ?? {};
      return ongoing === 1 && queued === 1;
    });
    daemon.signal('SIGTERM');
    const stopping = { status: 503, text: 'The daemon is stopping.', headers: { 'x-serve-error': 'UNAVAILABLE' } };
    t.match(await waiting, stopping);
    t.match(await working, stopping);
    t.same(await daemon.stop('SIGCONT', 5000), { code: 0, signal: null });
  });
}

t.test('a second SIGINT stops at once', async (t) => {
  await using daemon = await startDaemon(configOf(apps), { files });
  const slow = daemon.post('/slow', { n: 1, ms: 60_000 }).then(
    ({ status }) => status,
    () => 'cut off',
  );
  await daemon.when('it is in work', ({ applications }) => applications['slow']?.deployments['Only']?.ongoing === 1);
  daemon.signal('SIGINT');
  await daemon.waitForLog((line) => line.msg.startsWith('stopping'));
  // One that comes too soon is taken for the first: somebody presses Ctrl-C until it ends.
  let exit: Exit | undefined;
  void daemon.exited.then((ended) => {
    exit = ended;
  });
  await until(
    'it has ended',
    () => {
      if (exit === undefined) daemon.signal('SIGINT');
      return exit;
    },
    3000,
  );
  t.same(exit, { code: 1, signal: null });
  t.ok([503, 'cut off'].includes(await slow));
  await until('no process is left', () => daemon.processes().length === 0, 2000);
});

t.test('two signals at once are one: what was accepted is answered, and the code is 0', async (t) => {
  await using daemon = await startDaemon(configOf(apps), { files });
  const slow = daemon.post('/slow', { n: 1, ms: 500 });
  await daemon.when('it is in work', ({ applications }) => applications['slow']?.deployments['Only']?.ongoing === 1);
  daemon.signal('SIGINT');
  daemon.signal('SIGTERM');
  t.match(await slow, { status: 200, text: '1' });
  t.same(await daemon.exited, { code: 0, signal: null });
});

t.test('SIGTERM while it starts ends it with 0, and nothing is left', async (t) => {
  const never = `export class Never { constructor() { return new Promise(() => setInterval(() => {}, 1000)); } call() {} }\n`;
  await using daemon = await startDaemon(configOf([single('never', '/never', { import_path: './never.ts:Never' })]), {
    files: { 'never.ts': never },
    ready: false,
  });
  await daemon.when(
    'its replica is there',
    ({ applications }) => applications['never']?.deployments['Only']?.replicas[0]?.state === 'STARTING',
  );
  t.same(await daemon.stop('SIGTERM', 5000), { code: 0, signal: null });
  t.same(daemon.processes(), []);
});

t.test(
  'SIGKILL of the daemon: no replica is left after 2 s, not even those that are stuck; and it starts again at once',
  async (t) => {
    const root = await mkdtemp(join(tmpdir(), 'sd-e2e-'));
    t.teardown(() => rm(root, { recursive: true, force: true }));
    const config = configOf([
      ...apps,
      single('loop', '/loop', { import_path: './code.ts:Loop' }),
      single('native', '/native', { import_path: './code.ts:Native' }),
    ]);
    {
      await using daemon = await startDaemon(config, { files, folder: root });
      void daemon.post('/loop', 'loop').catch(() => {});
      void daemon.post('/native', 'wait').catch(() => {});
      void daemon.post('/slow', { n: 1, ms: 60_000 }).catch(() => {});
      await until('one loops and one waits', () =>
        ['looping', 'waiting'].every((name) => readdirSync(daemon.folder).includes(name)),
      );
      const replicas = daemon.processes().filter((pid) => pid !== daemon.pid);
      t.ok(replicas.length >= 7, `${replicas.length} replicas`);
      daemon.signal('SIGKILL');
      t.same(await daemon.exited, { code: null, signal: 'SIGKILL' });
      await allGone(replicas, 2000);
      t.ok(replicas.every(isGone));
    }
    await using again = await launchDaemon(config, { files, folder: root });
    await again.waitForLog('admin API is up');
    await again.running();
    t.equal((await again.post('/many', { n: 3 })).text, '3');
    t.equal(readdirSync(join(root, 'run')).length, 1, 'what the killed one left was swept');
    t.same(await again.stop(), { code: 0, signal: null });
  },
);

/** `batch()` inside a replica: an unbatched `call` that awaits its own batched function, whose options the file may set. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, single } from './configs.ts';

t.setTimeout(120_000);

/** Held until ten have come: how many run together hangs on no clock. */
const CODE = `import { batch } from 'serve-daemon';
export class Embedder {
  runs = [];
  #embed = batch({ name: 'embed', maxBatchSize: 10, waitS: 3600 }, async (texts) => {
    this.runs.push(texts.length);
    return texts.map((text) => (text === 'bad' ? new RangeError('not ' + text) : [...text].map((letter) => letter.charCodeAt(0))));
  });
  async call(input, context) {
    const prepared = String(input).trim();
    return { [prepared]: await this.#embed(prepared, context), runs: this.runs };
  }
  pid() { return process.pid; }
}
`;
const JSON_TYPE = { 'content-type': 'application/json' };
const config = (deployment: object = {}) =>
  configOf([single('app', '/app', { import_path: './app.ts:Embedder', max_ongoing_requests: 20, ...deployment })]);

t.test('ten posts at once are one run of ten items, and each gets its own answer', async (t) => {
  await using daemon = await startDaemon(config(), { files: { 'app.ts': CODE } });
  const asked = [...'abcdefghij'];
  const answers = await Promise.all(asked.map((text) => daemon.post('/app', text)));
  t.same(
    answers.map(({ text }) => JSON.parse(text)),
    asked.map((text) => ({ [text]: [text.charCodeAt(0)], runs: [10] })),
  );

  const pids = await daemon.pids('app', 'Only');
  const held = ['x', 'bad', 'y'].map((text) => daemon.post('/app', text));
  await until('three in work', async () => (await daemon.status()).applications['app']?.deployments['Only']?.ongoing === 3);
  await daemon.write('config.yaml', config({ batched_functions: { embed: { max_batch_size: 3 }, emebd: {} } }));
  const [x, bad, y] = await Promise.all(held);
  t.match(JSON.parse(x?.text ?? ''), { x: [120], runs: [10, 3] }, 'what the file says holds at once, also for what waits');
  t.equal(bad?.status, 500, 'an item that is an Error fails its own caller');
  t.equal(y?.status, 200);
  t.same(await daemon.pids('app', 'Only'), pids, 'without a restart');
  const line = await daemon.waitForLog('batched_functions names functions that the code has not made');
  t.match(line, { unknown: ['emebd'], known: ['embed'] });
});

t.test('who leaves before the run takes his item along', async (t) => {
  await using daemon = await startDaemon(config({ batched_functions: { embed: { max_batch_size: 2 } } }), {
    files: { 'app.ts': CODE },
  });
  const gone = new AbortController();
  const ongoing = async (count: number) =>
    until(`${count} in work`, async () => (await daemon.status()).applications['app']?.deployments['Only']?.ongoing === count);
  const left = daemon
    .ask('/app', { method: 'POST', body: '"left"', headers: JSON_TYPE, signal: gone.signal })
    .catch(() => 'gone');
  await ongoing(1);
  gone.abort();
  t.equal(await left, 'gone');
  await ongoing(0);
  const answers = await Promise.all(['a', 'b'].map((text) => daemon.post('/app', text)));
  t.same(
    answers.map(({ text }) => (JSON.parse(text) as { runs: number[] }).runs),
    [[2], [2]],
  );
});

/** A run that calls another deployment, which answers as soon as the test lets it. */
const CALLING = `import { batch } from 'serve-daemon';
import { existsSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
export class Front {
  constructor({ back }) { this.back = back; }
  #both = batch({ name: 'both', maxBatchSize: 2, waitS: 3600 }, (items) => this.back.work(items));
  call(input, context) { return this.#both(input, input.hasContext ? context : undefined); }
}
export class Back {
  async work(items, context) {
    context.log.info('back works on ' + items.length);
    while (!existsSync(process.env.GO)) await wait(5);
    return items.map(({ name }) => name);
  }
}
`;

for (const hasContext of [true, false]) {
  t.test(
    `the first of a run leaves, and the other gets its answer: ${hasContext ? 'with' : 'without'} the context`,
    async (t) => {
      const go = join(t.testdir(), 'go');
      const deployments = [
        { name: 'Front', import_path: './app.ts:Front', max_ongoing_requests: 20 },
        { name: 'Back', import_path: './app.ts:Back', ray_actor_options: { runtime_env: { env_vars: { GO: go } } } },
      ];
      const graph = { ingress: 'Front', calls: { Front: { back: 'Back' } } };
      await using daemon = await startDaemon(configOf([{ name: 'app', route_prefix: '/app', deployments, graph }]), {
        files: { 'app.ts': CALLING },
      });
      const gone = new AbortController();
      const front = (count: number) =>
        until(
          `${count} in work`,
          async () => (await daemon.status()).applications['app']?.deployments['Front']?.ongoing === count,
        );
      const body = JSON.stringify({ name: 'first', hasContext });
      const left = daemon.ask('/app', { method: 'POST', body, headers: JSON_TYPE, signal: gone.signal }).catch(() => 'gone');
      await front(1);
      const second = daemon.post('/app', { name: 'second', hasContext });
      await daemon.waitForLog('back works on 2');
      gone.abort();
      t.equal(await left, 'gone');
      await daemon.waitForLog((line) => line.msg === 'request' && line['status'] === 499);
      await writeFile(go, '');
      t.match(await second, { status: 200, text: 'second' });
    },
  );
}

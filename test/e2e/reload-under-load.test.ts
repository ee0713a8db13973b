/** No request fails because of a reload: clients ask all the time while the file is saved again and again. */
import type { Agent } from 'node:http';
import t from 'tap';
import { differs, Load, startDaemon } from '../support/daemon-rig.ts';
import { addModel } from '../support/onnx-writer.ts';
import { configOf, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `export class Plain { async call(input) { await new Promise((r) => setTimeout(r, input.ms)); return { plain: input.n }; } }
export class Many { async call(inputs) { await new Promise((r) => setTimeout(r, 4)); return inputs.map((input) => ({ many: input.n })); } }
export class Caller { constructor({ many }) { this.many = many; } async call(input) { return { caller: (await this.many.call(input)).many }; } }
export async function moved(input) { return { moved: input.n }; }
`;

/** What one save says. */
interface Shape {
  readonly replicas: number;
  readonly batch: number;
  readonly away: boolean;
}

const configFor = ({ replicas, batch, away }: Shape): string =>
  configOf([
    single('plain', '/plain', { import_path: './code.ts:Plain', num_replicas: replicas, user_config: undefined }),
    {
      name: 'wired',
      route_prefix: '/wired',
      graph: { ingress: 'Caller', calls: { Caller: { many: 'Many' } } },
      deployments: [
        { name: 'Caller', import_path: './code.ts:Caller', max_ongoing_requests: 20 },
        {
          name: 'Many',
          import_path: './code.ts:Many',
          num_replicas: 4 - replicas,
          batching: { max_batch_size: batch, batch_wait_timeout_s: batch > 4 ? 0.002 : 0 },
          max_ongoing_requests: 2 * batch,
        },
      ],
    },
    single('many', '/many', { import_path: './code.ts:Many', batching: { max_batch_size: batch }, max_ongoing_requests: batch }),
    single('model', '/model', { model: 'add.onnx', num_replicas: Math.min(2, replicas), batching: { max_batch_size: batch } }),
    {
      name: 'steps',
      route_prefix: '/steps',
      deployments: [
        { name: 'Many', import_path: './code.ts:Many', batching: { max_batch_size: batch }, max_ongoing_requests: batch },
      ],
      graph: { steps: { each: { call: 'Many', for_each: '$request.json', input: '$item' } }, output: '$each' },
    },
    single('moved', away ? '/away' : '/moved', { import_path: './code.ts:moved' }),
  ]);

t.test('16 clients while the file is saved 50 times: no request fails, but for the renamed route while it is away', async (t) => {
  await using daemon = await startDaemon(configFor({ replicas: 1, batch: 4, away: false }), {
    files: { 'code.ts': CODE, 'add.onnx': addModel([0.5, 1]) },
  });
  const ask = async (path: string, value: unknown, agent: Agent) =>
    daemon.ask(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(value), agent });
  const kinds = [
    async (n: number, agent: Agent) => differs(await ask('/plain', { n, ms: n % 7 }, agent), 200, `{"plain":${n}}`),
    async (n: number, agent: Agent) => differs(await ask('/wired', { n }, agent), 200, `{"caller":${n}}`),
    async (n: number, agent: Agent) => differs(await ask('/many', { n }, agent), 200, `{"many":${n}}`),
    async (n: number, agent: Agent) => differs(await ask('/model', { x: [[n, n]] }, agent), 200, `{"y":[[${n + 0.5},${n + 1}]]}`),
    async (n: number, agent: Agent) =>
      differs(await ask('/steps', [{ n }, { n: -n - 1 }, { n: 7 }], agent), 200, `[{"many":${n}},{"many":${-n - 1}},{"many":7}]`),
  ];
  await using load = new Load(16, (n, agent) => (kinds[n % kinds.length] as (typeof kinds)[0])(n, agent));
  let away = false;
  let settled = true;
  await using movedLoad = new Load(1, async (n, agent) => {
    const sure = settled;
    const answer = await ask('/moved', { n }, agent);
    if (answer.status === 404) return !sure || !settled || away ? undefined : '404 although the route is there';
    return differs(answer, 200, `{"moved":${n}}`);
  });
  for (let save = 1; save <= 50; save++) {
    const from = daemon.log.length;
    if (save % 10 === 5) {
      await daemon.save(`${configFor({ replicas: 2, batch: 8, away })}\n  broken: [`);
      await daemon.waitForLog((line) => line.msg.startsWith('the config was rejected'), from);
    } else {
      const next = save % 6 >= 4;
      if (next !== away) settled = false;
      away = next;
      const config = configFor({ replicas: 1 + (save % 3), batch: [1, 2, 4, 8, 16][save % 5] ?? 1, away });
      if (save % 7 === 0) daemon.saveInPlace(config);
      else await daemon.save(config);
      await daemon.waitForLog('config applied', from);
      await daemon.waitForLog((line) => line.msg === 'application updated' || line.msg === 'application is serving', from);
      const routes = await daemon.when('moved serves its new route', () => true).then(() => daemon.ask('/-/routes'));
      settled = settled || JSON.parse(routes.text)[away ? '/away' : '/moved'] === 'moved';
    }
    // In any order with the load: some saves come while the last one is still rolling.
    if (save % 4 === 0) await load.more(50, 5000);
  }
  await daemon.apply(configFor({ replicas: 2, batch: 4, away: false }));
  await load.more(200);
  await load.stop();
  await movedLoad.stop();
  t.same(load.failures.slice(0, 10), []);
  t.same(movedLoad.failures.slice(0, 10), []);
  t.ok(load.good > 1000, `${load.good} answers`);
  t.equal((await daemon.post('/moved', { n: 1 })).status, 200);
  const { applications } = await daemon.running();
  for (const { name, deployments } of Object.values(applications)) {
    for (const { name: deployment, queued, ongoing, restarts } of Object.values(deployments)) {
      t.same(
        { queued, ongoing, restarts },
        { queued: 0, ongoing: 0, restarts: 0 },
        `${name}/${deployment}: nothing is left over, nothing died`,
      );
    }
  }
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('16 clients while the code is edited 12 times: each answer comes from one version, none is lost', async (t) => {
  const code = (
    version: number,
  ) => `export class A { constructor({ b }) { this.b = b; } async call(n) { return [n, ${version}, await this.b.call(n)]; } }
export class B { async call(n) { await new Promise((r) => setTimeout(r, n % 9)); return ${version}; } }\n`;
  const config = configOf([
    {
      name: 'pair',
      route_prefix: '/',
      graph: { ingress: 'A', calls: { A: { b: 'B' } } },
      deployments: [
        { name: 'A', import_path: './pair.ts:A', max_ongoing_requests: 20 },
        { name: 'B', import_path: './pair.ts:B', num_replicas: 2 },
      ],
    },
  ]);
  await using daemon = await startDaemon(config, { files: { 'pair.ts': code(0) } });
  let newest = 0;
  await using load = new Load(16, async (n, agent) => {
    const answer = await daemon.ask('/', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: String(n),
      agent,
    });
    if (answer.status !== 200) return `${answer.status} ${answer.text}`;
    const [input, a, b] = JSON.parse(answer.text) as [number, number, number];
    newest = Math.max(newest, a);
    return input === n && a === b ? undefined : `to ${n}: ${answer.text}`;
  });
  for (let version = 1; version <= 12; version++) {
    const from = daemon.log.length;
    await daemon.write('pair.ts', code(version));
    await daemon.waitForLog('application updated', from);
    await load.more(20);
  }
  await load.more(50);
  await load.stop();
  t.same(load.failures.slice(0, 10), []);
  t.equal(newest, 12);
  await daemon.running();
  t.same(await daemon.stop(), { code: 0, signal: null });
});

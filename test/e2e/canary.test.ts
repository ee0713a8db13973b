/** Steps that choose, skip, try again and compare, on a real daemon whose file is edited meanwhile. */
import t from 'tap';
import { runProgram, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf } from './configs.ts';

t.setTimeout(120_000);

const CODE = `let calls = 0;
export async function old(x) { return { side: 'old', y: x * 2 }; }
export async function fresh(x) { return { side: 'fresh', y: x * 2 + 0.0001 }; }
export class Flaky { async call(x) { calls++; if (calls % 3 !== 0) throw new Error('not yet'); return calls; } }
export async function loud(text) { return String(text).toUpperCase(); }
`;
const deployments = ['old', 'fresh', 'Flaky', 'loud'].map((name) => ({ name, import_path: `./code.ts:${name}` }));
const targets = (canary: number) => [
  { call: 'old', weight: 100 - canary },
  { call: 'fresh', weight: canary },
];
const config = (canary: number) =>
  configOf([
    {
      name: 'app',
      route_prefix: '/',
      deployments,
      graph: {
        steps: {
          score: { split: { targets: targets(canary), sticky_by: '$request.headers.x-user' }, input: '$request.json.x' },
          tries: { call: 'Flaky', input: 1, retry: { max_attempts: 3 }, when: { ref: '$request.json.flaky', equals: true } },
          shout: {
            call: 'loud',
            input: '$score.side',
            when: [{ ref: '$score.y', gt: 10 }, { not: { ref: '$request.query.quiet', exists: true } }],
          },
        },
        output: { score: '$score', tries: '$tries', shout: '$shout' },
      },
    },
  ]);

t.test('split, when and retry do what the file says, and an edit of the weights restarts nothing', async (t) => {
  await using daemon = await startDaemon(config(0), { files: { 'code.ts': CODE } });
  const ask = async (body: object, headers: Record<string, string> = {}, path = '/') => {
    const { status, text } = await daemon.ask(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    if (status !== 200) throw new Error(`${status}: ${text}`);
    return JSON.parse(text) as { score: { side: string; y: number }; tries: unknown; shout: unknown };
  };
  t.same(await ask({ x: 2 }), { score: { side: 'old', y: 4 }, tries: null, shout: null });
  t.same(await ask({ x: 6, flaky: true }), { score: { side: 'old', y: 12 }, tries: 3, shout: 'OLD' });
  t.equal((await ask({ x: 6 }, {}, '/?quiet=1')).shout, null);

  const pids = await Promise.all(deployments.map(({ name }) => daemon.pids('app', name)));
  const sides = async () => {
    const of = Array.from({ length: 200 }, async (_, user) => (await ask({ x: 1 }, { 'x-user': `u${user}` })).score.side);
    return Promise.all(of);
  };
  await daemon.write('config.yaml', config(50));
  await until('the canary gets traffic', async () => (await sides()).includes('fresh'));
  const half = await sides();
  t.same(await sides(), half, 'a key stays on its side');
  const share = half.filter((side) => side === 'fresh').length;
  t.ok(share > 60 && share < 140, `${share} of 200`);
  await daemon.write('config.yaml', config(100));
  await until('all of it', async () => !(await sides()).includes('old'));
  t.same(await Promise.all(deployments.map(({ name }) => daemon.pids('app', name))), pids);
});

t.test('what became of the copies of a shadow is in the status, of each step', async (t) => {
  const shadowed = {
    name: 'app',
    route_prefix: '/',
    deployments,
    graph: {
      steps: {
        near: { call: 'old', input: '$request.json', shadow: { call: 'old' } },
        far: { call: 'old', input: '$request.json', shadow: { call: 'fresh' } },
        plain: { call: 'loud', input: '$near.side' },
        tried: { call: 'Flaky', input: 1, on_error: { value: 0 } },
      },
      output: { near: '$near', far: '$far', plain: '$plain', tried: '$tried' },
    },
  };
  await using daemon = await startDaemon(configOf([shadowed]), { files: { 'code.ts': CODE } });
  t.equal((await daemon.post('/', 2)).status, 200);
  const { applications } = await daemon.when('both were compared', (status) => {
    const { near, far } = status.applications['app']?.shadows ?? {};
    return near?.same === 1 && far?.different === 1;
  });
  t.same(Object.keys(applications['app']?.shadows ?? {}).sort(), ['far', 'near']);
  const { out } = await runProgram(['status', '--address', daemon.adminUrl]);
  t.match(out, /shadow of far: 0 same, 1 different, 0 failed, 0 skipped/);
});

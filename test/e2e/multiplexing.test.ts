/** Many models in one replica: where requests go, what is loaded and what goes, over real replicas. */
import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, HEAD, single } from './configs.ts';

t.setTimeout(240_000);

/** What happens is written down beside the config, one line each: `load a 123`. */
const CODE = `import { appendFileSync, existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { HttpError } from 'serve-daemon';
const note = (what, id) => appendFileSync('events.txt', what + ' ' + id + ' ' + process.pid + '\\n');
const file = async (name) => { while (!existsSync(name)) await pause(5); };
export class Many {
  async loadModel(id) {
    note('load', id);
    if (id === 'missing') throw new HttpError(404, 'there is no model ' + id);
    if (id === 'broken') throw new Error('the secret of the file');
    if (id.startsWith('slow')) await file('load-' + id);
    return { id, [Symbol.asyncDispose]: async () => note('unload', id) };
  }
  async call(input, context) {
    const model = await context.model();
    if (input?.until) await file(input.until);
    return { id: model.id, named: context.modelId, pid: process.pid };
  }
}
export class Hooked {
  loadModel(id) { return { id }; }
  unloadModel(model, id) { note('hook', model.id + '=' + id); }
  async call(input, context) { return (await context.model()).id; }
}
export class Batched {
  loadModel(id) { return id; }
  async call(inputs, contexts) {
    const models = await Promise.all(contexts.map((context) => context.model()));
    const ids = new Set(models);
    return inputs.map(() => ({ size: inputs.length, ids: [...ids] }));
  }
}
export class Caller {
  constructor({ many }) { this.many = many; }
  async call(input, context) {
    const named = await this.many.options({ modelId: input.id, sessionId: 's' }).call(null);
    const bare = await this.many.call(null).then(String, (error) => error.code);
    return { named, bare };
  }
}
`;

const BUILT = `import { deployment } from 'serve-daemon';
import { Many } from './code.ts';
export const app = deployment(Many, { multiplexing: { maxNumModelsPerReplica: 1 } }).bind();
`;

const MODEL = 'serve_multiplexed_model_id';
const many = (more: object = {}, exported = 'Many') => ({
  import_path: `./code.ts:${exported}`,
  multiplexing: { max_num_models_per_replica: 2 },
  max_ongoing_requests: 100,
  ...more,
});
const server = (name: string) => HEAD.replace('port: 0}', `port: 0, server: ${name}}`);

const ask = (daemon: DaemonRig, id: string | undefined, body: unknown = null, path = '/many') =>
  daemon.post(path, body, id === undefined ? {} : { [MODEL]: id });
const answer = async (daemon: DaemonRig, id: string, body?: unknown, path?: string) => {
  const { status, text } = await ask(daemon, id, body, path);
  if (status !== 200) throw new Error(`${status} ${text}`);
  return JSON.parse(text) as { id: string; named: string; pid: number };
};
const eventsOf = (daemon: DaemonRig): readonly string[] =>
  existsSync(daemon.path('events.txt')) ? readFileSync(daemon.path('events.txt'), 'utf8').trimEnd().split('\n') : [];
const whatOf = (daemon: DaemonRig) => eventsOf(daemon).map((line) => line.split(' ').slice(0, 2).join(' '));
const modelsOf = async (daemon: DaemonRig, application = 'many'): Promise<Readonly<Record<string, readonly string[] | null>>> =>
  Object.fromEntries((await daemon.replicas(application, 'Only')).map(({ pid, models }) => [pid, models] as const));

for (const driver of ['uws', 'node']) {
  t.test(`${driver}: a model is named by either header, in any case`, async (t) => {
    await using daemon = await startDaemon(configOf([single('many', '/many', many())], server(driver)), {
      files: { 'code.ts': CODE },
    });
    for (const header of [MODEL, 'serve-multiplexed-model-id', 'Serve_Multiplexed_Model_Id', 'SERVE-MULTIPLEXED-MODEL-ID']) {
      const { text } = await daemon.post('/many', null, { [header]: 'a' });
      t.match(JSON.parse(text), { id: 'a', named: 'a' }, header);
    }
    t.same(whatOf(daemon), ['load a']);
  });
}

t.test('one replica', async (t) => {
  const config = configOf([
    single('many', '/many', many()),
    single('hooked', '/hooked', many({ multiplexing: { max_num_models_per_replica: 1 } }, 'Hooked')),
    single('batched', '/batched', many({ batching: { max_batch_size: 50, batch_wait_timeout_s: 0.2 } }, 'Batched')),
    single('off', '/off', many({ multiplexing: null })),
    {
      name: 'calls',
      route_prefix: '/calls',
      graph: { ingress: 'Caller', calls: { Caller: { many: 'Many' } } },
      deployments: [
        { name: 'Caller', import_path: './code.ts:Caller' },
        { name: 'Many', ...many() },
      ],
    },
    {
      name: 'flow',
      route_prefix: '/flow',
      graph: {
        steps: {
          fixed: { call: 'Many', input: null, model: 'base' },
          own: { call: 'Many', input: null, model: '$request.headers.serve_multiplexed_model_id' },
          all: { call: 'Many', for_each: [1, 2, 3], model: '$own.id' },
        },
        output: ['$fixed.named', '$own.named', '$all'],
      },
      deployments: [{ name: 'Many', ...many() }],
    },
    { name: 'built', route_prefix: '/built', import_path: './built.ts:app' },
  ]);
  await using daemon = await startDaemon(config, { files: { 'code.ts': CODE, 'built.ts': BUILT } });

  await t.test('fifty requests at once for one model load it once', async (t) => {
    const answers = Array.from({ length: 50 }, () => answer(daemon, 'slow1'));
    await until('the load has begun', () => whatOf(daemon).includes('load slow1'));
    await daemon.when('all fifty are in work', ({ applications }) => applications['many']?.deployments['Only']?.ongoing === 50);
    await daemon.write('load-slow1', '');
    t.ok((await Promise.all(answers)).every(({ id }) => id === 'slow1'));
    t.equal(whatOf(daemon).filter((what) => what === 'load slow1').length, 1);
  });

  await t.test('at most two are held: the least recently used goes through its dispose', async (t) => {
    for (const id of ['a', 'b', 'a', 'c']) await answer(daemon, id);
    t.same(whatOf(daemon).slice(1), ['load a', 'unload slow1', 'load b', 'unload b', 'load c']);
    t.same(Object.values(await modelsOf(daemon)), [['a', 'c']], 'and the status shows what is held');
    const { text } = await daemon.ask('/metrics', {}, daemon.adminUrl);
    t.match(text, /^serve_multiplexed_models\{application="many",deployment="Only",replica="[^"]+"\} 2$/m);
    t.notMatch(text, /^serve_multiplexed_models\{application="off"/m);
    await answer(daemon, 'a');
    t.equal(whatOf(daemon).filter((what) => what === 'load a').length, 1);
  });

  await t.test('a model in use stays: who needs its place waits, and others do not', async (t) => {
    const [a, c] = [answer(daemon, 'a', { until: 'go-a' }), answer(daemon, 'c', { until: 'go-c' })];
    await daemon.when('both are in work', ({ applications }) => applications['many']?.deployments['Only']?.ongoing === 2);
    const from = eventsOf(daemon).length;
    const d = answer(daemon, 'd');
    await daemon.when('d waits', ({ applications }) => applications['many']?.deployments['Only']?.queued === 1);
    t.equal((await answer(daemon, 'a')).id, 'a', 'a third request is not behind it');
    t.same(eventsOf(daemon).slice(from), []);
    await daemon.write('go-a', '');
    await a;
    t.equal((await d).id, 'd');
    t.same(whatOf(daemon).slice(from), ['unload a', 'load d']);
    await daemon.write('go-c', '');
    await c;
  });

  await t.test('a load that fails is told and not kept', async (t) => {
    const from = eventsOf(daemon).length;
    for (let time = 0; time < 2; time++)
      t.match(await ask(daemon, 'missing'), { status: 404, text: 'there is no model missing' });
    t.same(
      whatOf(daemon)
        .slice(from)
        .filter((what) => what === 'load missing').length,
      2,
    );
    const broken = await ask(daemon, 'broken');
    t.match(broken, { status: 500, text: 'Internal Server Error' });
    await daemon.waitForLog((line) =>
      JSON.stringify(line).includes('the model `broken` could not be loaded: the secret of the file'),
    );
    const models = Object.values(await modelsOf(daemon)).flat();
    t.notOk(models.includes('missing') || models.includes('broken'));
  });

  await t.test('a request without an id, with one too long, or where nothing is multiplexed', async (t) => {
    t.match(await ask(daemon, undefined), { status: 400, text: /expected the id of a model, got none; name it in the header/ });
    t.match(await ask(daemon, ''), { status: 400, text: /got none/ });
    t.match(await ask(daemon, 'x'.repeat(257)), { status: 400, text: /at most 256 characters, got 257/ });
    t.match(await ask(daemon, 'a', null, '/off'), { status: 500 });
    await daemon.waitForLog((line) => JSON.stringify(line).includes('this deployment is not multiplexed: add `multiplexing:'));
  });

  await t.test('`unloadModel` is called where the class has it', async (t) => {
    for (const id of ['a', 'b']) t.equal((await ask(daemon, id, null, '/hooked')).text, id);
    t.ok(whatOf(daemon).includes('hook a=a'));
  });

  await t.test('a batch holds requests for one model only', async (t) => {
    const answers = await Promise.all(
      Array.from({ length: 40 }, async (_, index) => {
        const { text } = await ask(daemon, index % 2 === 0 ? 'a' : 'b', index, '/batched');
        return { wanted: index % 2 === 0 ? 'a' : 'b', ...(JSON.parse(text) as { size: number; ids: string[] }) };
      }),
    );
    t.ok(answers.every(({ wanted, ids }) => ids.length === 1 && ids[0] === wanted));
    t.ok(
      answers.some(({ size }) => size > 1),
      'and they are batched',
    );
  });

  await t.test('a handle names the model; what it calls has none by itself', async (t) => {
    const { text } = await daemon.post('/calls', { id: 'x' }, { [MODEL]: 'another' });
    t.match(JSON.parse(text), { named: { id: 'x', named: 'x' }, bare: 'INVALID_INPUT' });
  });

  await t.test('a step of a graph names the model, itself or by a reference', async (t) => {
    const { text } = await ask(daemon, 'mine', null, '/flow');
    const mine = { id: 'mine', named: 'mine' };
    t.match(JSON.parse(text), ['base', 'mine', [mine, mine, mine]]);
    t.match(await ask(daemon, undefined, null, '/flow'), { status: 400, text: /expected the id of a model, got none/ });
  });

  await t.test('an application in code says its limits', async (t) => {
    for (const id of ['a', 'b']) t.equal((await answer(daemon, id, null, '/built')).id, id);
    t.same((await daemon.replicas('built', 'Many'))[0]?.models, ['b']);
  });

  await t.test('a request whose time is over while its model loads is told so, and the load is for the next', async (t) => {
    const { status } = await daemon.post('/many', null, { [MODEL]: 'slow3', 'x-request-timeout-seconds': '0.2' });
    t.equal(status, 408);
    const next = answer(daemon, 'slow3');
    await daemon.write('load-slow3', '');
    t.equal((await next).id, 'slow3');
    t.equal(whatOf(daemon).filter((what) => what === 'load slow3').length, 1);
  });

  await t.test('when the replica stops its models are unloaded', async (t) => {
    const from = eventsOf(daemon).length;
    await answer(daemon, 'last', null, '/built');
    await daemon.apply(configOf([single('many', '/many', many())]));
    await until('it has gone', () => whatOf(daemon).slice(from).includes('unload last'));
    t.pass();
  });

  await t.test('limits change live: more places at once, fewer as models are free', async (t) => {
    const pids = await daemon.pids('many', 'Only');
    const withLimit = (most: number) => {
      const text = configOf([single('many', '/many', many({ multiplexing: { max_num_models_per_replica: most } }))]);
      return daemon.apply(text);
    };
    await withLimit(5);
    for (const id of ['e', 'f', 'g', 'h', 'i']) await answer(daemon, id);
    t.same(Object.values(await modelsOf(daemon)), [['e', 'f', 'g', 'h', 'i']]);
    await withLimit(1);
    await until('one is left', async () => Object.values(await modelsOf(daemon))[0]?.length === 1);
    t.same(Object.values(await modelsOf(daemon)), [['i']]);
    t.same(await daemon.pids('many', 'Only'), pids, 'no replica was replaced');
  });
});

t.test('two replicas', async (t) => {
  const config = configOf([
    single('many', '/many', many({ num_replicas: 2 })),
    single('full', '/full', many({ num_replicas: 2, max_ongoing_requests: 1 })),
    single('twice', '/twice', many({ num_replicas: 2, multiplexing: { target_replicas_per_model: 2 } })),
  ]);
  await using daemon = await startDaemon(config, { files: { 'code.ts': CODE } });
  // It serves from the first replica on; the tests are of two.
  await daemon.running();

  await t.test('requests for a model go where it is, and cold ones to where there is a place', async (t) => {
    const seen = new Map<string, Set<number>>();
    for (let round = 0; round < 25; round++) {
      for (const id of ['a', 'b', 'c', 'd']) {
        const { pid } = await answer(daemon, id);
        seen.set(id, (seen.get(id) ?? new Set()).add(pid));
      }
    }
    t.same(
      [...seen.values()].map((pids) => pids.size),
      [1, 1, 1, 1],
    );
    t.same(whatOf(daemon), ['load a', 'load b', 'load c', 'load d'], 'each was loaded once in a hundred requests');
    t.same(
      Object.values(await modelsOf(daemon)).map((models) => models?.length),
      [2, 2],
    );
  });

  await t.test('while it is loaded others for the same model follow it', async (t) => {
    const answers = Array.from({ length: 20 }, () => answer(daemon, 'slow2'));
    await until('the load has begun', () => whatOf(daemon).includes('load slow2'));
    await daemon.when('all are in work', ({ applications }) => applications['many']?.deployments['Only']?.ongoing === 20);
    await daemon.write('load-slow2', '');
    t.equal(new Set((await Promise.all(answers)).map(({ pid }) => pid)).size, 1);
    t.equal(whatOf(daemon).filter((what) => what === 'load slow2').length, 1);
  });

  await t.test('a model whose replica has no room is loaded on the other at once', async (t) => {
    const first = answer(daemon, 'hot', { until: 'go-hot' }, '/full');
    await daemon.when('it is in work', ({ applications }) => applications['full']?.deployments['Only']?.ongoing === 1);
    const { pid } = await answer(daemon, 'hot', null, '/full');
    await daemon.write('go-hot', '');
    t.not((await first).pid, pid);
  });

  await t.test('a model spreads to as many replicas as are wanted once it has work', async (t) => {
    const alone = new Set<number>();
    for (let time = 0; time < 5; time++) alone.add((await answer(daemon, 't', null, '/twice')).pid);
    t.equal(alone.size, 1, 'not before');
    const first = answer(daemon, 't', { until: 'go-t' }, '/twice');
    await daemon.when('it is in work', ({ applications }) => applications['twice']?.deployments['Only']?.ongoing === 1);
    const { pid } = await answer(daemon, 't', null, '/twice');
    await daemon.write('go-t', '');
    t.not((await first).pid, pid);
    t.same(Object.values(await modelsOf(daemon, 'twice')), [['t'], ['t']]);
  });

  await t.test('a replica that dies leaves its models: they are loaded again elsewhere', async (t) => {
    const { pid } = await answer(daemon, 'a');
    process.kill(pid, 'SIGKILL');
    const next = await until('another answers', async () => {
      const { status, text } = await ask(daemon, 'a');
      return status === 200 && (JSON.parse(text) as { pid: number });
    });
    t.not(next.pid, pid);
    const models = await until('it is replaced', async () => {
      const now = await modelsOf(daemon);
      return !(String(pid) in now) && Object.values(now).filter((each) => each !== null).length === 2 && now;
    });
    t.equal(
      Object.values(models)
        .flat()
        .filter((id) => id === 'a').length,
      1,
      'what the dead one held is held by the one that took over, and by no other',
    );
  });
});

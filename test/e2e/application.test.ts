/** Applications that code builds: named by one `import_path`, told by a child, run and edited like any other. */
import t from 'tap';
import { startDaemon, until } from '../support/daemon-rig.ts';
import { configOf } from './configs.ts';

t.setTimeout(120_000);

const CODE = `import { deployment } from 'serve-daemon';
class Translator {
  constructor({ to }) { this.to = to; }
  async translate(text) { return this.to + ': ' + text; }
  async call() { return process.pid; }
}
class Summarizer {
  constructor({ translators, words }) { Object.assign(this, { translators, words }); }
  reconfigure({ words }) { this.words = words; }
  async call(text) {
    const cut = text.split(' ').slice(0, this.words).join(' ');
    return Promise.all(this.translators.map((translator) => translator.translate(cut)));
  }
}
export const app = deployment(Summarizer, { maxOngoingRequests: 20, userConfig: { words: 3 } }).bind({
  translators: ['fr', 'de'].map((to) => deployment(Translator, { name: 'To_' + to }).bind({ to })),
  words: 99,
});
export const build = ({ to }) => deployment(Translator).bind({ to });
export class Alone { constructor({ greeting }) { this.greeting = greeting; } async call(name) { return this.greeting + ' ' + name; } }
export const broken = () => { throw new Error('no idea how'); };
`;
const application = (export_: string, more: object = {}) => ({
  name: export_,
  route_prefix: `/${export_}`,
  import_path: `./llm.ts:${export_}`,
  ...more,
});
const config = (more: object = {}, others: readonly object[] = []) =>
  configOf([
    application('app', more),
    application('build', { args: { to: 'it' } }),
    application('Alone', { args: { greeting: 'Hello' }, deployments: [{ name: 'Alone', num_replicas: 2 }] }),
    ...others,
  ]);

t.test('an application that code builds serves, and the file overrides what its deployments are', async (t) => {
  await using daemon = await startDaemon(config(), { files: { 'llm.ts': CODE } });
  const ask = async (path: string, body: unknown) => JSON.parse((await daemon.post(path, body)).text) as unknown;
  t.same(
    await ask('/app', 'one two three four'),
    ['fr: one two three', 'de: one two three'],
    'handles in a list, user_config from code',
  );
  t.equal((await daemon.post('/Alone', 'Ada')).text, 'Hello Ada', 'a class is an application');
  await until('the file’s two replicas', async () => (await daemon.pids('Alone', 'Alone')).length === 2);
  const [translator] = await daemon.pids('build', 'Translator');
  t.equal(await ask('/build', null), translator, 'a function builds one; its deployment runs in a replica');
  const names = ['Summarizer', 'To_fr', 'To_de'];
  const status = await daemon.status();
  t.same(Object.keys(status.applications['app']?.deployments ?? {}), names);

  const pids = await Promise.all(names.map((name) => daemon.pids('app', name)));
  await daemon.write('config.yaml', config({ deployments: [{ name: 'Summarizer', user_config: { words: 1 } }] }));
  await until(
    'the file wins over the code',
    async () => JSON.stringify(await ask('/app', 'one two')) === '["fr: one","de: one"]',
  );
  t.same(await Promise.all(names.map((name) => daemon.pids('app', name))), pids, 'without a restart');

  await daemon.write('config.yaml', config({ deployments: [{ name: 'Sumarizer', num_replicas: 3 }] }));
  const refused = await daemon.when('the stranger is told', ({ config: { errors } }) => errors.length > 0);
  t.match(refused.config.errors[0], { code: 'NOT_IN_CODE', message: /Summarizer, To_fr, To_de.*got `Sumarizer`/ });
  t.same(await ask('/app', 'one two'), ['fr: one', 'de: one'], 'what served goes on');

  await daemon.write('config.yaml', config());
  await daemon.write('llm.ts', CODE.replace("['fr', 'de']", "['fr', 'es']"));
  await until(
    'an edit of the code is another application',
    async () => JSON.stringify(await ask('/app', 'one two')) === '["fr: one two","es: one two"]',
  );
  await daemon.when('what is no more goes', ({ applications }) => applications['app']?.deployments['To_de'] === undefined);
});

t.test('code that builds nothing makes its application DEPLOY_FAILED, and the others serve', async (t) => {
  const others = [application('broken'), application('missing')];
  await using daemon = await startDaemon(config({}, others), { files: { 'llm.ts': CODE } });
  const { applications } = await daemon.status();
  t.match(applications['broken'], { status: 'DEPLOY_FAILED', message: /no idea how/ });
  t.match(applications['missing'], { status: 'DEPLOY_FAILED', message: /no export `missing`; it has .*app/ });
  t.equal(applications['app']?.status, 'RUNNING');
  t.match(await daemon.post('/broken', 1), { status: 503 });
  t.equal((await daemon.post('/Alone', 'Ada')).status, 200);
});

t.test(
  'at the start a deployment that the code does not have fails its application alone, with the names that it has',
  async (t) => {
    const config = configOf([
      application('app', { deployments: [{ name: 'Sumarizer', num_replicas: 3 }] }),
      application('Alone', { args: { greeting: 'Hello' } }),
    ]);
    await using daemon = await startDaemon(config, { files: { 'llm.ts': CODE } });
    const { applications } = await daemon.status();
    t.match(applications['app'], { status: 'DEPLOY_FAILED', message: /Summarizer, To_fr, To_de.*got `Sumarizer`/ });
    t.match(await daemon.post('/app', 'x'), { status: 503 });
    t.equal((await daemon.post('/Alone', 'Ada')).text, 'Hello Ada');
  },
);

/** Ray Serve's production file as its users have it. */
const PRODUCTION = (resources: string) => `proxy_location: EveryNode
http_options: {host: 0.0.0.0, port: 0}
grpc_options: {port: 9000, grpc_servicer_functions: []}
admin_options: {port: 0}
${resources}
applications:
- name: llm
  route_prefix: /
  import_path: llm:chat
  runtime_env: {}
  deployments:
  - name: LLM
    ray_actor_options: {num_cpus: 8, num_gpus: 1}
`;
const CHAT = `import { deployment } from 'serve-daemon';
class LLM { async call(text) { return 'You said: ' + text; } }
export const chat = deployment(LLM).bind();
`;

t.test('Ray Serve’s production file waits for what it asks, and answers when it is there', async (t) => {
  const none = 'resources: {num_cpus: 2, num_gpus: 0}';
  await using daemon = await startDaemon(PRODUCTION(none), { files: { 'llm.ts': CHAT }, ready: false });
  const waits = await daemon.when('it is PENDING', ({ applications }) => {
    const replicas = applications['llm']?.deployments['LLM']?.replicas ?? [];
    return replicas.some(({ state }) => state === 'PENDING');
  });
  t.match(waits.applications['llm']?.deployments['LLM']?.replicas[0], {
    state: 'PENDING',
    reason: 'asks 8 CPUs, 1 GPU; this machine offers 2, 0',
  });
  const refused = await daemon.post('/', 'Hello');
  t.equal(refused.status, 503);
  t.ok(refused.headers['retry-after']);
  const better = PRODUCTION('resources: {num_cpus: 8, num_gpus: 1}');
  await daemon.write('better.yaml', better);
  await daemon.write('config.yaml', better);
  await until('it answers', async () => (await daemon.post('/', 'Hello')).text === 'You said: Hello');
});

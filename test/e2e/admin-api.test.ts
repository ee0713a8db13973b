/** The admin API as Ray Serve's tools use it, and what is ours: who decides what is served, and how to go back. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { allGone, type DaemonRig, launchDaemon, runProgram, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, ECHO, HEAD, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `export class Word {
  word = 'none';
  reconfigure(config) { this.word = config.word; }
  call() { console.log('asked'); return this.word; }
}
`;
const files = { 'word.ts': CODE, 'echo.ts': ECHO };
const word = (value: string, options: object = {}) =>
  single('word', '/word', { import_path: './word.ts:Word', user_config: { word: value }, ...options });
const PATH = '/api/serve/applications/';

const send = (daemon: DaemonRig, method: string, path: string, body?: string, headers: Readonly<Record<string, string>> = {}) =>
  daemon.ask(path, { method, headers, ...(body === undefined ? {} : { body }) }, daemon.adminUrl);
const says = (daemon: DaemonRig, text: string) =>
  until(`${text} is answered`, async () => (await daemon.ask('/word')).text === text);

t.test('the last writer wins: file, PUT, rollback, DELETE, and the file again', async (t) => {
  const file = configOf([word('file')]);
  await using daemon = await startDaemon(file, { files });
  const { config: first } = await daemon.status();
  t.match(first, { source: 'file', revision: 1, drift: false });
  const { adminUrl, url } = daemon;

  await t.test('PUT takes applications as JSON, answers 200 with nothing, and leaves file and listeners alone', async (t) => {
    const answer = await send(daemon, 'PUT', PATH, JSON.stringify({ applications: [word('api')] }));
    t.match(answer, { status: 200, text: '' });
    await says(daemon, 'api');
    t.equal(readFileSync(daemon.config, 'utf8'), file);
    t.match((await daemon.running()).config, { source: 'api', revision: 2, drift: true });
    t.match({ url: daemon.url, adminUrl: daemon.adminUrl }, { url, adminUrl });
  });

  await t.test('a PUT with mistakes is 400 with all of them, and changes nothing', async (t) => {
    const answer = await send(
      daemon,
      'PUT',
      PATH,
      JSON.stringify({ applications: [{ ...word('x'), route: '/x', name: '5' }] }, undefined, 1),
    );
    t.equal(answer.status, 400);
    const { error, diagnostics } = JSON.parse(answer.text) as { error: string; diagnostics: { code: string; line: number }[] };
    t.match(error, /the config has 2 errors/);
    t.equal(diagnostics.length, 2);
    t.ok(diagnostics.every(({ line }) => line > 1));
    const outside = { applications: [single('word', '/word', { import_path: '../../word.ts' })] };
    t.match(JSON.parse((await send(daemon, 'PUT', PATH, JSON.stringify(outside))).text), {
      diagnostics: [{ code: 'PATH_OUTSIDE' }],
    });
    const missing = { applications: [single('word', '/word', { import_path: './nothing.ts' })] };
    t.equal((await send(daemon, 'PUT', PATH, JSON.stringify(missing))).status, 400);
    t.equal((await daemon.ask('/word')).text, 'api');
  });

  await t.test('a touched file changes nothing; code that is edited is taken with what the API said', async (t) => {
    await daemon.save(file);
    await daemon.write('word.ts', CODE.replace('return this.word', "return this.word + '!'"));
    await says(daemon, 'api!');
    t.match((await daemon.running()).config, { source: 'api', drift: true });
  });

  await t.test('a file that was refused before a PUT stays refused: only its next change counts', async (t) => {
    const from = daemon.log.length;
    await daemon.save(`${HEAD}nonsense: 1\napplications: []\n`);
    await daemon.waitForLog((line) => line.msg.startsWith('the config was rejected'), from);
    t.equal((await send(daemon, 'PUT', PATH, JSON.stringify({ applications: [word('over')] }))).status, 200);
    await daemon.write('word.ts', CODE.replace('return this.word', "return this.word + '?'"));
    await says(daemon, 'over?');
    t.same((await daemon.status()).config.errors, []);
    await daemon.write('word.ts', CODE.replace('return this.word', "return this.word + '!'"));
    await says(daemon, 'over!');
    await daemon.save(file);
    await says(daemon, 'file!');
    t.equal((await send(daemon, 'PUT', PATH, JSON.stringify({ applications: [word('api')] }))).status, 200);
    await says(daemon, 'api!');
  });

  await t.test('rollback goes to the one before, or to the one that is named', async (t) => {
    t.match(await send(daemon, 'POST', '/api/serve/rollback'), { status: 200 });
    await says(daemon, 'file!');
    t.match((await daemon.status()).config, { source: 'rollback', drift: false });
    t.equal((await send(daemon, 'POST', '/api/serve/rollback', '{"revision": 2}')).status, 200);
    await says(daemon, 'api!');
    t.match(await send(daemon, 'POST', '/api/serve/rollback', '{"revision": 77}'), {
      status: 404,
      text: /there are 1, 2, 3, 4, 5, 6, 7/,
    });
    t.equal((await send(daemon, 'POST', '/api/serve/rollback', '[')).status, 400);
    const { revisions } = JSON.parse((await send(daemon, 'GET', '/api/serve/history')).text) as {
      revisions: { source: string }[];
    };
    t.same(
      revisions.map(({ source }) => source),
      ['file', 'api', 'api', 'file', 'api', 'rollback', 'rollback'],
    );
    t.match(JSON.parse((await send(daemon, 'GET', '/api/serve/history/1')).text), { text: file, revision: 1 });
    t.equal((await send(daemon, 'GET', '/api/serve/history/9')).status, 404);
  });

  await t.test('after DELETE nothing is served, and the daemon lives on', async (t) => {
    const pids = await daemon.pids('word', 'Only');
    t.match(await send(daemon, 'DELETE', PATH), { status: 200, text: '' });
    await allGone(pids, 5000);
    t.equal((await daemon.ask('/word')).status, 404);
    await daemon.when('nothing is told of it', ({ applications }) => Object.keys(applications).length === 0);
    t.equal(daemon.adminUrl, adminUrl);
  });

  await t.test('the next changed content of the file wins', async (t) => {
    await daemon.apply(configOf([word('again')]));
    await says(daemon, 'again!');
    t.match((await daemon.status()).config, { source: 'file', drift: false });
  });
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('edited three times while replicas start: the last is what serves, and nothing is left of the others', async (t) => {
  const slow = (name: string) =>
    `export default class { constructor() { const end = Date.now() + 700; while (Date.now() < end); } call() { return '${name}'; } }\n`;
  const texts = Object.fromEntries(['a', 'b', 'c', 'd'].map((name) => [`${name}.ts`, slow(name)]));
  const of = (name: string) => configOf([single('word', '/word', { import_path: `./${name}.ts` })]);
  await using daemon = await startDaemon(of('a'), { files: texts });
  for (const name of ['b', 'c', 'd']) {
    const from = daemon.log.length;
    await daemon.save(of(name));
    await daemon.waitForLog('config applied', from);
    t.equal((await daemon.ask('/word')).text, 'a', 'the first serves meanwhile');
  }
  await says(daemon, 'd');
  const status = await daemon.running();
  t.equal(status.applications['word']?.deployments['Only']?.replicas.length, 1);
  t.equal(daemon.log.filter(({ msg }) => msg === 'application updated').length, 1, 'it moved once');
});

t.test('GET speaks as Ray Serve does', async (t) => {
  const calls = {
    name: 'two',
    route_prefix: '/two',
    graph: { ingress: 'A', calls: { A: { b: 'B' } } },
    deployments: [
      { name: 'A', import_path: './word.ts:Word', user_config: { word: `\${HOME}` } },
      { name: 'B', import_path: './echo.ts:echo' },
    ],
  };
  await using daemon = await startDaemon(configOf([word('x'), calls]), { files });
  const details = async (query = '') => JSON.parse((await send(daemon, 'GET', PATH + query)).text);

  await t.test('details', async (t) => {
    await daemon.running();
    const before = await details();
    t.match(before, {
      proxy_location: 'EveryNode',
      http_options: { host: '127.0.0.1', port: 0, root_path: '', request_timeout_s: null, keep_alive_timeout_s: 90 },
      deploy_mode: 'MULTI_APP',
      applications: {
        two: {
          source: 'declarative',
          status: 'RUNNING',
          deployed_app_config: calls,
          deployment_topology: {
            app_name: 'two',
            ingress_deployment: 'A',
            nodes: { A: { is_ingress: true, outbound_deployments: [{ name: 'B', app_name: 'two' }] }, B: { is_ingress: false } },
            edges: [{ from: 'A', to: 'B', via: 'b' }],
          },
          deployments: {
            A: {
              status: 'HEALTHY',
              status_trigger: 'CONFIG_UPDATE_COMPLETED',
              replica_states: { RUNNING: 1 },
              target_num_replicas: 1,
              recent_dead_replicas: [],
            },
          },
        },
      },
    });
    t.ok(Math.abs(before.applications.two.last_deployed_time_s - Date.now() / 1000) < 60);
    await daemon.apply(configOf([word('x', { num_replicas: 2 }), calls]));
    const after = await details();
    t.match(after.applications.word.deployments.Only, { status_trigger: 'UPSCALE_COMPLETED', replica_states: { RUNNING: 2 } });
    t.equal(
      after.applications.two.last_deployed_time_s,
      before.applications.two.last_deployed_time_s,
      'the other was not touched',
    );
    await daemon.apply(configOf([word('x'), calls]));
    t.match((await details()).applications.word.deployments.Only, { status_trigger: 'DOWNSCALE_COMPLETED' });
  });

  await t.test('a replica that died is kept among the last', async () => {
    const [pid] = await daemon.pids('two', 'B');
    process.kill(pid as number, 'SIGKILL');
    await until('it is told', async () => {
      const { recent_dead_replicas } = (await details()).applications.two.deployments.B;
      return (
        recent_dead_replicas.length === 1 && recent_dead_replicas[0].pid === pid && recent_dead_replicas[0].signal === 'SIGKILL'
      );
    });
    await daemon.running();
  });

  await t.test('api_type, version, HEAD, wrong methods and paths', async (t) => {
    t.same((await details('?api_type=imperative')).applications, {});
    t.same(Object.keys((await details('?api_type=declarative')).applications), ['word', 'two']);
    t.match(await send(daemon, 'GET', `${PATH}?api_type=zzz`), { status: 400, text: /declarative or imperative, got zzz/ });
    t.match(JSON.parse((await send(daemon, 'GET', '/api/ray/version')).text), { ray_version: /^\d+\.\d+\.\d+$/ });
    t.match(await send(daemon, 'HEAD', PATH), { status: 200, text: '' });
    t.match(await send(daemon, 'PATCH', PATH), {
      status: 405,
      headers: { allow: 'GET, PUT, DELETE' },
      text: /expected GET or PUT or DELETE, got PATCH/,
    });
    t.match(await send(daemon, 'GET', '/nope'), { status: 404, text: /there is no \/nope; there are \/healthz/ });
  });

  await t.test('a page of another origin is refused, also where it sends no preflight; a body has a bound', async (t) => {
    const body = JSON.stringify({ applications: [] });
    t.equal((await send(daemon, 'PUT', PATH, body, { origin: 'https://evil.example' })).status, 403);
    t.equal((await send(daemon, 'PUT', PATH, body, { host: 'rebound.example' })).status, 403);
    t.equal((await send(daemon, 'GET', '/healthz', undefined, { origin: daemon.adminUrl })).status, 200);
    t.equal((await send(daemon, 'PUT', PATH, 'x'.repeat(5 * 1024 * 1024)).catch(() => ({ status: 413 }))).status, 413);
    t.equal((await daemon.ask('/word')).text, 'x');
  });

  await t.test('events: first what there is, then what changes', async (t) => {
    const answer = await fetch(`${daemon.adminUrl}/api/serve/events`);
    t.equal(answer.headers.get('content-type'), 'text/event-stream');
    let text = '';
    const reading = (async () => {
      for await (const chunk of answer.body ?? []) text += Buffer.from(chunk as Uint8Array).toString();
    })().catch(() => {});
    await until('what there is', () => text.includes('event: application') && text.includes('"replica_id"'));
    const seen = text.length;
    await daemon.apply(configOf([word('y'), calls]));
    await until('the change', () => /"type":"config".*"revision":4/.test(text.slice(seen)));
    await daemon.apply(configOf([word('y')]));
    await until('what has gone', () => /"application":"two".*"gone":true/.test(text.slice(seen)));
    t.same(await daemon.stop(), { code: 0, signal: null });
    await reading;
  });
});

t.test('the command line of a running daemon', async (t) => {
  await using daemon = await startDaemon(configOf([word('one')]), { files });
  const program = (...args: string[]) => runProgram(args, { cwd: daemon.folder, env: { SERVE_DAEMON_ADDRESS: daemon.adminUrl } });
  await daemon.write('two.yaml', configOf([word('two', { max_ongoing_requests: 9 })]));
  await daemon.write('roll.yaml', configOf([word('one', { init_args: { a: 1 }, num_replicas: 2 })]));
  await daemon.write('bad.yaml', `${HEAD}application: []\napplications: []\n`);

  await t.test('plan', async (t) => {
    const live = await program('plan', 'two.yaml', '--refuse-restarts');
    t.match(live, { code: 0, errors: '' });
    t.match(
      live.out,
      /^word: reconfigure\n {2}Only {2}reconfigure {2}1 replica, user_config, max_ongoing_requests\nno replica restarts\n$/,
    );
    const rolls = await program('plan', 'roll.yaml', '--refuse-restarts');
    t.match(rolls, { code: 1, errors: /1 replica would restart, which --refuse-restarts refuses/ });
    t.match(rolls.out, /Only {2}rolling restart {2}1 → 2 replicas, because of init_args, num_replicas/);
    t.match(await program('plan', 'config.yaml'), { code: 0, out: 'nothing would change\n' });
    t.match(JSON.parse((await program('plan', 'roll.yaml', '--json')).out), { restarts: 1 });
    t.match(await program('plan', 'bad.yaml'), {
      code: 1,
      out: '',
      errors: /^bad\.yaml:3:1: error UNKNOWN_KEY[\s\S]*answered 400: the config has/,
    });
    t.match(await program('plan', 'none.yaml'), { code: 1, errors: /none\.yaml cannot be read/ });
    const alone = await program('plan', 'two.yaml', '--address', 'http://127.0.0.1:1');
    t.match(alone, {
      code: 0,
      errors: /no daemon answers at http:\/\/127\.0\.0\.1:1 .*Compared with nothing/,
      out: /word: start\n {2}Only {2}start/,
    });
  });

  await t.test('plan says what would wait for room, and what it takes', async (t) => {
    const asks = (resources: string) =>
      configOf([word('one', { ray_actor_options: { num_cpus: 800, num_gpus: 10 } })], `${HEAD}${resources}`);
    await daemon.write('large.yaml', asks(''));
    t.match(
      (await program('plan', 'large.yaml')).out,
      /Only {2}rolling restart .*1 PENDING: asks 800 CPUs, 10 GPUs; this machine offers \d/,
    );
    await daemon.write('large.yaml', asks('resources: {num_cpus: 800, num_gpus: 10}\n'));
    const { out } = await program('plan', 'large.yaml');
    t.notMatch(out, /PENDING/);
    t.match(out, /daemon: live \(resources\.num_cpus, resources\.num_gpus\)/);
  });

  await t.test('deploy, config, history, rollback', async (t) => {
    t.match(await program('deploy', 'two.yaml'), { code: 0, out: /two\.yaml is deployed/ });
    await says(daemon, 'two');
    t.match(await program('config'), { code: 0, out: /max_ongoing_requests/ });
    t.match(JSON.parse((await program('config', '--json')).out), { source: 'api', revision: 2, drift: true });
    t.match((await program('status')).out, /the file says something else than what is served/);
    t.match(await program('deploy', 'bad.yaml'), { code: 1, out: '', errors: /^bad\.yaml:3:1: error/ });
    t.match(await program('rollback'), { code: 0, out: 'rolled back; this is revision 3\n' });
    await says(daemon, 'one');
    t.match(await program('rollback', 'x'), { code: 2 });
    t.match(await program('rollback', '9'), { code: 1, errors: /there is no revision 9; there are 1, 2, 3/ });
    const { out } = await program('history');
    t.match(out, /^revision {2}applied at +source +hash\n1 +\S+ +file +\w{12}\n2 +\S+ +api +\w{12}\n3 +\S+ +rollback +\w{12}\n$/);
    t.match((await program('history', '1')).out, configOf([word('one')]));
  });

  await t.test('logs, of all and of one deployment, and what comes', async (t) => {
    await daemon.ask('/word');
    await daemon.waitForLog('asked');
    t.match((await program('logs', 'word', 'Only')).out, /INFO {2}word\/Only\/\w+: asked\n$/);
    t.notMatch((await program('logs', 'word', 'Other')).out, /asked/);
    t.match((await program('logs', '--lines', '1000')).out, /config applied/);
    const follow = await fetch(`${daemon.adminUrl}/api/serve/logs?application=word&lines=0&follow=1`);
    const reader = (follow.body as ReadableStream<Uint8Array>).getReader();
    await daemon.ask('/word');
    const { value } = await reader.read();
    t.match(
      JSON.parse(
        Buffer.from(value ?? [])
          .toString()
          .split('\n')[0] ?? '',
      ),
      { msg: 'asked', replica: /^word\/Only\// },
    );
    await reader.cancel();
  });

  await t.test('shutdown returns when it has gone', async (t) => {
    t.match(await program('shutdown'), { code: 0, out: 'stopped\n' });
    t.same(await daemon.exited, { code: 0, signal: null });
    t.match(await program('history'), { code: 1, errors: /no daemon answers at/ });
  });
});

t.test('--last-good starts on what was applied last, and reports; broken history harms nothing', async (t) => {
  await using first = await startDaemon(configOf([word('good')]), { files });
  t.same(await first.stop(), { code: 0, signal: null });
  await first.write('config.yaml', `${HEAD}nonsense: 1\napplications: []\n`);
  const refused = await launchDaemon(undefined, { folder: first.root });
  t.match(await refused.exited, { code: 1 });
  t.match(refused.errors, /UNKNOWN_KEY/);
  await using second = await startDaemon(`${HEAD}nonsense: 1\napplications: []\n`, { folder: first.root, args: ['--last-good'] });
  t.equal((await second.ask('/word')).text, 'good');
  await second.waitForLog((line) => line.msg.includes('(--last-good)'));
  t.match((await second.status()).config, { drift: true, errors: [{ code: 'UNKNOWN_KEY' }] });
  t.match(await send(second, 'GET', '/api/serve/plan'), { status: 400 });
  await second.apply(configOf([word('mended')]));
  await says(second, 'mended');
  await second.stop();

  const state = join(first.root, 'state', 'serve-daemon');
  const folder = join(state, readdirSync(state)[0] as string, 'history');
  for (const name of readdirSync(folder)) writeFileSync(join(folder, name), '{');
  await using third = await startDaemon(configOf([word('mended')]), { folder: first.root, args: ['--last-good'] });
  t.equal((await third.ask('/word')).text, 'mended');
  await third.waitForLog((line) => line.msg.includes('left out'));
  await third.stop();
  writeFileSync(join(first.root, 'file'), '');
  await using fourth = await startDaemon(configOf([word('kept')]), {
    folder: first.root,
    args: ['--state-dir', join(first.root, 'file')],
  });
  t.equal((await fourth.ask('/word')).text, 'kept');
  await fourth.waitForLog((line) => line.msg.startsWith('the state folder cannot be used'));
});

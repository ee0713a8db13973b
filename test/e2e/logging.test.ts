/** What is logged of whom, and where to: for the whole daemon, an application, a deployment; changed while it serves, and no process changes. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, HEAD, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `export async function speak(input, context) {
  context.log.debug('debug ' + input);
  context.log.warn('warn ' + input);
  console.log('printed ' + input);
  return context.application;
}
export async function echo(input) { return input; }
`;
const SECRET = 'a-password-that-nobody-may-read';
const code = { import_path: './speak.ts:speak' };
const files = { 'speak.ts': CODE, 'echo.ts': CODE };

/** What was asked last is in the log, so everything before it from that replica is too. */
const speak = async (daemon: DaemonRig, path: string, word: string) => {
  t.equal((await daemon.post(path, word)).status, 200);
  await daemon.waitForLog(`printed ${word}`);
};

const textOf = (daemon: DaemonRig, folder: string) =>
  existsSync(daemon.path(folder))
    ? readdirSync(daemon.path(folder))
        .filter((name) => name.includes('.log'))
        .map((name) => `${name}: ${readFileSync(daemon.path(`${folder}/${name}`), 'utf8')}`)
        .join('\n')
    : '';

const fileWith = (daemon: DaemonRig, path: string, what: RegExp) =>
  until(`${what} in ${path}`, () => existsSync(daemon.path(path)) && what.exec(readFileSync(daemon.path(path), 'utf8')));

t.test(
  'the level of one deployment, of its application, of the daemon: each for itself, at once, and every pid stays',
  async (t) => {
    const config = (top: string, application: object, deployment: object) =>
      configOf(
        [
          { ...single('loud', '/loud', { ...code, logging_config: deployment }), logging_config: application },
          single('other', '/other', code),
        ],
        `${HEAD}logging_config: ${top}\n`,
      );
    await using daemon = await startDaemon(config('{}', {}, {}), { files });
    const pids = async () => [await daemon.pids('loud', 'Only'), await daemon.pids('other', 'Only')];
    const before = await pids();
    const heard = async (word: string) => {
      const from = daemon.log.length;
      await speak(daemon, '/loud', `${word} loud`);
      await speak(daemon, '/other', `${word} other`);
      return daemon.log.slice(from).flatMap(({ msg }) => (/^(debug|warn) /.test(msg) ? [msg] : []));
    };
    t.same(await heard('one'), ['warn one loud', 'warn one other']);
    await daemon.apply(config('{}', {}, { log_level: 'DEBUG' }));
    t.same(await heard('two'), ['debug two loud', 'warn two loud', 'warn two other']);
    await daemon.apply(config('{log_level: DEBUG}', { log_level: 'INFO' }, {}));
    t.same(await heard('three'), ['warn three loud', 'debug three other', 'warn three other']);
    await daemon.apply(config('{log_level: DEBUG}', { log_level: 'INFO' }, { log_level: 10 }));
    t.same(await heard('four'), ['debug four loud', 'warn four loud', 'debug four other', 'warn four other']);

    const from = daemon.log.length;
    await daemon.save(config('{}', { log_level: 'ERROR' }, {}));
    await until('the level is in force', async () => {
      const at = daemon.log.length;
      t.equal((await daemon.post('/loud', 'five')).status, 200);
      await speak(daemon, '/other', `six ${at}`);
      return !daemon.log.slice(at).some(({ msg }) => msg === 'warn five');
    });
    t.notOk(
      daemon.log.slice(from).some((line) => line.msg === 'application updated' && line['application'] === 'loud'),
      'nor does the daemon speak of it below that',
    );
    t.same(await pids(), before);
  },
);

t.test('lines of requests: for an application, and for a deployment', async (t) => {
  const two = (application: object, deployment: object) => ({
    name: 'two',
    route_prefix: '/two',
    logging_config: application,
    graph: {
      steps: { first: { call: 'First', input: '$request.json' }, second: { call: 'Second', input: '$first' } },
    },
    deployments: [
      { name: 'First', import_path: './echo.ts:echo', logging_config: deployment },
      { name: 'Second', import_path: './echo.ts:echo' },
    ],
  });
  const config = (application: object, deployment: object) => configOf([NEIGHBOUR, two(application, deployment)]);
  await using daemon = await startDaemon(config({}, { enable_access_log: false }), { files });
  const ask = async (id: string) => {
    await daemon.post('/two', 1, { 'x-request-id': id });
    await daemon.post('/neighbour', 1, { 'x-request-id': `${id} beside` });
    await daemon.access(`${id} beside`);
    const line = daemon.log.find((each) => each['requestId'] === id);
    return (line?.['deployments'] as { deployment: string }[] | undefined)?.map(({ deployment }) => deployment);
  };
  t.same(await ask('one'), ['two/Second']);
  await daemon.apply(config({ enable_access_log: false }, {}));
  t.same(await ask('two'), undefined);
  await daemon.apply(config({ enable_access_log: false }, { enable_access_log: true }));
  t.same(await ask('three'), ['two/First']);
  await daemon.apply(config({}, {}));
  t.same(await ask('four'), ['two/First', 'two/Second']);
});

t.test('files: the daemon, applications with their requests, deployments, replicas; where and how each is said', async (t) => {
  const config = (logging: string, own: object = {}) =>
    configOf(
      [NEIGHBOUR, { ...single('own', '/own', code), logging_config: own }],
      `http_options: {host: 127.0.0.1, port: 0}\nadmin_options: {port: 0, token: ${SECRET}}\nlogging_config: ${logging}\n`,
    );
  await using daemon = await startDaemon(config('{}'), { files, ready: false });
  const ask = (path: string) => daemon.ask(path, { headers: { authorization: `Bearer ${SECRET}` } }, daemon.adminUrl);
  await until('it is ready', async () => (await ask('/readyz')).status === 200);
  t.equal(textOf(daemon, 'logs'), '', 'no files unless they are asked for');
  const from = daemon.log.length;
  await daemon.save(config('{logs_dir: ./logs}', { encoding: 'TEXT', logs_dir: './own' }));
  await daemon.waitForLog('config applied', from);

  await until('both have begun to write files', async () => {
    const sent = { method: 'POST', headers: { 'content-type': 'application/json', authorization: SECRET }, body: '"hello"' };
    await daemon.ask('/neighbour', sent);
    await daemon.ask('/own', sent);
    return textOf(daemon, 'logs').includes('"path":"/neighbour"') && textOf(daemon, 'own').includes('POST /own 200');
  });
  await fileWith(daemon, 'logs/daemon.log', /^\{"level":30,.*"config applied"/m);
  await fileWith(daemon, 'logs/application.neighbour.log', /^\{.*"msg":"request".*"path":"\/neighbour"/m);
  await fileWith(daemon, 'own/application.own.log', /^\d{4}-\d\d-\d\dT[\d:.]+Z POST \/own 200 /m);
  const replica = await until('the file of the replica', () =>
    readdirSync(daemon.path('own')).find((name) => /^replica\.own\.Only\.\w+\.log$/.test(name)),
  );
  await fileWith(daemon, `own/${replica}`, /^\[\d{4}-\d\d-\d\d [\d:.]+\] INFO: printed hello/m);
  await fileWith(daemon, `own/${replica}`, /WARN: warn hello/);
  t.notMatch(textOf(daemon, 'logs'), /printed hello/, 'what is about one deployment is in its folder only');
  await daemon.waitForLog(({ msg }) => msg === 'request', from);

  const all = `${textOf(daemon, 'logs')}${textOf(daemon, 'own')}`;
  t.notMatch(all, SECRET, 'no token, no header');
  t.notMatch(textOf(daemon, 'logs'), /"hello"/, 'no body');

  const before = daemon.log.length;
  await daemon.save(config('{}'));
  await daemon.waitForLog('config applied', before);
  await daemon.ask('/neighbour', { headers: { 'x-request-id': 'not in a file' } });
  await daemon.access('not in a file');
  t.same(await daemon.stop(), { code: 0, signal: null });
  t.notMatch(`${textOf(daemon, 'logs')}${textOf(daemon, 'own')}`, 'not in a file');
});

t.test('a folder that cannot be written harms nothing: a warning, and what was said goes to standard output', async (t) => {
  const config = (folder: string) =>
    configOf([NEIGHBOUR, single('s', '/s', code)], `${HEAD}logging_config: {logs_dir: ${folder}}\n`);
  await using daemon = await startDaemon(config('./taken'), { files: { ...files, taken: 'a file, not a folder' } });
  const told = await daemon.waitForLog((line) => /^a log file cannot be written/.test(line.msg));
  t.match(told, { level: 40, path: /taken\/\w.*\.log$/, error: /ENOTDIR|EEXIST/ });
  await speak(daemon, '/s', 'all the same');
  const pids = await daemon.pids('s', 'Only');
  await daemon.apply(config('./free'));
  await speak(daemon, '/s', 'in a file');
  await until('it is in a file', () => textOf(daemon, 'free').includes('printed in a file'));
  t.same(await daemon.pids('s', 'Only'), pids);
  t.same(await daemon.stop(), { code: 0, signal: null });
});

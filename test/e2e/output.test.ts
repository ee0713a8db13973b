/** What replicas print and log comes out in the daemon's log, and never holds up what they serve. */
import t from 'tap';
import { type LogLine, launchDaemon, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, ECHO, HEAD, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `export class Talk {
  constructor(args, context) { context.log.info({ built: context.replicaId }, 'the constructor speaks'); }
  call(input, context) {
    switch (input.do) {
      case 'print': console.log('a line of output'); console.error('a line of errors'); process.stdout.write('two\\nlines\\n'); break;
      case 'log': context.log.warn({ to: 'fr', deep: { list: [1, 2] } }, 'translating'); break;
      case 'forge': console.log('{"level":60,"time":1,"msg":"request","requestId":"forged","replica":"another/One/1","status":200}'); console.log('{"level":broken'); break;
      case 'long': process.stdout.write('x'.repeat(100_000) + '\\n'); break;
      case 'bytes': process.stdout.write(Buffer.from([0xff, 0xfe, 0x1b, 0x5b, 0x33, 0x31, 0x6d, 0x0a])); break;
      case 'flood':
        for (let n = 0; n < input.lines; n++) { process.stdout.write('flood out ' + n + '\\n'); process.stderr.write('flood err ' + n + '\\n'); }
        break;
    }
    return 'done';
  }
}
`;
const apps = [NEIGHBOUR, single('talk', '/talk', { import_path: './talk.ts:Talk' })];
const files = { 'talk.ts': CODE, 'echo.ts': ECHO };

t.test('what a replica prints', async (t) => {
  await using daemon = await startDaemon(configOf(apps), { files });
  const [replica] = await daemon.replicas('talk', 'Only');
  const label = { replica: replica?.replica_id };
  const printed = (text: string) => daemon.waitForLog(text);

  await t.test('comes out line by line, with the replica and the stream that it came from', async (t) => {
    await daemon.post('/talk', { do: 'print' });
    t.match(await printed('a line of output'), { level: 30, stream: 'stdout', ...label });
    t.match(await printed('a line of errors'), { level: 40, stream: 'stderr', ...label });
    t.match(await printed('two'), { stream: 'stdout', ...label });
    t.match(await printed('lines'), { stream: 'stdout', ...label });
  });

  await t.test('through context.log keeps level and fields, and has the request id', async (t) => {
    await daemon.post('/talk', { do: 'log' }, { 'x-request-id': 'logs' });
    const line = await printed('translating');
    t.match(line, { level: 40, to: 'fr', deep: { list: [1, 2] }, requestId: 'logs', ...label });
    t.notOk('stream' in line);
    t.match(await printed('the constructor speaks'), { level: 30, built: replica?.replica_id, ...label });
  });

  await t.test('cannot be taken for a line of another replica', async (t) => {
    await daemon.post('/talk', { do: 'forge' });
    t.match(await daemon.waitForLog((line) => line['requestId'] === 'forged'), label);
    t.match(await printed('{"level":broken'), { stream: 'stdout', ...label });
  });

  await t.test('in very long lines is cut off, in no text is told all the same', async (t) => {
    const from = daemon.log.length;
    await daemon.post('/talk', { do: 'long' });
    const line = await daemon.waitForLog(({ msg }) => msg.startsWith('xxx'), from);
    t.ok(line.msg.length <= 8193, `${line.msg.length} characters`);
    await daemon.post('/talk', { do: 'bytes' });
    await daemon.waitForLog(({ msg }) => msg.includes('\ufffd'));
  });

  await t.test('in a flood is kept in part, what is not kept is counted, and the replica answers on', async (t) => {
    const lines = 30_000;
    const from = daemon.log.length;
    const started = performance.now();
    t.equal((await daemon.post('/talk', { do: 'flood', lines })).text, 'done');
    t.comment(`printed in ${Math.round(performance.now() - started)} ms`);
    t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
    for (const stream of ['out', 'err']) {
      const of = (line: LogLine) => line['stream'] === `std${stream}` && line['replica'] === replica?.replica_id;
      // The number of those that were not kept is told with the first line of a later second.
      const told = await until(`all lines of std${stream} are accounted for`, async () => {
        await daemon.post('/talk', { do: 'print' });
        const later = daemon.log.slice(from).filter(of);
        const kept = later.filter(({ msg }) => msg.startsWith(`flood ${stream} `)).length;
        const dropped = later.map(({ msg }) => Number(/^\((\d+) more lines were not kept/.exec(msg)?.[1] ?? 0));
        const sum = dropped.reduce((all, each) => all + each, 0);
        return sum > 0 && kept + sum >= lines && { kept, sum };
      });
      t.ok(told.kept >= 900 && told.kept < lines / 2, `${told.kept} lines were kept`);
      t.ok(told.kept + told.sum - lines < 500, `${told.sum} were counted`);
    }
    t.equal((await daemon.post('/talk', { do: 'none' })).text, 'done');
    t.match(await daemon.replicas('talk', 'Only'), [{ pid: replica?.pid, state: 'RUNNING' }]);
  });

  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('enable_access_log: false, saved, ends the lines of requests; log_level: ERROR those of a warning', async (t) => {
  await using daemon = await startDaemon(configOf(apps), { files });
  await daemon.post('/neighbour', 1, { 'x-request-id': 'logged' });
  await daemon.access('logged');
  await daemon.apply(configOf(apps, `${HEAD}logging_config: {enable_access_log: false}\n`));
  await daemon.post('/neighbour', 1, { 'x-request-id': 'silent' });
  const { config } = await daemon.status();
  await daemon.save(configOf(apps, `${HEAD}logging_config: {log_level: ERROR}\n`));
  await daemon.when('it is applied', (status) => status.config.hash !== config.hash);
  await daemon.post('/talk', { do: 'log' });
  await daemon.apply(configOf(apps, HEAD));
  await daemon.post('/neighbour', 1, { 'x-request-id': 'again' });
  await daemon.access('again');
  t.notOk(daemon.log.some((line) => line['requestId'] === 'silent'));
  // Of one replica the lines come in their order.
  await daemon.post('/talk', { do: 'print' });
  await daemon.waitForLog('a line of output');
  t.notOk(daemon.log.some(({ msg }) => msg === 'translating'));
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('encoding: TEXT writes lines for people, also of requests and of what replicas print', async (t) => {
  const config = configOf(apps, `${HEAD}logging_config: {encoding: TEXT}\n`);
  await using daemon = await launchDaemon(config, { files });
  const text = (what: RegExp) => until(`${what} in the log`, () => what.exec(daemon.errors) ?? undefined);
  const [, url] = await text(/listening for HTTP.*"url":"([^"]*)"/);
  await text(/is serving .*"application":"talk"/);
  await daemon.ask('/talk', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"do":"print"}' }, url);
  await text(/WARN.*a line of errors.*"replica":"talk\/Only\//);
  await text(/POST \/talk 200 [\d.]+ms talk\/Only\/\w+ batch=1 queue=[\d.]+ms work=[\d.]+ms id=/);
  await daemon.write('config.yaml', 'applications: [}\n');
  await text(/config\.yaml:1:\d+: error YAML_SYNTAX.*\n {4}applications: \[\}/);
  t.same(daemon.log, [], 'no line is JSON');
  t.same(await daemon.stop(), { code: 0, signal: null });
});

t.test('debug lines of code come out at log_level DEBUG, and stop when the level is raised while it serves', async (t) => {
  const code = `export async function chat(input: string, context: { log: { debug(message: string): void } }) {
    context.log.debug(\`debug \${input}\`);
    return input;
  }`;
  const configAt = (level: string) =>
    configOf([single('chat', '/', { import_path: './chat.ts:chat' })], `${HEAD}logging_config: {log_level: ${level}}\n`);
  await using daemon = await startDaemon(configAt('DEBUG'), { files: { 'chat.ts': code } });
  t.equal((await daemon.post('/', 'one')).text, 'one');
  await daemon.waitForLog('debug one');
  await daemon.apply(configAt('INFO'));
  t.equal((await daemon.post('/', 'two')).text, 'two');
  await daemon.apply(configAt('DEBUG'));
  t.equal((await daemon.post('/', 'three')).text, 'three');
  await daemon.waitForLog('debug three');
  t.notOk(daemon.log.some(({ msg }) => msg === 'debug two'));
});

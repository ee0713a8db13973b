/** Routes that pass from one application to another, and streams that go wrong: with the real daemon. */
import t from 'tap';
import { startDaemon } from '../support/daemon-rig.ts';
import { configOf, HEAD, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `
export class Named {
  constructor(args) { this.args = args; if (args.fails) throw new Error('it shall not start'); }
  call() { return this.args.name; }
}
export async function odd(input) {
  if (input === 'text') return new Response(new ReadableStream({ start(c) { c.enqueue('text'); c.close(); } }));
  if (input === 'late') return new Response(new ReadableStream({ async pull(c) {
    if (!this.sent) { this.sent = true; c.enqueue(new TextEncoder().encode('first')); return; }
    await new Promise((resolve) => setImmediate(resolve)); c.enqueue('text'); c.close();
  } }));
  return input;
}
`;
const files = { 'code.ts': CODE };
const named = (name: string, route: string, args: object = {}) =>
  single(name, route, { import_path: './code.ts:Named', init_args: { name, ...args } });

/** Asks again and again until told to stop; gives every answer that was not 200. */
const ask = (daemon: { ask(path: string): Promise<{ status: number; text: string }> }, path: string) => {
  let stopped = false;
  const bad: string[] = [];
  const answers = new Set<string>();
  const loop = (async () => {
    while (!stopped) {
      const { status, text } = await daemon.ask(path);
      if (status === 200) answers.add(text);
      else bad.push(`${status} ${text}`);
    }
  })();
  return {
    bad,
    answers,
    stop: async () => {
      stopped = true;
      await loop;
    },
  };
};

t.test('an application that is renamed keeps its route served', async (t) => {
  await using daemon = await startDaemon(configOf([named('old', '/h')]), { files });
  const asking = ask(daemon, '/h');
  await daemon.save(configOf([named('new', '/h')]));
  await daemon.when(
    'the new name serves and the old one is gone',
    ({ applications }) => applications['new']?.status === 'RUNNING' && applications['old'] === undefined,
  );
  await asking.stop();
  t.same(asking.bad, []);
  t.same([...asking.answers], ['old', 'new']);
});

t.test('two applications that exchange their routes serve both throughout, also when one of them cannot start', async (t) => {
  await using daemon = await startDaemon(configOf([named('a', '/a'), named('b', '/b')]), { files });
  const asking = [ask(daemon, '/a'), ask(daemon, '/b')];
  await daemon.save(configOf([named('a', '/b', { fails: true }), named('b', '/a')]));
  await daemon.when('it is given up', ({ applications }) => applications['a']?.status === 'DEPLOY_FAILED');
  t.equal((await daemon.ask('/a')).text, 'a');
  t.equal((await daemon.ask('/b')).text, 'b');
  await daemon.save(configOf([named('a', '/b'), named('b', '/a')]));
  await daemon.when(
    'they have changed places',
    ({ applications }) => applications['a']?.route_prefix === '/b' && applications['a'].status === 'RUNNING',
  );
  t.equal((await daemon.ask('/a')).text, 'b');
  t.equal((await daemon.ask('/b')).text, 'a');
  for (const each of asking) {
    await each.stop();
    t.same(each.bad, []);
  }
});

t.test('a Response whose stream gives texts is an error of that request alone', async (t) => {
  await using daemon = await startDaemon(configOf([single('odd', '/', { import_path: './code.ts:odd' })]), { files });
  const pids = await daemon.pids('odd', 'Only');
  t.match(await daemon.post('/', 'text'), { status: 500, text: 'Internal Server Error' });
  await daemon.post('/', 'late').catch(() => {});
  t.equal((await daemon.post('/', 'well')).text, 'well');
  t.same(await daemon.pids('odd', 'Only'), pids);
});

t.test('a port that was in use is tried again at SIGHUP, and told in the status until then', async (t) => {
  const { createServer } = await import('node:net');
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
  const { port } = holder.address() as { port: number };
  await using daemon = await startDaemon(configOf([named('a', '/a')]), { files });
  await daemon.save(configOf([named('a', '/a')], HEAD.replace('port: 0}', `port: ${port}}`)));
  const told = await daemon.when(
    'it is told',
    ({ listeners }) => (listeners as { http_error: string | null }).http_error !== null,
  );
  t.match((told.listeners as { http_error: string }).http_error, `127.0.0.1:${port} is in use`);
  await new Promise((resolve) => holder.close(resolve));
  daemon.signal('SIGHUP');
  await daemon.when('it listens there', ({ listeners }) => listeners.http === `http://127.0.0.1:${port}`);
  const answer = await fetch(`http://127.0.0.1:${port}/a`);
  t.equal(await answer.text(), 'a');
});

/** What becomes of open WebSockets when replicas are replaced, die or stop, and how many there may be: on both HTTP drivers. */
import t from 'tap';
import { type DaemonRig, isGone, startDaemon, until } from '../support/daemon-rig.ts';
import { SocketClient } from '../support/websocket-client.ts';
import { configOf, ECHO, HEAD, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(240_000);

const CODE = (version: number) => `export class Main {
  async call(input) { if (input === 'hold') await new Promise((resolve) => setTimeout(resolve, 600_000)); return process.pid; }
  async websocket(socket, { log }) {
    await socket.send('v${version} ' + process.pid);
    for await (const message of socket) { if (message === 'leave') return; await socket.send('v${version} ' + message); }
    log.info({ closeCode: socket.closeCode }, 'the code saw the end');
  }
}
export async function other(input) { return 'other ${version}'; }
`;
const files = { 'code.ts': CODE(1), 'echo.ts': ECHO };
const headOf = (server: string, more = '') => HEAD.replace('port: 0}', `port: 0, server: ${server}${more}}`);
const main = (options: object = {}) => single('main', '/main', { import_path: './code.ts:Main', ...options });
const allRun = (daemon: DaemonRig, count: number) =>
  daemon.when(
    `${count} replicas run`,
    (status) => status.applications['main']?.deployments['Only']?.replica_states['RUNNING'] === count,
  );
const pidOf = (hello: string | Buffer) => Number(String(hello).split(' ')[1]);

for (const server of ['uws', 'node'] as const) {
  t.test(`${server}: a reload that replaces the replica`, async (t) => {
    const config = configOf([main({ graceful_shutdown_timeout_s: 3 }), NEIGHBOUR], headOf(server));
    await using daemon = await startDaemon(config, { files });
    const url = `${daemon.url}/main`;
    const stays = await SocketClient.open(url);
    const leaves = await SocketClient.open(url);
    const pid = pidOf(await stays.next());
    await leaves.next();

    // Another limit is no other version: the replica and its sockets stay.
    await daemon.apply(configOf([main({ graceful_shutdown_timeout_s: 3, max_queued_requests: 7 }), NEIGHBOUR], headOf(server)));
    t.equal(await stays.ask('still'), 'v1 still');

    const from = daemon.log.length;
    await daemon.write('code.ts', CODE(2));
    await daemon.waitForLog(({ msg, application }) => msg === 'application updated' && application === 'main', from);
    const fresh = await SocketClient.open(url);
    t.match(await fresh.next(), /^v2 /, 'new sockets are the new version’s at once');
    t.equal(await stays.ask('old'), 'v1 old', 'old ones go on for the drain time');
    leaves.ws.send('leave');
    t.equal(await leaves.closed, 1000, 'and may end by themselves');
    t.equal(await stays.closed, 1012);
    t.equal(stays.closeReason, 'service restart');
    t.match(await daemon.waitForLog('the code saw the end'), { closeCode: 1012 });
    await until('the old replica is gone', () => isGone(pid));
    t.equal(await fresh.ask('new'), 'v2 new');

    await daemon.apply(configOf([NEIGHBOUR], headOf(server)));
    t.equal(await fresh.closed, 1001, 'an application that leaves the file');
  });

  t.test(`${server}: an application whose other deployment is replaced keeps its sockets`, async (t) => {
    const two = (suffix: string) => ({
      name: 'two',
      route_prefix: '/two',
      deployments: [
        { name: 'Main', import_path: './code.ts:Main' },
        { name: 'Other', import_path: './code.ts:other', ray_actor_options: { runtime_env: { env_vars: { SUFFIX: suffix } } } },
      ],
      graph: { ingress: 'Main', calls: { Main: { other: 'Other' } } },
    });
    await using daemon = await startDaemon(configOf([two('a')], headOf(server)), { files });
    const client = await SocketClient.open(`${daemon.url}/two`);
    await client.next();
    const [before] = await daemon.pids('two', 'Other');
    await daemon.apply(configOf([two('b')], headOf(server)));
    await until('the other is replaced', () => isGone(before as number));
    t.equal(await client.ask('still'), 'v1 still');
    client.ws.close();
  });

  t.test(`${server}: deaths, limits, choice and the end`, async (t) => {
    const config = configOf(
      [main({ num_replicas: 3, max_ongoing_requests: 2 }), NEIGHBOUR],
      headOf(server, ', max_websockets: 7'),
    );
    await using daemon = await startDaemon(config, { files });
    const url = `${daemon.url}/main`;

    await allRun(daemon, 3);
    const clients: SocketClient[] = [];
    for (let i = 0; i < 6; i++) clients.push(await SocketClient.open(url));
    const pids = await Promise.all(clients.map(async (client) => pidOf(await client.next())));
    for (const pid of new Set(pids))
      t.equal(pids.filter((each) => each === pid).length, 2, 'the replica with the fewest takes the next');
    t.equal(new Set(pids).size, 3);
    for (const [index, pid] of pids.entries()) if (pid === pids[0]) clients[index]?.ws.close();
    await daemon.when('two are closed', ({ applications }) => applications['main']?.deployments['Only']?.websockets === 4);
    for (const [index, pid] of pids.entries()) {
      if (pid !== pids[0]) continue;
      const again = await SocketClient.open(url);
      t.equal(pidOf(await again.next()), pid, 'the one that lost two gets the next two');
      clients[index] = again;
    }

    await t.test('six sockets take none of the six places', async (t) => {
      const answers = await Promise.all(Array.from({ length: 20 }, () => daemon.post('/main', null)));
      t.ok(answers.every(({ status }) => status === 200));
    });

    await t.test('beyond max_websockets an upgrade gets 503, until one closes', async (t) => {
      const seventh = await SocketClient.open(url);
      const refused = await SocketClient.refused(url);
      t.match(refused, { status: 503, headers: { 'retry-after': '1', 'x-serve-error': 'QUEUE_FULL' } });
      t.match(refused.text, /max_websockets allows 7/);
      seventh.ws.close();
      await seventh.closed;
      const again = await until('there is room again', () => SocketClient.open(url).catch(() => undefined));
      await daemon.apply(
        configOf([main({ num_replicas: 3, max_ongoing_requests: 2 }), NEIGHBOUR], headOf(server, ', max_websockets: 8')),
      );
      const eighth = await SocketClient.open(url);
      again.ws.terminate();
      eighth.ws.terminate();
    });

    await t.test('a replica that is killed: its clients get 1011, the others go on', async (t) => {
      const [victim] = pids as [number];
      process.kill(victim, 'SIGKILL');
      for (const [index, client] of clients.entries()) {
        if (pids[index] === victim) t.equal(await client.closed, 1011);
        else t.equal(await client.ask('still'), 'v1 still');
      }
      t.equal((await daemon.post('/neighbour', 1)).status, 200);
    });

    await t.test('the daemon stops: 1001, and the code sees it', async (t) => {
      const open = clients.filter(({ closeCode }) => closeCode === undefined);
      t.equal(open.length, 4);
      process.kill(daemon.pid, 'SIGTERM');
      for (const client of open) t.equal(await client.closed, 1001);
      await daemon.waitForLog(({ msg, closeCode }) => msg === 'the code saw the end' && closeCode === 1001);
      t.same(await daemon.exited, { code: 0, signal: null });
      t.equal(daemon.errors, '', 'no library has anything to say');
    });
  });

  t.test(`${server}: scaling down closes with 1012; an application that starts, and one that takes none`, async (t) => {
    const slow = `export class Starts { constructor() { return new Promise((resolve) => setTimeout(() => resolve(this), 1e9)); } async websocket() {} }`;
    const starts = single('starts', '/starts', { import_path: './starts.ts:Starts' });
    const options = { graceful_shutdown_timeout_s: 1 };
    await using daemon = await startDaemon(configOf([main({ num_replicas: 2, ...options })], headOf(server)), {
      files: { ...files, 'starts.ts': slow },
    });
    await allRun(daemon, 2);
    const clients = [await SocketClient.open(`${daemon.url}/main`), await SocketClient.open(`${daemon.url}/main`)];
    const pids = [];
    for (const client of clients) pids.push(pidOf(await client.next()));
    await daemon.save(configOf([main(options), starts], headOf(server)));
    const codes = await Promise.race(clients.map(({ closed }) => closed));
    t.equal(codes, 1012);
    const left = clients.filter(({ closeCode }) => closeCode === undefined);
    t.equal(left.length, 1);
    t.equal(await left[0]?.ask('still'), 'v1 still');
    const refused = await until('the route is there', async () => {
      const answer = await SocketClient.refused(`${daemon.url}/starts`);
      return answer.status === 404 ? undefined : answer;
    });
    t.match(refused, { status: 503, headers: { 'retry-after': '1', 'x-serve-error': 'UNAVAILABLE' } });
  });
}

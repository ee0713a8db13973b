/** WebSockets, from the client's socket to the code in the replica and back, on both HTTP drivers. */
import { connect } from 'node:net';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { SocketClient } from '../support/websocket-client.ts';
import { configOf, ECHO, HEAD, single } from './configs.ts';

t.setTimeout(240_000);

const CODE = `import { HttpError } from 'serve-daemon';
export const version = 1;
let seen = {};
export class Echo {
  async call(input) { return input === 'seen' ? seen : input; }
  async websocket(socket, context) {
    context.signal.addEventListener('abort', () => { seen.aborted = true; });
    if (context.request.query.has('info'))
      await socket.send(JSON.stringify({ version, path: context.request.path, id: context.requestId, deadline: context.deadline ?? null, pid: process.pid }));
    for await (const message of socket) await socket.send(message);
    seen = { ...seen, code: socket.closeCode, reason: socket.closeReason };
    if (context.request.query.has('throws')) throw new Error('after the end');
  }
}
export class Closes {
  async websocket(socket, context) {
    const how = context.request.query.get('how');
    if (how === 'returns') return;
    if (how === 'throws') throw new Error('the secret of the socket');
    if (how === 'code') return socket.close(4001, 'grüße');
  }
}
export class Doors {
  async upgrade(context) {
    const { query, headers } = context.request;
    if (query.has('secret')) throw new HttpError(401, 'who are you?', { 'www-authenticate': 'Bearer' });
    if (query.has('broken')) throw new Error('the secret of the door');
    if (query.has('odd')) return 'never-offered';
    if (query.has('slow')) await new Promise(() => {});
    return (headers.get('sec-websocket-protocol') ?? '').split(/, */).includes('chat.v2') ? 'chat.v2' : undefined;
  }
  async websocket(socket) { await socket.send('protocol ' + socket.protocol); }
}
export class Slow {
  sent = 0;
  async call() { return { sent: this.sent }; }
  async websocket(socket, context) {
    if (context.request.query.has('reads-not')) await new Promise((resolve) => context.signal.addEventListener('abort', resolve));
    const part = Buffer.alloc(65_536, 'x');
    while (!context.signal.aborted) { await socket.send(part); this.sent += part.length; }
  }
}
export class Calls {
  constructor({ other }) { this.other = other; }
  async websocket(socket) {
    for await (const message of socket) await socket.send('other says ' + (await this.other.call(message)));
    await this.other.call('saved');
  }
}
export class Other {
  last = null;
  async call(input) { if (input === 'last?') return this.last; this.last = input; return input; }
}
`;

const files = { 'code.ts': CODE, 'echo.ts': ECHO };
const headOf = (server: string, more = '') =>
  HEAD.replace('port: 0}', `port: 0, server: ${server}, max_request_body: 10MB${more}}`);
const of = (name: string, options: object = {}) =>
  single(name.toLowerCase(), `/${name.toLowerCase()}`, { import_path: `./code.ts:${name}`, ...options });
const calls = {
  name: 'calls',
  route_prefix: '/calls',
  deployments: [
    { name: 'Calls', import_path: './code.ts:Calls' },
    { name: 'Other', import_path: './code.ts:Other' },
  ],
  graph: { ingress: 'Calls', calls: { Calls: { other: 'Other' } } },
};
const plain = single('plain', '/plain', { import_path: './echo.ts:echo' });
const GRAPH = {
  name: 'graph',
  route_prefix: '/graph',
  deployments: [{ name: 'Only', import_path: './echo.ts:echo' }],
  graph: { steps: { one: { call: 'Only', input: '$request.json' } } },
};

const seen = async (daemon: DaemonRig) => JSON.parse((await daemon.post('/echo', 'seen')).text) as Record<string, unknown>;

for (const server of ['uws', 'node'] as const) {
  t.test(`${server}: one daemon`, async (t) => {
    const applications = [of('Echo'), of('Closes'), of('Doors'), of('Slow'), calls, plain, GRAPH];
    await using daemon = await startDaemon(configOf(applications, headOf(server)), { files });

    await t.test('text comes back as text, bytes as bytes, and the code sees the request', async (t) => {
      const headers = { 'x-request-id': `hello-${server}` };
      const client = await SocketClient.open(`${daemon.url}/echo/deep?info`, { headers });
      t.match(JSON.parse((await client.next()) as string), { path: '/echo/deep', id: `hello-${server}`, deadline: null });
      t.equal(await client.ask('grüße 😀'), 'grüße 😀');
      const bytes = Buffer.from([0, 255, 10, 13]);
      t.same(await client.ask(bytes), bytes);
      t.equal(await client.ask(''), '');
      t.same(await client.ask(Buffer.alloc(0)), Buffer.alloc(0));
      client.ws.close(4321, 'done');
      t.equal(await client.closed, 4321);
      await until('the code has seen the end', async () => (await seen(daemon))['code'] !== undefined);
      t.same(await seen(daemon), { aborted: true, code: 4321, reason: 'done' });
      t.match(await daemon.access(`hello-${server}`), { status: 101, closeCode: 4321, path: '/echo/deep', application: 'echo' });
    });

    await t.test('10,000 small messages come back in their order', async (t) => {
      const client = await SocketClient.open(`${daemon.url}/echo`);
      for (let i = 0; i < 10_000; i++) client.ws.send(`message ${i}`);
      await until('all', () => client.received.length === 10_000);
      t.ok(client.received.every((message, index) => message === `message ${index}`));
      client.ws.close();
      t.equal(await client.closed, 1005);
    });

    await t.test('a message of 8 MiB, and two behind each other', async (t) => {
      const client = await SocketClient.open(`${daemon.url}/echo`);
      const large = Buffer.from(new Uint8Array(8 * 1024 * 1024).map((_, index) => index * 7));
      client.ws.send(large);
      client.ws.send('small');
      client.ws.send(large);
      t.ok(large.equals((await client.next()) as Buffer));
      t.equal(await client.next(), 'small');
      t.ok(large.equals((await client.next()) as Buffer));
      client.ws.terminate();
    });

    await t.test('a message over max_request_body closes with 1009, which the code sees', async (t) => {
      const client = await SocketClient.open(`${daemon.url}/echo`);
      client.ws.send(Buffer.alloc(10_000_001));
      t.equal(await client.closed, 1009);
      await until('the code has seen it', async () => (await seen(daemon))['code'] === 1009);
    });

    await t.test('a client that is gone without a word ends the code with 1006', async () => {
      const client = await SocketClient.open(`${daemon.url}/echo`);
      await client.ask('there');
      client.ws.terminate();
      await until('the code has seen it', async () => (await seen(daemon))['code'] === 1006);
    });

    await t.test('returning closes with 1000, throwing with 1011, and a code of its own goes out', async (t) => {
      t.equal(await (await SocketClient.open(`${daemon.url}/closes?how=returns`)).closed, 1000);
      const own = await SocketClient.open(`${daemon.url}/closes?how=code`);
      t.equal(await own.closed, 4001);
      t.equal(own.closeReason, 'grüße');
      const thrown = await SocketClient.open(`${daemon.url}/closes?how=throws`);
      t.equal(await thrown.closed, 1011);
      t.equal(thrown.closeReason, '', 'the detail is not for the client');
      const line = await daemon.waitForLog(({ msg }) => msg === 'request failed');
      t.match(line, { error: { message: 'the secret of the socket' } });
    });

    await t.test('upgrade() refuses with a status, or chooses a subprotocol', async (t) => {
      const url = `${daemon.url}/doors`;
      const secret = await SocketClient.refused(`${url}?secret`);
      t.match(secret, { status: 401, text: 'who are you?', headers: { 'www-authenticate': 'Bearer' } });
      t.match(await SocketClient.refused(`${url}?broken`), { status: 500, text: 'Internal Server Error' });
      t.match(await SocketClient.refused(`${url}?odd`), { status: 500, text: 'Internal Server Error' });
      const chosen = await SocketClient.open(url, {}, ['chat.v1', 'chat.v2']);
      t.equal(chosen.ws.protocol, 'chat.v2');
      t.equal(await chosen.next(), 'protocol chat.v2');
      const none = await SocketClient.open(url);
      t.equal(none.ws.protocol, '');
      t.equal(await none.next(), 'protocol ');
      const timeout = { headers: { 'x-request-timeout-seconds': '0.2' } };
      t.match(await SocketClient.refused(`${url}?slow`, timeout), { status: 408 });
    });

    await t.test(
      'where there is no websocket the upgrade gets 400, on no route 404, and a plain request to one that has nothing else 426',
      async (t) => {
        const plain = await SocketClient.refused(`${daemon.url}/plain`);
        t.match(plain, {
          status: 400,
          headers: { 'x-serve-error': 'INVALID_INPUT' },
          text: /plain\/Only has no method `websocket`/,
        });
        t.match(await SocketClient.refused(`${daemon.url}/graph`), { status: 400, text: /is a graph/ });
        t.match(await SocketClient.refused(`${daemon.url}/nowhere`), {
          status: 404,
          headers: { 'x-serve-error': 'ROUTE_NOT_FOUND' },
        });
        t.match(await daemon.ask('/doors'), { status: 426, headers: { upgrade: 'websocket' } });
      },
    );

    await t.test('a bad handshake gets 400; another upgrade is a request like any other', async (t) => {
      const good = {
        connection: 'keep-alive, Upgrade',
        upgrade: 'WebSocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      };
      const { host } = new URL(daemon.url);
      const first = (headers: object, method = 'GET') =>
        new Promise<string>((resolve, reject) => {
          const socket = connect({ port: Number(new URL(daemon.url).port), host: '127.0.0.1' });
          const lines = Object.entries({ host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
          socket.write(`${method} /echo HTTP/1.1\r\n${lines.join('')}\r\n`);
          socket.once('error', reject);
          let head = '';
          socket.on('data', (data) => {
            head += data.toString('latin1');
            if (!head.includes('\r\n\r\n')) return;
            socket.destroy();
            resolve(head);
          });
        });
      t.match(await first(good), /^HTTP\/1\.1 101 [\s\S]*sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/i);
      for (const odd of [
        { 'sec-websocket-key': 'short' },
        { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ=!' },
        { 'sec-websocket-version': '12' },
        { 'sec-websocket-version': '' },
        { 'sec-websocket-protocol': 'a, a' },
        { 'sec-websocket-protocol': 'a b' },
        { 'content-length': '3' },
      ])
        t.match(await first({ ...good, ...odd }), /^HTTP\/1\.1 400 [\s\S]*x-serve-error: INVALID_INPUT/i, JSON.stringify(odd));
      t.match(await first({ ...good, 'sec-websocket-version': '8' }), /sec-websocket-version: 13/i);
      t.match(await first({ connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c' }), /^HTTP\/1\.1 200 /);
      t.match(await first({ ...good, connection: 'keep-alive' }), /^HTTP\/1\.1 200 /, 'not asked for');
      t.match(await first({ ...good, 'content-length': '0' }, 'POST'), /^HTTP\/1\.1 200 /);
    });

    await t.test('send waits for a client that does not read: its memory is bounded', async (t) => {
      const client = await SocketClient.open(`${daemon.url}/slow`);
      client.stopReading();
      const sent = async () => (JSON.parse((await daemon.post('/slow', null)).text) as { sent: number }).sent;
      let last = -1;
      await until('it sends no more', async () => {
        const now = await sent();
        const still = now === last && now > 0;
        last = now;
        await new Promise((resolve) => setTimeout(resolve, 200));
        return still;
      });
      t.ok(last < 32 * 1024 * 1024, `${last} bytes: kernel buffers and 256 KiB`);
      client.readAgain();
      await until('it goes on', async () => (await sent()) > last + 1_000_000);
      client.ws.terminate();
    });

    await t.test(
      'who sends faster than the code reads is closed with 1013, and other requests of the replica go on',
      async (t) => {
        const client = await SocketClient.open(`${daemon.url}/slow?reads-not`);
        const part = Buffer.alloc(65_536);
        for (let i = 0; i < 40; i++) client.ws.send(part);
        t.equal((await daemon.post('/slow', null)).status, 200);
        t.equal(await client.closed, 1013);
        t.equal((await daemon.post('/slow', null)).status, 200);
      },
    );

    await t.test('calls of handles in the work of a socket, also after its end', async (t) => {
      const client = await SocketClient.open(`${daemon.url}/calls`);
      t.equal(await client.ask('one'), 'other says one');
      client.ws.close(1000);
      await client.closed;
      const look = await SocketClient.open(`${daemon.url}/calls`);
      await until('it was saved', async () => (await look.ask('last?')) === 'other says saved');
      look.ws.close();
    });

    await t.test('the status tells how many are open; they are no ongoing requests', async (t) => {
      const clients = await Promise.all([1, 2, 3].map(() => SocketClient.open(`${daemon.url}/echo`)));
      for (const client of clients) await client.ask('there');
      const status = await daemon.status();
      t.match(status.applications['echo']?.deployments['Only'], { websockets: 3, ongoing: 0 });
      const metrics = (await daemon.ask('/metrics', {}, daemon.adminUrl)).text;
      t.match(metrics, /^serve_deployment_open_websockets\{application="echo",deployment="Only"\} 3$/m);
      t.match(metrics, /^serve_http_requests_total\{application="doors",route="\/doors",code="101"\} 2$/m);
      t.match(metrics, /^serve_http_requests_total\{application="doors",route="\/doors",code="401"\} 1$/m);
      for (const client of clients) client.ws.close();
      await daemon.when('none is open', ({ applications }) => applications['echo']?.deployments['Only']?.websockets === 0);
    });
  });
}

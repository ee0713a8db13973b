/** Behind nginx and HAProxy: the daemon answers exactly the requests that they pass on, on connections that are used again. */
import { Agent, request as httpRequest } from 'node:http';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { missing, type ProxyKind, ReverseProxy } from '../support/reverse-proxy.ts';
import { SocketClient } from '../support/websocket-client.ts';
import { configOf, ECHO, single } from './configs.ts';

t.setTimeout(120_000);

const HEAD = (server: string) => `http_options: {host: 127.0.0.1, port: 0, server: ${server}}\nadmin_options: {port: 0}\n`;
const SOCKETS = `export class Sockets {
  code = null;
  async call() { return this.code; }
  async websocket(socket) { for await (const message of socket) await socket.send(message); this.code = socket.closeCode; }
}
`;
const files = { 'echo.ts': ECHO, 'sockets.ts': SOCKETS };

interface Sent {
  readonly path: string;
  readonly pieces: readonly string[];
  readonly chunked?: boolean;
  readonly trailer?: boolean;
}

const send = (url: string, agent: Agent, { path, pieces, chunked = false, trailer = false }: Sent) =>
  new Promise<{ status: number; text: string }>((resolve, reject) => {
    const headers = {
      'content-type': 'text/plain',
      ...(chunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': Buffer.byteLength(pieces.join('')) }),
      ...(trailer ? { trailer: 'x-sum' } : {}),
    };
    const outgoing = httpRequest(`${url}${path}`, { method: 'POST', agent, headers }, (incoming) => {
      let text = '';
      incoming.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, text }));
      incoming.on('error', reject);
    });
    outgoing.on('error', reject);
    const next = (index: number): void => {
      const piece = pieces[index];
      if (piece === undefined) {
        if (trailer) outgoing.addTrailers({ 'x-sum': 'abc' });
        return void outgoing.end();
      }
      outgoing.write(piece, () => setImmediate(next, index + 1));
    };
    next(0);
  });

/** Requests of the application that the daemon has answered, by its own count. */
const counted = async (daemon: DaemonRig): Promise<number> => {
  const { text } = await daemon.ask('/metrics', {}, daemon.adminUrl);
  let sum = 0;
  for (const [, value] of text.matchAll(/^serve_http_requests_total\{application="echo",[^}]*\} (\d+)$/gm)) sum += Number(value);
  return sum;
};

for (const kind of ['nginx', 'haproxy'] as const satisfies readonly ProxyKind[]) {
  for (const server of ['uws', 'node']) {
    t.test(`${kind} in front of server: ${server}`, { skip: missing(kind) }, async (t) => {
      await using daemon = await startDaemon(
        configOf([single('echo', '/echo', { import_path: './echo.ts:echo' })], HEAD(server)),
        { files },
      );
      await using proxy = await ReverseProxy.start(kind, daemon.url);
      const agent = new Agent({ keepAlive: true, maxSockets: 8 });
      t.teardown(() => agent.destroy());
      const wanted: Sent[] = [];
      for (let n = 0; n < 240; n++) {
        const pieces = Array.from({ length: 1 + (n % 5) }, (_, piece) => `${n}/${piece} ${'x'.repeat((n * 131) % 5000)} `);
        wanted.push({ path: `/echo/${n}`, pieces, chunked: n % 2 === 0, trailer: n % 8 === 0 });
      }
      let next = 0;
      const wrong: string[] = [];
      let refused = 0;
      const worker = async (): Promise<void> => {
        for (let sent = wanted[next++]; sent !== undefined; sent = wanted[next++]) {
          const { status, text } = await send(proxy.url, agent, sent);
          // nginx drops trailers, HAProxy passes them on, and uWebSockets.js cannot read them: see docs/http-drivers.md.
          if (sent.trailer === true && kind === 'haproxy' && server === 'uws') refused += status === 505 ? 1 : 0;
          else if (status !== 200 || text !== sent.pieces.join('')) wrong.push(`${sent.path} ${status} ${text.slice(0, 80)}`);
        }
      };
      await Promise.all(Array.from({ length: 8 }, worker));
      t.same(wrong, []);
      t.equal(refused, kind === 'haproxy' && server === 'uws' ? wanted.length / 8 : 0);
      await until('the proxy has written its log', () => proxy.lines.length >= wanted.length);
      t.equal(proxy.lines.length, wanted.length);
      t.equal(await counted(daemon), wanted.length, 'as many for the daemon as for the proxy');
    });

    t.test(`WebSockets through ${kind} to server: ${server}`, { skip: missing(kind) }, async (t) => {
      const applications = [
        single('sockets', '/sockets', { import_path: './sockets.ts:Sockets' }),
        single('echo', '/echo', { import_path: './echo.ts:echo' }),
      ];
      await using daemon = await startDaemon(configOf(applications, HEAD(server)), { files });
      await using proxy = await ReverseProxy.start(kind, daemon.url);
      const client = await SocketClient.open(`${proxy.url}/sockets`);
      t.equal(await client.ask('grüße'), 'grüße');
      const large = Buffer.alloc(1_000_000, 'x');
      t.ok(large.equals((await client.ask(large)) as Buffer));
      t.match(await SocketClient.refused(`${proxy.url}/echo`), { status: 400, headers: { 'x-serve-error': 'INVALID_INPUT' } });
      const agent = new Agent({ keepAlive: true });
      t.teardown(() => agent.destroy());
      t.same(await send(proxy.url, agent, { path: '/echo', pieces: ['hello'] }), { status: 200, text: 'hello' });
      client.ws.close(4001);
      t.equal(await client.closed, 4001);
      await until('the code has seen it', async () => (await daemon.post('/sockets', null)).text === '4001');
    });
  }
}

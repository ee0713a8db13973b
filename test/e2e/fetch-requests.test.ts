/** The `Request` that code with `fetch` gets: its URL, its headers, its signal. On both drivers, with TLS and without. */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { connect as connectSecurely } from 'node:tls';
import t from 'tap';
import { Certificates } from '../support/certificates.ts';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, single } from './configs.ts';

t.setTimeout(120_000);

const made = new Certificates().self('a');
t.teardown(() => made.remove());
const pem = (name: string) => readFileSync(made.path(name));

const CODE = `let waiting = 0, aborted = 0;
export const app = {
  async fetch(request, context) {
    const { pathname } = new URL(request.url);
    if (pathname === '/seen') return Response.json({ waiting, aborted });
    if (pathname === '/waits') {
      waiting += 1;
      await new Promise((resolve) => request.signal.addEventListener('abort', resolve));
      aborted += 1;
    }
    const { url, method } = request;
    const body = request.body === null ? null : await request.text();
    return Response.json({ url, method, body, headers: [...request.headers], requestId: context.requestId });
  },
};
`;

const config = (server: string, tls: boolean): string =>
  configOf(
    [single('app', '/', { import_path: './code.ts:app' })],
    `http_options: ${JSON.stringify({
      host: '127.0.0.1',
      port: 0,
      server,
      ...(tls ? { ssl_keyfile: './key.pem', ssl_certfile: './cert.pem' } : {}),
    })}\nadmin_options: {port: 0}\n`,
  );

/** The whole answer to one request, told as it goes on the wire. */
const raw = (daemon: DaemonRig, head: string, body = ''): Promise<{ readonly status: number; readonly text: string }> =>
  new Promise((resolve, reject) => {
    const { protocol, port } = new URL(daemon.url);
    const options = { host: '127.0.0.1', port: Number(port) };
    const socket = protocol === 'https:' ? connectSecurely({ ...options, ca: pem('a.crt') }) : connect(options);
    let text = '';
    socket.on('error', reject);
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1');
    });
    socket.on('close', () => resolve({ status: Number(text.split(' ')[1]), text: text.slice(text.indexOf('\r\n\r\n') + 4) }));
    socket.write(`${head.replaceAll('\n', '\r\n')}\r\nConnection: close\r\n\r\n${body}`);
  });

interface Seen {
  readonly url: string;
  readonly method: string;
  readonly body: string | null;
  readonly headers: readonly (readonly [string, string])[];
  readonly requestId: string;
}

for (const server of ['uws', 'node'] as const) {
  for (const tls of [false, true]) {
    t.test(`${server}${tls ? ' with TLS' : ''}: the request that code gets`, async (t) => {
      await using daemon = await startDaemon(config(server, tls), {
        files: { 'code.ts': CODE, 'key.pem': pem('a.key'), 'cert.pem': pem('a.crt') },
      });
      const seen = async (head: string, body?: string): Promise<Seen> => JSON.parse((await raw(daemon, head, body)).text) as Seen;

      await t.test('its URL has the scheme, the host of the client, the path and the query as they were sent', async (t) => {
        const { url, body } = await seen('GET /a%2Fb/%C3%BC?x=1&x=2+3&&y=%26&z HTTP/1.1\nHost: Example.org:8443');
        t.equal(url, `${tls ? 'https' : 'http'}://example.org:8443/a%2Fb/%C3%BC?x=1&x=2+3&&y=%26&z`);
        t.equal(body, null);
      });

      await t.test('headers and a small body are there, and the id of the request in the context', async (t) => {
        const got = await seen(
          'PATCH /p HTTP/1.1\nHost: h\nX-Twice: a\nX-Twice: b\nX-Request-Id: mine\nContent-Length: 5',
          'hello',
        );
        t.match(got, { method: 'PATCH', body: 'hello', requestId: 'mine' });
        t.equal(Object.fromEntries(got.headers)['x-twice'], 'a, b');
      });

      await t.test('what HTTP lets pass and a `Request` cannot be is the mistake of the client', async (t) => {
        t.equal((await raw(daemon, 'GET / HTTP/1.1\nHost: h:99999')).status, 400);
        t.equal((await raw(daemon, 'TRACE / HTTP/1.1\nHost: h')).status, 405);
      });

      if (tls) return;
      await t.test('its signal is aborted when the client leaves', async () => {
        const { port } = new URL(daemon.url);
        const socket = connect(Number(port), '127.0.0.1');
        socket.write('GET /waits HTTP/1.1\r\nHost: h\r\n\r\n');
        const is = async (name: string) => (JSON.parse((await daemon.ask('/seen')).text) as Record<string, number>)[name] === 1;
        await until('it is at work', () => is('waiting'));
        socket.destroy();
        await until('its signal is aborted', () => is('aborted'));
      });
    });
  }
}

/** The example in `configs/hono`, over the wire on both drivers: as an application, and its object as a deployment. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { resolve } from 'node:path';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';

t.setTimeout(120_000);

const APP = resolve('configs/hono/app.ts');
const MIB = 1024 * 1024;

/** The example's own file, with a free port. */
const asApplication = (server: string): string =>
  `admin_options: {port: 0}\n${readFileSync('configs/hono/config.yaml', 'utf8')
    .replace('./app.ts', APP)
    .replace('http_options: {', `http_options: {host: 127.0.0.1, port: 0, server: ${server}, `)}`;

const asDeployment = `admin_options: {port: 0}
http_options: {host: 127.0.0.1, port: 0}
applications:
- name: tools
  route_prefix: /tools
  deployments:
  - {name: Mine, import_path: "${APP}:app"}
`;

const post = (daemon: DaemonRig, path: string, body: Uint8Array): ReturnType<DaemonRig['ask']> =>
  daemon.ask(path, { method: 'POST', body });

for (const server of ['uws', 'node'] as const) {
  t.test(`${server}: the example`, async (t) => {
    await using daemon = await startDaemon(asApplication(server));

    await t.test('a route with checked JSON', async (t) => {
      const answer = await daemon.post('/tools/words', { text: 'To be, or not to be', top: 2 });
      t.same(JSON.parse(answer.text), { total: 6, words: { be: 2, to: 2 } });
      const wrong = await daemon.post('/tools/words', { text: 1 });
      t.equal(wrong.status, 400);
      t.same(JSON.parse(wrong.text), { error: 'expected `text` to be a string, got number' });
      const broken = await daemon.ask('/tools/words', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"text": ',
      });
      t.equal(broken.status, 400);
      t.match(JSON.parse(broken.text), { error: /JSON/ });
    });

    await t.test('middleware: timing, CORS, and a log line with the id of the request', async (t) => {
      const answer = await daemon.post('/tools/words', { text: 'a' }, { 'x-request-id': 'seen-in-hono' });
      t.match(answer.headers['server-timing'], /^total;dur=/);
      t.equal(answer.headers['access-control-allow-origin'], '*');
      await daemon.waitForLog((line) => line.msg === 'tools' && line['requestId'] === 'seen-in-hono' && line['status'] === 200);
      const preflight = await daemon.ask('/tools/words', {
        method: 'OPTIONS',
        headers: { origin: 'http://a', 'access-control-request-method': 'POST' },
      });
      t.equal(preflight.status, 204);
      t.equal(preflight.headers['access-control-allow-methods'], 'GET,POST');
    });

    await t.test('parameters, and what is not there', async (t) => {
      const primes = await daemon.ask('/tools/primes/30');
      t.equal(primes.text, '2\n3\n5\n7\n11\n13\n17\n19\n23\n29\n');
      const missing = await daemon.ask('/tools/primes/many');
      t.equal(missing.status, 404);
      t.same(JSON.parse(missing.text), { error: 'there is no GET /tools/primes/many' });
    });

    await t.test('a streamed answer whose client leaves ends', async () => {
      const leaving = new AbortController();
      const out = request(`${daemon.url}/tools/primes/999999999`, { agent: false, signal: leaving.signal });
      out.on('error', () => {});
      const first = new Promise<void>((come) => {
        out.on('response', (incoming) => {
          incoming.on('error', () => {});
          incoming.once('data', () => come());
        });
      });
      out.end();
      await first;
      leaving.abort();
      await daemon.when('its place is free', ({ applications }) => applications['tools']?.deployments['Hono']?.ongoing === 0);
    });

    await t.test('an upload is read as it comes, and answered with its digest and size', async (t) => {
      const body = Buffer.alloc(20 * MIB, 'serve ');
      const sha256 = createHash('sha256').update(body).digest('hex');
      t.same(JSON.parse((await post(daemon, '/tools/digest/sha256', body)).text), { bytes: body.length, sha256 });
      const small = Buffer.from('small');
      const md5 = createHash('md5').update(small).digest('hex');
      t.same(JSON.parse((await post(daemon, '/tools/digest/md5', small)).text), { bytes: 5, md5 });
      const unknown = await post(daemon, '/tools/digest/sha0', body);
      t.equal(unknown.status, 400);
      t.match(JSON.parse(unknown.text), { error: /^expected a hash of md5, sha1, sha256, sha512, got sha0$/ });
    });

    await t.test('events tell how far an upload is before it is complete', async (t) => {
      const out = request(`${daemon.url}/tools/digest/sha1/progress`, { method: 'POST', agent: false });
      let text = '';
      out.on('response', (incoming) => {
        incoming.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
      });
      out.write(Buffer.alloc(2 * MIB, 'a'));
      await until('it is told', () => text.includes('event: progress\ndata: {"bytes":'));
      t.notOk(text.includes('event: done'));
      out.end('b');
      await until('the end is told', () => text.includes('event: done'));
      const sha1 = createHash('sha1')
        .update('a'.repeat(2 * MIB))
        .update('b')
        .digest('hex');
      t.ok(text.includes(`data: ${JSON.stringify({ bytes: 2 * MIB + 1, sha1 })}`), text.slice(-200));
    });
  });
}

t.test('the same object is a deployment as it stands', async (t) => {
  await using daemon = await startDaemon(asDeployment);
  t.same(JSON.parse((await daemon.post('/tools/words', { text: 'one two two' })).text), { total: 3, words: { one: 1, two: 2 } });
});

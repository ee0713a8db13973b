/** The HTTP listener's options edited while the daemon serves: address, certificate, driver, off and on; with the real daemon. */
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { createServer } from 'node:net';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import { Certificates } from '../support/certificates.ts';
import { type DaemonRig, Load, launchDaemon, runProgram, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, ECHO, single } from './configs.ts';

t.setTimeout(120_000);

const made = new Certificates().self('a').self('b').self('ca').signed('client', 'ca').locked('a', 'hunter2');
t.teardown(() => made.remove());
const trusted = ['a', 'b'].map((name) => readFileSync(made.path(`${name}.crt`)));
const pem = (name: string) => readFileSync(made.path(name));

const CODE = `${ECHO}
export async function* slow() { yield 'first '; await new Promise((r) => setTimeout(r, 1500)); yield 'last'; }
`;
const files = { 'echo.ts': CODE };
const apps = [
  single('echo', '/echo', { import_path: './echo.ts:echo' }),
  single('slow', '/slow', { import_path: './echo.ts:slow' }),
];
const config = (http: object = {}, more = '') =>
  configOf(apps, `http_options: ${JSON.stringify({ host: '127.0.0.1', port: 0, ...http })}\nadmin_options: {port: 0}\n${more}`);

const get = (url: string, options: object = {}): Promise<{ status: number; text: string; subject: string }> =>
  new Promise((resolve, reject) => {
    const outgoing = request(url, { ca: trusted, agent: false, ...options }, (incoming) => {
      const subject = (incoming.socket as TLSSocket).getPeerCertificate().subject.CN;
      let text = '';
      incoming.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, text, subject: String(subject) }));
    });
    outgoing.on('error', reject);
    outgoing.end();
  });

/** `cert.pem` and `key.pem` beside the config, as a renewal writes them. */
const renew = async (daemon: DaemonRig, name: string): Promise<void> => {
  await daemon.write('key.pem', pem(`${name}.key`));
  await daemon.write('cert.pem', pem(`${name}.crt`));
};
const PAIR = { ssl_keyfile: './key.pem', ssl_certfile: 'cert.pem' };
const pair = { 'key.pem': pem('a.key'), 'cert.pem': pem('a.crt') };

for (const server of ['auto', 'node'] as const) {
  t.test(`${server}: a certificate is renewed, broken and mended while clients ask; every replica keeps its pid`, async (t) => {
    await using daemon = await startDaemon(config({ ...PAIR, server }), {
      files: { ...files, ...pair },
      args: ['--no-watch-code'],
    });
    t.match(daemon.url, /^https:\/\/127\.0\.0\.1:\d+$/);
    const pids = await daemon.pids('echo', 'Only');
    t.match(await get(`${daemon.url}/echo`), { status: 200, subject: 'a' });
    await using load = new Load(4, async () => {
      const { status } = await get(`${daemon.url}/echo`);
      return status === 200 ? undefined : String(status);
    });

    await renew(daemon, 'b');
    await until('the renewed one is served', async () => (await get(`${daemon.url}/echo`)).subject === 'b');

    let from = daemon.log.length;
    await daemon.write('cert.pem', pem('a.crt'));
    const line = await daemon.waitForLog((each) => each.msg.startsWith('the config was rejected'), from);
    t.match(line['diagnostics'], [{ code: 'KEY_MISMATCH', path: 'http_options.ssl_keyfile', line: 1 }]);
    t.match((await daemon.status()).config.errors, [{ code: 'KEY_MISMATCH', severity: 'error' }]);
    t.equal((await get(`${daemon.url}/echo`)).subject, 'b', 'the old one stays in force');

    from = daemon.log.length;
    rmSync(daemon.path('cert.pem'));
    await daemon.waitForLog((each) => JSON.stringify(each).includes('TLS_FILE_MISSING'), from);
    t.equal((await get(`${daemon.url}/echo`)).subject, 'b');
    await renew(daemon, 'a');
    await until('mended', async () => (await get(`${daemon.url}/echo`)).subject === 'a');

    await load.more(20);
    await load.stop();
    t.same(load.failures, []);
    t.same(await daemon.pids('echo', 'Only'), pids);
    t.same(await daemon.stop(), { code: 0, signal: null });
  });

  t.test(`${server}: a locked key, clients with certificates, and back to HTTP on the same port`, async (t) => {
    const locked = { ...files, ...pair, 'key.pem': pem('a.locked.key'), 'ca.pem': pem('ca.crt') };
    const secure = { ...PAIR, ssl_keyfile_password: 'hunter2', ssl_ca_certs: './ca.pem', server };
    await using daemon = await startDaemon(config(secure), { files: locked });
    const url = daemon.url;
    t.match(await get(`${url}/echo`, { cert: pem('client.crt'), key: pem('client.key') }), { status: 200 });
    const without = await get(`${url}/echo`).catch((error: Error) => error);
    if (!(without instanceof Error)) t.match(without, { status: 400, text: /client certificate/ });

    const from = daemon.log.length;
    await daemon.save(config({ ...secure, ssl_keyfile_password: 'swordfish' }));
    const line = await daemon.waitForLog((each) => each.msg.startsWith('the config was rejected'), from);
    t.match(line['diagnostics'], [{ code: 'WRONG_PASSWORD', path: 'http_options.ssl_keyfile_password', line: 1 }]);
    t.notMatch(JSON.stringify(daemon.log) + daemon.errors + JSON.stringify(await daemon.status()), /swordfish|hunter2/);

    await daemon.save(config({ server }));
    await daemon.waitForLog((each) => each.msg === 'listening for HTTP' && each['url'] === url.replace('https', 'http'), from);
    t.equal((await daemon.post('/echo', 5)).text, '5');
  });

  t.test(`${server}: port, root_path, Disabled and back: a stream begun before ends, replicas keep their pids`, async (t) => {
    await using daemon = await startDaemon(config({ server }), { files });
    const pids = await daemon.pids('echo', 'Only');
    const before = daemon.url;
    const [holder, port] = await new Promise<[ReturnType<typeof createServer>, number]>((resolve) => {
      const made = createServer();
      made.listen(0, '127.0.0.1', () => resolve([made, (made.address() as { port: number }).port]));
    });
    const stream = daemon.ask('/slow');
    await daemon.when('it has begun', ({ applications }) => applications['slow']?.deployments['Only']?.ongoing === 1);

    await daemon.save(config({ server, port }));
    const told = await daemon.when('the failure is told', ({ listeners }) => listeners.http_error !== null);
    t.match(told.listeners, { http: before, http_error: new RegExp(`127.0.0.1:${port} is in use.*http_options.port`) });
    t.equal((await daemon.post('/echo', 1)).text, '1', 'the old one goes on');
    await new Promise((resolve) => holder.close(resolve));
    daemon.signal('SIGHUP');
    await until('it has moved', () => daemon.url === `http://127.0.0.1:${port}`);
    t.match((await daemon.status()).listeners, { http: daemon.url, http_error: null });
    t.equal((await daemon.post('/echo', 2)).text, '2');

    await daemon.apply(config({ server, port, root_path: '/front' }));
    t.equal((await daemon.post('/front/echo', 3)).text, '3');

    const from = daemon.log.length;
    await daemon.save(config({ server, port }, 'proxy_location: Disabled\n'));
    await daemon.waitForLog('not listening for HTTP any more', from);
    t.equal((await stream).text, 'first last', 'the stream of the first listener ended properly');
    t.match((await daemon.status()).listeners, { http: null, http_driver: null, http_error: null });
    await t.rejects(daemon.ask('/echo', { agent: undefined } as never), { code: 'ECONNREFUSED' });
    await daemon.save(config({ server, port }));
    await until('it is back', () =>
      daemon.ask('/-/healthz').then(
        ({ status }) => status === 200,
        () => false,
      ),
    );
    t.same(await daemon.pids('echo', 'Only'), pids);
    t.same(await daemon.stop(), { code: 0, signal: null });
  });
}

t.test('the admin API moves, also to every address on its own port, and what is under way ends', async (t) => {
  const head = (admin: string) => configOf(apps, `http_options: {port: 0}\nadmin_options: ${admin}\n`);
  await using daemon = await startDaemon(head('{port: 0}'), { files });
  const before = daemon.adminUrl;
  const port = Number(new URL(before).port);
  for (const admin of [`{host: 0.0.0.0, port: ${port}, token: abc}`, '{port: 0}', `{port: ${port}}`]) {
    const from = daemon.log.length;
    await daemon.save(head(admin));
    await daemon.waitForLog('admin API is up', from);
    // On a connection of its own: one that was kept to the old listener may be just about to be closed.
    t.equal((await daemon.ask('/healthz', { agent: false }, daemon.adminUrl.replace('0.0.0.0', '127.0.0.1'))).status, 200);
  }
  t.equal(daemon.adminUrl, before);
});

t.test('a certificate that cannot be served is told at the start, and by validate, at its place', async (t) => {
  const folder = t.testdir(files);
  copyFileSync(made.path('b.key'), `${folder}/key.pem`);
  copyFileSync(made.path('a.crt'), `${folder}/cert.pem`);
  const text = `http_options:\n  port: 0\n  ssl_keyfile: key.pem\n  ssl_certfile: cert.pem\nadmin_options: {port: 0}\napplications: []\n`;
  writeFileSync(`${folder}/config.yaml`, text);
  const { code, out } = await runProgram(['validate', `${folder}/config.yaml`]);
  t.equal(code, 1);
  t.match(out, /config\.yaml:3:16.*key\.pem is the key of another certificate than that in .*cert\.pem/s);
  await using daemon = await launchDaemon(text, { files: { 'key.pem': pem('b.key'), 'cert.pem': pem('a.crt') } });
  t.same(await daemon.exited, { code: 1, signal: null });
  t.match(daemon.errors, /:3:16/);
  t.match(daemon.errors, /is the key of another certificate/);
});

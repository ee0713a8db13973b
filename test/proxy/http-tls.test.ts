/** HTTPS on both drivers: what is negotiated, who is let in, and the conformance suite once more. */

import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import type { TlsSpec } from '../../src/domain/desired.ts';
import { Certificates } from '../support/certificates.ts';
import { OPEN_DOOR } from '../support/open-door.ts';

process.env.UWS_HTTP_MAX_HEADERS_SIZE = String(16 * 1024);
const { chooseDriver } = await import('../../src/proxy/http-driver.ts');
const { conformOverTls } = await import('./http.conformance.ts');
const { overTls, startRig } = await import('./http-rig.ts');

const made = new Certificates().self('a').self('b').self('ca').self('evil').signed('client', 'ca').locked('a', 'hunter2');
t.teardown(() => made.remove());
const pem = (name: string) => readFileSync(made.path(name));

const ask = (port: number, options: ConnectionOptions = {}): Promise<{ status: number; text: string; version: string }> =>
  new Promise((resolve, reject) => {
    const outgoing = request(
      { host: '127.0.0.1', port, ca: [pem('a.crt'), pem('b.crt')], agent: false, path: '/x', ...options },
      (incoming) => {
        let text = '';
        const version = (incoming.socket as TLSSocket).getProtocol() ?? '';
        incoming.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, text, version }));
      },
    );
    outgoing.on('error', reject);
    outgoing.end();
  });

const uws = await Promise.resolve()
  .then(() => chooseDriver('uws'))
  .catch(() => undefined);
const KINDS = uws === undefined ? (['node'] as const) : (['uws', 'node'] as const);

for (const kind of KINDS) {
  const start = async (t: Test, tls: TlsSpec) => {
    overTls(tls);
    return (await startRig(t, kind)).server;
  };

  t.test(`${kind}: a request over TLS 1.3, 1.2, and none below`, async (t) => {
    const { port } = await start(t, made.spec('a'));
    t.same(await ask(port), { status: 200, text: 'GET /x', version: 'TLSv1.3' });
    t.same(await ask(port, { maxVersion: 'TLSv1.2' }), { status: 200, text: 'GET /x', version: 'TLSv1.2' });
    await t.rejects(ask(port, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
    await t.rejects(ask(port, { ca: pem('evil.crt') }), 'a client that does not know the authority');
  });

  t.test(`${kind}: a client that offers h2 and http/1.1 gets HTTP/1.1`, async (t) => {
    const { port } = await start(t, made.spec('a'));
    const socket = connect({ port, host: '127.0.0.1', ca: pem('a.crt'), ALPNProtocols: ['h2', 'http/1.1'] });
    t.teardown(() => socket.destroy());
    await new Promise((resolve) => socket.once('secureConnect', resolve));
    // uWebSockets.js answers nothing, which means the same.
    t.equal(socket.alpnProtocol, kind === 'node' ? 'http/1.1' : false);
    socket.write('GET /y HTTP/1.1\r\nHost: x\r\n\r\n');
    const text = await new Promise((resolve) => socket.once('data', (data) => resolve(String(data))));
    t.match(text, /^HTTP\/1\.1 200 /);
  });

  t.test(`${kind}: with authorities a client needs a certificate of theirs`, async (t) => {
    const { port } = await start(t, made.spec('a', { caFile: made.path('ca.crt') }));
    t.match(await ask(port, { cert: pem('client.crt'), key: pem('client.key') }), { status: 200 });
    await t.rejects(ask(port, { cert: pem('evil.crt'), key: pem('evil.key') }));
    const agent = new Agent({ cert: pem('client.crt'), key: pem('client.key') });
    for (let resumed = 0; resumed < 3; resumed++) t.match(await ask(port, { agent } as object), { status: 200 });
    agent.destroy();
    if (kind === 'node') await t.rejects(ask(port));
    else t.match(await ask(port), { status: 400, text: /expected a client certificate/ });
  });

  t.test(`${kind}: an encrypted key`, async (t) => {
    const { port } = await start(t, made.spec('a', { keyFile: made.path('a.locked.key'), password: 'hunter2' }));
    t.match(await ask(port), { status: 200 });
  });

  t.test(`${kind}: files that cannot be served are an error, and leave nothing open`, async (t) => {
    const options = { host: '127.0.0.1', port: 0, maxHeaderBytes: 16_384, limits: () => ({}) as never, door: OPEN_DOOR };
    for (const tls of [
      made.spec('a', { keyFile: made.path('b.key') }),
      made.spec('a', { keyFile: made.path('a.locked.key'), password: 'swordfish' }),
      made.spec('none'),
      made.spec('a', { fingerprint: 'of others' }),
    ]) {
      const error = await chooseDriver(kind)
        .start({ ...options, tls }, () => {})
        .catch((thrown: Error) => thrown);
      t.ok(error instanceof Error);
      t.notMatch(String(error), /swordfish/);
    }
  });

  t.test(`${kind}: plain HTTP on an HTTPS port gets no answer, and the next client does`, async (t) => {
    const { port } = await start(t, made.spec('a'));
    const { connect: plain } = await import('node:net');
    const socket = plain(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.end('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await new Promise((resolve) => socket.resume().on('close', resolve));
    t.match(await ask(port), { status: 200 });
  });

  t.test(`${kind}: a renewed certificate meets new connections; those of before end with their next answer`, async (t) => {
    const server = await start(t, made.spec('a'));
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    t.teardown(() => agent.destroy());
    const serial = async (agent: Agent | false) => {
      let common = '';
      await new Promise<void>((resolve, reject) => {
        const outgoing = request(
          { host: '127.0.0.1', port: server.port, ca: [pem('a.crt'), pem('b.crt')], agent },
          (incoming) => {
            common =
              `${(incoming.socket as TLSSocket).getPeerCertificate().subject.CN} ${incoming.headers.connection ?? ''}`.trim();
            incoming.resume().on('end', resolve);
          },
        );
        outgoing.on('error', reject);
        outgoing.end();
      });
      return common.replace('keep-alive', '').trim();
    };
    t.equal(await serial(agent), 'a');
    await server.renew({ tls: made.spec('b'), maxHeaderBytes: 16_384 });
    t.equal(await serial(false).then((text) => text.split(' ')[0]), 'b');
    t.equal(await serial(agent), 'a close', 'in work with the old one, and told to come again');
    t.equal(await serial(agent), 'b');
    await t.rejects(server.renew({ tls: made.spec('none'), maxHeaderBytes: 16_384 }));
    t.equal(await serial(agent), 'b', 'a broken one changes nothing');
  });

  t.test(`${kind}: the conformance suite`, async () => {
    overTls(made.spec('a'));
  });
  conformOverTls(kind);
}

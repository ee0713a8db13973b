import t from 'tap';
import { chooseDriver, loadUws } from '../../src/proxy/http-driver.ts';
import { OPEN_DOOR } from '../support/open-door.ts';
import { conform } from './http.conformance.ts';
import { get, HOST, startRig } from './http-rig.ts';

t.test('node: the driver says which it is', async (t) => {
  const rig = await startRig(t, 'node');
  t.equal(rig.server.driver, 'node:http');
  t.equal(rig.server.fallbackReason, undefined);
});

t.test('node: stands in where no binary loads, and tells every reason', async (t) => {
  const asked: string[] = [];
  const none = loadUws((name) => {
    asked.push(name);
    throw new Error(`no ${name}\nand more`);
  });
  t.equal(none.uws, undefined);
  t.match(none.reason, /^uWebSockets\.js: no uWebSockets\.js/);
  t.equal(asked[0], 'uWebSockets.js', 'the author’s own comes first');
  t.match(loadUws(() => ({})).reason, /is something else/);
});

t.test('node: the author’s own package comes before our binary', async (t) => {
  const own = { App: () => {}, us_socket_local_port: () => {} };
  t.equal(loadUws((name) => (name === 'uWebSockets.js' ? own : undefined)).uws, own);
});

t.test('node: what cannot listen is rejected, not thrown', async (t) => {
  const options = {
    host: '127.0.0.1',
    port: 1,
    tls: null,
    maxHeaderBytes: 16_384,
    limits: () => ({ maxHeaderBytes: 16_384, maxRequestBodyBytes: 1, keepAliveTimeoutMs: 1, draining: false }),
    door: OPEN_DOOR,
  };
  const started = await chooseDriver('node')
    .start({ ...options, host: 'no such host' }, () => {})
    .catch((error: unknown) => error);
  t.match(started, { name: 'ListenError' });
});

t.test('node: the host of an absolute target takes the place of the Host header', async (t) => {
  let host: string | undefined;
  const rig = await startRig(t, 'node', (exchange) => {
    host = exchange.header('host');
    exchange.respond(200, [], `${exchange.path}?${exchange.query}`);
  });
  const client = await rig.client();
  client.send(`GET http://y:80?a HTTP/1.1\r\n${HOST}\r\n`);
  t.equal((await client.answer())?.body.toString(), '/?a');
  t.equal(host, 'y:80');
});

t.test('node: answers given out of order go out in order, and a broken message behind them only closes', async (t) => {
  const rig = await startRig(t, 'node', (exchange) => {
    setTimeout(() => exchange.respond(200, [], exchange.path), exchange.path === '/a' ? 20 : 0);
  });
  const client = await rig.client();
  client.send(`${get('/a')}${get('/b')}GARBAGE\r\n\r\n`);
  t.equal((await client.answer())?.body.toString(), '/a');
  t.match(await client.answer(), { headers: { connection: 'close' }, body: Buffer.from('/b') });
  await client.closed;
  t.equal(client.text, '');
});

conform('node');

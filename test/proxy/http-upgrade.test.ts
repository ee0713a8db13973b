import t from 'tap';
import { readFraming } from '../../src/proxy/http-framing.ts';
import { asksForWebSocket, checkHandshake } from '../../src/proxy/http-upgrade.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const GOOD = [
  'host',
  'x',
  'connection',
  'Upgrade',
  'upgrade',
  'websocket',
  'sec-websocket-version',
  '13',
  'sec-websocket-key',
  KEY,
];

const checked = (headers: readonly string[], isHttp10 = false) =>
  checkHandshake(headers, readFraming(headers, 1000, isHttp10), isHttp10)?.message;
const without = (name: string) => GOOD.filter((_, index) => GOOD[index - (index % 2)] !== name);

t.test('a request asks for a WebSocket when it is a GET that names it in upgrade and connection, in any case', async (t) => {
  t.equal(asksForWebSocket('GET', GOOD), true);
  t.equal(asksForWebSocket('GET', ['connection', 'keep-alive, upgrade', 'upgrade', 'h2c, WebSocket']), true);
  t.equal(asksForWebSocket('POST', GOOD), false);
  t.equal(asksForWebSocket('GET', without('connection')), false);
  t.equal(asksForWebSocket('GET', without('upgrade')), false);
  t.equal(asksForWebSocket('GET', ['connection', 'upgrade', 'upgrade', 'h2c']), false);
  t.equal(asksForWebSocket('GET', ['connection', 'upgraded', 'upgrade', 'websocket']), false);
});

t.test('what is wrong with a handshake is named', async (t) => {
  t.equal(checked(GOOD), undefined);
  t.equal(checked([...GOOD, 'sec-websocket-protocol', 'a, b', 'sec-websocket-protocol', 'c']), undefined);
  t.match(checked(without('sec-websocket-key')), /sec-websocket-key/);
  t.match(checked([...GOOD, 'sec-websocket-key', KEY]), /one sec-websocket-key/);
  t.match(checked([...without('sec-websocket-key'), 'sec-websocket-key', KEY.slice(0, -1)]), /sec-websocket-key/);
  t.match(checked(without('sec-websocket-version')), /13/);
  t.match(checked([...without('sec-websocket-version'), 'sec-websocket-version', '8']), /13/);
  t.match(checked([...GOOD, 'content-length', '1']), /no body/);
  t.match(checked([...GOOD, 'transfer-encoding', 'chunked']), /no body/);
  t.match(checked([...GOOD, 'sec-websocket-protocol', 'a,,b']), /each once/);
  t.match(checked([...GOOD, 'sec-websocket-protocol', 'a', 'sec-websocket-protocol', 'a']), /each once/);
  t.match(checked(GOOD, true), /HTTP\/1\.1/);
});

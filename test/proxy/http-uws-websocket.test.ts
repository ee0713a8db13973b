/** The order in which an upgrade speaks to uWebSockets.js. The rest of its behaviour is in the conformance suites. */
import t from 'tap';
import { UwsUpgradeExchange } from '../../src/proxy/http-uws-websocket.ts';
import type { UwsResponse } from '../../src/proxy/uws-types.ts';

const LISTENER = { message: () => {}, drained: () => {}, closed: () => {} };

t.test('the handshake is completed beside the cork that carries its headers', async (t) => {
  const seen: string[] = [];
  let isCorked = false;
  let isBeside = false;
  const said = (what: string) => {
    seen.push(`${isCorked ? 'corked ' : ''}${isBeside ? 'beside ' : ''}${what}`);
    return res;
  };
  const bystander = {
    cork(_own: UwsResponse, write: () => void) {
      isBeside = true;
      write();
      isBeside = false;
    },
  };
  const res = {
    cork(write: () => void) {
      isCorked = true;
      write();
      isCorked = false;
      return res;
    },
    writeStatus: (status: string) => said(status),
    writeHeader: (name: string, value: string) => said(`${name}: ${value}`),
    upgrade: (_carried: unknown, key: string, protocol: string) => said(`upgrade ${key} ${protocol}`),
  } as unknown as UwsResponse;
  const rules = { isSecure: false, closing: () => false, done: () => {}, socketClosed: () => {} };
  const headers = ['sec-websocket-key', 'a key'];
  const framing = { bodyBytes: 0, close: false, upgrade: true, refusal: undefined };
  const exchange = new UwsUpgradeExchange(rules, res, '/', '', headers, framing, () => 1024, undefined, bystander);
  t.ok(exchange.upgrade.accept('chat', ['x-request-id', 'r-1', 'unsound', 'é'], LISTENER));
  t.same(seen, ['corked 101 Switching Protocols', 'corked x-request-id: r-1', 'beside upgrade a key chat']);
  t.equal(exchange.upgrade.accept('chat', [], LISTENER), undefined, 'once');
});

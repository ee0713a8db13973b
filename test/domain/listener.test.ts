import t from 'tap';
import type { ProxySpec, TlsSpec } from '../../src/domain/desired.ts';
import { type HttpDriver, type ListenerMove, type Listening, listenerMove } from '../../src/domain/listener.ts';
import { proxySpec } from '../support/routing.ts';

const tls: TlsSpec = { keyFile: '/k', certFile: '/c', password: null, caFile: null, fingerprint: '1' };
const renewed = { ...tls, fingerprint: '2' };

const TABLE: readonly (readonly [
  what: string,
  now: Partial<Listening> | null,
  wanted: Partial<ProxySpec>,
  uws: ListenerMove,
  node: ListenerMove,
])[] = [
  ['the same', {}, {}, 'none', 'none'],
  ['none, and none wanted', null, { enabled: false }, 'none', 'none'],
  ['the first', null, {}, 'open', 'open'],
  ['Disabled', {}, { enabled: false }, 'close', 'close'],
  ['another port', {}, { port: 8001 }, 'move', 'move'],
  ['any free port stays where it is', { askedPort: 0, port: 4000 }, { port: 0 }, 'none', 'none'],
  ['the free port that it has, by name', { askedPort: 0, port: 4000 }, { port: 4000 }, 'none', 'none'],
  ['from a port to any', {}, { port: 0 }, 'move', 'move'],
  ['another address, another port', {}, { host: '0.0.0.0', port: 8001 }, 'move', 'move'],
  ['another address, the same port', {}, { host: '127.0.0.2' }, 'move', 'move'],
  ['every address, the same port', {}, { host: '0.0.0.0' }, 'reopen', 'reopen'],
  ['a name may be any address', {}, { host: 'localhost' }, 'reopen', 'reopen'],
  ['every address, any port', { askedPort: 0, port: 4000 }, { host: '0.0.0.0', port: 0 }, 'move', 'move'],
  ['HTTPS', {}, { tls }, 'reopen', 'renew'],
  ['HTTPS and another port', {}, { tls, port: 8001 }, 'move', 'move'],
  ['a renewed certificate', { tls }, { tls: renewed }, 'renew', 'renew'],
  ['the same certificate', { tls }, { tls }, 'none', 'none'],
  ['HTTP again', { tls }, {}, 'reopen', 'renew'],
  ['longer headers', {}, { maxHeaderBytes: 20_000 }, 'none', 'renew'],
  [
    'what is read at each request',
    {},
    { rootPath: '/x', keepAliveTimeoutMs: 1, maxRequestBodyBytes: 1, drainGraceMs: 5 },
    'none',
    'none',
  ],
];
for (const [what, now, wanted, ...moves] of TABLE) {
  t.test(what, async (t) => {
    for (const [at, driver] of (['uWebSockets.js', 'node:http'] as HttpDriver[]).entries()) {
      const listening: Listening = {
        host: '127.0.0.1',
        askedPort: 8000,
        port: 8000,
        driver,
        tls: null,
        maxHeaderBytes: 16_384,
        ...now,
      };
      t.equal(
        listenerMove(now === null ? undefined : listening, proxySpec({ port: 8000, ...wanted }), driver),
        moves[at],
        driver,
      );
    }
  });
}

t.test('another driver on one port makes room first, on another port it does not', async (t) => {
  const now: Listening = {
    host: '127.0.0.1',
    askedPort: 8000,
    port: 8000,
    driver: 'uWebSockets.js',
    tls: null,
    maxHeaderBytes: 16_384,
  };
  t.equal(listenerMove(now, proxySpec({ port: 8000 }), 'node:http'), 'reopen');
  t.equal(listenerMove(now, proxySpec({ port: 8001 }), 'node:http'), 'move');
});

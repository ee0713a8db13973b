/** What not every driver can do: one probe each, held against the table of `docs/http-drivers.md`. */

import { readFile } from 'node:fs/promises';
import type { HttpExchange } from '../../src/proxy/http-server.ts';
import { type Client, get, HOST, type Rig } from './http-rig.ts';
import { clientFrame, HANDSHAKE } from './websocket.conformance.ts';

type Start = (handler?: (exchange: HttpExchange) => void) => Promise<Rig>;

export interface Limit {
  id: string;
  can(start: Start): Promise<boolean>;
}

/** Sends, and half-closes where no answer would ever come: with an answer the first status, else undefined. */
const status = async (start: Start, message: string, endAfter = false): Promise<number | undefined> => {
  const rig = await start();
  const client = await rig.client();
  client.send(message);
  if (endAfter) client.socket.end();
  return (await client.answer())?.status;
};

const later = (exchange: HttpExchange): void => exchange.body(() => setImmediate(() => echo2(exchange)));
const echo2 = (exchange: HttpExchange): void => exchange.respond(200, [], exchange.path);
const chunkedPost = (body: string): string => `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${body}`;

export const LIMITS: readonly Limit[] = [
  { id: 'http-1.0', can: async (start) => (await status(start, `GET / HTTP/1.0\r\n${HOST}\r\n`)) === 200 },
  { id: 'absolute-target', can: async (start) => (await status(start, `GET http://x/ HTTP/1.1\r\n${HOST}\r\n`)) === 200 },
  { id: 'options-asterisk', can: async (start) => (await status(start, `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`)) === 200 },
  {
    id: 'leading-empty-line',
    can: async (start) => (await status(start, `\r\n${get('/', 'Connection: close\r\n')}`, true)) === 200,
  },
  {
    id: 'pipelining-while-in-work',
    can: async (start) => {
      const client = await (await start(later)).client();
      client.send(get('/a') + get('/b'));
      return (await client.answer())?.body.toString() === '/a' && (await client.answer())?.body.toString() === '/b';
    },
  },
  {
    id: 'answer-before-bytes-behind-close',
    can: async (start) => (await status(start, get('/a', 'Connection: close\r\n') + get('/b'))) === 200,
  },
  {
    id: 'chunk-extensions',
    can: async (start) => (await status(start, chunkedPost('5;a=b\r\nhello\r\n0\r\n\r\n'), true)) === 200,
  },
  { id: 'trailers', can: async (start) => (await status(start, chunkedPost('5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n'))) === 200 },
  {
    id: 'keep-alive-after-chunked',
    can: async (start) => {
      const client = await (await start()).client();
      client.send(chunkedPost('5\r\nhello\r\n0\r\n\r\n'));
      return (await client.answer())?.headers.connection !== 'close';
    },
  },
  {
    id: 'refusals-named',
    can: async (start) => {
      const client = await (await start()).client();
      client.send('GET / HTTP/1.1\r\nX : y\r\n\r\n');
      return (await client.answer())?.headers['x-serve-error'] === 'INVALID_INPUT';
    },
  },
  {
    id: 'refusals-not-padded',
    can: async (start) => {
      const client = await (await start()).client();
      client.send('GET / HTTP/1.1\r\nHost: a b\r\n\r\n');
      return ((await client.answer())?.body.length ?? Number.POSITIVE_INFINITY) < 1000;
    },
  },
  {
    id: 'bare-cr-refused',
    can: async (start) => (await status(start, `GET / HTTP/1.1\r\n${HOST}X: a\rb\r\n\r\n`, true)) === 400,
  },
  {
    id: 'empty-header-name-refused',
    can: async (start) => (await status(start, `GET / HTTP/1.1\r\n${HOST}: y\r\n\r\n`)) === 400,
  },
  {
    id: 'chunk-end-checked',
    can: async (start) => (await status(start, chunkedPost('5\r\nhelloXX0\r\n\r\n'))) === 400,
  },
  {
    id: 'latin1-header-values',
    can: async (start) => {
      let value: string | undefined;
      const rig = await start((exchange) => {
        value = exchange.header('x-a');
        echo2(exchange);
      });
      const client = await rig.client();
      client.send(get('/', 'X-A: caf\xe9!\r\n'));
      await client.answer();
      return value === 'caf\xe9!';
    },
  },
  {
    id: 'expect-in-any-case',
    can: async (start) => {
      const client = await (await start()).client();
      const head = `POST / HTTP/1.1\r\n${HOST}Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n`;
      client.send(head);
      client.socket.end();
      return (await client.answer())?.status === 100;
    },
  },
  {
    id: 'no-continue-before-413',
    can: async (start) =>
      (await status(start, `POST / HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n`)) === 413,
  },
  {
    id: 'head-of-stream-at-once',
    can: async (start) => {
      // The client asks for a second answer on another connection once the first has begun: by then the head is there, or is not sent.
      let streaming: HttpExchange | undefined;
      const rig = await start((exchange) => {
        if (exchange.path !== '/stream') return echo2(exchange);
        streaming = exchange;
        exchange.begin(200, ['x-a', 'b']);
      });
      const client = await rig.client();
      client.send(get('/stream'));
      const other = await rig.client();
      for (let i = 0; i < 20; i++) {
        other.send(get('/other'));
        await other.answer();
      }
      const came = client.text.includes('x-a: b');
      streaming?.abort();
      return came;
    },
  },
  {
    id: 'idle-closed-at-once-at-stop',
    can: async (start) => {
      const waiting: HttpExchange[] = [];
      const rig = await start((exchange) => (exchange.path === '/idle' ? echo2(exchange) : void waiting.push(exchange)));
      const idle: Client = await rig.client();
      idle.send(get('/idle'));
      await idle.answer();
      const working = await rig.client();
      working.send(get('/work'));
      while (waiting.length === 0) await new Promise((resolve) => setImmediate(resolve));
      rig.server.stopAccepting();
      for (let i = 0; i < 50 && !idle.isClosed; i++) await new Promise((resolve) => setImmediate(resolve));
      const wasClosed = idle.isClosed;
      waiting[0]?.respond(200, [], '');
      await working.closed;
      return wasClosed;
    },
  },
  {
    id: 'websocket-1009-at-any-length',
    can: async (start) => {
      const none = { message: () => {}, drained: () => {}, closed: () => {} };
      const client = await (await start((exchange) => void exchange.upgrade?.accept(undefined, [], none))).client();
      client.send(get('/', HANDSHAKE));
      await client.until(() => client.text.includes('\r\n\r\n'));
      client.send(clientFrame(0x82, 'the first of 40 MB', 40_000_000));
      await client.until(() => client.text.includes('\x03\xf1'));
      return client.text.includes('\x03\xf1');
    },
  },
  {
    id: 'websocket-unmasked-refused',
    can: async (start) => {
      const read: string[] = [];
      const listener = { message: () => void read.push('message'), drained: () => {}, closed: () => void read.push('closed') };
      const client = await (await start((exchange) => void exchange.upgrade?.accept(undefined, [], listener))).client();
      client.send(get('/', HANDSHAKE));
      await client.until(() => client.text.includes('\r\n\r\n'));
      client.send(Buffer.from('\x82\x04no mask!', 'latin1'));
      client.socket.on('data', () => client.socket.end());
      while (read.length === 0) await new Promise(setImmediate);
      return read[0] === 'closed';
    },
  },
  {
    id: 'keep-alive-timeout-configured',
    can: async (start) => {
      const rig = await start();
      rig.limits.keepAliveTimeoutMs = 50;
      const client = await rig.client();
      client.send(get('/'));
      await client.answer();
      // 10 s is what uWebSockets.js takes, whatever is asked.
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<boolean>((resolve) => {
        timer = setTimeout(resolve, 3000, false);
      });
      const closed = await Promise.race([client.closed.then(() => true), late]);
      clearTimeout(timer);
      return closed;
    },
  },
];

/** id → cells of the table's rows. */
export const readTable = async (): Promise<Map<string, Record<'uws' | 'node', string>>> => {
  const text = await readFile(new URL('../../docs/http-drivers.md', import.meta.url), 'utf8');
  const rows = text.matchAll(/^\| `([\w.-]+)` \|[^|]*\| (yes|no) \| (yes|no) \|/gm);
  return new Map([...rows].map(([, id, uws, node]) => [id as string, { uws: uws as string, node: node as string }]));
};

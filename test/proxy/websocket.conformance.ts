/** What a WebSocket is on either driver, byte by byte. */
import t from 'tap';
import type { HttpExchange, WebSocketListener, WebSocketPeer } from '../../src/proxy/http-server.ts';
import { type Client, get, startRig } from './http-rig.ts';

type Kind = 'uws' | 'node';

export const HANDSHAKE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
const TEXT = 0x81;
const CLOSE = 0x88;
const PING = 0x89;

/** A frame as clients send it, with a mask of zeros. @param claimed its length, where less of it is sent */
export const clientFrame = (first: number, payload: string | Buffer, claimed = payload.length): Buffer => {
  const head = Buffer.alloc(14);
  head[0] = first;
  head[1] = 0xff;
  head.writeBigUInt64BE(BigInt(claimed), 2);
  const short = claimed < 126 ? Buffer.from([first, 0x80 + claimed, 0, 0, 0, 0]) : head;
  return Buffer.concat([short, Buffer.from(payload)]);
};
const closeOf = (code: number): Buffer => Buffer.from([code >> 8, code & 0xff]);

class Recorded implements WebSocketListener {
  readonly events: string[] = [];
  peer: WebSocketPeer | undefined;
  #changed: () => void = () => {};
  message(payload: Uint8Array, isText: boolean): void {
    this.#tell(`${isText ? 'text' : 'bytes'} ${Buffer.from(payload).toString()}`);
  }
  drained(): void {
    this.#tell('drained');
  }
  closed(code: number, reason: string): void {
    this.#tell(`closed ${code} ${reason}`.trim());
  }
  aborted(): void {
    this.#tell('aborted');
  }
  async until(event: string): Promise<void> {
    while (!this.events.includes(event)) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }
  #tell(event: string): void {
    this.events.push(event);
    this.#changed();
  }
}

const accept = (exchange: HttpExchange, listener: Recorded, protocol?: string): void => {
  listener.peer = exchange.upgrade?.accept(protocol, ['x-mine', 'yes', 'x-odd', 'a\xe9'], listener);
};
/** The bytes behind the head of the answer. */
const behind = (client: Client): Buffer => {
  const end = client.text.indexOf('\r\n\r\n');
  return end < 0 ? Buffer.alloc(0) : client.bytes.subarray(end + 4);
};

export const webSockets = (kind: Kind): void => {
  t.test(`${kind}: a handshake that is answered later, and what was sent behind it`, async (t) => {
    const listener = new Recorded();
    const waiting: HttpExchange[] = [];
    const rig = await startRig(t, kind, (exchange) => waiting.push(exchange));
    const client = await rig.client();
    client.send(get('/a?b=c', `${HANDSHAKE}Sec-WebSocket-Protocol: one, two\r\n`));
    if (kind === 'node') client.send(clientFrame(TEXT, 'early'));
    while (waiting.length === 0) await new Promise(setImmediate);
    const [exchange] = waiting;
    t.match(exchange, { method: 'GET', path: '/a', query: 'b=c' });
    accept(exchange as HttpExchange, listener, 'two');
    await client.until(() => client.text.includes('\r\n\r\n'));
    t.match(client.text, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    t.match(client.text, /\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/i);
    t.match(client.text, /\r\nsec-websocket-protocol: two\r\n/i);
    t.match(client.text, /\r\nx-mine: yes\r\n/i);
    if (kind === 'node') await listener.until('text early');
    client.send(clientFrame(TEXT, 'hello'));
    await listener.until('text hello');
    listener.peer?.send(Buffer.from('back'), true);
    await client.until(() => behind(client).length === 6);
    t.same(behind(client), Buffer.from('\x81\x04back', 'latin1'));
    client.send(clientFrame(CLOSE, Buffer.concat([closeOf(4000), Buffer.from('bye')])));
    await listener.until('closed 4000 bye');
    await client.closed;
  });

  t.test(`${kind}: a client that leaves before its handshake is answered`, async (t) => {
    const listener = new Recorded();
    const waiting: HttpExchange[] = [];
    const rig = await startRig(t, kind, (exchange) => {
      exchange.onAborted(() => listener.aborted());
      waiting.push(exchange);
    });
    const client = await rig.client();
    client.send(get('/', HANDSHAKE));
    while (waiting.length === 0) await new Promise(setImmediate);
    client.socket.destroy();
    await listener.until('aborted');
    t.equal(waiting[0]?.upgrade?.accept(undefined, [], listener), undefined);
    t.same(listener.events, ['aborted']);
  });

  t.test(`${kind}: a request for a WebSocket may get an answer instead`, async (t) => {
    const rig = await startRig(t, kind, (exchange) => exchange.respond(403, ['x-why', 'no'], 'not you'));
    const client = await rig.client();
    client.send(get('/', HANDSHAKE));
    t.match(await client.answer(), { status: 403, headers: { 'x-why': 'no' }, body: Buffer.from('not you') });
  });

  t.test(`${kind}: what breaks the protocol of WebSockets closes it`, async (t) => {
    for (const [bytes, code] of [
      [clientFrame(TEXT, Buffer.from([0xff])), '1006|1007'],
      [clientFrame(0xf1, 'reserved bits'), '1006|1002'],
      [clientFrame(0x83, 'no such opcode'), '1006|1002'],
      [clientFrame(PING, 'x'.repeat(126)), '1006|1002'],
    ] as const) {
      const listener = new Recorded();
      const rig = await startRig(t, kind, (exchange) => accept(exchange, listener));
      const client = await rig.client();
      client.send(get('/', HANDSHAKE));
      await client.until(() => client.text.includes('\r\n\r\n'));
      client.send(bytes);
      client.socket.on('data', () => client.socket.end());
      await client.closed;
      while (listener.events.length === 0) await new Promise(setImmediate);
      t.match(listener.events.join(), new RegExp(`^closed (${code})`));
    }
  });

  t.test(`${kind}: pings are answered; a message over a limit that was lowered gets 1009`, async (t) => {
    const listener = new Recorded();
    const rig = await startRig(t, kind, (exchange) => accept(exchange, listener));
    rig.limits.maxRequestBodyBytes = 1000;
    const client = await rig.client();
    client.send(get('/', HANDSHAKE));
    await client.until(() => client.text.includes('\r\n\r\n'));
    client.send(clientFrame(PING, 'p'));
    await client.until(() => behind(client).length === 3);
    t.same(behind(client), Buffer.from('\x8a\x01p', 'latin1'));
    client.send(clientFrame(TEXT, 'x'.repeat(1000)));
    await listener.until(`text ${'x'.repeat(1000)}`);
    client.send(clientFrame(TEXT, 'x'.repeat(1001)));
    await listener.until('closed 1009');
    await client.until(() => behind(client).length > 6);
    t.same(behind(client).subarray(5, 7), closeOf(1009));
  });

  t.test(`${kind}: an open WebSocket outlives that the server stops accepting, and ends with it`, async (t) => {
    const listener = new Recorded();
    const rig = await startRig(t, kind, (exchange) => accept(exchange, listener));
    const client = await rig.client();
    client.send(get('/', HANDSHAKE));
    await client.until(() => client.text.includes('\r\n\r\n'));
    rig.server.stopAccepting();
    client.send(clientFrame(TEXT, 'still'));
    await listener.until('text still');
    listener.peer?.close(1001, '');
    await client.until(() => behind(client).length >= 4);
    t.same(behind(client), Buffer.concat([Buffer.from([CLOSE, 2]), closeOf(1001)]));
    client.send(clientFrame(CLOSE, closeOf(1001)));
    await client.closed;
    t.same(listener.events, ['text still'], 'who closes is not told');
  });

  t.test(`${kind}: a socket that is full says so, and tells when it takes more`, async (t) => {
    const listener = new Recorded();
    const rig = await startRig(t, kind, (exchange) => accept(exchange, listener));
    const client = await rig.client();
    client.send(get('/', HANDSHAKE));
    await client.until(() => client.text.includes('\r\n\r\n'));
    client.socket.pause();
    let sent = 0;
    while (listener.peer?.send(Buffer.alloc(65_536), false) && sent < 10_000) sent += 1;
    t.ok(sent < 10_000);
    client.socket.resume();
    await listener.until('drained');
  });
};

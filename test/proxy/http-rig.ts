/** A driver on a free port, what its handler saw, and a client that speaks bytes. */

import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { connect as secureConnect } from 'node:tls';
import type { TlsSpec } from '../../src/domain/desired.ts';
import type { Door } from '../../src/proxy/connections.ts';
import { chooseDriver, type HttpDriverKind } from '../../src/proxy/http-driver.ts';
import type { HttpExchange, HttpLimits, HttpServer } from '../../src/proxy/http-server.ts';

export const HOST = 'Host: x\r\n';
export const get = (path: string, headers = ''): string => `GET ${path} HTTP/1.1\r\n${HOST}${headers}\r\n`;

let security: TlsSpec | null = null;
/** From here on servers speak HTTPS, and clients with them. */
export const overTls = (spec: TlsSpec): void => {
  security = spec;
};

export interface Rig {
  readonly server: HttpServer;
  readonly limits: HttpLimits;
  readonly door: CountedDoor;
  /** `METHOD path` of every request that reached the handler. */
  readonly seen: string[];
  /** The same, once its body was delivered. */
  readonly read: string[];
  client(): Promise<Client>;
}

/** Takes up to `most` connections, and knows how many there are. */
class CountedDoor implements Door {
  most = Number.POSITIVE_INFINITY;
  open = 0;
  opened(): boolean {
    this.open += 1;
    return this.open <= this.most;
  }
  closed(): void {
    this.open -= 1;
  }
}

interface Test {
  teardown(fn: () => void): void;
}

/** The default handler echoes the body under POST and names the request otherwise. */
export const echo = (exchange: HttpExchange): void =>
  exchange.body((bytes) => {
    const text = `${exchange.method} ${exchange.path}`;
    exchange.respond(200, ['content-type', 'text/plain'], exchange.method === 'POST' ? bytes : text);
  });

export const startRig = async (t: Test, kind: HttpDriverKind, handler: (exchange: HttpExchange) => void = echo): Promise<Rig> => {
  const limits: HttpLimits = {
    maxHeaderBytes: 16_384,
    maxRequestBodyBytes: 8 * 1024 * 1024,
    keepAliveTimeoutMs: 5000,
    draining: false,
  };
  const door = new CountedDoor();
  const seen: string[] = [];
  const read: string[] = [];
  const clients: Client[] = [];
  const server = await chooseDriver(kind).start(
    { host: '127.0.0.1', port: 0, tls: security, maxHeaderBytes: 16_384, limits: () => limits, door },
    (exchange) => {
      const name = `${exchange.method} ${exchange.path}`;
      seen.push(name);
      const body = exchange.body.bind(exchange);
      exchange.body = (done) =>
        body((bytes) => {
          read.push(name);
          done(bytes);
        });
      handler(exchange);
    },
  );
  t.teardown(() => {
    server.destroy();
    for (const client of clients) client.socket.destroy();
  });
  const client = async (): Promise<Client> => {
    const made = await Client.connect(server.port);
    clients.push(made);
    return made;
  };
  return { server, limits, door, seen, read, client };
};

export interface Answer {
  status: number;
  head: string;
  headers: Record<string, string>;
  body: Buffer;
}

export class Client {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  isClosed = false;
  bytes: Buffer = Buffer.alloc(0);
  #parts: Buffer[] = [];
  /** Received and not yet taken. */
  #length = 0;
  #changed: () => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (part) => {
      this.#parts.push(part);
      this.#length += part.length;
      this.#changed();
    });
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.isClosed = true;
        this.#changed();
        resolve();
      });
    });
  }

  static connect(port: number): Promise<Client> {
    return new Promise((resolve, reject) => {
      const at = { port, host: '127.0.0.1', allowHalfOpen: false };
      const socket = security === null ? connect(at) : secureConnect({ ...at, ca: readFileSync(security.certFile) });
      const client = new Client(socket);
      socket.once(security === null ? 'connect' : 'secureConnect', () => resolve(client));
      socket.once('error', reject);
    });
  }

  send(data: string | Buffer): void {
    this.socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data);
  }

  /** One byte a segment, as far as the kernel lets it be. */
  async sendSlowly(data: string): Promise<void> {
    for (const byte of Buffer.from(data, 'latin1')) {
      if (this.isClosed || !this.socket.writable) return;
      await new Promise<void>((resolve) => this.socket.write(Buffer.of(byte), () => setImmediate(resolve)));
    }
  }

  get text(): string {
    if (this.#parts.length > 0) this.bytes = Buffer.concat([this.bytes, ...this.#parts.splice(0)]);
    return this.bytes.toString('latin1');
  }

  /** Waits until `is` holds, or the connection is closed. */
  async until(is: () => boolean): Promise<void> {
    while (!this.isClosed && !is()) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }

  /** Takes the next whole answer off the connection; 1xx are answers of their own. Undefined: it was closed before. */
  async answer(method = 'GET'): Promise<Answer | undefined> {
    let found: Found | number = 0;
    await this.until(() => {
      // A long body is looked at once, when it is there.
      if (typeof found === 'number' && this.#length >= found) found = parse(this.text, method, false);
      return typeof found !== 'number';
    });
    if (typeof found === 'number') found = parse(this.text, method, true);
    if (typeof found === 'number') return undefined;
    const { answer, end } = found as Found;
    this.bytes = this.bytes.subarray(end);
    this.#length -= end;
    return answer;
  }
}

interface Found {
  answer: Answer;
  end: number;
}

/** The first answer in `text`; a number when it is not whole: how many bytes must be there before looking again. */
const parse = (text: string, method: string, isClosed: boolean): Found | number => {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return 0;
  const head = text.slice(0, headEnd);
  const headers: Record<string, string> = {};
  for (const line of head.split('\r\n').slice(1)) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const status = Number(head.slice(9, 12));
  const start = headEnd + 4;
  const answer = (body: string, end: number) => ({ answer: { status, head, headers, body: Buffer.from(body, 'latin1') }, end });
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return answer('', start);
  const length = headers['content-length'];
  if (length !== undefined) {
    const end = start + Number(length);
    return text.length >= end ? answer(text.slice(start, end), end) : end;
  }
  if (headers['transfer-encoding'] !== 'chunked') return isClosed ? answer(text.slice(start), text.length) : 0;
  let body = '';
  for (let at = start; ; ) {
    const line = text.indexOf('\r\n', at);
    if (line < 0) return 0;
    const size = Number.parseInt(text.slice(at, line), 16);
    if (size === 0) {
      const end = text.indexOf('\r\n\r\n', line);
      return end < 0 ? 0 : answer(body, end + 4);
    }
    if (text.length < line + 4 + size) return 0;
    body += text.slice(line + 2, line + 2 + size);
    at = line + 4 + size;
  }
};

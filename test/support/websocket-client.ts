/** A WebSocket client whose every event a test can wait for. */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { type ClientOptions, WebSocket } from 'ws';
import { DEADLINE_MS, until } from './daemon-rig.ts';

export class SocketClient {
  readonly ws: WebSocket;
  /** Text as strings. */
  readonly received: (string | Buffer)[] = [];
  closeCode: number | undefined;
  closeReason = '';
  readonly closed: Promise<number>;

  private constructor(ws: WebSocket) {
    this.ws = ws;
    ws.on('message', (data, isBinary) => this.received.push(isBinary ? (data as Buffer) : data.toString()));
    ws.on('error', () => {});
    this.closed = new Promise((resolve) => {
      ws.on('close', (code, reason) => {
        this.closeCode = code;
        this.closeReason = reason.toString();
        resolve(code);
      });
    });
  }

  /** @param url of HTTP */
  static async open(url: string, options: ClientOptions = {}, protocols: string[] = []): Promise<SocketClient> {
    const ws = new WebSocket(url.replace('http', 'ws'), protocols, { perMessageDeflate: false, ...options });
    const client = new SocketClient(ws);
    await once(ws, 'open');
    return client;
  }

  /** How the daemon refuses the upgrade. */
  static async refused(
    url: string,
    options: ClientOptions = {},
  ): Promise<{ status: number | undefined; headers: IncomingMessage['headers']; text: string }> {
    const ws = new WebSocket(url.replace('http', 'ws'), options);
    ws.on('error', () => {});
    ws.on('open', () => ws.terminate());
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      ws.on('unexpected-response', (_request, response) => resolve(response));
      ws.on('close', (code) => reject(new Error(`it was not refused: open, then closed with ${code}`)));
    });
    let text = '';
    for await (const chunk of answer) text += chunk;
    return { status: answer.statusCode, headers: answer.headers, text };
  }

  /** Resolves with the next message that nobody has waited for. */
  async next(): Promise<string | Buffer> {
    await until(
      'a message',
      () => this.received.length > 0 || this.closeCode !== undefined,
      DEADLINE_MS,
      () => `close ${this.closeCode}`,
    );
    const message = this.received.shift();
    if (message === undefined) throw new Error(`no message: closed with ${this.closeCode}`);
    return message;
  }

  async ask(message: string | Uint8Array): Promise<string | Buffer> {
    this.ws.send(message);
    return this.next();
  }

  /** Reads nothing more from its connection. */
  stopReading(): void {
    (this.ws as unknown as { _socket: Socket })._socket.pause();
  }

  readAgain(): void {
    (this.ws as unknown as { _socket: Socket })._socket.resume();
  }
}

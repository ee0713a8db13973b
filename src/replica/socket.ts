/** One WebSocket as user code has it: what the client sends as an iterable, and `send` that waits for the client. */
import { ServeError } from '../domain/errors.ts';
import { INITIAL_CREDIT_BYTES } from '../protocol/messages.ts';
import { CLOSE_CODE, CREDIT_PORTION_BYTES, costOf, isCloseCode, isCloseReason } from '../protocol/websocket.ts';
import type { WebSocketConnection } from '../sdk/index.ts';

/** What a socket says to the daemon. */
export interface SocketPort {
  message(payload: Uint8Array, isText: boolean): void;
  close(code: number, reason: string): void;
  /** The code has taken so many bytes of messages. */
  credit(bytes: number): void;
}

interface Unsent {
  readonly payload: Uint8Array;
  readonly isText: boolean;
  sent(): void;
  failed(error: ServeError): void;
}

type Next = IteratorResult<string | Uint8Array, undefined>;

export class ReplicaSocket implements WebSocketConnection {
  readonly protocol: string;
  readonly #port: SocketPort;
  #closeCode: number | undefined;
  #closeReason = '';
  #credit = INITIAL_CREDIT_BYTES;
  #unsent: Unsent[] = [];
  #unread: { readonly payload: Uint8Array; readonly isText: boolean }[] = [];
  #takenBytes = 0;
  #waiting: ((next: Next) => void)[] = [];

  constructor(protocol: string, port: SocketPort) {
    this.protocol = protocol;
    this.#port = port;
  }

  get closeCode(): number | undefined {
    return this.#closeCode;
  }

  get closeReason(): string {
    return this.#closeReason;
  }

  async send(data: string | Uint8Array): Promise<void> {
    const isText = typeof data === 'string';
    if (!isText && !(data instanceof Uint8Array))
      throw new TypeError(`expected send to get a string or a Uint8Array, got ${data === null ? 'null' : typeof data}`);
    if (this.#closeCode !== undefined) throw closed();
    // A copy: code may fill its buffer anew as soon as it goes on.
    const payload = isText ? Buffer.from(data, 'utf8') : Buffer.from(data);
    if (this.#credit > 0) return this.#write(payload, isText);
    await new Promise<void>((sent, failed) => this.#unsent.push({ payload, isText, sent, failed }));
  }

  close(code: number = CLOSE_CODE.NORMAL, reason = ''): void {
    if (!isCloseCode(code))
      throw new RangeError(`expected close to get 1000, another code that may be sent, or one from 3000 to 4999, got ${code}`);
    if (!isCloseReason(reason)) throw new RangeError('expected the reason of a close to be a text of at most 123 bytes');
    if (this.#closeCode !== undefined) return;
    this.#unread = [];
    this.#over(code, reason);
    this.#port.close(code, reason);
  }

  [Symbol.asyncIterator](): AsyncIterator<string | Uint8Array, undefined> {
    return { next: () => this.#next() };
  }

  // From the daemon.

  received(payload: Uint8Array, isText: boolean): void {
    if (this.#closeCode !== undefined) return;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#unread.push({ payload, isText });
    else waiting(this.#taken(payload, isText));
  }

  /** The client has closed, or was closed. What it sent before can still be read. */
  closedBy(code: number, reason: string): void {
    if (this.#closeCode === undefined) this.#over(code, reason);
  }

  granted(bytes: number): void {
    this.#credit += bytes;
    let sent = 0;
    while (sent < this.#unsent.length && this.#credit > 0) {
      const { payload, isText, sent: resolve } = this.#unsent[sent++] as Unsent;
      this.#write(payload, isText);
      resolve();
    }
    if (sent > 0) this.#unsent.splice(0, sent);
  }

  #write(payload: Uint8Array, isText: boolean): void {
    this.#credit -= costOf(payload);
    this.#port.message(payload, isText);
  }

  async #next(): Promise<Next> {
    const message = this.#unread.shift();
    if (message !== undefined) return this.#taken(message.payload, message.isText);
    if (this.#closeCode !== undefined) return { done: true, value: undefined };
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #taken(payload: Uint8Array, isText: boolean): Next {
    this.#takenBytes += costOf(payload);
    if (this.#takenBytes >= CREDIT_PORTION_BYTES && this.#closeCode === undefined) {
      this.#port.credit(this.#takenBytes);
      this.#takenBytes = 0;
    }
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    // Bytes of their own: a view would keep all alive that was read with them.
    return { done: false, value: isText ? bytes.toString('utf8') : new Uint8Array(bytes) };
  }

  #over(code: number, reason: string): void {
    this.#closeCode = code;
    this.#closeReason = reason;
    for (const resolve of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
    for (const { failed } of this.#unsent.splice(0)) failed(closed());
  }
}

const closed = (): ServeError => new ServeError('CLIENT_CLOSED', 'the WebSocket is closed');

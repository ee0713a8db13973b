/** An HTTP client on a plain socket, which costs little enough to keep a server busy: one request after the other on one connection. */
import { connect, type Socket } from 'node:net';

export interface PlainAnswer {
  readonly status: number;
  /** Of what came over the wire behind the head. */
  readonly bytes: number;
  /** The beginning of it, where it was not kept whole. */
  readonly text: string;
}

const KEPT_BYTES = 4096;

/** One request after the other; the answers are framed by Content-Length or in chunks. */
export class PlainClient {
  readonly #socket: Socket;
  #take: ((chunk: Buffer) => void) | undefined;
  #fail: ((error: Error) => void) | undefined;
  isOver = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#take?.(chunk));
    const over = (error: Error) => {
      this.isOver = true;
      this.#fail?.(error);
    };
    socket.on('error', over);
    socket.on('end', () => over(new Error('the connection was closed')));
    socket.on('close', () => over(new Error('the connection was closed')));
  }

  static open(port: number): Promise<PlainClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.off('error', reject);
        resolve(new PlainClient(socket));
      });
      socket.once('error', reject);
    });
  }

  write(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(text, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Resolves with the first bytes of the answer. */
  begin(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#fail = reject;
      this.#take = () => resolve();
      this.#socket.write(text);
    });
  }

  ask(text: string): Promise<PlainAnswer> {
    return new Promise((resolve, reject) => {
      const reader = new AnswerReader();
      this.#fail = reject;
      this.#take = (chunk) => {
        if (!reader.push(chunk)) return;
        this.#take = undefined;
        this.#fail = undefined;
        if (reader.closes) this.close();
        resolve(reader);
      };
      this.#socket.write(text);
    });
  }

  close(): void {
    this.isOver = true;
    this.#take = undefined;
    this.#fail = undefined;
    this.#socket.destroy();
  }
}

class AnswerReader implements PlainAnswer {
  status = 0;
  bytes = 0;
  text = '';
  closes = false;
  #rest: Buffer = Buffer.alloc(0);
  #inBody = false;
  /** Of the body, or of the chunk; -1: the size of the next chunk is to come. */
  #left = 0;
  #isChunked = false;

  /** @returns whether the answer is complete */
  push(chunk: Buffer): boolean {
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = Buffer.alloc(0);
    if (!this.#inBody) {
      const end = data.indexOf('\r\n\r\n');
      if (end < 0) return this.#keep(data);
      const head = data.toString('latin1', 0, end).toLowerCase();
      this.status = Number(head.slice(9, 12));
      this.closes = head.includes('\r\nconnection: close');
      this.#isChunked = head.includes('\r\ntransfer-encoding: chunked');
      this.#left = this.#isChunked ? -1 : Number(/\r\ncontent-length: (\d+)/.exec(head)?.[1] ?? 0);
      this.#inBody = true;
      data = data.subarray(end + 4);
    }
    return this.#isChunked ? this.#chunks(data) : this.#body(data);
  }

  #keep(data: Buffer): false {
    this.#rest = data;
    return false;
  }

  #body(data: Buffer): boolean {
    const part = data.subarray(0, this.#left);
    this.bytes += part.length;
    if (this.text.length < KEPT_BYTES) this.text += part.toString('latin1', 0, KEPT_BYTES);
    this.#left -= part.length;
    return this.#left === 0;
  }

  /** Trailers are not looked at: the empty line behind them is the end. */
  #chunks(given: Buffer): boolean {
    let data = given;
    while (true) {
      if (this.#left < 0) {
        const end = data.indexOf('\r\n');
        if (end < 0) return this.#keep(data);
        const size = Number.parseInt(data.toString('latin1', 0, end), 16);
        if (size === 0) return data.indexOf('\r\n\r\n', end) >= 0 || this.#keep(data);
        this.#left = size + 2;
        data = data.subarray(end + 2);
      }
      if (data.length === 0) return false;
      const part = data.subarray(0, this.#left);
      // The last two are the line end of the chunk.
      this.bytes += Math.min(part.length, Math.max(0, this.#left - 2));
      this.#left -= part.length;
      data = data.subarray(part.length);
      if (this.#left === 0) this.#left = -1;
    }
  }
}

/** WebSockets on node:http, by the package `ws`: the handshake, and one open socket. */

import { IncomingMessage, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import type { WebSocket, WebSocketServer } from 'ws';
import { isAscii, soundHeaders } from './http-answer.ts';
import type { Framing } from './http-framing.ts';
import { type NodeConnection, NodeExchange } from './http-node-exchange.ts';
import type { HttpUpgrade, WebSocketListener, WebSocketPeer } from './http-server.ts';
import { asksForWebSocket } from './http-upgrade.ts';

/** A ping goes out so often; the connection is cut where no answer came to the one before. */
const PING_MS = 60_000;
/** A client that was sent a close has so long to answer it. */
const CLOSE_WITHIN_MS = 5000;
/** A client that sends before its handshake is answered gets no more memory than this. */
const MAX_EARLY_BYTES = 65_536;

/** Node takes every request with an `upgrade` header off HTTP once somebody listens; ours are those for WebSockets, the others stay requests. */
export class UpgradableMessage extends IncomingMessage {
  declare wantsUpgrade: boolean | null | undefined;

  /** A plain property there, which Node sets from what the parser says, and then asks. */
  get upgrade(): boolean {
    if (this.wantsUpgrade !== true) return false;
    return this.method === 'CONNECT' || asksForWebSocket(this.method ?? '', lowered(this.rawHeaders));
  }

  set upgrade(wanted: boolean | null | undefined) {
    this.wantsUpgrade = wanted;
  }
}

const lowered = (raw: readonly string[]): string[] => raw.map((each, index) => (index % 2 === 0 ? each.toLowerCase() : each));

export class NodeUpgradeExchange extends NodeExchange {
  readonly upgrade: HttpUpgrade;

  /** @param head what came behind the request */
  constructor(
    connection: NodeConnection,
    req: IncomingMessage,
    target: { path: string; query: string },
    headers: readonly string[],
    framing: Framing,
    maxMessageBytes: number,
    head: Buffer,
  ) {
    const { socket } = req;
    const res = answerOn(req, socket);
    super(connection, req, res, target, headers, framing, 0, false);
    const early = new EarlyBytes(socket, head, () => this.gone());
    this.upgrade = {
      accept: (protocol, more, listener) => {
        const behind = early.take();
        if (!this.takeOver()) return undefined;
        res.detachSocket(socket);
        const server = serverFor(protocol, maxMessageBytes);
        server.on('headers', (lines) => {
          const sound = soundHeaders(more) ?? [];
          for (let i = 0; i < sound.length; i += 2)
            if (isAscii(sound[i + 1] as string)) lines.push(`${sound[i]}: ${sound[i + 1]}`);
        });
        let peer: WebSocketPeer | undefined;
        server.handleUpgrade(req, socket, behind, (ws) => {
          peer = new NodePeer(ws, socket, listener);
        });
        socket.resume();
        return peer;
      },
    };
  }
}

/** For a refusal: the parser has let go of the connection, which ends with it. */
export const answerOn = (req: IncomingMessage, socket: Socket): ServerResponse => {
  const res = new ServerResponse(req);
  res.shouldKeepAlive = false;
  res.assignSocket(socket);
  res.once('finish', () => {
    res.detachSocket(socket);
    socket.destroySoon();
  });
  return res;
};

/** Reads on while the handshake waits for its answer: a connection that is not read does not tell that it has ended. */
class EarlyBytes {
  readonly #socket: Socket;
  readonly #chunks: Buffer[];
  #bytes: number;
  readonly #onData: (chunk: Buffer) => void;
  readonly #onEnd: () => void;

  constructor(socket: Socket, head: Buffer, gone: () => void) {
    this.#socket = socket;
    this.#chunks = [head];
    this.#bytes = head.length;
    this.#onData = (chunk) => {
      this.#bytes += chunk.length;
      if (this.#bytes > MAX_EARLY_BYTES) socket.destroy();
      else this.#chunks.push(chunk);
    };
    this.#onEnd = () => {
      gone();
      socket.destroy();
    };
    socket.setTimeout(0);
    socket.on('data', this.#onData).on('end', this.#onEnd);
    socket.resume();
  }

  take(): Buffer {
    this.#socket.off('data', this.#onData).off('end', this.#onEnd);
    this.#socket.pause();
    return Buffer.concat(this.#chunks);
  }
}

let library: typeof import('ws') | undefined;

/** Loaded on first use: the other driver never needs it. */
const serverFor = (protocol: string | undefined, maxPayload: number): WebSocketServer => {
  library ??= createRequire(import.meta.url)('ws') as typeof import('ws');
  return new library.WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload,
    handleProtocols: () => protocol ?? false,
    closeTimeout: CLOSE_WITHIN_MS,
  } as object);
};

class NodePeer implements WebSocketPeer {
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #listener: WebSocketListener;
  readonly #pinging: NodeJS.Timeout;
  #isAlive = true;
  /** The listener knows, or is who closed. */
  #isTold = false;

  constructor(ws: WebSocket, socket: Socket, listener: WebSocketListener) {
    this.#ws = ws;
    this.#socket = socket;
    this.#listener = listener;
    this.#pinging = setInterval(() => this.#ping(), PING_MS);
    const alive = () => {
      this.#isAlive = true;
    };
    ws.on('message', (data, isBinary) => {
      alive();
      if (!this.#isTold) this.#guard(() => listener.message(data as Buffer, !isBinary));
    });
    ws.on('pong', alive);
    ws.on('ping', alive);
    ws.on('error', (error: NodeJS.ErrnoException) => {
      // The package closes by itself, with the code that fits; here only the client's answer to that is awaited.
      if (error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') this.#tell(1009, '');
    });
    ws.on('close', (code, reason) => {
      clearInterval(this.#pinging);
      this.#tell(code, reason.toString('utf8'));
    });
    socket.on('drain', () => {
      if (!this.#isTold) this.#guard(() => listener.drained());
    });
  }

  send(payload: Uint8Array, isText: boolean): boolean {
    if (this.#ws.readyState !== this.#ws.OPEN) return true;
    this.#ws.send(payload, { binary: !isText });
    return !this.#socket.writableNeedDrain;
  }

  close(code: number, reason: string): void {
    this.#isTold = true;
    this.#ws.close(code, reason);
  }

  #ping(): void {
    if (!this.#isAlive) return this.#ws.terminate();
    this.#isAlive = false;
    if (this.#ws.readyState === this.#ws.OPEN) this.#ws.ping();
  }

  #guard(step: () => void): void {
    try {
      step();
    } catch {
      this.#ws.terminate();
    }
  }

  #tell(code: number, reason: string): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#guard(() => this.#listener.closed(code, reason));
  }
}

/** WebSockets on uWebSockets.js: the handshake, and one open socket. */

import { isAscii, soundHeaders } from './http-answer.ts';
import type { Framing } from './http-framing.ts';
import type { HttpUpgrade, WebSocketListener, WebSocketPeer } from './http-server.ts';
import type { Bystander } from './http-uws-bystander.ts';
import { type UwsConnectionRules, UwsExchange } from './http-uws-exchange.ts';
import type { UwsResponse, UwsSocketContext, UwsWebSocket, UwsWebSocketBehavior } from './uws-types.ts';

/** A ping goes out before a silent connection is this old; it is cut where no answer comes. The library takes 8 to 960. */
const IDLE_S = 120;
/** The library cuts a message over its own limit without a word. One that is longer than ours by less than this is answered with 1009. */
const OVER_LIMIT_BYTES = 16 * 1024 * 1024;
/** The library has 32 bits for it. */
const MOST_BYTES = 2 ** 31 - 1;

/** What a socket of the library carries: it copies what is an object's own, methods are lost. */
interface Carried {
  readonly peer: UwsPeer;
}

/** @param maxBytes of a message, when the app was made; what is in force is looked at for each */
export const socketBehavior = (
  maxBytes: number,
  upgrade: UwsWebSocketBehavior<Carried>['upgrade'],
): UwsWebSocketBehavior<Carried> => ({
  maxPayloadLength: Math.min(maxBytes + OVER_LIMIT_BYTES, MOST_BYTES),
  // What is sent is bounded by credit.
  maxBackpressure: 0,
  idleTimeout: IDLE_S,
  sendPingsAutomatically: true,
  compression: 0,
  upgrade,
  open: (ws) => ws.getUserData().peer.opened(ws),
  message: (ws, message, isBinary) => ws.getUserData().peer.message(message, isBinary),
  drain: (ws) => ws.getUserData().peer.drain(),
  close: (ws, code, reason) => ws.getUserData().peer.closed(code, reason),
});

export interface UwsSocketRules extends UwsConnectionRules {
  /** In place of `done`, for an exchange that became a WebSocket. */
  socketClosed(): void;
}

export class UwsUpgradeExchange extends UwsExchange {
  readonly upgrade: HttpUpgrade;

  constructor(
    rules: UwsSocketRules,
    res: UwsResponse,
    path: string,
    query: string,
    headers: readonly string[],
    framing: Framing,
    maxMessageBytes: () => number,
    context: UwsSocketContext,
    bystander: Pick<Bystander, 'cork'>,
  ) {
    super(rules, res, 'GET', path, query, headers, framing, 0);
    const key = this.header('sec-websocket-key') ?? '';
    this.upgrade = {
      accept: (protocol, more, listener) => {
        const taken = this.takeOver();
        if (taken === undefined) return undefined;
        const peer = new UwsPeer(listener, maxMessageBytes, () => rules.socketClosed());
        taken.cork(() => {
          taken.writeStatus('101 Switching Protocols');
          const sound = soundHeaders(more) ?? [];
          for (let i = 0; i < sound.length; i += 2)
            if (isAscii(sound[i + 1] as string)) taken.writeHeader(sound[i] as string, sound[i + 1] as string);
        });
        bystander.cork(taken, () => taken.upgrade<Carried>({ peer }, key, protocol ?? '', '', context));
        return peer;
      },
    };
  }
}

class UwsPeer implements WebSocketPeer {
  readonly #listener: WebSocketListener;
  readonly #maxMessageBytes: () => number;
  readonly #over: () => void;
  /** Undefined before the handshake is complete, and when the socket is closed. */
  #ws: UwsWebSocket<Carried> | undefined;
  /** The listener knows, or is who closed. */
  #isTold = false;

  constructor(listener: WebSocketListener, maxMessageBytes: () => number, over: () => void) {
    this.#listener = listener;
    this.#maxMessageBytes = maxMessageBytes;
    this.#over = over;
  }

  send(payload: Uint8Array, isText: boolean): boolean {
    const ws = this.#ws;
    if (ws === undefined) return true;
    const sent = ws.send(payload, !isText, false);
    // A message that is lost in the middle must not look like none.
    if (sent === 2) ws.close();
    return sent === 1;
  }

  close(code: number, reason: string): void {
    this.#isTold = true;
    this.#ws?.end(code, reason);
  }

  // From the library. Nothing may be thrown into it: the connection is cut instead.

  opened(ws: UwsWebSocket<Carried>): void {
    this.#ws = ws;
  }

  message(message: ArrayBuffer, isBinary: boolean): void {
    if (this.#isTold) return;
    if (message.byteLength > this.#maxMessageBytes()) {
      this.#tell(1009, '');
      this.#ws?.end(1009, 'the message is too long');
      return;
    }
    try {
      this.#listener.message(Buffer.from(new Uint8Array(message)), !isBinary);
    } catch {
      this.#ws?.close();
    }
  }

  drain(): void {
    if (this.#isTold || this.#ws === undefined || this.#ws.getBufferedAmount() > 0) return;
    try {
      this.#listener.drained();
    } catch {
      this.#ws?.close();
    }
  }

  closed(code: number, reason: ArrayBuffer): void {
    this.#ws = undefined;
    this.#tell(code, Buffer.from(reason).toString('utf8'));
    this.#over();
  }

  #tell(code: number, reason: string): void {
    if (this.#isTold) return;
    this.#isTold = true;
    try {
      this.#listener.closed(code, reason);
    } catch {
      // It is closed in any case.
    }
  }
}

/** WebSockets between clients and replicas: the upgrade is a call of `websocket`; once it is taken, messages and closes go both ways until both have ended. */
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import type { CallTrace, CallUnderWay } from '../dispatch/pending.ts';
import type { Socket, SocketSink } from '../dispatch/socket.ts';
import { ServeError } from '../domain/errors.ts';
import type { ApplicationRouting } from '../domain/snapshot.ts';
import { ProtocolError } from '../protocol/frame.ts';
import { CLOSE_CODE, CREDIT_PORTION_BYTES, costOf, offeredProtocols } from '../protocol/websocket.ts';
import type { AccessRecord } from './access-log.ts';
import { errorAnswer } from './error-answer.ts';
import type { HttpCounts } from './http-counts.ts';
import type { HttpExchange, HttpUpgrade, WebSocketListener, WebSocketPeer } from './http-server.ts';

export interface WebSocketsOptions {
  readonly dispatcher: Dispatcher;
  readonly now: () => number;
  readonly counts: HttpCounts;
  readonly logged: (record: AccessRecord) => void;
  readonly failed: (requestId: string, application: string | undefined, error: ServeError) => void;
}

/** All that the daemon has, from the request to the end of their code. */
const NO_CODE = { graph: 'a graph', models: 'a folder of models' } as const;

export class WebSockets {
  readonly #options: WebSocketsOptions;
  /** From the request to the end of their code: what `max_websockets` bounds. */
  readonly #all = new Set<ClientWebSocket>();
  #onQuiet: (() => void) | undefined;

  constructor(options: WebSocketsOptions) {
    this.#options = options;
  }

  begin(asked: Asked, { max, deadlineAt, isDraining }: Limits): void {
    const socket: ClientWebSocket = new ClientWebSocket(asked, this.#options, () => {
      this.#all.delete(socket);
      if (this.#all.size === 0) this.#onQuiet?.();
    });
    this.#all.add(socket);
    if (isDraining) return socket.error(stopping());
    if (this.#all.size <= max) return socket.begin(deadlineAt);
    const message = `No more WebSockets: http_options.max_websockets allows ${max}, and as many are open.`;
    socket.error(new ServeError('QUEUE_FULL', message, { retryAfterS: 1 }));
  }

  /** The daemon stops: clients are told, and code gets to know. */
  goAway(): void {
    for (const socket of this.#all) socket.goAway();
  }

  /** Resolves when the code of all has ended. */
  quiet(): Promise<void> {
    if (this.#all.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onQuiet = resolve;
    });
  }
}

/** A request for a WebSocket, on its route. */
interface Asked {
  readonly exchange: HttpExchange;
  readonly upgrade: HttpUpgrade;
  readonly id: string;
  readonly application: ApplicationRouting;
}

interface Limits {
  /** `http_options.max_websockets`. */
  readonly max: number;
  /** Of the upgrade only. */
  readonly deadlineAt: number;
  readonly isDraining: boolean;
}

/** One, from the request to its end. */
class ClientWebSocket implements SocketSink, WebSocketListener {
  readonly #exchange: HttpExchange;
  readonly #upgrade: HttpUpgrade;
  readonly #id: string;
  readonly #application: ApplicationRouting;
  readonly #options: WebSocketsOptions;
  readonly #onOver: () => void;
  readonly #startedAt: number;
  readonly #traces: CallTrace[] = [];
  #call: CallUnderWay | undefined;
  #socket: Socket | undefined;
  #peer: WebSocketPeer | undefined;
  #isStalled = false;
  #owedCredit = 0;
  #hasLeft = false;
  #isOver = false;

  constructor({ exchange, upgrade, id, application }: Asked, options: WebSocketsOptions, onOver: () => void) {
    this.#exchange = exchange;
    this.#upgrade = upgrade;
    this.#id = id;
    this.#application = application;
    this.#options = options;
    this.#onOver = onOver;
    this.#startedAt = options.now();
    exchange.onAborted(() => {
      this.#left(499, { error: 'CLIENT_CLOSED' });
      this.#call?.abandon(undefined);
      this.#over();
    });
  }

  begin(deadlineAt: number): void {
    const { ingress, name, unavailable } = this.#application;
    const generation = this.#options.dispatcher.generation(name);
    if (unavailable !== null || generation === undefined)
      return this.error(new ServeError('UNAVAILABLE', unavailable ?? `Application ${name} is starting.`, { retryAfterS: 1 }));
    if (ingress.kind !== 'deployment' || generation.deployment(ingress.deployment)?.kind === 'model') {
      const what = ingress.kind === 'deployment' ? `the model ${ingress.deployment}` : NO_CODE[ingress.kind];
      return this.error(new ServeError('INVALID_INPUT', `No WebSockets here: the ingress of application ${name} is ${what}.`));
    }
    const { method, path, query, headers } = this.#exchange;
    this.#call = this.#options.dispatcher.call({
      generation,
      target: { application: name, deployment: ingress.deployment, method: 'websocket' },
      requestId: this.#id,
      value: { skeleton: '{"$seg":0}', segments: [{ dtype: 'bytes', shape: null, bytes: NO_BYTES }] },
      http: { method, path, query, headers },
      deadlineAt,
      movable: true,
      traces: this.#traces,
      sink: this,
      socketSink: this,
    });
  }

  goAway(): void {
    if (this.#socket !== undefined) this.#socket.goAway(CLOSE_CODE.GOING_AWAY);
    else this.#call?.abandon(stopping());
  }

  // From the replica.

  accepted(socket: Socket, protocol: string | undefined): void {
    if (protocol !== undefined && !offeredProtocols(this.#exchange.headers).includes(protocol))
      throw new ProtocolError('a SOCKET with a protocol that the client did not offer');
    this.#socket = socket;
    // The upgrade is what is counted as a request: how long a socket is open says nothing of how fast anything is.
    this.#options.counts.finished(this.#application.name, 101, this.#options.now() - this.#startedAt);
    this.#peer = this.#upgrade.accept(protocol, ['x-request-id', this.#id], this);
    if (this.#peer === undefined) this.closed(CLOSE_CODE.ABNORMAL, '');
  }

  toClient(payload: Uint8Array, isText: boolean): void {
    this.#owedCredit += costOf(payload);
    if (this.#peer?.send(payload, isText) === false) this.#isStalled = true;
    if (!this.#isStalled) this.#giveCredit(CREDIT_PORTION_BYTES);
  }

  closeClient(code: number, reason: string): void {
    if (this.#hasLeft) return;
    this.#peer?.close(code, reason);
    this.#left(101, { closeCode: code });
  }

  /** The code has returned. */
  end(): void {
    this.closeClient(CLOSE_CODE.NORMAL, '');
    this.#over();
  }

  /** It was refused; or its code has thrown, or can run no more. */
  error(error: ServeError): void {
    if (this.#isOver) return;
    const { code, status } = error;
    const isFault = status >= 500 && code !== 'UNAVAILABLE' && code !== 'QUEUE_FULL';
    if (isFault) this.#options.failed(this.#id, this.#application.name, error);
    if (this.#socket === undefined) {
      const answer = errorAnswer(error, this.#exchange.header('accept'));
      this.#exchange.respond(answer.status, [...answer.headers, 'x-request-id', this.#id], answer.body);
      this.#left(answer.status, { error: code });
    } else if (!this.#hasLeft) {
      const closeCode = this.#socket.leaving ?? (code === 'UNAVAILABLE' ? CLOSE_CODE.GOING_AWAY : CLOSE_CODE.INTERNAL);
      this.#peer?.close(closeCode, '');
      this.#left(101, { closeCode, error: code });
    }
    this.#over();
  }

  // A call of `websocket` is answered by none of these; a replica that does so all the same is wrong in its code.

  result(): void {
    this.error(new ServeError('INTERNAL', 'a replica answered a request for a WebSocket as if it were none'));
  }

  open(): void {
    this.#call?.abandon(new ServeError('INTERNAL', 'a replica answered a request for a WebSocket with a stream'));
  }

  chunk(): void {}

  // From the client.

  message(payload: Uint8Array, isText: boolean): void {
    if (this.#socket?.send(payload, isText) !== false) return;
    this.closeClient(CLOSE_CODE.TRY_AGAIN_LATER, 'messages come faster than they are read');
    this.#socket.clientClosed(CLOSE_CODE.TRY_AGAIN_LATER, 'messages come faster than they are read');
  }

  drained(): void {
    this.#isStalled = false;
    this.#giveCredit(1);
  }

  closed(code: number, reason: string): void {
    this.#left(101, { closeCode: code });
    this.#socket?.clientClosed(code, reason);
  }

  /** Lets the code send on, as far as the client has taken what it sent. */
  #giveCredit(atLeast: number): void {
    if (this.#owedCredit < atLeast) return;
    this.#socket?.credit(this.#owedCredit);
    this.#owedCredit = 0;
  }

  #left(status: number, more: { readonly closeCode?: number; readonly error?: string }): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    const { name, routePrefix, accessLog } = this.#application;
    const totalMs = this.#options.now() - this.#startedAt;
    if (this.#socket === undefined) this.#options.counts.finished(name, status, totalMs);
    if (!accessLog) return;
    this.#options.logged({
      time: Date.now(),
      requestId: this.#id,
      method: this.#exchange.method,
      path: this.#exchange.path,
      application: name,
      route: routePrefix ?? '',
      status,
      totalMs,
      traces: this.#traces,
      ...more,
    });
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#onOver();
  }
}

const stopping = (): ServeError => new ServeError('UNAVAILABLE', 'The daemon is stopping.', { retryAfterS: 1 });

const NO_BYTES = new Uint8Array(0);

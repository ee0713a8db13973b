/** A real dispatcher behind a real Unix socket, with scripted replicas on its one side and recorded requests on the other. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Dispatcher } from '../../src/dispatch/dispatcher.ts';
import { type CallTrace, type CallUnderWay, PendingCall } from '../../src/dispatch/pending.ts';
import type { RequestBody } from '../../src/dispatch/request-body.ts';
import { ServeError } from '../../src/domain/errors.ts';
import type { FromDataPlane, RoutingSnapshot } from '../../src/domain/snapshot.ts';
import { listenForReplicas } from '../../src/protocol/accept.ts';
import { decodeValue, encodeValue } from '../../src/protocol/codec.ts';
import type { HttpAnswerHead, HttpHead } from '../../src/protocol/messages.ts';
import { makeToken } from '../../src/protocol/token.ts';
import type { WireValue } from '../../src/protocol/value.ts';
import { FakeClock } from './fake-clock.ts';
import { FakeReplica } from './fake-replica.ts';

interface Owner {
  teardown(done: () => unknown): void;
}

const KEY = 'the key of this test';
/** What does not come within this real time does not come: the test fails instead of hanging. */
const PATIENCE_MS = 3000;
const realTimeout = setTimeout;
const realClear = clearTimeout;

/** One call and all that its caller was told, in order. */
export class RecordedCall {
  /** `result`, `error CODE`, `open`, `chunk`, `end`. */
  readonly events: string[] = [];
  readonly chunks: unknown[] = [];
  underWay: CallUnderWay | undefined;
  value: unknown;
  error: ServeError | undefined;
  http: HttpAnswerHead | undefined;
  readonly over: Promise<this>;
  readonly #over: () => void;

  /** What its caller does about it, there and then. */
  onError: (() => void) | undefined;

  /** Where it has work of its own. */
  get call(): PendingCall | undefined {
    return this.underWay instanceof PendingCall ? this.underWay : undefined;
  }

  constructor() {
    let over = () => {};
    this.over = new Promise((resolve, reject) => {
      const late = realTimeout(() => reject(new Error(`the request got no answer (${this.events.join(', ')})`)), PATIENCE_MS);
      late.unref();
      over = () => {
        realClear(late);
        resolve(this);
      };
    });
    this.over.catch(() => {});
    this.#over = over;
  }

  readonly sink = {
    result: (value: WireValue, http: HttpAnswerHead | undefined) => {
      this.events.push('result');
      this.value = decodeValue(value);
      this.http = http;
      this.#over();
    },
    error: (error: ServeError) => {
      this.events.push(`error ${error.code}`);
      this.error = error;
      this.onError?.();
      this.#over();
    },
    open: (http: HttpAnswerHead | undefined) => {
      this.events.push('open');
      this.http = http;
    },
    chunk: (value: WireValue) => {
      this.events.push('chunk');
      this.chunks.push(decodeValue(value));
    },
    end: () => {
      this.events.push('end');
      this.#over();
    },
  };
}

export interface CallOptions {
  readonly deployment?: string;
  readonly application?: string;
  readonly method?: string;
  readonly id?: string;
  readonly timeoutMs?: number;
  readonly http?: HttpHead;
  readonly body?: RequestBody;
  readonly movable?: boolean;
  readonly spread?: boolean;
  readonly modelId?: string;
  readonly sessionId?: string;
  readonly priority?: number;
  readonly traces?: CallTrace[];
}

export class DataPlane {
  readonly clock: FakeClock;
  readonly dispatcher: Dispatcher;
  /** What the control plane was told. */
  readonly posted: FromDataPlane[] = [];
  /** Why connections were turned away. */
  readonly refused: string[] = [];
  readonly #path: string;
  #nextRequest = 1;

  private constructor(clock: FakeClock, path: string) {
    this.clock = clock;
    this.#path = path;
    this.dispatcher = new Dispatcher(clock.now, (message) => this.posted.push(message));
  }

  static async start(t: Owner, snapshot: RoutingSnapshot): Promise<DataPlane> {
    const folder = await mkdtemp(join(tmpdir(), 'data-plane-'));
    const plane = new DataPlane(new FakeClock(t), join(folder, 'data'));
    const admitted = (...peer: Parameters<Dispatcher['connect']>) => plane.dispatcher.connect(...peer);
    const server = await listenForReplicas(plane.#path, KEY, admitted, (reason) => plane.refused.push(reason));
    t.teardown(async () => {
      plane.dispatcher.destroy(new ServeError('UNAVAILABLE', 'the test is over'));
      server.close();
      await rm(folder, { recursive: true });
    });
    plane.dispatcher.apply(snapshot);
    return plane;
  }

  get path(): string {
    return this.#path;
  }

  token(id: string, deployment: string, version: string): string {
    return makeToken(KEY, { replica: id, deployment, version });
  }

  replica(id: string, deployment = 'app/A', version = 'v1', hello: object = {}): Promise<FakeReplica> {
    return FakeReplica.connect(this.#path, id, this.token(id, deployment, version), hello);
  }

  /** Begins a call of `app/A`. */
  call(value: unknown = null, options: CallOptions = {}): RecordedCall {
    const { application = 'app', deployment = 'A', method = 'call', timeoutMs, http, body, movable, spread } = options;
    const recorded = new RecordedCall();
    const generation = this.dispatcher.generation(application);
    if (generation === undefined) throw new Error(`there is no application ${application}`);
    recorded.underWay = this.dispatcher.call({
      generation,
      target: { application, deployment, method },
      requestId: options.id ?? `r${this.#nextRequest++}`,
      value: encodeValue(value),
      deadlineAt: timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.clock.now() + timeoutMs,
      http,
      body,
      movable,
      spread,
      modelId: options.modelId,
      sessionId: options.sessionId,
      priority: options.priority,
      traces: options.traces,
      sink: recorded.sink,
    });
    return recorded;
  }
}

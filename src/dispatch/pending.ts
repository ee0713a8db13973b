/** One call under way in the data plane: from the queue's door to its answer. */
import { atDeadline } from '../domain/at-deadline.ts';
import { ServeError } from '../domain/errors.ts';
import type { HttpAnswerHead, HttpHead } from '../protocol/messages.ts';
import type { WireValue } from '../protocol/value.ts';
import type { Generation } from './generation.ts';
import type { Lane } from './lane.ts';
import type { Link } from './link.ts';
import type { DeploymentQueue } from './queue.ts';
import type { RequestBody } from './request-body.ts';
import type { Step } from './sequences.ts';
import type { SocketSink } from './socket.ts';

/** Who waits for the answer. After `result`, `error` or a stream's `end` nothing more is called. */
export interface Sink {
  result(value: WireValue, http: HttpAnswerHead | undefined): void;
  error(error: ServeError): void;
  /** A streamed answer begins; `chunk`s follow, then `end` or `error`. */
  open(http: HttpAnswerHead | undefined): void;
  chunk(value: WireValue, bytes: number): void;
  end(): void;
}

/** What a response cache did for a call: it had the answer, or found others who wait for it, or had the work begun, or was left out. */
export type CacheUse = 'hit' | 'shared' | 'miss' | 'bypass';

/** What one call cost, for the access log. */
export interface CallTrace {
  readonly deployment: string;
  readonly replica: string;
  readonly batchSize: number;
  readonly queueMs: number;
  readonly workMs: number;
  /** undefined: its deployment has no response cache. */
  readonly cache?: CacheUse | undefined;
  /** How long it took to look. */
  readonly cacheMs?: number;
}

/** Calls noted for one request in the access log; further ones are served all the same. */
const MAX_TRACES = 512;

export const note = (traces: CallTrace[] | undefined, trace: CallTrace): void => {
  if (traces !== undefined && traces.length < MAX_TRACES) traces.push(trace);
};

/** A call as who began it has it: with work of its own, or waiting for that of another. */
export interface CallUnderWay extends CallTrace {
  readonly isOver: boolean;
  /** The bytes of its value have left, to one replica, which has answered: nobody reads them any more. */
  readonly isValueFree?: boolean;
  readonly streaming: boolean;
  /** Of its stream so many bytes were taken. */
  credit(bytes: number): void;
  /** Nobody waits for it any more, or its time is over. `error` goes to who waits, if anybody does. */
  abandon(error: ServeError | undefined): void;
}

export class PendingCall implements CallUnderWay {
  readonly requestId: string;
  /** Changed only while `movable` and queued. */
  generation: Generation;
  readonly queue: DeploymentQueue;
  readonly method: string;
  readonly value: WireValue;
  readonly spread: boolean;
  readonly http: HttpHead | undefined;
  /** Monotonic milliseconds; Infinity: none. */
  deadlineAt: number;
  readonly #sink: Sink;
  /** The same sink where the call asks for a WebSocket. */
  readonly socketSink: SocketSink | undefined;
  /** The call in whose work this one was made; its children are cancelled with it. */
  readonly parent: PendingCall | undefined;
  /** Several may wait for its answer, each of whom is counted; it is not. */
  readonly #isShared: boolean;

  /** `held`: its replica died, and the pause before its next try is not over. */
  state: 'queued' | 'sent' | 'held' | 'done' = 'queued';
  /** An ingress request: moves to the next generation as long as no replica has begun it. */
  movable = false;
  version: string;
  /** The multiplexed model that it is for; always undefined where the deployment is called over HTTP and not multiplexed. */
  modelId: string | undefined;
  sessionId: string | undefined;
  /** Of the request that it serves, where its own headers do not say it. */
  traceparent: string | undefined;
  /** 0, the most urgent, to 7; undefined: nothing was said for it, and nobody has looked yet. */
  priority: number | undefined;
  /** Of its session, where sessions stick. */
  sessionHash: number | undefined;
  /** Of its sequence, where its deployment keeps them. */
  step: Step<PendingCall, Link> | undefined;
  lane: Lane | undefined;
  /** The only replica that may work on it: it never goes to another. */
  pinned: Link | undefined;
  rows = 1;
  maxCompany = Number.POSITIVE_INFINITY;
  /** It was in work when a replica died: it runs on a replica that has nothing else, until it has shown that it was not the one. */
  suspect = false;
  /** Of its first arrival: a batch is held from the oldest one on, also when a member came back. */
  readonly arrivedAt: number;
  /** When it last began to wait. */
  queuedAt: number;
  sentAt = 0;
  begun = false;
  streaming = false;
  replica = '';
  batchSize = 0;
  queueMs = 0;
  workMs = 0;
  cache: CacheUse | undefined;
  link: Link | undefined;
  /** Those that were sent together, itself included. */
  batch: readonly PendingCall[] = NONE;
  /** Id on its link. */
  id = 0;
  /** Where a large value ends among the bytes of its link. Infinity: it was sent more than once. */
  sentUpTo = 0;
  isValueFree = false;
  attempts = 0;
  /** Deaths of replicas on which it was the only request in work. */
  deathsAlone = 0;
  /** The same set for all whose batch made them. */
  children: Set<CallUnderWay> | undefined;
  /** Of a request from HTTP, where it is not in the value: it comes in pieces, and is let go when this is over. */
  body: RequestBody | undefined;
  /** Of the whole request that this call serves. */
  traces: CallTrace[] | undefined;
  timer: NodeJS.Timeout | undefined;
  #finished = false;

  constructor(init: {
    requestId: string;
    generation: Generation;
    queue: DeploymentQueue;
    version: string;
    method: string;
    value: WireValue;
    spread: boolean;
    http: HttpHead | undefined;
    deadlineAt: number;
    sink: Sink;
    socketSink?: SocketSink | undefined;
    parent: PendingCall | undefined;
    isShared: boolean;
    now: number;
  }) {
    this.requestId = init.requestId;
    this.generation = init.generation;
    this.queue = init.queue;
    this.version = init.version;
    this.method = init.method;
    this.value = init.value;
    this.spread = init.spread;
    this.http = init.http;
    this.deadlineAt = init.deadlineAt;
    this.#sink = init.sink;
    this.socketSink = init.socketSink;
    init.generation.enter();
    this.parent = init.parent;
    this.#isShared = init.isShared;
    init.parent?.adopt(this);
    this.arrivedAt = init.now;
    this.queuedAt = init.now;
  }

  get deployment(): string {
    return this.queue.key;
  }

  get isOver(): boolean {
    return this.state === 'done';
  }

  /** A call that is made in the work of this one, and of its batch. */
  adopt(child: CallUnderWay): void {
    this.children ??= new Set();
    this.children.add(child);
    if (this.batch.length > 1) for (const mate of this.company) mate.children = this.children;
  }

  /** Those of its batch that somebody waits for: what code calls in the work of one of them is for all. */
  get company(): readonly PendingCall[] {
    return this.batch.filter(({ state, batch }) => state === 'sent' && batch === this.batch);
  }

  /** When the time of the last of its company is over. */
  get companyDeadlineAt(): number {
    return this.batch.length < 2 ? this.deadlineAt : Math.max(...this.company.map(({ deadlineAt }) => deadlineAt));
  }

  /** Whether what was called in its work is wanted by others. */
  get #hasCompany(): boolean {
    return this.batch.length > 1 && this.company.some((each) => each !== this);
  }

  /** From now on its time is over then. @param now monotonic milliseconds, as all times here */
  limit(deadlineAt: number, now: () => number): void {
    this.deadlineAt = deadlineAt;
    clearTimeout(this.timer);
    // Where there is no deadline, not even a closure is made for it.
    if (deadlineAt === Number.POSITIVE_INFINITY) return;
    const hold = (timer: NodeJS.Timeout) => {
      this.timer = timer;
    };
    atDeadline(deadlineAt, now, hold, () => this.abandon(timedOut()));
  }

  /** Gives it more time. @returns false: its replica has been told how much there is */
  extend(deadlineAt: number, now: () => number): boolean {
    if (this.state !== 'queued' && this.state !== 'held') return false;
    this.limit(deadlineAt, now);
    return true;
  }

  credit(bytes: number): void {
    if (this.state === 'sent') this.link?.credit(this, bytes);
  }

  /** @param now an answer that comes late is none, also when the timer has not run yet */
  complete(value: WireValue, http: HttpAnswerHead | undefined, now: number): void {
    if (now >= this.deadlineAt) return this.fail(timedOut());
    if (!this.#finish('OK')) return;
    this.#endStreams();
    this.#sink.result(value, http);
  }

  /** Its children end with it: nobody is left to take their answers. */
  fail(error: ServeError): void {
    if (!this.#finish(error.code)) return;
    this.cancelChildren(error);
    this.#sink.error(error);
  }

  open(http: HttpAnswerHead | undefined): void {
    this.streaming = true;
    this.#sink.open(http);
  }

  /** The replica has taken the WebSocket: no deadline counts any more, and the call never runs again. */
  becomeSocket(): void {
    this.streaming = true;
    clearTimeout(this.timer);
    this.deadlineAt = Number.POSITIVE_INFINITY;
  }

  chunk(value: WireValue, bytes: number): void {
    this.#sink.chunk(value, bytes);
  }

  end(): void {
    if (!this.#finish('OK')) return;
    this.#endStreams();
    this.#sink.end();
  }

  /**
   * Nobody waits for it any more, or its time is over: it leaves the queue, or its replica is told and its slot is freed when the
   * replica has answered; everything that it called is cancelled too. `error` goes to who waits, if anybody does.
   */
  abandon(error: ServeError | undefined): void {
    if (this.state === 'done') return;
    if (this.state === 'queued') this.queue.remove(this);
    else if (this.state === 'sent') this.link?.cancel(this);
    this.#finish(error?.code ?? 'CLIENT_CLOSED', true);
    this.cancelChildren(error);
    if (error !== undefined) this.#sink.error(error);
  }

  /** It has answered: whole calls that it did not wait for go on, streams that it did not read to their end do not. */
  #endStreams(): void {
    if (this.children === undefined || this.#hasCompany) return;
    for (const child of [...this.children]) {
      if (child.streaming)
        child.abandon(new ServeError('CLIENT_CLOSED', 'the request that this stream served has been answered'));
    }
  }

  /** The code that made them is told: it may still wait for them, and holds its slot until it has ended. */
  cancelChildren(error: ServeError | undefined): void {
    if (this.children === undefined || this.#hasCompany) return;
    const why =
      error?.code === 'DEADLINE_EXCEEDED'
        ? error
        : new ServeError('CLIENT_CLOSED', 'the request that this call serves was cancelled');
    for (const child of [...this.children]) child.abandon(why);
  }

  #finish(result: string, abandoned = false): boolean {
    if (this.#finished || (this.state === 'done' && !abandoned)) return false;
    this.#finished = true;
    this.state = 'done';
    clearTimeout(this.timer);
    if (!this.#isShared) this.queue.counts.finished(result);
    if (this.attempts > 0) this.queue.counts.ran(this.queueMs, this.workMs);
    this.parent?.children?.delete(this);
    this.generation.leave();
    this.body?.drop();
    return true;
  }

  /** Bytes that it holds in memory while it waits. */
  get bytes(): number {
    let sum = this.value.skeleton.length;
    for (const segment of this.value.segments) sum += segment.bytes.byteLength;
    return sum;
  }
}

const NONE: readonly PendingCall[] = [];

/** A replica may count the end of a request's time so much before we do. */
export const CLOCKS_APART_MS = 50;

export const timedOut = (): ServeError => new ServeError('DEADLINE_EXCEEDED', 'The request was not answered in time.');

/** The data-plane end of one replica's socket: sends calls, takes answers, and trusts nothing that comes back. */
import type { Duplex } from 'node:stream';
import { type CostModel, periodOf } from '../batching/cost.ts';
import { isSentAhead } from '../batching/size.ts';
import type { BatchingSpec } from '../domain/desired.ts';
import { errorFromShape, ServeError, shapeOfError } from '../domain/errors.ts';
import type { DeploymentRouting } from '../domain/snapshot.ts';
import type { Purpose } from '../protocol/accept.ts';
import type { BriefCall } from '../protocol/brief.ts';
import type { ValueCall } from '../protocol/brief-value.ts';
import { encodeFrame, FRAME, type Frame, outgoing, ProtocolError } from '../protocol/frame.ts';
import type {
  BodyMeta,
  CallMember,
  CallMeta,
  ForgetMeta,
  HttpAnswerHead,
  HttpHead,
  ModelLimitMeta,
  WelcomeMeta,
} from '../protocol/messages.ts';
import type { FrameReader } from '../protocol/reader.ts';
import { SlotTable } from '../protocol/slots.ts';
import type { Segment, WireValue } from '../protocol/value.ts';
import { FrameWriter } from '../protocol/writer.ts';
import { BegunSocket } from './begun.ts';
import { hashOf } from './choose-session.ts';
import { HeldModels } from './held-models.ts';
import type { LaneForm } from './lane.ts';
import { CLOCKS_APART_MS, type PendingCall, timedOut } from './pending.ts';
import type { RequestBody } from './request-body.ts';
import { Socket as ClientSocket } from './socket.ts';
import { stack } from './stack.ts';

/** What the link tells the rest of the data plane. */
export interface LinkOwner {
  /** The replica makes a call of its own, through a handle. */
  childCall(link: Link, id: number, meta: CallMeta, value: WireValue): void;
  childCancelled(link: Link, id: number): void;
  /** The caller in the replica has taken so many bytes of a streamed answer. */
  childCredit(link: Link, id: number, bytes: number): void;
  /** A slot became free. */
  freed(link: Link): void;
  /** It has so many calls under way, and may soon say something. */
  awaits(calls: number): void;
  /** It has said something. */
  heard(): void;
  /** It takes no more work, and has nothing left. */
  emptied(link: Link): void;
  down(link: Link, reason: string): void;
}

/** Who makes calls of its own, and is told what comes of them. */
export type Calling = Pick<
  Link,
  'deployment' | 'replica' | 'call' | 'answer' | 'answerError' | 'answerOpen' | 'answerChunk' | 'answerEnd'
>;

/** One CALL frame under way: its members finish singly or together. */
interface Batch {
  readonly calls: readonly PendingCall[];
  readonly form: LaneForm;
  /** What learns how long it took; undefined where nothing is batched. */
  readonly cost: CostModel | undefined;
  readonly sentAt: number;
  open: number;
  /** A member was answered well: a batch that failed as a whole says nothing of what one costs. */
  ran: boolean;
}

interface Outgoing {
  readonly call: PendingCall;
  readonly batch: Batch;
}

const HEARTBEAT_MS = 500;
/** A replica whose loop is later than this with its answer to a heartbeat is out of choice until it answers. */
const LATE_MS = 1000;

export class Link {
  readonly replica: string;
  readonly deployment: string;
  readonly version: string;
  /** Of its id: where sessions stick. */
  readonly hash: number;
  readonly #models = new HeldModels();
  /** Versions whose requests it takes beside its own. */
  also: readonly string[] = [];
  /** It takes the short form of a CALL. */
  readonly #brief: boolean;
  /** It takes WebSockets. */
  readonly websockets: boolean;
  /** It takes bodies in pieces. */
  readonly #bodies: boolean;
  /** It is told in the short form whether a call came over TLS. */
  readonly #secure: boolean;
  /** It takes the short forms of what carries a value. */
  readonly #briefValues: boolean;
  /** False once the snapshot no longer lists it: it finishes what it has. */
  accepting = true;
  /** It works on a suspect, and gets nothing else until it has answered. */
  exclusive = false;
  /** Sequences whose state it has, or whose start it was given. */
  sequences = 0;
  readonly #socket: Duplex;
  readonly #writer: FrameWriter;
  readonly #owner: LinkOwner;
  readonly #now: () => number;
  readonly #outgoing = new SlotTable<Outgoing>();
  /** WebSockets that it has taken, by the id of their call. */
  readonly #sockets = new Map<number, ClientSocket>();
  #batches = 0;
  /** When the last of those of which something is learned was answered. */
  #endedAt = Number.NEGATIVE_INFINITY;
  #load = 0;
  /** How long its batches take of late. */
  #runMs = Number.POSITIVE_INFINITY;
  #closed = false;
  #begun: BegunSocket | undefined;
  /** Calls that it has whose body waits until they are begun. */
  #withBody = 0;
  #pingedAt: number | undefined;
  #stuckSince: number | undefined;
  readonly #heartbeat: NodeJS.Timeout;

  constructor(
    identity: { readonly replica: string; readonly deployment: string; readonly version: string },
    able: Omit<Purpose, 'begun'>,
    socket: Duplex,
    reader: FrameReader,
    owner: LinkOwner,
    now: () => number,
  ) {
    this.replica = identity.replica;
    this.deployment = identity.deployment;
    this.version = identity.version;
    this.hash = hashOf(identity.replica);
    this.#brief = able.brief;
    this.websockets = able.websockets;
    this.#bodies = able.bodies;
    this.#secure = able.secure;
    this.#briefValues = able.briefValues;
    this.#socket = socket;
    this.#writer = new FrameWriter(socket);
    this.#owner = owner;
    this.#now = now;
    const take = (frame: Frame) => this.#take(frame);
    socket.on('data', (chunk: Buffer) => {
      owner.heard();
      try {
        reader.push(chunk, take);
      } catch (error) {
        // Whatever it is: what a replica sends must not end the daemon.
        this.close(`it broke the replica protocol: ${(error as Error).message}`);
      }
      owner.awaits(this.#outgoing.size);
    });
    socket.on('close', () => this.close('its connection closed'));
    socket.on('error', (error) => this.close(`its connection failed: ${error.message}`));
    // It is the socket that holds a process, where it is one.
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS).unref();
  }

  /** Requests that it was given and has not answered, those that nobody waits for any more included. */
  get ongoing(): number {
    return this.#outgoing.size;
  }

  get sockets(): Iterable<ClientSocket> {
    return this.#sockets.values();
  }

  get openSockets(): number {
    return this.#sockets.size;
  }

  /** It has nothing that its end would cut. */
  get idle(): boolean {
    return this.#outgoing.size === 0 && this.#sockets.size === 0 && this.sequences === 0;
  }

  /** Outstanding work: rows of what it was given and has not answered. */
  get load(): number {
    return this.#load;
  }

  /** How many models it holds. */
  get models(): number {
    return this.#models.count;
  }

  /** undefined: it was never told to hold any. */
  get modelIds(): readonly string[] | undefined {
    return this.#models.isAsked ? this.#models.ids : undefined;
  }

  holdsModel(id: string): boolean {
    return this.#models.has(id);
  }

  /** Whether a request for a model would begin at once, as far as models go. */
  hasPlaceFor(id: string, most: number): boolean {
    return this.#models.hasPlaceFor(id, most);
  }

  /** How many models it may hold from now on. */
  allowModels(max: number): void {
    if (this.#models.allow(max)) this.#writer.write(encodeFrame(FRAME.MODELS, { max } satisfies ModelLimitMeta));
  }

  /** Whether it may be given requests of a version. */
  serves(version: string): boolean {
    return this.version === version || (this.also.length > 0 && this.also.includes(version));
  }

  /** A call that it works on, by id; where nobody waits for that any more, one of its company: code names any of a batch. */
  call(id: number): PendingCall | undefined {
    const call = this.#outgoing.get(id)?.call ?? this.#sockets.get(id)?.call;
    return call?.state === 'done' ? call.company[0] : call;
  }

  /** How long it has owed the answer to a heartbeat. */
  get lateMs(): number {
    return this.#pingedAt === undefined ? 0 : this.#now() - this.#pingedAt;
  }

  /** How long all the work it holds has been for nobody: every request cancelled or past its time, and no slot left. */
  stuckMs(routing: DeploymentRouting): number {
    const stuck =
      this.#outgoing.size >= routing.maxOngoingRequests &&
      [...this.#outgoing.values()].every(({ call }) => call.state === 'done');
    this.#stuckSince = stuck ? (this.#stuckSince ?? this.#now()) : undefined;
    return this.#stuckSince === undefined ? 0 : this.#now() - this.#stuckSince;
  }

  /**
   * How many more requests it may be given now.
   * @param fills there is a whole batch waiting: a model that is done with one in a few milliseconds is given it beforehand, because
   *   the way there and back would cost as much as the run
   */
  room(routing: DeploymentRouting, batched: boolean, fills = false): number {
    if (!this.accepting) return 0;
    if (batched && routing.batching !== null) {
      const ahead = fills && isSentAhead(routing.kind, this.#runMs) ? 1 : 0;
      if (this.#batches >= routing.batching.maxConcurrentBatches + ahead) return 0;
    }
    return this.roomForHeld(routing);
  }

  /** The same for requests of sequences whose state it has: they come to it also when others do not any more. */
  roomForHeld({ maxOngoingRequests }: DeploymentRouting): number {
    if (this.#closed || this.exclusive || this.lateMs > LATE_MS) return 0;
    return maxOngoingRequests - this.#outgoing.size;
  }

  /** The state of a sequence is of no use any more. */
  forget(sequence: number): void {
    if (this.#closed) return;
    this.#writer.write(encodeFrame(FRAME.FORGET, { sequences: [sequence] } satisfies ForgetMeta));
    if (!this.accepting && this.idle) this.#owner.emptied(this);
  }

  /** Batches that it may be given beside those it works on. */
  freeBatches({ maxConcurrentBatches }: BatchingSpec): number {
    return Math.max(0, maxConcurrentBatches - this.#batches);
  }

  welcome(): void {
    this.#writer.write(encodeFrame(FRAME.WELCOME, { brief: true, briefValues: true } satisfies WelcomeMeta));
  }

  send(calls: readonly PendingCall[], form: LaneForm, now: number, cost?: CostModel): void {
    const first = calls[0] as PendingCall;
    if (!this.#bodies && calls.some(comesInPieces)) return this.#sendWhole(calls, form, now);
    const idle = this.#outgoing.size === 0;
    const batch: Batch = { calls, form, cost, sentAt: now, open: calls.length, ran: false };
    this.#batches += 1;
    for (let index = 0; index < calls.length; index++) {
      const call = calls[index] as PendingCall;
      call.link = this;
      call.batch = calls;
      call.replica = this.replica;
      call.id = this.#outgoing.add({ call, batch });
      this.#load += call.rows;
      if (call.body !== undefined) this.#withBody += 1;
      if (call.modelId !== undefined) this.#models.given(call.modelId);
    }
    if (this.#withBody > 0) this.#begun?.read();
    else this.#begun?.expect(calls.length);
    this.#owner.awaits(this.#outgoing.size);
    if (this.#brief && form !== 'rows' && !first.spread && first.step === undefined && calls.every(isWholeFromHttp)) {
      const members: BriefCall[] = [];
      for (let index = 0; index < calls.length; index++) members.push(briefOf(calls[index] as HttpCall, now));
      this.#writer.httpCall(first.method, form, members, idle, this.#secure && first.http?.secure === true);
      for (let index = 0; index < calls.length; index++) {
        const call = calls[index] as PendingCall;
        // What was sent before may be on its way still, to a replica that has gone or comes late.
        if (isLarge(call)) call.sentUpTo = call.sentUpTo > 0 ? Number.POSITIVE_INFINITY : this.#writer.queuedBytes;
      }
      return;
    }
    if (this.#briefValues && form === 'one' && isWithValue(first) && this.#writer.valueCall(valueCallOf(first, now), idle))
      return;
    const members = calls.map(
      (call): CallMember => ({
        id: call.id,
        requestId: call.requestId,
        leftMs: leftMs(call, now),
        sk: form === 'items' ? skeletonBytes(call.value) : undefined,
        n: form === 'items' ? call.value.segments.length : undefined,
        rows: form === 'rows' ? call.rows : undefined,
        http: call.http,
        modelId: call.http === undefined ? call.modelId : undefined,
        sessionId: call.http === undefined ? call.sessionId : undefined,
        traceparent: call.http === undefined ? call.traceparent : undefined,
        body: call.body === undefined ? undefined : true,
        sequence: call.step?.number,
        start: call.step?.isStart || undefined,
        end: call.step?.isEnd || undefined,
      }),
    );
    const meta: CallMeta = { method: first.method, calls: members, form, spread: first.spread || undefined };
    this.#writer.write(
      form === 'rows'
        ? encodeFrame(FRAME.CALL, meta, [first.value.skeleton], stack(calls.map((call) => call.value)))
        : encodeFrame(
            FRAME.CALL,
            meta,
            calls.map((call) => call.value.skeleton),
            calls.flatMap((call) => call.value.segments.map(outgoing)),
          ),
      idle,
    );
  }

  /** To a replica that takes no bodies in pieces: the calls whose body is there. */
  #sendWhole(calls: readonly PendingCall[], form: LaneForm, now: number): void {
    const whole = calls.filter((call) => !comesInPieces(call));
    if (whole.length > 0) this.send(whole, form, now);
    else this.exclusive = false;
    for (const call of calls) {
      if (!comesInPieces(call)) continue;
      call.fail(wantsWhole(this.deployment));
      call.queue.stepFailed(call);
    }
  }

  /** Tells the replica that nobody waits for a call any more. Its slot is free when the replica has answered. */
  cancel(call: PendingCall): void {
    this.#writer.write(encodeFrame(FRAME.CANCEL, { ids: [call.id] }));
    // A WebSocket holds no place: there is no answer to wait for.
    if (this.#forgetSocket(call)) this.#owner.freed(this);
    else call.workMs += this.#now() - call.sentAt;
  }

  credit(call: PendingCall, bytes: number): void {
    this.#writer.write(encodeFrame(FRAME.CREDIT, { id: call.id, bytes }));
  }

  /**
   * The answer to a call that the replica made.
   * @param isLast it waits for no other
   */
  answer(id: number, value: WireValue, isLast: boolean): void {
    this.#owner.awaits(this.#outgoing.size);
    if (this.#briefValues && this.#writer.valueResult(id, Number.NaN, value, isLast)) return;
    this.#writer.write(encodeFrame(FRAME.RESULT, { ids: [id] }, [value.skeleton], value.segments.map(outgoing)));
  }

  /** @param source `application/Deployment` that it is of, where it does not say so itself; undefined: the call was refused */
  answerError(id: number, error: ServeError, source?: string): void {
    this.#writer.write(encodeFrame(FRAME.ERROR, { ids: [id], error: { source, ...shapeOfError(error, false) } }));
  }

  answerOpen(id: number): void {
    this.#writer.write(encodeFrame(FRAME.OPEN, { id }));
  }

  answerChunk(id: number, value: WireValue): void {
    this.#writer.write(encodeFrame(FRAME.CHUNK, { id }, [value.skeleton], value.segments.map(outgoing)));
  }

  answerEnd(id: number): void {
    this.#writer.write(encodeFrame(FRAME.END, { id }));
  }

  /** @param instead what its calls fail with; undefined: they are handed on as after a death */
  close(reason: string, instead?: ServeError): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#heartbeat);
    this.#socket.destroy();
    // What comes of their bodies from now on is for who works on them next.
    for (const { call } of this.#outgoing.values()) call.body?.detach();
    const ongoing = this.#outgoing.size;
    this.#owner.down(this, reason);
    if (instead !== undefined) {
      this.#begun?.destroy();
      for (const call of this.#takeAll()) if (call.state !== 'done') call.fail(instead);
      return;
    }
    const handOn = () => {
      const all = this.#takeAll();
      all[0]?.queue.died(all, reason, ongoing === 1);
    };
    if (this.#begun === undefined) handOn();
    else this.#begun.lastWord(handOn);
  }

  /** The socket on which the replica tells what it has begun. */
  attachBegun(socket: Duplex, reader: FrameReader): void {
    this.#begun?.destroy();
    this.#begun = new BegunSocket(socket, reader, {
      tookUp: (frame) => this.#tookUp(frame),
      broke: (reason) => this.close(`it broke the replica protocol: ${reason}`),
      isAwaited: () => this.#withBody > 0,
      ongoing: () => this.#outgoing.size,
    });
  }

  #takeAll(): PendingCall[] {
    const all = [...this.#outgoing.values(), ...this.#sockets.values()].map(({ call }) => call);
    this.#outgoing.clear();
    this.#sockets.clear();
    return all;
  }

  #tookUp({ type, meta }: Frame): void {
    if (type !== FRAME.BEGUN) throw new ProtocolError(`a frame of type ${type} has no place on a link for BEGUN`);
    for (const id of idsOf(meta)) {
      const entry = this.#outgoing.get(id);
      if (entry === undefined) continue;
      entry.call.begun = true;
      if (entry.call.body !== undefined && !this.#closed) this.#feed(entry.call, entry.call.body);
    }
  }

  /** Not before the replica has begun: until then another one may be given the call, and its body from the start. */
  #feed({ id, state }: PendingCall, body: RequestBody): void {
    if (state === 'done') return;
    const end = (how: NonNullable<BodyMeta['end']>) =>
      this.#writer.write(encodeFrame(FRAME.BODY, { id, end: how } satisfies BodyMeta));
    body.open({
      piece: (bytes) =>
        this.#writer.write(
          encodeFrame(FRAME.BODY, { id } satisfies BodyMeta, [], [outgoing({ dtype: 'bytes', shape: null, bytes })]),
        ),
      end: () => end('whole'),
      broken: () => end('broken'),
    });
  }

  #beat(): void {
    // What does not belong there is noticed also where no calls come.
    this.#begun?.read();
    if (this.#pingedAt !== undefined) return;
    this.#pingedAt = this.#now();
    this.#writer.write(encodeFrame(FRAME.PING, {}));
  }

  #take(frame: Frame): void {
    if (this.#closed) return;
    const { meta } = frame;
    switch (frame.type) {
      case FRAME.RESULT:
        return this.#result(frame);
      case FRAME.BEGUN:
        return this.#tookUp(frame);
      case FRAME.ERROR: {
        const shape = meta['error'];
        if (typeof shape !== 'object' || shape === null) throw new ProtocolError('an ERROR frame without an error');
        const error = errorFromShape(shape);
        error.source ??= this.deployment;
        const ids = idsOf(meta);
        if (this.#sockets.size > 0) for (const id of ids) this.#endSocket(id, error);
        const now = this.#now();
        const calls = this.#finish(ids, meta).filter((call) => {
          // Its own clock was a moment ahead of ours: nobody has left, its time was over.
          const isLate = error.code === 'CLIENT_CLOSED' && now + CLOCKS_APART_MS >= call.deadlineAt;
          if (isLate && call.state !== 'done') call.fail(timedOut());
          return call.state !== 'done';
        });
        if (calls.length > 0) (calls[0] as PendingCall).queue.fail(calls, error);
        return this.#owner.freed(this);
      }
      case FRAME.OPEN: {
        const call = this.#live(meta);
        if (call?.streaming) throw new ProtocolError('a second OPEN for one call');
        call?.open(answerHeadOf(meta));
        return;
      }
      case FRAME.CHUNK: {
        const call = this.#live(meta);
        if (call?.streaming) {
          const value = valueOfFrame(frame);
          call.chunk(value, bytesOf(value));
        }
        return;
      }
      case FRAME.END: {
        this.#endSocket(idOf(meta), undefined);
        for (const call of this.#finish([idOf(meta)], meta)) {
          if (call.state === 'done') continue;
          if (call.streaming) call.end();
          else call.fail(new ServeError('INTERNAL', 'the replica ended a stream that it had not begun'));
        }
        return this.#owner.freed(this);
      }
      case FRAME.CALL: {
        const call = meta as unknown as CallMeta;
        const id = Array.isArray(call.calls) ? call.calls[0]?.id : undefined;
        if (typeof id !== 'number' || typeof call.method !== 'string')
          throw new ProtocolError('a CALL frame without id or method');
        return this.#owner.childCall(this, id, call, valueOfFrame(frame));
      }
      case FRAME.CANCEL:
        for (const id of idsOf(meta)) this.#owner.childCancelled(this, id);
        return;
      case FRAME.CREDIT: {
        const bytes = meta['bytes'];
        const socket = this.#sockets.get(idOf(meta));
        if (socket !== undefined) return socket.taken(frame);
        if (typeof bytes === 'number' && bytes > 0) this.#owner.childCredit(this, idOf(meta), bytes);
        return;
      }
      case FRAME.SOCKET:
        return this.#socketTaken(meta);
      case FRAME.MESSAGE:
        return this.#socketOf(meta)?.message(frame);
      case FRAME.CLOSE:
        return this.#socketOf(meta)?.close(frame);
      case FRAME.MODELS:
        return this.#models.take(meta);
      case FRAME.BODY_CREDIT: {
        const bytes = meta['bytes'];
        if (typeof bytes === 'number' && bytes > 0) this.#live(meta)?.body?.taken(bytes);
        return;
      }
      case FRAME.PONG: {
        const wasLate = this.lateMs > LATE_MS;
        this.#pingedAt = undefined;
        if (wasLate) this.#owner.freed(this);
        return;
      }
      default:
        throw new ProtocolError(`a frame of type ${frame.type} has no place on a data link`);
    }
  }

  #socketTaken(meta: Frame['meta']): void {
    const { protocol } = meta;
    if (protocol !== undefined && typeof protocol !== 'string') throw new ProtocolError('a SOCKET whose protocol is no text');
    const id = idOf(meta);
    const call = this.#outgoing.get(id)?.call;
    if (call === undefined) return;
    if (call.socketSink === undefined) throw new ProtocolError('a SOCKET for a call that asks for none');
    this.#finish([id], meta);
    if (call.state !== 'done') {
      const socket = new ClientSocket(call, call.socketSink, (buffers) => this.#writer.write(buffers));
      this.#sockets.set(id, socket);
      // It holds no place, but its model: requests for others must not wait in the replica for that.
      if (call.modelId !== undefined) this.#models.given(call.modelId);
      call.becomeSocket();
      call.socketSink.accepted(socket, protocol);
    }
    this.#owner.freed(this);
  }

  /** Undefined for one that is over. */
  #socketOf(meta: Frame['meta']): ClientSocket | undefined {
    const id = idOf(meta);
    if (this.#outgoing.get(id) !== undefined) throw new ProtocolError('a frame of a WebSocket before its SOCKET');
    return this.#sockets.get(id);
  }

  /** The code of a WebSocket has returned, or thrown. */
  #endSocket(id: number, error: ServeError | undefined): void {
    const call = this.#sockets.get(id)?.call;
    if (call === undefined) return;
    this.#forgetSocket(call);
    if (error === undefined) call.end();
    else call.fail(error);
  }

  #forgetSocket({ id, modelId }: PendingCall): boolean {
    const was = this.#sockets.delete(id);
    if (was && modelId !== undefined) this.#models.answered(modelId);
    return was;
  }

  #result(frame: Frame): void {
    const { meta } = frame;
    // Everything is looked at before anything is taken off the books: a frame that is refused must leave its calls to be failed.
    const http = answerHeadOf(meta);
    const ids = idsOf(meta);
    for (let index = 0; index < ids.length; index++) {
      const id = ids[index] as number;
      if (this.#sockets.has(id)) throw new ProtocolError('a RESULT for a WebSocket');
      if (this.#outgoing.get(id)?.call.streaming) throw new ProtocolError('a RESULT for a call whose answer is a stream');
    }
    if (ids.length === 1) {
      const call = this.#finishOne(ids[0] as number, meta['workMs'], true);
      // A replica may answer before it has read everything: what is still to leave must not change.
      if (call !== undefined && call.sentUpTo > 0)
        call.isValueFree = this.#writer.queuedBytes - this.#writer.unsentBytes >= call.sentUpTo;
      call?.complete(valueOfFrame(frame), http, this.#now());
      return this.#owner.freed(this);
    }
    const batch = this.#outgoing.get(ids[0] ?? -1)?.batch;
    if (ids.length > 1 && !(batch?.form === 'rows' && batch.calls.every((call, index) => call.id === ids[index]))) {
      throw new ProtocolError('a RESULT for several calls that are not the members of one stacked call');
    }
    const calls = this.#finish(ids, meta, true);
    if (calls.length > 0) (calls[0] as PendingCall).queue.settle(calls, valueOfFrame(frame), http);
    this.#owner.freed(this);
  }

  /** The call of an id that is still waited for. */
  #live(meta: Frame['meta']): PendingCall | undefined {
    const call = this.#outgoing.get(idOf(meta))?.call;
    return call === undefined || call.state === 'done' ? undefined : call;
  }

  /** Frees the slots of answered calls, those that nobody waits for any more included. An unknown id is a late answer: ignored. */
  #finish(ids: readonly number[], meta: Frame['meta'], ran = false): PendingCall[] {
    const calls: PendingCall[] = [];
    for (const id of ids) {
      const call = this.#finishOne(id, meta['workMs'], ran);
      if (call !== undefined) calls.push(call);
    }
    return calls;
  }

  #finishOne(id: number, workMs: unknown, ran: boolean): PendingCall | undefined {
    const entry = this.#outgoing.delete(id);
    if (entry === undefined) return undefined;
    if (this.#outgoing.size === 0) this.exclusive = false;
    const { batch } = entry;
    batch.open -= 1;
    if (ran) batch.ran = true;
    const { call } = entry;
    this.#load -= call.rows;
    if (call.body !== undefined) this.#withBody -= 1;
    if (call.modelId !== undefined) this.#models.answered(call.modelId);
    if (call.step !== undefined) call.queue.stepOver(call, ran);
    const ms = Number.isFinite(workMs) ? (workMs as number) : this.#now() - call.sentAt;
    if (call.state !== 'done') call.workMs += ms;
    if (batch.open === 0) {
      this.#batches -= 1;
      if (batch.cost !== undefined && batch.ran) this.#learn(batch, batch.cost, ms);
      this.#runMs = this.#runMs === Number.POSITIVE_INFINITY ? ms : 0.8 * this.#runMs + 0.2 * ms;
    }
    return call;
  }

  #learn({ calls, sentAt }: Batch, cost: CostModel, ms: number): void {
    const rows = calls.reduce((sum, call) => sum + call.rows, 0);
    const now = this.#now();
    const { kind } = (calls[0] as PendingCall).queue.routing;
    cost.observe(rows, ms, periodOf({ ms, sentAt, endedAt: now, before: this.#endedAt }, isSentAhead(kind, ms)));
    this.#endedAt = now;
  }
}

/** The version that serves now has replicas of another make than the one that the request began with. */
const wantsWhole = (deployment: string): ServeError =>
  new ServeError('UNAVAILABLE', `The replicas of ${deployment} have changed while the request came.`, { retryAfterS: 1 });

type HttpCall = PendingCall & { readonly http: HttpHead };
const isWholeFromHttp = (call: PendingCall): call is HttpCall => call.http !== undefined && call.body === undefined;
const comesInPieces = (call: PendingCall): boolean => call.body !== undefined;

const leftMs = (call: PendingCall, now: number): number | undefined =>
  call.deadlineAt === Number.POSITIVE_INFINITY ? undefined : Math.max(0, call.deadlineAt - now);

/** Its memory is worth using again. */
const isLarge = ({ value }: PendingCall): boolean => (value.segments[0]?.bytes.byteLength ?? 0) >= LARGE_BYTES;
const LARGE_BYTES = 65_536;

const briefOf = (call: HttpCall, now: number): BriefCall => ({
  id: call.id,
  requestId: call.requestId,
  leftMs: leftMs(call, now),
  http: call.http,
  body: (call.value.segments[0] as Segment).bytes,
});

/** The short form has no place for a trace. */
const isWithValue = ({ http, body, traceparent }: PendingCall): boolean =>
  http === undefined && body === undefined && traceparent === undefined;

const valueCallOf = (call: PendingCall, now: number): ValueCall => ({
  id: call.id,
  limitMs: leftMs(call, now),
  parent: undefined,
  spread: call.spread,
  fields: [call.requestId, call.method, call.modelId, call.sessionId],
  value: call.value,
});

const skeletonBytes = (value: WireValue): number =>
  typeof value.skeleton === 'string' ? Buffer.byteLength(value.skeleton) : value.skeleton.byteLength;

const valueOfFrame = (frame: Frame): WireValue => ({ skeleton: frame.skeletons, segments: frame.segments });

const bytesOf = (value: WireValue): number => {
  let sum = value.skeleton.length;
  for (const segment of value.segments) sum += segment.bytes.byteLength;
  return sum;
};

const idsOf = (meta: Frame['meta']): readonly number[] => {
  const ids = meta['ids'];
  if (!Array.isArray(ids)) throw new ProtocolError('a frame without ids');
  return ids as number[];
};

const idOf = (meta: Frame['meta']): number => {
  const id = meta['id'];
  if (typeof id !== 'number') throw new ProtocolError('a frame without an id');
  return id;
};

/** Status and headers of an answer, checked: a replica is an untrusted peer. */
const answerHeadOf = (meta: Frame['meta']): HttpAnswerHead | undefined => {
  const http = meta['http'] as Partial<HttpAnswerHead> | undefined;
  if (http === undefined || http === null) return undefined;
  const { status, headers } = http;
  if (!Number.isInteger(status) || (status as number) < 200 || (status as number) > 599)
    throw new ProtocolError('an HTTP answer without a status from 200 to 599');
  if (!Array.isArray(headers) || headers.some((each) => typeof each !== 'string'))
    throw new ProtocolError('the headers of an HTTP answer are not a flat list of strings');
  return { status: status as number, headers: headers as string[] };
};

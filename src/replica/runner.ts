/** The data link of a replica: takes calls, says what has begun before anything runs, hands them to the engine, and carries answers and streams back. */
import type { Duplex } from 'node:stream';
import { atDeadline } from '../domain/at-deadline.ts';
import { ServeError, shapeOfError } from '../domain/errors.ts';
import { idsBegun } from '../protocol/brief-begun.ts';
import { encodeFrame, FRAME, type Frame, outgoing, ProtocolError } from '../protocol/frame.ts';
import {
  type BegunMeta,
  type BodyCreditMeta,
  type BodyMeta,
  type CallMeta,
  type CloseMeta,
  type CreditMeta,
  type ErrorMeta,
  type ForgetMeta,
  type HttpAnswerHead,
  INITIAL_CREDIT_BYTES,
  type MessageMeta,
  type OpenMeta,
  type ResultMeta,
  type SocketMeta,
  type StreamMeta,
} from '../protocol/messages.ts';
import { FrameReader } from '../protocol/reader.ts';
import { FROM_DAEMON } from '../protocol/short-forms.ts';
import { PeerSlotTable } from '../protocol/slots.ts';
import type { WireValue } from '../protocol/value.ts';
import { CLOSE_CODE, segmentOf } from '../protocol/websocket.ts';
import { FrameWriter } from '../protocol/writer.ts';
import type { ChildCalls } from './child-calls.ts';
import type { Engine, IncomingBatch, IncomingCall, Reply } from './engine.ts';
import { IncomingBody } from './incoming-body.ts';
import { Intake } from './intake.ts';
import type { Models } from './models.ts';
import { ReplicaSocket } from './socket.ts';

const NO_BYTES = new Uint8Array(0);
const MAX_FRAME_BYTES = 2 ** 32 - 8;

class Incoming implements IncomingCall {
  readonly id: number;
  readonly requestId: string;
  deadline: number | undefined;
  readonly value: WireValue;
  readonly spread: boolean;
  readonly rows: number;
  readonly http: IncomingCall['http'];
  readonly modelId: string | undefined;
  readonly sessionId: string | undefined;
  readonly traceparent: string | undefined;
  readonly body: IncomingBody | undefined;
  readonly sequence: IncomingCall['sequence'];
  readonly startedAt = performance.now();
  cancelled = false;
  credit = INITIAL_CREDIT_BYTES;
  /** Set once it is a WebSocket. */
  socket: ReplicaSocket | undefined;
  /** Wakes the producer of a stream that has used up its credit. */
  resume: (() => void) | undefined;
  #abort: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(member: CallMeta['calls'][number], value: WireValue, spread: boolean, giveCredit: (bytes: number) => void) {
    this.id = member.id;
    this.requestId = member.requestId;
    this.deadline = member.leftMs === undefined ? undefined : Date.now() + member.leftMs;
    this.value = value;
    this.spread = spread;
    this.rows = member.rows ?? 1;
    this.http = member.http;
    this.modelId = member.modelId;
    this.sessionId = member.sessionId;
    this.traceparent = member.traceparent;
    const { sequence, start, end } = member;
    this.sequence = sequence === undefined ? undefined : { number: sequence, isStart: start === true, isEnd: end === true };
    this.body = member.body ? new IncomingBody(giveCredit) : undefined;
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.cancelled) this.#abort.abort(gone());
      else if (this.deadline !== undefined) {
        const hold = (timer: NodeJS.Timeout) => {
          this.#timer = timer;
        };
        // Not before the daemon's own: code that ends with its signal must not turn a 408 into an answer.
        atDeadline(Math.ceil(this.deadline) + 1, Date.now, hold, () => this.cancel());
      }
    }
    return this.#abort.signal;
  }

  cancel(): void {
    if (this.cancelled) return;
    this.cancelled = true;
    this.body?.fail(gone());
    this.#abort?.abort(gone());
    this.resume?.();
    this.socket?.closedBy(CLOSE_CODE.ABNORMAL, '');
  }

  /** From now on it is a WebSocket: nothing limits its time. */
  becomes(socket: ReplicaSocket): void {
    this.socket = socket;
    clearTimeout(this.#timer);
    this.deadline = undefined;
    if (this.cancelled) socket.closedBy(CLOSE_CODE.ABNORMAL, '');
  }

  /** Answered: nothing of it is left running in the daemon's eyes. */
  close(): void {
    clearTimeout(this.#timer);
    this.body?.fail(new ServeError('CLIENT_CLOSED', 'the request has been answered: the rest of its body is not read any more'));
  }
}

const gone = (): ServeError => new ServeError('CLIENT_CLOSED', 'the caller has gone, or the deadline has passed');

const isCancelled = (call: IncomingCall): boolean => (call as Incoming).cancelled;

export class Runner implements Reply {
  readonly #socket: Duplex;
  readonly #intake: Intake;
  readonly #writer: FrameWriter;
  readonly #childCalls: ChildCalls;
  readonly #models: Models;
  readonly #calls = new PeerSlotTable<Incoming>();
  readonly #sockets = new Map<number, Incoming>();
  /** The daemon takes the short form of answers. */
  #brief = false;
  /** It takes those of what carries a value, and of BEGUN. */
  #briefValues = false;
  #engine: Engine | undefined;
  #begun: Duplex | undefined;
  #onQuiet: (() => void) | undefined;

  /** What reads the data link, whose socket is made with it. */
  static intake(): Intake {
    return new Intake(new FrameReader(MAX_FRAME_BYTES, FROM_DAEMON));
  }

  constructor(socket: Duplex, intake: Intake, childCalls: ChildCalls, models: Models) {
    this.#socket = socket;
    this.#intake = intake;
    this.#writer = new FrameWriter(socket);
    this.#childCalls = childCalls;
    this.#models = models;
    childCalls.connect({
      write: (buffers, atOnce) => this.#writer.write(buffers, atOnce),
      call: (call, atOnce) => this.#briefValues && this.#writer.valueCall(call, atOnce),
    });
    models.connect((change) => this.#writer.write(encodeFrame(FRAME.MODELS, change)));
  }

  /** Says hello; resolves when the daemon has let this replica in. From then on handles work. */
  async begin(hello: object): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#socket.once('close', () => reject(new Error('the daemon closed the data link')));
      let batches: IncomingBatch[] = [];
      this.#intake.follow(
        (frame) => {
          if (frame.type === FRAME.WELCOME) {
            this.#brief = frame.meta['brief'] === true;
            this.#briefValues = frame.meta['briefValues'] === true;
            resolve();
          } else this.#take(frame, batches);
        },
        () => {
          const read = batches;
          batches = [];
          this.#run(read);
        },
      );
      this.#writer.write(encodeFrame(FRAME.HELLO, hello));
    });
  }

  /** Opens the way on which BEGUN goes; see `attachBegun` of the daemon's link. */
  async openBegun(socket: Duplex, hello: object): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const reader = new FrameReader(MAX_FRAME_BYTES);
      socket.once('close', () => reject(new Error('the daemon closed the link for BEGUN')));
      socket.on('data', (chunk: Buffer) => reader.push(chunk, () => resolve()));
      for (const buffer of encodeFrame(FRAME.HELLO, hello)) socket.write(buffer);
    });
    this.#begun = socket;
  }

  /** From now on calls may come. */
  serve(engine: Engine): void {
    this.#engine = engine;
  }

  /** Nobody waits for what is under way any more: for code that lives on when its link is gone. Resolves when all of it has ended. */
  async cancelAll(): Promise<void> {
    for (const call of [...this.#calls.values(), ...this.#sockets.values()]) call.cancel();
    if (this.#calls.size === 0 && this.#sockets.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onQuiet = resolve;
    });
  }

  /** Sends what is queued: for the moment before the process ends. */
  flush(): void {
    this.#writer.flush();
  }

  #run(read: readonly IncomingBatch[]): void {
    if (read.length === 0 || this.#engine === undefined) return;
    const batches = this.#wanted(read);
    if (batches.length === 0) return;
    // In the kernel before anything runs: were this process to die now, the daemon knows what it must not repeat.
    const ids: number[] = [];
    for (const { calls } of batches) for (const { id } of calls) ids.push(id);
    if (this.#briefValues) this.#begun?.write(idsBegun(ids));
    else for (const buffer of encodeFrame(FRAME.BEGUN, { ids } satisfies BegunMeta)) this.#begun?.write(buffer);
    for (const batch of batches) this.#engine.run(batch);
  }

  /**
   * Those whose CANCEL came right behind them are not begun: code that only waits for its signal to be aborted would wait for ever. What is
   * stacked cannot be taken apart.
   */
  #wanted(read: readonly IncomingBatch[]): readonly IncomingBatch[] {
    if (!read.some(({ calls }) => calls.some(isCancelled))) return read;
    return read.flatMap((batch) => {
      const { calls, form } = batch;
      const left = calls.filter((call) => !isCancelled(call));
      if (left.length === calls.length || (form === 'rows' && left.length > 0)) return [batch];
      this.error(calls.filter(isCancelled), gone());
      return left.length === 0 ? [] : [{ ...batch, calls: left }];
    });
  }

  #take(frame: Frame, batches: IncomingBatch[]): void {
    const { meta } = frame;
    switch (frame.type) {
      case FRAME.CALL:
        batches.push(this.#batchOf(frame));
        return;
      case FRAME.CANCEL:
        for (const id of meta['ids'] as number[]) (this.#calls.get(id) ?? this.#sockets.get(id))?.cancel();
        return;
      case FRAME.CREDIT: {
        this.#sockets.get(meta['id'] as number)?.socket?.granted(meta['bytes'] as number);
        const call = this.#calls.get(meta['id'] as number);
        if (call === undefined) return;
        call.credit += meta['bytes'] as number;
        if (call.credit > 0) call.resume?.();
        return;
      }
      case FRAME.MESSAGE:
        this.#sockets.get(meta['id'] as number)?.socket?.received(frame.segments[0]?.bytes ?? NO_BYTES, meta['text'] === true);
        return;
      case FRAME.CLOSE: {
        const { id, code, reason = '' } = meta as unknown as CloseMeta;
        const call = this.#sockets.get(id);
        call?.socket?.closedBy(code, reason);
        call?.cancel();
        return;
      }
      case FRAME.MODELS:
        return this.#models.allow(meta['max'] as number);
      case FRAME.FORGET:
        return this.#engine?.forget?.((meta as unknown as ForgetMeta).sequences);
      case FRAME.BODY: {
        const body = this.#calls.get(meta['id'] as number)?.body;
        const [piece] = frame.segments;
        if (piece !== undefined) body?.push(piece.bytes);
        const end = meta['end'] as BodyMeta['end'];
        if (end !== undefined) body?.end(end);
        return;
      }
      case FRAME.PING:
        this.#writer.write(encodeFrame(FRAME.PONG, {}));
        return;
      case FRAME.RESULT:
      case FRAME.ERROR:
      case FRAME.OPEN:
      case FRAME.CHUNK:
      case FRAME.END:
        return this.#childCalls.take(frame);
      default:
        throw new ProtocolError(`a frame of type ${frame.type} has no place on a data link`);
    }
  }

  #batchOf(frame: Frame): IncomingBatch {
    const meta = frame.meta as unknown as CallMeta;
    let skeletonAt = 0;
    let segmentAt = 0;
    const calls = meta.calls.map((member) => {
      let value: WireValue = { skeleton: frame.skeletons, segments: frame.segments };
      if (member.sk !== undefined) {
        value = {
          skeleton: frame.skeletons.subarray(skeletonAt, skeletonAt + member.sk),
          segments: frame.segments.slice(segmentAt, segmentAt + (member.n ?? 0)),
        };
        skeletonAt += member.sk;
        segmentAt += member.n ?? 0;
      }
      const call = new Incoming(member, value, meta.spread === true, (bytes) => this.#tookOfBody(member.id, bytes));
      this.#calls.set(call.id, call);
      return call;
    });
    return { method: meta.method, form: meta.form, calls };
  }

  #tookOfBody(id: number, bytes: number): void {
    this.#writer.write(encodeFrame(FRAME.BODY_CREDIT, { id, bytes } satisfies BodyCreditMeta));
  }

  // What the engine says.

  result(calls: readonly IncomingCall[], value: WireValue, http?: HttpAnswerHead, workMs = this.#workMs(calls)): void {
    const ids = this.#close(calls);
    // Nothing else will be said for now.
    const isLast = this.#calls.size === 0;
    if (ids.length === 1) {
      const [id] = ids as [number];
      if (http === undefined) {
        if (this.#briefValues && this.#writer.valueResult(id, workMs, value, isLast)) return;
      } else if (this.#brief && this.#writer.httpResult(id, http, workMs, value.segments[0]?.bytes ?? NO_BYTES, isLast)) return;
    }
    this.#writer.write(
      encodeFrame(FRAME.RESULT, { ids, http, workMs } satisfies ResultMeta, [value.skeleton], value.segments.map(outgoing)),
      isLast,
    );
  }

  error(calls: readonly IncomingCall[], error: unknown): void {
    const ids = this.#close(calls);
    this.#writer.write(
      encodeFrame(FRAME.ERROR, { ids, error: shapeOfError(error), workMs: this.#workMs(calls) } satisfies ErrorMeta),
    );
  }

  open(call: IncomingCall, http?: HttpAnswerHead): void {
    this.#writer.write(encodeFrame(FRAME.OPEN, { id: call.id, http } satisfies OpenMeta));
  }

  async chunk(call: IncomingCall, value: WireValue): Promise<void> {
    const incoming = call as Incoming;
    while (incoming.credit <= 0 && !incoming.cancelled) {
      await new Promise<void>((resolve) => {
        incoming.resume = resolve;
      });
    }
    if (incoming.cancelled) throw gone();
    incoming.credit -= value.skeleton.length + value.segments.reduce((sum, segment) => sum + segment.bytes.byteLength, 0);
    this.#writer.write(
      encodeFrame(FRAME.CHUNK, { id: call.id } satisfies StreamMeta, [value.skeleton], value.segments.map(outgoing)),
    );
  }

  accept(call: IncomingCall, protocol: string | undefined): ReplicaSocket {
    const incoming = call as Incoming;
    const { id } = incoming;
    this.#calls.delete(id);
    const socket = new ReplicaSocket(protocol ?? '', {
      message: (payload, isText) => {
        const meta: MessageMeta = isText ? { id, text: true } : { id };
        this.#writer.write(encodeFrame(FRAME.MESSAGE, meta, [], [outgoing(segmentOf(payload))]));
      },
      close: (code, reason) => this.#writer.write(encodeFrame(FRAME.CLOSE, { id, code, reason } satisfies CloseMeta)),
      credit: (bytes) => this.#writer.write(encodeFrame(FRAME.CREDIT, { id, bytes } satisfies CreditMeta)),
    });
    this.#sockets.set(id, incoming);
    this.#writer.write(encodeFrame(FRAME.SOCKET, { id, protocol } satisfies SocketMeta));
    incoming.becomes(socket);
    return socket;
  }

  end(call: IncomingCall): void {
    this.#close([call]);
    this.#writer.write(encodeFrame(FRAME.END, { id: call.id, workMs: this.#workMs([call]) } satisfies StreamMeta));
  }

  #workMs(calls: readonly IncomingCall[]): number {
    return performance.now() - (calls[0] as Incoming).startedAt;
  }

  #close(calls: readonly IncomingCall[]): number[] {
    const ids = calls.map((call) => {
      (call as Incoming).close();
      this.#calls.delete(call.id);
      if ((call as Incoming).socket !== undefined) this.#sockets.delete(call.id);
      return call.id;
    });
    if (this.#onQuiet !== undefined && this.#calls.size === 0 && this.#sockets.size === 0) this.#onQuiet();
    return ids;
  }
}

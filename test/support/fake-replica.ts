/** A replica whose every word the test chooses: it speaks frames over a real socket, and does nothing that it was not told to. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { ErrorShape } from '../../src/domain/errors.ts';
import { encodeValue } from '../../src/protocol/codec.ts';
import {
  encodeFrame,
  FRAME,
  type Frame,
  type FrameType,
  type OutgoingSegment,
  outgoing,
  PROTOCOL_VERSION,
} from '../../src/protocol/frame.ts';
import type { CallMember, HttpAnswerHead, ModelsMeta } from '../../src/protocol/messages.ts';
import { FrameReader } from '../../src/protocol/reader.ts';
import { FROM_DAEMON, type ShortForms } from '../../src/protocol/short-forms.ts';
import type { Segment } from '../../src/protocol/value.ts';

/** What does not come within this real time does not come: the test fails instead of hanging. */
const PATIENCE_MS = 3000;
const realTimeout = setTimeout;
const realClear = clearTimeout;

/** One CALL frame as it arrived. */
export interface ReceivedBatch {
  readonly form: string;
  readonly method: string;
  readonly spread: boolean;
  readonly members: readonly CallMember[];
  readonly ids: readonly number[];
  readonly requests: readonly string[];
  readonly text: string;
  readonly segments: readonly Segment[];
}

/** The short forms; the type of each that comes is noted. */
const noted = (types: number[]): ShortForms =>
  Object.fromEntries(
    Object.entries(FROM_DAEMON).map(([type, read]) => [
      type,
      (bytes: Buffer) => {
        types.push(Number(type));
        return (read as (bytes: Buffer) => Frame)(bytes);
      },
    ]),
  );

export class FakeReplica {
  readonly id: string;
  /** CALL frames, in the order in which they came. */
  readonly batches: ReceivedBatch[] = [];
  readonly cancelled: number[] = [];
  readonly credits: { readonly id: number; readonly bytes: number }[] = [];
  /** Numbers of the states that it was told to forget, in order. */
  readonly forgotten: number[] = [];
  /** How many models it was told that it may hold, each time. */
  readonly modelLimits: number[] = [];
  /** BODY frames, in the order in which they came: the text of a piece, or how the body ended. */
  readonly bodies: string[] = [];
  /** What came back for calls of its own: `RESULT 7 "text"`, `ERROR 7 CODE`, … */
  readonly answers: string[] = [];
  /** Types of the short forms that came. */
  readonly shortTypes: number[] = [];
  /** Messages of the errors among them. */
  readonly refusals: string[] = [];
  closed = false;
  answersPings = true;
  readonly #socket: Socket;
  readonly #fences = new Map<number, () => void>();
  #changed: (() => void)[] = [];
  #nextFence = -1;

  private constructor(id: string, socket: Socket) {
    this.id = id;
    this.#socket = socket;
  }

  /** Says hello; resolves when the daemon has let it in. */
  static async connect(path: string, id: string, token: string, hello: object = {}): Promise<FakeReplica> {
    const socket = connect(path);
    const replica = new FakeReplica(id, socket);
    const reader = new FrameReader(2 ** 30, noted(replica.shortTypes));
    socket.on('error', () => {});
    socket.on('close', () => {
      replica.closed = true;
      for (const open of replica.#fences.values()) open();
      replica.#tell();
    });
    const welcome = new Promise<void>((resolve, reject) => {
      socket.once('close', () => reject(new Error('the daemon closed the connection')));
      socket.on('data', (chunk: Buffer) =>
        reader.push(chunk, (frame) => (frame.type === FRAME.WELCOME ? resolve() : replica.#take(frame))),
      );
    });
    await once(socket, 'connect');
    replica.send(FRAME.HELLO, { protocol: PROTOCOL_VERSION, replica: id, token, ...hello });
    await welcome;
    return replica;
  }

  send(
    type: FrameType,
    meta: object,
    skeletons: readonly (string | Uint8Array)[] = [],
    segments: readonly OutgoingSegment[] = [],
  ): void {
    for (const buffer of encodeFrame(type, meta as Record<string, unknown>, skeletons, segments)) this.#socket.write(buffer);
  }

  /** What the daemon sends from now on stays where it is. */
  stopReading(): void {
    this.#socket.pause();
  }

  raw(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  begun(ids: readonly number[] = this.last.ids): void {
    this.send(FRAME.BEGUN, { ids });
  }

  result(value: unknown, ids: readonly number[] = this.last.ids, more: object = {}): void {
    const { skeleton, segments } = encodeValue(value);
    this.send(FRAME.RESULT, { ids, ...more }, [skeleton], segments.map(outgoing));
  }

  error(message: string, ids: readonly number[] = this.last.ids, code: ErrorShape['code'] = 'USER_ERROR'): void {
    this.send(FRAME.ERROR, { ids, error: { code, message } });
  }

  open(http?: HttpAnswerHead, id: number = this.lastId): void {
    this.send(FRAME.OPEN, { id, http });
  }

  chunk(value: unknown, id: number = this.lastId): void {
    const { skeleton, segments } = encodeValue(value);
    this.send(FRAME.CHUNK, { id }, [skeleton], segments.map(outgoing));
  }

  end(id: number = this.lastId): void {
    this.send(FRAME.END, { id });
  }

  /** Calls another deployment through a handle, in the work of `parent`. */
  call(id: number, handle: string, value: unknown, more: object = {}): void {
    const { skeleton, segments } = encodeValue(value);
    const meta = { calls: [{ id, requestId: '' }], form: 'one', method: 'call', handle, ...more };
    this.send(FRAME.CALL, meta, [skeleton], segments.map(outgoing));
  }

  /** Tells which models it holds from now on, and which no more. */
  models(change: ModelsMeta): void {
    this.send(FRAME.MODELS, change);
  }

  /** Gone without a word. */
  async die(): Promise<void> {
    if (this.closed) return;
    const closed = once(this.#socket, 'close');
    this.#socket.destroy();
    await closed;
  }

  get last(): ReceivedBatch {
    const batch = this.batches.at(-1);
    if (batch === undefined) throw new Error(`${this.id} got no call`);
    return batch;
  }

  get lastId(): number {
    return this.last.ids[0] as number;
  }

  /** Request ids that it was given, in order. */
  get requests(): readonly string[] {
    return this.batches.flatMap(({ requests }) => requests);
  }

  /** Resolves when `condition` holds, which is looked at after each frame; rejects when the connection closes first. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.closed) throw new Error(`${this.id}: the connection closed`);
      await new Promise<void>((resolve, reject) => {
        const late = realTimeout(() => reject(new Error(`${this.id}: what was awaited did not come`)), PATIENCE_MS);
        this.#changed.push(() => {
          realClear(late);
          resolve();
        });
      });
    }
  }

  /** Resolves when the daemon has read all that was sent until now, and all that it sent until then has arrived; or the link is closed. */
  async settled(): Promise<void> {
    if (this.closed) return;
    const id = this.#nextFence--;
    await new Promise<void>((resolve) => {
      this.#fences.set(id, resolve);
      this.send(FRAME.CALL, { calls: [{ id }], form: 'one', method: 'call', handle: '(fence)' }, ['null']);
    });
  }

  #tell(): void {
    const changed = this.#changed;
    this.#changed = [];
    for (const each of changed) each();
  }

  #take(frame: Frame): void {
    const { type, meta } = frame;
    const text = Buffer.from(frame.skeletons).toString('utf8');
    if (type === FRAME.CALL) {
      const members = meta['calls'] as CallMember[];
      this.batches.push({
        form: String(meta['form']),
        method: String(meta['method']),
        spread: meta['spread'] === true,
        members,
        ids: members.map(({ id }) => id),
        requests: members.map(({ requestId }) => requestId),
        text,
        segments: frame.segments,
      });
    } else if (type === FRAME.CANCEL) this.cancelled.push(...(meta['ids'] as number[]));
    else if (type === FRAME.CREDIT) this.credits.push({ id: meta['id'] as number, bytes: meta['bytes'] as number });
    else if (type === FRAME.FORGET) this.forgotten.push(...(meta['sequences'] as number[]));
    else if (type === FRAME.MODELS) this.modelLimits.push(meta['max'] as number);
    else if (type === FRAME.BODY)
      this.bodies.push(meta['end'] === undefined ? Buffer.from(frame.segments[0]?.bytes ?? []).toString() : `(${meta['end']})`);
    else if (type === FRAME.PING) {
      if (this.answersPings) this.send(FRAME.PONG, {});
    } else {
      const id = Array.isArray(meta['ids']) ? (meta['ids'][0] as number) : (meta['id'] as number);
      const fence = this.#fences.get(id);
      if (fence !== undefined) {
        this.#fences.delete(id);
        fence();
      } else {
        const name = Object.entries(FRAME).find(([, number]) => number === type)?.[0];
        const error = meta['error'] as ErrorShape | undefined;
        if (error !== undefined) this.refusals.push(error.message);
        this.answers.push([name, id, error?.code ?? meta['code'] ?? text].join(' ').trim());
      }
    }
    this.#tell();
  }
}

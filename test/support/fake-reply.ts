/** Takes the answers of an engine, and lets the test wait for them. */
import { errorFromShape, type ServeError, shapeOfError } from '../../src/domain/errors.ts';
import { decodeValue, encodeValue } from '../../src/protocol/codec.ts';
import type { HttpAnswerHead, HttpHead } from '../../src/protocol/messages.ts';
import type { WireValue } from '../../src/protocol/value.ts';
import type { IncomingCall, Reply } from '../../src/replica/engine.ts';
import { ReplicaSocket } from '../../src/replica/socket.ts';

/** What became of one call. */
export interface Answer {
  value?: unknown;
  http?: HttpAnswerHead;
  error?: ServeError;
  chunks?: unknown[];
  ended?: boolean;
  /** Of a WebSocket: what was sent, and `close CODE`. */
  messages?: (string | Uint8Array)[];
}

export class FakeReply implements Reply {
  readonly #answers = new Map<number, Answer>();
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  /** Resolves when the consumer of the stream takes more; absent: at once. */
  room: (() => Promise<void>) | undefined;

  /** What the call was answered with, once it was. */
  answer(call: IncomingCall): Promise<Answer> {
    const known = this.#answers.get(call.id);
    if (known !== undefined && (known.chunks === undefined || known.ended || known.error)) return Promise.resolve(known);
    return new Promise((resolve) => this.#waiting.set(call.id, resolve));
  }

  result(calls: readonly IncomingCall[], value: WireValue, http?: HttpAnswerHead): void {
    for (const call of calls) this.#over(call, { value: decodeValue(value), http });
  }

  error(calls: readonly IncomingCall[], error: unknown): void {
    const told = errorFromShape(shapeOfError(error));
    for (const call of calls) this.#over(call, { ...this.#answers.get(call.id), error: told });
  }

  open(call: IncomingCall, http?: HttpAnswerHead): void {
    this.#answers.set(call.id, { http, chunks: [] });
  }

  async chunk(call: IncomingCall, value: WireValue): Promise<void> {
    await this.room?.();
    this.#answers.get(call.id)?.chunks?.push(decodeValue(value));
  }

  end(call: IncomingCall): void {
    this.#over(call, { ...this.#answers.get(call.id), ended: true });
  }

  accept(call: IncomingCall, protocol: string | undefined): ReplicaSocket {
    const messages: (string | Uint8Array)[] = [];
    this.#answers.set(call.id, { messages });
    return new ReplicaSocket(protocol ?? '', {
      message: (payload, isText) => messages.push(isText ? Buffer.from(payload).toString('utf8') : payload),
      close: (code) => messages.push(`close ${code}`),
      credit: () => {},
    });
  }

  #over(call: IncomingCall, answer: Answer): void {
    this.#answers.set(call.id, answer);
    this.#waiting.get(call.id)?.(answer);
  }
}

let nextId = 1;

/** A call as it comes off the wire. With `http` the value is its body. */
export const incoming = (
  value: unknown,
  given: { spread?: boolean; http?: Partial<HttpHead>; signal?: AbortSignal; modelId?: string; body?: IncomingCall['body'] } = {},
): IncomingCall => ({
  id: nextId++,
  requestId: `request ${nextId}`,
  deadline: undefined,
  value: encodeValue(value),
  spread: given.spread ?? false,
  rows: 1,
  http: given.http === undefined ? undefined : { method: 'POST', path: '/', query: '', headers: [], ...given.http },
  modelId: given.modelId,
  body: given.body,
  cancelled: false,
  signal: given.signal ?? new AbortController().signal,
});

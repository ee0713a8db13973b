/** What an engine is to the runner: it takes calls that have begun and answers each through its reply. */
import type { Json } from '../domain/json.ts';
import type { HttpAnswerHead, HttpHead, MethodShape } from '../protocol/messages.ts';
import type { WireValue } from '../protocol/value.ts';
import type { IncomingBody } from './incoming-body.ts';
import type { ReplicaSocket } from './socket.ts';

export interface IncomingCall {
  readonly id: number;
  readonly requestId: string;
  /** Milliseconds since the epoch; undefined: none. */
  readonly deadline: number | undefined;
  /** Of a stacked batch: the same for all members, their rows one after the other. */
  readonly value: WireValue;
  readonly spread: boolean;
  readonly rows: number;
  readonly http: HttpHead | undefined;
  /** Of a call that does not come from HTTP, whose headers say them. */
  readonly modelId?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly traceparent?: string | undefined;
  /** Of a request from HTTP that is not in the value: it comes in pieces. */
  readonly body?: IncomingBody | undefined;
  /** Of a sequence that its model keeps. */
  readonly sequence?: SequenceCall | undefined;
  /** Nobody waits for its answer any more. */
  readonly cancelled: boolean;
  /** Built on first use. */
  readonly signal: AbortSignal;
}

export interface SequenceCall {
  /** Of the start that its state comes of. */
  readonly number: number;
  /** It is that start. */
  readonly isStart: boolean;
  /** It is the last. */
  readonly isEnd: boolean;
  /** Parameters in whose place a header counts, whatever they say. */
  readonly overruled?: readonly string[];
}

export interface IncomingBatch {
  readonly method: string;
  readonly form: 'one' | 'items' | 'rows';
  readonly calls: readonly IncomingCall[];
}

/** How an engine answers. Each call is answered exactly once: by a result, an error, or an opened stream's end. */
export interface Reply {
  /** @param workMs what the work took; not given: the time since the calls came */
  result(calls: readonly IncomingCall[], value: WireValue, http?: HttpAnswerHead, workMs?: number): void;
  error(calls: readonly IncomingCall[], error: unknown): void;
  open(call: IncomingCall, http?: HttpAnswerHead): void;
  /** Resolves when the consumer has room for more; rejects when the call was cancelled. */
  chunk(call: IncomingCall, value: WireValue): Promise<void>;
  end(call: IncomingCall): void;
  /** Takes a call of `websocket`: its place is free, its deadline is none, and it lives until `end` or `error`. */
  accept(call: IncomingCall, protocol: string | undefined): ReplicaSocket;
}

export interface Engine {
  readonly methods: Readonly<Record<string, MethodShape>>;
  readonly describes: Json | undefined;
  run(batch: IncomingBatch): void;
  /** Of a model: no run has more rows from now on. */
  limitRows?(maxRows: number): void;
  /** The states that come of these starts are of no use any more. */
  forget?(sequences: readonly number[]): void;
  reconfigure(userConfig: Json): Promise<void>;
  /** @throws when it is not healthy */
  check(): Promise<void>;
  close(): Promise<void>;
}

/** What user code imports from `serve-daemon`. */
import type { Logger } from 'pino';
import type { Tensor } from '../protocol/tensor.ts';
import type { Metrics } from './metrics.ts';

export type { AutoscalingContext } from '../protocol/policy.ts';
export { Tensor, type TensorData } from '../protocol/tensor.ts';
export type { Dtype } from '../protocol/value.ts';
export { type BatchCaller, type BatchedFunction, type BatchOptions, type BatchRun, batch } from './batch.ts';
export { type Bound, type Deployable, type DeploymentOptions, deployment, type HandleOf } from './deployment.ts';
export { HttpError } from './http-error.ts';
export type {
  Counter,
  Gauge,
  Histogram,
  HistogramOptions,
  MetricLabels,
  MetricOptions,
  Metrics,
} from './metrics.ts';
export { type LocalClient, type LocalOptions, run } from './run.ts';

/** What a constructor gets as its second argument. */
export interface DeploymentContext {
  readonly application: string;
  readonly deployment: string;
  readonly replicaId: string;
  /**
   * Among the replicas of the deployment, counted from 0: the smallest number that was free when this one started. It stays; the number of one
   * that has gone, or is on its way out, is that of the next that starts.
   */
  readonly rank: number;
  readonly log: Logger;
  /** Of your own, at the daemon's `/metrics`. */
  readonly metrics: Metrics;
  /** Aborted when the replica is told to stop. */
  readonly signal: AbortSignal;
}

/** What every call gets behind its input. */
export interface CallContext extends DeploymentContext {
  readonly requestId: string;
  /** Milliseconds since the epoch; undefined: none. */
  readonly deadline: number | undefined;
  /** Aborted when the client has gone or the deadline has passed. */
  readonly signal: AbortSignal;
  /** The multiplexed model that the caller named; undefined: none. */
  readonly modelId: string | undefined;
  /** The session that the caller named; undefined: none. */
  readonly sessionId: string | undefined;
  /** Of the trace that the request is part of, as W3C's Trace Context has it, also where it comes from a handle or a step; undefined: none. */
  readonly traceparent: string | undefined;
  /**
   * The model that the caller named, from `loadModel(id)` of the class: loaded on first use, and kept at least until this call is answered.
   * Rejects with a 400 where the caller named none, and with what `loadModel` threw.
   */
  model<M>(): Promise<M>;
  /** The HTTP request, where the call came from HTTP. */
  readonly request: RequestInfo | undefined;
}

export interface RequestInfo {
  readonly method: string;
  /** As sent, percent-encoding kept, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Headers;
}

/**
 * One WebSocket, as `websocket(socket, context)` gets it: an iterable of what the client sends, text as strings. It ends when the client has
 * closed. Returning closes with 1000, throwing with 1011.
 */
export interface WebSocketConnection extends AsyncIterable<string | Uint8Array> {
  /** The subprotocol that `upgrade` chose; empty: none. */
  readonly protocol: string;
  /** Resolves when the client keeps up. Rejects when the socket is closed. */
  send(data: string | Uint8Array): Promise<void>;
  /** @param code 1000, another that may be sent, or one from 3000 to 4999 */
  close(code?: number, reason?: string): void;
  /** What it was closed with, by whichever side; undefined: it is open. 1005: no code was given. 1006: the connection was cut. */
  readonly closeCode: number | undefined;
  readonly closeReason: string;
}

/** What a call under way will give: it may stand for its result among the arguments of another call, which waits for it. */
export interface CallFor<Result> extends PromiseLike<Result> {
  /** Of the request in whose work it was made. */
  readonly requestId: string;
  cancel(): void;
}

/** A call under way: awaitable (the result) and, where the method is a generator, async-iterable (its items). */
export interface Call<T> extends CallFor<T extends AsyncIterable<infer Item> ? Item[] : T> {
  [Symbol.asyncIterator](): AsyncIterator<T extends AsyncIterable<infer Item> ? Item : never>;
  catch<B>(rejected: (reason: unknown) => B | PromiseLike<B>): PromiseLike<unknown>;
  finally(done: () => void): PromiseLike<unknown>;
}

export interface CallOptions {
  /** Seconds; the sooner of this and the caller's own deadline counts. */
  timeoutS?: number;
  signal?: AbortSignal;
  /** Which multiplexed model the call is for; not passed on by what is called. */
  modelId?: string;
  /** Calls of one session go to the same replica, where the deployment has `request_router_config: {policy: session}`. */
  sessionId?: string;
  /** 0, served first, to 7, served last; of its caller where it is not given, else 3. Counts where requests wait. */
  priority?: number;
}

/** What a caller may give where a method takes a T: a T, a call for one, or lists and objects with calls inside. */
export type Given<T> = 0 extends 1 & T ? T : unknown extends T ? T : T | CallFor<T> | GivenInside<T>;
type GivenInside<T> = T extends Whole
  ? never
  : T extends readonly unknown[]
    ? number extends T['length']
      ? GivenList<T[number]>
      : { [K in keyof T]: Given<T[K]> }
    : T extends object
      ? { [K in keyof T]: Given<T[K]> }
      : never;
/** An interface, as types that contain themselves (JSON, say) would have no end otherwise. */
interface GivenList<Item> extends ReadonlyArray<Given<Item>> {}
/** Values that nothing is looked for in. */
type Whole =
  | string
  | number
  | boolean
  | bigint
  | symbol
  | null
  | undefined
  | ArrayBuffer
  | ArrayBufferView
  | Date
  | Error
  | Tensor
  | ReadonlyMap<unknown, unknown>
  | ReadonlySet<unknown>
  | ((...args: never[]) => unknown)
  | PromiseLike<unknown>;
type AllGiven<Args extends unknown[]> = { [K in keyof Args]: Given<Args[K]> };

type Methods<T> = {
  [K in keyof T as T[K] extends (...args: never[]) => unknown ? K : never]: T[K] extends (...args: infer Args) => infer Result
    ? Args extends [readonly (infer Item)[], CallContext[]]
      ? // A batched method: written for arrays, called with one.
        (item: Given<Item>) => Call<Awaited<Result> extends readonly (infer Each)[] ? Exclude<Each, Error> : never>
      : (...args: AllGiven<WithoutContext<Args>>) => Call<Result extends AsyncIterable<unknown> ? Result : Awaited<Result>>
    : never;
};

/** How a call of one replica has ended, as `Promise.allSettled` says it. */
export type Settled<T> = PromiseSettledResult<T> & { readonly replica: string };

type Broadcasts<T> = {
  [K in keyof Methods<T>]: Methods<T>[K] extends (...args: infer Args) => Call<infer Result>
    ? Result extends AsyncIterable<unknown>
      ? never
      : (...args: Args) => Call<Settled<Result>[]>
    : never;
};

/** The trailing context parameter is the daemon's to give: it comes behind the input, also where a caller gives none. */
type WithoutContext<Args extends unknown[]> = Args extends [CallContext]
  ? [theContextIsTheSecondParameter: never]
  : Args extends [...infer Rest, CallContext]
    ? Rest
    : Args extends []
      ? []
      : Args;

/**
 * How one deployment calls another: each public method of the class, through the daemon's queue. A method with the parameters
 * `(items: T[], contexts: CallContext[])` is a batched one: its callers pass one item and get its result.
 */
export type Handle<T, Named = undefined> = (Named extends keyof Methods<T>
  ? Omit<Methods<T>, 'call'> & { call: Methods<T>[Named] }
  : Methods<T>) & {
  /** The same with these for each call; `method` says what `call` of it calls, for names that are known only when the code runs. */
  options<Name extends keyof Methods<T>>(options: CallOptions & { method: Name }): Handle<T, Name>;
  options(options: CallOptions): Handle<T, Named>;
  /** The same methods, each called on all replicas of the deployment; what streams cannot be. */
  readonly broadcast: Broadcasts<T>;
  readonly [handleOf]?: T;
};
/** For types only: what `bind` knows a handle by. */
export declare const handleOf: unique symbol;

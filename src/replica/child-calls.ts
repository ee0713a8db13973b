/** Calls that this replica makes of other deployments, through the daemon's queues; handles are built on it. */
import { atDeadline } from '../domain/at-deadline.ts';
import { errorFromShape, ServeError } from '../domain/errors.ts';
import type { ValueCall } from '../protocol/brief-value.ts';
import { decodeValue, encodeValue } from '../protocol/codec.ts';
import { encodeFrame, FRAME, type Frame, outgoing } from '../protocol/frame.ts';
import type { CancelMeta, CreditMeta } from '../protocol/messages.ts';
import { SlotTable } from '../protocol/slots.ts';
import { copied, type WireValue } from '../protocol/value.ts';
import { type CallWork, currentWork, type SharedWork } from '../sdk/current-work.ts';
import type { Call, CallOptions } from '../sdk/index.ts';
import { whenSettled } from './unsettled.ts';

/** What a handle says of its calls: the options that code gives it, and whether they go to all replicas. */
export type SendOptions = CallOptions & { readonly broadcast?: true };

/** Credit is given back when so many bytes of a stream were taken. */
const CREDIT_PORTION = 65_536;

interface Waiting {
  result(value: unknown): void;
  error(error: ServeError): void;
  open(): void;
  chunk(value: unknown, bytes: number): void;
  end(): void;
}

/** What takes frames to the daemon. */
export interface ChildPort {
  /** @param atOnce not only at the end of the turn */
  write(buffers: readonly Uint8Array[], atOnce: boolean): void;
  /** A call in its short form. @returns false where it has none, or the daemon takes none: nothing was sent */
  call(call: ValueCall, atOnce: boolean): boolean;
}

export class ChildCalls {
  readonly #waiting = new SlotTable<Waiting>();
  /** The request id of what is called in the work of no call. */
  readonly #ownId: string;
  #port: ChildPort = { write: () => {}, call: () => true };

  /** @param replicaId of this replica */
  constructor(replicaId = '') {
    this.#ownId = replicaId;
  }

  connect(port: ChildPort): void {
    this.#port = port;
  }

  /** Runs the work of a call so that the calls made in it are its children. */
  within<T>(call: CallWork, work: () => T): T {
    return currentWork.run(call, work);
  }

  /** Sends a call at once, or as soon as the calls among its arguments have their results; its answer comes to the `Call`. */
  call(handle: string, method: string, args: readonly unknown[], given: SendOptions): Call<unknown> {
    const work = currentWork.getStore();
    // The daemon knows the end of a call, but not of what is done for several.
    const together = work === undefined || 'id' in work ? undefined : work;
    const options = together === undefined ? given : withinDeadline(given, together);
    let id: number | undefined;
    const outcome: PendingChild = new PendingChild(
      parentOf(work)?.requestId ?? this.#ownId,
      () => this.#cancel(id),
      (bytes) => this.#write(encodeFrame(FRAME.CREDIT, { id: id as number, bytes } satisfies CreditMeta)),
    );
    const { signal } = options;
    const send = (input: unknown, limits: SendOptions) => {
      if (signal?.aborted || together?.signal.aborted) throw cancelled();
      // Code may fill its buffers anew as soon as it has made the call.
      const value = copied(encodeValue(input));
      id = this.#waiting.add(outcome);
      try {
        this.#send(id, handle, method, value, args.length > 1, limits);
      } catch (error) {
        // Options may be anything, as code may be without types.
        this.#waiting.delete(id);
        throw error;
      }
    };
    const input = args.length === 1 ? args[0] : args.length === 0 ? null : args;
    try {
      send(input, options);
    } catch (error) {
      try {
        const settled = isUnencodable(error) ? whenSettled(input, isCall) : undefined;
        if (settled === undefined) throw error;
        sendLater(outcome, settled, options, send);
      } catch (told) {
        outcome.error(told as ServeError);
        return outcome;
      }
    }
    if (signal !== undefined) outcome.endsWith(signal);
    if (together !== undefined) outcome.endsWith(together.signal);
    return outcome;
  }

  /** A frame that answers one of these calls; answers to calls that were given up are dropped. */
  take(frame: Frame): void {
    const { meta } = frame;
    const id = (Array.isArray(meta['ids']) ? meta['ids'][0] : meta['id']) as number;
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    const value = { skeleton: frame.skeletons, segments: frame.segments };
    switch (frame.type) {
      case FRAME.OPEN:
        return waiting.open();
      case FRAME.CHUNK: {
        const bytes = frame.skeletons.byteLength + frame.segments.reduce((sum, each) => sum + each.bytes.byteLength, 0);
        try {
          return waiting.chunk(decodeValue(value), bytes);
        } catch (error) {
          // Another replica sent what cannot be read: this call fails, and nothing more of it is wanted.
          this.#cancel(id);
          return waiting.error(error as ServeError);
        }
      }
      case FRAME.END:
        this.#waiting.delete(id);
        return waiting.end();
      case FRAME.ERROR:
        this.#waiting.delete(id);
        return waiting.error(errorFromShape(meta['error']));
      default:
        this.#waiting.delete(id);
        try {
          return waiting.result(decodeValue(value));
        } catch (error) {
          return waiting.error(error as ServeError);
        }
    }
  }

  #send(id: number, handle: string, method: string, value: WireValue, spread: boolean, options: SendOptions): void {
    const { modelId, sessionId, timeoutS, priority, broadcast } = options;
    const timeoutMs = timeoutS === undefined ? undefined : timeoutS * 1000;
    const parent = parentOf(currentWork.getStore())?.id;
    // Where nothing else is under way, nothing else of this turn is worth waiting for.
    const atOnce = this.#waiting.size === 1;
    // The short form has no place for these.
    if (priority === undefined && broadcast === undefined && isLimit(timeoutMs)) {
      const call = { id, limitMs: timeoutMs, parent, spread, fields: [handle, method, modelId, sessionId], value } as const;
      if (this.#port.call(call, atOnce)) return;
    }
    const calls = [{ id, requestId: '' }];
    const meta = {
      calls,
      form: 'one',
      method,
      handle,
      parent,
      spread: spread || undefined,
      modelId,
      sessionId,
      priority,
      broadcast,
      timeoutMs,
    };
    this.#port.write(encodeFrame(FRAME.CALL, meta, [value.skeleton], value.segments.map(outgoing)), atOnce);
  }

  #write(buffers: readonly Uint8Array[]): void {
    this.#port.write(buffers, false);
  }

  /** @param id undefined: it was not sent yet */
  #cancel(id: number | undefined): void {
    if (id === undefined || this.#waiting.delete(id) === undefined) return;
    this.#write(encodeFrame(FRAME.CANCEL, { ids: [id] } satisfies CancelMeta));
  }
}

/** Most calls are given values only: what is looked for costs nothing where there is none. */
const isUnencodable = (error: unknown): boolean => error instanceof ServeError && error.details['unencodable'] === true;

const isCall = (value: unknown): value is PendingChild => value instanceof PendingChild;

/** The call whose child it is: cancelled with it, and within its deadline. */
const parentOf = (work: CallWork | SharedWork | undefined): CallWork | undefined =>
  work !== undefined && 'id' in work ? work : undefined;

const withinDeadline = (options: SendOptions, { deadline }: SharedWork): SendOptions => {
  if (deadline === undefined) return options;
  const leftS = Math.max(0, deadline - Date.now()) / 1000;
  // What is no number is left to those who refuse it.
  return options.timeoutS !== undefined && !(options.timeoutS > leftS) ? options : { ...options, timeoutS: leftS };
};

/** The time that it may take counts from now, not from when it is sent. */
const sendLater = (
  outcome: PendingChild,
  settled: Promise<unknown>,
  options: SendOptions,
  send: (input: unknown, limits: SendOptions) => void,
): void => {
  const { timeoutS } = options;
  const deadlineAt = timeoutS === undefined ? Number.POSITIVE_INFINITY : performance.now() + timeoutS * 1000;
  let timer: NodeJS.Timeout | undefined;
  const late = () =>
    outcome.giveUp(new ServeError('DEADLINE_EXCEEDED', 'The calls among its arguments were not answered in time.'));
  if (deadlineAt !== Number.POSITIVE_INFINITY) {
    const hold = (next: NodeJS.Timeout) => {
      timer = next;
    };
    atDeadline(deadlineAt, () => performance.now(), hold, late);
    outcome.onceOver(() => clearTimeout(timer));
  }
  const sendNow = (input: unknown) => {
    clearTimeout(timer);
    if (outcome.isOver) return;
    send(input, timeoutS === undefined ? options : { ...options, timeoutS: Math.max(0, deadlineAt - performance.now()) / 1000 });
  };
  settled.then(sendNow).catch((error: ServeError) => outcome.error(error));
};

/** Whether the short form can say it; code that is not typed may give anything. */
const isLimit = (ms: number | undefined): boolean => ms === undefined || (typeof ms === 'number' && ms >= 0);

const cancelled = (): ServeError => new ServeError('CLIENT_CLOSED', 'the call was cancelled by its caller');

/** A call under way, as user code sees it: awaitable, async-iterable, cancellable. */
class PendingChild implements Call<unknown>, Waiting {
  readonly requestId: string;
  readonly #promise: Promise<unknown>;
  readonly #cancel: () => void;
  readonly #giveCredit: (bytes: number) => void;
  readonly #items: { value: unknown; bytes: number }[] = [];
  #settle!: { resolve: (value: unknown) => void; reject: (error: unknown) => void };
  #error: ServeError | undefined;
  #over = false;
  #streamed = false;
  #iterated = false;
  #awaited = false;
  #owed = 0;
  #wake: (() => void) | undefined;
  readonly #releases: (() => void)[] = [];

  constructor(requestId: string, cancel: () => void, giveCredit: (bytes: number) => void) {
    this.requestId = requestId;
    this.#cancel = cancel;
    this.#giveCredit = giveCredit;
    this.#promise = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // A call that nobody awaits must not end the process when it fails.
    this.#promise.catch(() => {});
  }

  // biome-ignore lint/suspicious/noThenProperty: a call is awaited like a promise; that is what the SDK promises.
  then<A, B>(
    fulfilled?: ((value: never) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): PromiseLike<A | B> {
    // Whoever awaits a stream as a whole takes everything; until somebody asks, its producer waits at the first credit.
    this.#awaited = true;
    for (const item of this.#items) {
      this.#taken(item.bytes);
      item.bytes = 0;
    }
    return this.#promise.then(fulfilled as (value: unknown) => A | PromiseLike<A>, rejected);
  }

  catch<B>(rejected: (reason: unknown) => B | PromiseLike<B>): PromiseLike<unknown> {
    return this.then(undefined, rejected);
  }

  finally(done: () => void): PromiseLike<unknown> {
    return this.#promise.finally(done);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<never> {
    this.#iterated = true;
    try {
      while (true) {
        const item = this.#items.shift();
        if (item !== undefined) {
          this.#taken(item.bytes);
          yield item.value as never;
        } else if (this.#error !== undefined) throw this.#error;
        else if (this.#over) {
          if (!this.#streamed) throw new TypeError('the called method is no generator: await it instead of iterating over it');
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      if (!this.#over) this.cancel();
    }
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** A signal may outlive many calls: when this one is over, it holds nothing of it. */
  endsWith(signal: AbortSignal): void {
    const cancel = () => this.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    this.onceOver(() => signal.removeEventListener('abort', cancel));
  }

  /** It is not over yet. */
  onceOver(release: () => void): void {
    this.#releases.push(release);
  }

  cancel(): void {
    this.giveUp(cancelled());
  }

  giveUp(why: ServeError): void {
    if (this.#over) return;
    this.#cancel();
    this.error(why);
  }

  result(value: unknown): void {
    this.#finish();
    this.#settle.resolve(value);
    this.#wake?.();
  }

  error(error: ServeError): void {
    if (this.#over) return;
    this.#finish();
    this.#error = error;
    this.#settle.reject(error);
    this.#wake?.();
  }

  open(): void {
    this.#streamed = true;
  }

  chunk(value: unknown, bytes: number): void {
    this.#items.push({ value, bytes: this.#awaited ? 0 : bytes });
    if (this.#awaited) this.#taken(bytes);
    this.#wake?.();
  }

  end(): void {
    this.#finish();
    if (!this.#iterated) this.#settle.resolve(this.#items.map((item) => item.value));
    else this.#settle.resolve([]);
    this.#wake?.();
  }

  #finish(): void {
    this.#over = true;
    for (const release of this.#releases) release();
  }

  #taken(bytes: number): void {
    this.#owed += bytes;
    if (this.#owed < CREDIT_PORTION || this.#over) return;
    this.#giveCredit(this.#owed);
    this.#owed = 0;
  }
}

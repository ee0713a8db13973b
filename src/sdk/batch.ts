/** `batch(options, run)`: for code that prepares single inputs and shares one heavy call. Which items run together is decided as the daemon decides it of requests. */
import { AsyncResource } from 'node:async_hooks';
import { decideBatch, type Waiting } from '../batching/batch.ts';
import { holdForWindow, NO_HOLD } from '../batching/hold.ts';
import { ServeError } from '../domain/errors.ts';
import { noteMade, saidOf, whileHolding } from './batch-settings.ts';
import { currentWork, type SharedWork } from './current-work.ts';
import { wrongCount } from './wrong-count.ts';

export interface BatchOptions {
  /** By which errors name it, and by which the file sets what follows (`batched_functions`). */
  name: string;
  /** The most items of one run; 10 where it is not given. */
  maxBatchSize?: number;
  /** Seconds that the oldest item may wait for company while a run could begin; 0 where it is not given: it never does. */
  waitS?: number;
  /** Runs at the same time; 1 where it is not given. What comes meanwhile goes with the next. */
  maxConcurrentBatches?: number;
  /** Items that may wait; further ones are refused with `QUEUE_FULL`. 10,000 where it is not given. */
  maxQueuedItems?: number;
}

/** What a run gets beside its items. */
export interface BatchRun {
  /** Aborted when nobody waits for any of its items any more. */
  readonly signal: AbortSignal;
}

/** For whom an item is: the context of a call is one. */
export interface BatchCaller {
  /** Aborted: the item does not run, or its result is dropped. */
  readonly signal?: AbortSignal;
  /** Milliseconds since the epoch: nearer than `waitS`, it cuts the wait short. */
  readonly deadline?: number | undefined;
}

/** @returns the item's own result; rejects with the `Error` at its place, or with what the whole run threw */
export type BatchedFunction<Item, Result> = (item: Item, caller?: BatchCaller) => Promise<Result>;

type Run<Item, Out> = (items: Item[], run: BatchRun) => readonly Out[] | Promise<readonly Out[]>;

/**
 * Makes a function of one item out of one of many. Items that are asked for in the same turn, and while a run is under way, run together;
 * the calls that a run makes of other deployments belong to all whose items are in it.
 * @throws TypeError, RangeError for options that cannot be
 */
export const batch = <Item, Out>(options: BatchOptions, run: Run<Item, Out>): BatchedFunction<Item, Exclude<Out, Error>> => {
  const own = checked(options);
  if (typeof run !== 'function')
    throw new TypeError(`batch() expects a function of an array as its second argument, got ${typeof run}`);
  noteMade(own.name);
  const batcher = new FunctionBatcher(own, run);
  return (item, caller) => batcher.add(item, caller);
};

/** As the schema of the file has it. */
const NAME = /^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/;

const checked = (options: BatchOptions): Required<BatchOptions> => {
  const { name, maxBatchSize = 10, waitS = 0, maxConcurrentBatches = 1, maxQueuedItems = 10_000 } = options;
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw new TypeError(
      `batch() expects a \`name\` of up to 64 letters, digits, \`_\`, \`.\` and \`-\` that begins with a letter or \`_\`, got ${JSON.stringify(name)}`,
    );
  }
  for (const [field, value] of Object.entries({ maxBatchSize, maxConcurrentBatches, maxQueuedItems })) {
    if (!Number.isInteger(value) || value < 1)
      throw new RangeError(`batch() expects \`${field}\` ≥ 1, a whole number, got ${value}`);
  }
  if (typeof waitS !== 'number' || !(waitS >= 0 && waitS <= MAX_WAIT_S))
    throw new RangeError(`batch() expects \`waitS\` from 0 to ${MAX_WAIT_S}, in seconds, got ${waitS}`);
  return { name, maxBatchSize, waitS, maxConcurrentBatches, maxQueuedItems };
};

/** The longest that a timer takes. */
const MAX_WAIT_S = 2_147_483;

class FunctionBatcher<Item, Out> {
  readonly #own: Required<BatchOptions>;
  readonly #run: Run<Item, Out>;
  /** In order of arrival. */
  readonly #waiting = new Set<Member<Item, Out>>();
  #running = 0;
  #isDue = false;
  #release: (() => void) | undefined;

  constructor(own: Required<BatchOptions>, run: Run<Item, Out>) {
    this.#own = own;
    this.#run = run;
  }

  async add(item: Item, caller: BatchCaller = {}): Promise<Exclude<Out, Error>> {
    const { name, maxQueuedItems } = this.#own;
    caller.signal?.throwIfAborted();
    if (this.#waiting.size >= maxQueuedItems) {
      const message = `the batched function \`${name}\` has ${maxQueuedItems} items waiting, and more are refused (\`maxQueuedItems\`)`;
      throw new ServeError('QUEUE_FULL', message, { retryAfterS: 1 });
    }
    const member = new Member<Item, Out>(item, caller, () => this.#left(member));
    this.#waiting.add(member);
    this.#lookSoon();
    return member.result;
  }

  #left(member: Member<Item, Out>): void {
    if (this.#waiting.delete(member) && this.#waiting.size === 0) this.#release?.();
  }

  /** Not before the end of the turn: what is asked for in one turn has come at the same time. */
  #lookSoon(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      this.#look();
    });
  }

  #look(): void {
    this.#release?.();
    const { name, ...own } = this.#own;
    const said = saidOf(name);
    const maxBatchSize = said.maxBatchSize ?? own.maxBatchSize;
    const waitMs = said.waitMs ?? own.waitS * 1000;
    while (this.#waiting.size > 0 && this.#running < (said.maxConcurrentBatches ?? own.maxConcurrentBatches)) {
      const now = performance.now();
      const hold = waitMs > 0 ? holdForWindow(waitMs, undefined, now) : NO_HOLD;
      const limits = { rows: maxBatchSize, whenFull: 'full', hold, runMs: notKnown } as const;
      const decision = decideBatch(this.#waiting, limits, Number.POSITIVE_INFINITY, now);
      if ('until' in decision) return this.#lookIn(decision.until - now);
      void this.#start(decision.take);
    }
  }

  #lookIn(delayMs: number): void {
    const timer = setTimeout(() => this.#look(), delayMs);
    const forget = whileHolding(() => this.#look());
    this.#release = () => {
      clearTimeout(timer);
      forget();
      this.#release = undefined;
    };
  }

  async #start(take: number): Promise<void> {
    const members: Member<Item, Out>[] = [];
    for (const member of this.#waiting) {
      if (members.length === take) break;
      this.#waiting.delete(member);
      members.push(member);
    }
    this.#running += 1;
    const under = new UnderWay(members);
    for (const member of members) member.run = under;
    const items = members.map(({ item }) => item);
    try {
      const [first] = members as [Member<Item, Out>];
      // Of one request, it is a part of that; else none of them may end what the others wait for.
      const isOfOne = members.every(({ work }) => work === first.work);
      const run = isOfOne ? this.#run : () => currentWork.run(under, this.#run, items, under);
      const results = await first.scope.runInAsyncScope(run, undefined, items, under);
      if (!Array.isArray(results) || results.length !== members.length) throw wrongCount(this.#own.name, members.length, results);
      for (const [index, member] of members.entries()) member.settle(results[index] as Out | Error);
    } catch (error) {
      for (const member of members) member.fail(error);
    } finally {
      this.#running -= 1;
      if (this.#waiting.size > 0) this.#lookSoon();
    }
  }
}

/** What a run costs is not learned: no item is left out of it for its deadline. */
const notKnown = (): undefined => undefined;

/** One item, from when it is asked for to its result. */
class Member<Item, Out> implements Waiting {
  readonly item: Item;
  readonly rows = 1;
  readonly maxCompany = Number.POSITIVE_INFINITY;
  readonly arrivedAt = performance.now();
  readonly deadlineAt: number;
  /** Milliseconds since the epoch: when nobody waits for it any more. */
  readonly deadline: number | undefined;
  /** In whose work it was asked for. */
  readonly work = currentWork.getStore();
  /** Where it was asked for. What code of its own keeps there (a trace) is in a run that of the first. */
  readonly scope = new AsyncResource('serve-daemon.batch', { requireManualDestroy: true });
  readonly result: Promise<Exclude<Out, Error>>;
  run: UnderWay | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #end: { readonly resolve: (result: Exclude<Out, Error>) => void; readonly reject: (error: unknown) => void };
  readonly #leave: () => void;

  /** @param left it was given up, running or not */
  constructor(item: Item, { signal, deadline }: BatchCaller, left: () => void) {
    this.item = item;
    this.deadline = deadline ?? this.work?.deadline;
    this.deadlineAt = deadline === undefined ? Number.POSITIVE_INFINITY : this.arrivedAt + deadline - Date.now();
    const { promise, ...end } = withEnd<Exclude<Out, Error>>();
    this.result = promise;
    this.#end = end;
    this.#signal = signal;
    this.#leave = () => {
      left();
      this.run?.leave();
      this.fail(signal?.reason);
    };
    signal?.addEventListener('abort', this.#leave, { once: true });
  }

  settle(result: Out | Error): void {
    if (result instanceof Error) return this.fail(result);
    this.#signal?.removeEventListener('abort', this.#leave);
    this.#end.resolve(result as Exclude<Out, Error>);
  }

  fail(error: unknown): void {
    this.#signal?.removeEventListener('abort', this.#leave);
    this.#end.reject(error);
  }
}

const withEnd = <T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: unknown) => void } => {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
};

/** A run, for those whose items are in it. */
class UnderWay implements BatchRun, SharedWork {
  readonly deadline: number | undefined;
  #left: number;
  #abort: AbortController | undefined;

  constructor(members: readonly { readonly deadline: number | undefined }[]) {
    const latest = Math.max(...members.map(({ deadline }) => deadline ?? Number.POSITIVE_INFINITY));
    this.deadline = latest === Number.POSITIVE_INFINITY ? undefined : latest;
    this.#left = members.length;
  }

  /** Made on first use. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#left === 0) this.#abort.abort(allGone());
    return this.#abort.signal;
  }

  leave(): void {
    this.#left -= 1;
    if (this.#left === 0) this.#abort?.abort(allGone());
  }
}

const allGone = (): ServeError => new ServeError('CLIENT_CLOSED', 'nobody waits for any item of this batch any more');

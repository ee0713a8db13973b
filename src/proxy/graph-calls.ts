/** The calls of one graph run: each with its shadow, its further tries and what becomes of its answer; all of them end together. */
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import type { Generation } from '../dispatch/generation.ts';
import type { CallUnderWay, Sink } from '../dispatch/pending.ts';
import { ServeError } from '../domain/errors.ts';
import type { CallTarget, GraphStep } from '../domain/graph.ts';
import { listNode } from '../graph/evaluate.ts';
import { isSameTarget } from '../graph/target.ts';
import { nodeOf, type ValueNode, type WireValue, wireOf } from '../protocol/value.ts';
import type { GraphRequest } from './graph-run.ts';
import type { Watch } from './splits.ts';

/** One call of a step: the step's only one, or that of one item. */
export interface StepCall {
  readonly target: CallTarget;
  readonly input: ValueNode;
  readonly modelId: string | undefined;
  readonly deadlineAt: number;
  /** The same but for what the client allows. */
  readonly ownDeadlineAt: number;
  readonly exempt: boolean;
  readonly done: (value: ValueNode) => void;
  readonly failed: (error: ServeError) => void;
  /** Takes a streamed answer as it comes; undefined: it is collected to a list. */
  readonly stream: StreamTaker | undefined;
}

export interface StreamTaker {
  /** @param bytes to be given back as credit once it has gone on */
  readonly item: (value: WireValue, bytes: number) => void;
  readonly end: () => void;
}

export class GraphCalls {
  readonly #dispatcher: Dispatcher;
  readonly #request: GraphRequest;
  readonly #now: () => number;
  /** Ends the whole run: for what no step can answer for. */
  readonly #fail: (error: unknown) => void;
  /** With what counts them, where they are counted. */
  readonly #calls = new Map<CallUnderWay, Watch | undefined>();
  /** Pauses before a further try. */
  readonly #pauses = new Set<NodeJS.Timeout>();
  /** The one whose stream the client gets. */
  #streaming: CallUnderWay | undefined;
  /** Bytes of answers, which are kept until the run is over. */
  #heldBytes = 0;
  #closed = false;

  constructor(dispatcher: Dispatcher, request: GraphRequest, now: () => number, fail: (error: unknown) => void) {
    this.#dispatcher = dispatcher;
    this.#request = request;
    this.#now = now;
    this.#fail = fail;
  }

  /** Cancels those that are under way; nothing more is begun. */
  close(): void {
    this.#closed = true;
    for (const [call, watch] of this.#calls) {
      call.abandon(undefined);
      watch?.left();
    }
    this.#calls.clear();
    for (const pause of this.#pauses) clearTimeout(pause);
    this.#dispatcher.hold(-this.#heldBytes);
  }

  /** How many calls of a deployment may be worked on at once. */
  slots(target: CallTarget): number {
    const own = this.#generationOf(target);
    return own === undefined ? 0 : this.#dispatcher.slots(own, target);
  }

  /** Of the stream that the client gets so many bytes were taken. */
  credit(bytes: number): void {
    this.#streaming?.credit(bytes);
  }

  /** A call, and behind it the further tries that `retry` allows while there is time. */
  begin(step: GraphStep, call: StepCall, attempt = 1): void {
    const { retry } = step;
    if (retry === undefined) return this.#call(step, call);
    const budget = this.#request.retries.of(keyOf(call.target));
    if (attempt === 1) budget.first(this.#now());
    if (attempt >= retry.maxAttempts) return this.#call(step, call);
    const failed = (error: ServeError) => {
      const now = this.#now();
      if (!mayRetry(error) || this.#closed || now + retry.backoffMs >= call.deadlineAt || !budget.again(now))
        return call.failed(error);
      // What goes on in the turn of the failure could call itself for ever.
      const pause = setTimeout(() => {
        this.#pauses.delete(pause);
        this.begin(step, call, attempt + 1);
      }, retry.backoffMs);
      this.#pauses.add(pause);
    };
    this.#call(step, { ...call, failed });
  }

  #call(step: GraphStep, asked: StepCall): void {
    const { target, input, modelId, deadlineAt, exempt, done, failed, stream } = asked;
    const { requestId, traces, sessionId, traceparent, priority } = this.#request;
    const own = this.#generationOf(target);
    const compare = own === undefined ? undefined : this.#shadow(step, target, input, modelId, deadlineAt);
    let call: CallUnderWay | undefined;
    const over = () => {
      if (call !== undefined) this.#calls.delete(call);
    };
    const chunks: ValueNode[] = [];
    let isOut = false;
    const plain: Sink = {
      result: (value) => {
        over();
        compare?.(value);
        this.#guard(() => {
          this.#hold(bytesOf(value), step.forEach !== undefined);
          done(nodeOf(value));
        });
      },
      error: (error) => {
        over();
        compare?.(undefined);
        // Of a stream the client has a part already: nothing can stand in its place.
        this.#guard(() => (isOut ? this.#fail(error) : failed(error)));
      },
      open: () => {},
      chunk: (value, bytes) => {
        if (stream !== undefined) {
          isOut = true;
          this.#streaming = call;
          return this.#guard(() => stream.item(value, bytes));
        }
        this.#guard(() => {
          this.#hold(bytes, true);
          chunks.push(nodeOf(value));
        });
        call?.credit(bytes);
      },
      end: () => {
        over();
        compare?.(undefined);
        this.#guard(() => (stream === undefined ? done(listNode(chunks)) : stream.end()));
      },
    };
    const watch = this.#watch(step, asked, own, plain);
    const sink = watch ?? plain;
    if (own === undefined) return sink.error(new ServeError('UNAVAILABLE', `Application ${target.application} is not there.`));
    call = this.#dispatcher.call({
      generation: own,
      target,
      requestId,
      value: wireOf(input),
      deadlineAt,
      sink,
      traces,
      exempt,
      modelId,
      sessionId,
      traceparent,
      priority,
    });
    if (call !== undefined && !call.isOver) this.#calls.set(call, watch);
  }

  /** Where the split of a step is judged: counts what becomes of the call. */
  #watch({ split }: GraphStep, call: StepCall, own: Generation | undefined, sink: Sink): Watch | undefined {
    if (split?.judgedAs === undefined) return undefined;
    const { target, ownDeadlineAt, stream } = call;
    const { clientDeadlineAt, splits } = this.#request;
    const limitMs = own?.deployment(target.deployment)?.requestTimeoutMs ?? Number.POSITIVE_INFINITY;
    const asked = {
      target,
      ownDeadlineAt: Math.min(ownDeadlineAt, this.#now() + limitMs),
      clientDeadlineAt,
      streams: stream !== undefined,
    };
    return splits.watch(split.judgedAs, split.targets[0]?.target, asked, sink);
  }

  /**
   * @param isGrowing whether nobody can tell how many more such there will be: then this request ends where there is no room for them
   * @throws ServeError QUEUE_FULL
   */
  #hold(bytes: number, isGrowing: boolean): void {
    if (this.#closed) return;
    this.#heldBytes += bytes;
    if (this.#dispatcher.hold(bytes) || !isGrowing) return;
    throw new ServeError(
      'QUEUE_FULL',
      'Request dropped: with what its steps have answered, more bytes are held than http_options.max_buffered_bytes allows.',
      { retryAfterS: 1 },
    );
  }

  #generationOf(target: CallTarget): Generation | undefined {
    const { generation } = this.#request;
    return target.application === generation.application ? generation : this.#dispatcher.generation(target.application);
  }

  /**
   * Sends a copy to the shadow where that keeps nobody waiting; of what a split sends to the shadow itself there is none.
   * @returns to be told the answer that it is compared with
   */
  #shadow(
    step: GraphStep,
    called: CallTarget,
    input: ValueNode,
    modelId: string | undefined,
    deadlineAt: number,
  ): ((value: WireValue | undefined) => void) | undefined {
    const { shadow } = step;
    if (shadow === undefined || (step.split !== undefined && isSameTarget(shadow.target, called))) return undefined;
    const { requestId, shadows } = this.#request;
    const own = this.#generationOf(shadow.target);
    const name = nameOfStep(this.#request, step);
    if (own === undefined || this.#dispatcher.idleSlots(own, shadow.target) === 0) {
      shadows.count(name, 'skipped');
      return undefined;
    }
    const { sink, answered } = shadows.compare(name, shadow.tolerance);
    const call = this.#dispatcher.call({
      generation: own,
      target: shadow.target,
      requestId,
      value: wireOf(input),
      deadlineAt,
      sink: {
        ...sink,
        open: (http) => {
          sink.open(http);
          // Nobody takes what a stream brings.
          call?.abandon(undefined);
        },
      },
      exempt: true,
      modelId,
    });
    return answered;
  }

  /** What a replica sent may be no JSON, or refer to segments that are not there: that ends this request and nothing else. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fail(
        error instanceof ServeError
          ? error
          : new ServeError('USER_ERROR', `an answer could not be read: ${(error as Error).message}`),
      );
    }
  }
}

/** `application/step`. */
export const nameOfStep = ({ generation }: GraphRequest, { name }: GraphStep): string => `${generation.application}/${name}`;

const keyOf = ({ application, deployment }: CallTarget): string => `${application}/${deployment}`;

const bytesOf = ({ skeleton, segments }: WireValue): number =>
  segments.reduce((sum, { bytes }) => sum + bytes.byteLength, skeleton.length);

/** Not what the caller is to blame for, what the file does not allow, or what has no time left. */
const mayRetry = ({ code, status }: ServeError): boolean => (status >= 500 && code !== 'CALL_REFUSED') || status === 429;

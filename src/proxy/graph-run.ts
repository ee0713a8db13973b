/** Runs a declared graph for one request: calls what is ready, keeps deadlines, bounds fan-out, and ends everything when one step fails. */
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import type { Generation } from '../dispatch/generation.ts';
import type { CallTrace, CallUnderWay, Sink } from '../dispatch/pending.ts';
import { ServeError } from '../domain/errors.ts';
import type { CallTarget, Graph, GraphStep, Shadow } from '../domain/graph.ts';
import { jsonNode, listNode, type RequestScope } from '../graph/evaluate.ts';
import { finish, inputsOf, isDone, modelOf, outputOf, type RunState, ready, start, targetOf } from '../graph/step.ts';
import { nodeOf, type ValueNode, type WireValue, wireOf } from '../protocol/value.ts';
import type { RetryBudgets } from './retry-budget.ts';
import type { Shadows } from './shadow.ts';

export interface GraphRequest {
  readonly graph: Graph;
  readonly generation: Generation;
  readonly scope: RequestScope;
  readonly requestId: string;
  /** That of the client: each step's call is in it. */
  readonly sessionId: string | undefined;
  readonly traceparent?: string | undefined;
  readonly priority: number | undefined;
  /** Monotonic milliseconds; Infinity: none. */
  readonly deadlineAt: number;
  readonly traces: CallTrace[];
  /** In [0, 1): where a `split` without `sticky_by` falls. */
  readonly random: () => number;
  readonly shadows: Shadows;
  readonly retries: RetryBudgets;
  /** Called once with the graph's output, or with what it failed with. Not after `cancel`. */
  readonly done: (output: WireValue | ServeError) => void;
}

/** One call of a step: the step's only one, or that of one item. */
interface StepCall {
  readonly target: CallTarget;
  readonly input: ValueNode;
  readonly modelId: string | undefined;
  readonly deadlineAt: number;
  readonly exempt: boolean;
  readonly done: (value: ValueNode) => void;
  readonly failed: (error: ServeError) => void;
}

export class GraphRun {
  readonly #dispatcher: Dispatcher;
  readonly #request: GraphRequest;
  readonly #now: () => number;
  readonly #calls = new Set<CallUnderWay>();
  /** Pauses before a further try. */
  readonly #pauses = new Set<NodeJS.Timeout>();
  #state: RunState;
  #over = false;

  constructor(dispatcher: Dispatcher, request: GraphRequest, now: () => number) {
    this.#dispatcher = dispatcher;
    this.#request = request;
    this.#now = now;
    this.#state = start(request.graph);
    request.generation.enter();
  }

  begin(): void {
    this.#advance();
  }

  /** The client has gone: every call of this run is cancelled, nothing more is begun. */
  cancel(): void {
    this.#close();
  }

  #close(): boolean {
    if (this.#over) return false;
    this.#over = true;
    for (const call of this.#calls) call.abandon(undefined);
    this.#calls.clear();
    for (const pause of this.#pauses) clearTimeout(pause);
    this.#request.generation.leave();
    return true;
  }

  #fail(error: unknown): void {
    if (!this.#close()) return;
    this.#request.done(
      error instanceof ServeError
        ? error
        : new ServeError('INTERNAL', String((error as Error)?.message ?? error), {}, { cause: error }),
    );
  }

  #advance(): void {
    if (this.#over) return;
    try {
      if (isDone(this.#state)) {
        const output = wireOf(outputOf(this.#state, this.#request.scope));
        if (this.#close()) this.#request.done(output);
        return;
      }
      for (const name of ready(this.#state)) {
        const step = this.#request.graph.steps.find((each) => each.name === name);
        if (step !== undefined) this.#beginStep(step);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #beginStep(step: GraphStep): void {
    const { scope } = this.#request;
    const inputs = inputsOf(this.#state, step, scope);
    if (inputs === undefined) {
      this.#state = finish(this.#state, step.name, jsonNode(null));
      return this.#advance();
    }
    const target = targetOf(this.#state, step, scope, this.#request.random());
    const modelId = modelOf(this.#state, step, scope);
    const results: (ValueNode | undefined)[] = new Array(inputs.length);
    const deadlineAt = Math.min(
      this.#request.deadlineAt,
      step.timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.#now() + step.timeoutMs,
    );
    let next = 0;
    let open = 0;
    let finished = 0;
    let looping = false;
    const settle = (index: number, value: ValueNode) => {
      open -= 1;
      finished += 1;
      results[index] = value;
      // An item that is refused at the door settles while the loop below runs, which then goes on by itself.
      if (!looping) proceed();
    };
    const proceed = () => {
      looping = true;
      const most = step.forEach === undefined ? 1 : (step.maxConcurrency ?? this.#fanOut(target));
      while (next < inputs.length && open < most && !this.#over) {
        const index = next;
        const input = inputs[index];
        next += 1;
        open += 1;
        if (input === undefined) {
          settle(index, jsonNode(null));
          continue;
        }
        this.#try(step, 1, {
          target,
          input,
          modelId,
          deadlineAt,
          // Items of one request behind its first are its own queue, here: they are not refused for each other's sake.
          exempt: open > 1,
          done: (value) => settle(index, value),
          failed: (error) => {
            // Where the time of the request is over, what stands for a step is no answer either.
            if (step.onError === undefined || this.#now() >= this.#request.deadlineAt) this.#fail(error);
            else settle(index, jsonNode(step.onError.value));
          },
        });
      }
      looping = false;
      if (finished < inputs.length || this.#over) return;
      const value = step.forEach === undefined ? (results[0] as ValueNode) : listNode(results as ValueNode[]);
      this.#state = finish(this.#state, step.name, value);
      this.#advance();
    };
    proceed();
  }

  /** Items in the queue at once: enough that every slot has its next one waiting. */
  #fanOut(target: CallTarget): number {
    return Math.max(1, 2 * this.#dispatcher.slots(this.#request.generation, target));
  }

  /** A call, and behind it the further tries that `retry` allows while there is time. */
  #try(step: GraphStep, attempt: number, call: StepCall): void {
    const { retry } = step;
    if (retry === undefined) return this.#call(step, call);
    const budget = this.#request.retries.of(keyOf(call.target));
    if (attempt === 1) budget.first(this.#now());
    if (attempt >= retry.maxAttempts) return this.#call(step, call);
    const failed = (error: ServeError) => {
      const now = this.#now();
      if (!mayRetry(error) || this.#over || now + retry.backoffMs >= call.deadlineAt || !budget.again(now))
        return call.failed(error);
      // What goes on in the turn of the failure could call itself for ever.
      const pause = setTimeout(() => {
        this.#pauses.delete(pause);
        this.#try(step, attempt + 1, call);
      }, retry.backoffMs);
      this.#pauses.add(pause);
    };
    this.#call(step, { ...call, failed });
  }

  #call(step: GraphStep, { target, input, modelId, deadlineAt, exempt, done, failed }: StepCall): void {
    const { requestId, traces, sessionId, traceparent, priority } = this.#request;
    const own = this.#generationOf(target);
    if (own === undefined) return failed(new ServeError('UNAVAILABLE', `Application ${target.application} is not there.`));
    const compare = step.shadow === undefined ? undefined : this.#shadow(step.name, step.shadow, input, modelId, deadlineAt);
    let call: CallUnderWay | undefined;
    const over = () => {
      if (call !== undefined) this.#calls.delete(call);
    };
    const chunks: ValueNode[] = [];
    const sink: Sink = {
      result: (value) => {
        over();
        compare?.(value);
        this.#guard(() => done(nodeOf(value)));
      },
      error: (error) => {
        over();
        compare?.(undefined);
        this.#guard(() => failed(error));
      },
      open: () => {},
      chunk: (value, bytes) => {
        this.#guard(() => chunks.push(nodeOf(value)));
        call?.credit(bytes);
      },
      end: () => {
        over();
        compare?.(undefined);
        this.#guard(() => done(listNode(chunks)));
      },
    };
    const value = wireOf(input);
    call = this.#dispatcher.call({
      generation: own,
      target,
      requestId,
      value,
      deadlineAt,
      sink,
      traces,
      exempt,
      modelId,
      sessionId,
      traceparent,
      priority,
    });
    if (call !== undefined && !call.isOver) this.#calls.add(call);
  }

  #generationOf(target: CallTarget): Generation | undefined {
    const { generation } = this.#request;
    return target.application === generation.application ? generation : this.#dispatcher.generation(target.application);
  }

  /** Sends a copy to the shadow where that keeps nobody waiting. @returns to be told the answer that it is compared with */
  #shadow(
    step: string,
    shadow: Shadow,
    input: ValueNode,
    modelId: string | undefined,
    deadlineAt: number,
  ): ((value: WireValue | undefined) => void) | undefined {
    const { generation, requestId, shadows } = this.#request;
    const own = this.#generationOf(shadow.target);
    const name = `${generation.application}/${step}`;
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

const keyOf = ({ application, deployment }: CallTarget): string => `${application}/${deployment}`;

/** Not what the caller is to blame for, what the file does not allow, or what has no time left. */
const mayRetry = ({ code, status }: ServeError): boolean => (status >= 500 && code !== 'CALL_REFUSED') || status === 429;

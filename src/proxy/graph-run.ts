/** Runs a declared graph for one request: calls what is ready, keeps deadlines, bounds fan-out, and ends everything when one step fails. */
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import type { Generation } from '../dispatch/generation.ts';
import type { CallTrace } from '../dispatch/pending.ts';
import { ServeError } from '../domain/errors.ts';
import type { Graph, GraphStep } from '../domain/graph.ts';
import { jsonNode, listNode, type RequestScope } from '../graph/evaluate.ts';
import { finish, inputsOf, isDone, modelOf, outputOf, type RunState, ready, start, targetOf } from '../graph/step.ts';
import { type ValueNode, type WireValue, wireOf } from '../protocol/value.ts';
import { GraphCalls, nameOfStep, type StreamTaker } from './graph-calls.ts';
import type { RetryBudgets } from './retry-budget.ts';
import type { Shadows } from './shadow.ts';
import type { Splits } from './splits.ts';

export interface GraphRequest {
  readonly graph: Graph;
  readonly generation: Generation;
  readonly scope: RequestScope;
  readonly requestId: string;
  /** That of the client: each step's call is in it. */
  readonly sessionId: string | undefined;
  readonly traceparent?: string | undefined;
  readonly priority: number | undefined;
  /** What the file allows, and the client. Monotonic milliseconds; Infinity: no limit. */
  readonly ownDeadlineAt: number;
  readonly clientDeadlineAt: number;
  readonly traces: CallTrace[];
  readonly splits: Splits;
  readonly shadows: Shadows;
  readonly retries: RetryBudgets;
  /** Called once with the graph's output, or with what it failed with, also in the middle of a stream. Not after `cancel`, nor `end`. */
  readonly done: (output: WireValue | ServeError) => void;
  /**
   * An item of an output that comes as a stream.
   * @param bytes to be given to `credit` once it has gone on: its producer waits for that
   */
  readonly item: (value: WireValue, bytes: number) => void;
  /** Called once, behind the last item of a stream. */
  readonly end: () => void;
}

export class GraphRun {
  readonly #request: GraphRequest;
  readonly #now: () => number;
  readonly #calls: GraphCalls;
  #state: RunState;
  /** Steps to begin. */
  readonly #ready: string[] = [];
  #advancing = false;
  /** The output went to the client as it came. */
  #streamed = false;
  #over = false;

  constructor(dispatcher: Dispatcher, request: GraphRequest, now: () => number) {
    this.#request = request;
    this.#now = now;
    this.#calls = new GraphCalls(dispatcher, request, now, (error) => this.#fail(error));
    this.#state = start(request.graph);
    request.generation.enter();
  }

  begin(): void {
    this.#ready.push(...ready(this.#state));
    this.#advance();
  }

  /** When the time of the whole request is over. */
  get #deadlineAt(): number {
    return Math.min(this.#request.ownDeadlineAt, this.#request.clientDeadlineAt);
  }

  /** The client has gone: every call of this run is cancelled, nothing more is begun. */
  cancel(): void {
    this.#close();
  }

  /** Lets the producer of the stream go on: so many bytes of it were taken. */
  credit(bytes: number): void {
    this.#calls.credit(bytes);
  }

  #close(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#calls.close();
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

  /** Begins what is ready, and what comes to be so meanwhile: steps that are left out can be many, one behind the other. */
  #advance(): void {
    if (this.#over || this.#advancing) return;
    this.#advancing = true;
    try {
      for (let name = this.#ready.shift(); name !== undefined && !this.#over; name = this.#ready.shift()) {
        const step = this.#request.graph.steps.find((each) => each.name === name);
        if (step !== undefined) this.#beginStep(step);
      }
      if (!this.#over && isDone(this.#state)) this.#answer();
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#advancing = false;
    }
  }

  #answer(): void {
    const output = this.#streamed ? undefined : wireOf(outputOf(this.#state, this.#request.scope));
    if (!this.#close()) return;
    if (output === undefined) this.#request.end();
    else this.#request.done(output);
  }

  #beginStep(step: GraphStep): void {
    const { scope } = this.#request;
    const inputs = inputsOf(this.#state, step, scope);
    if (inputs === undefined) return this.#finish(step, jsonNode(null));
    const target = targetOf(this.#state, step, scope, () => this.#request.splits.next(nameOfStep(this.#request, step)));
    const modelId = modelOf(this.#state, step, scope);
    const results: (ValueNode | undefined)[] = new Array(inputs.length);
    const ownDeadlineAt = Math.min(
      this.#request.ownDeadlineAt,
      step.timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.#now() + step.timeoutMs,
    );
    const deadlineAt = Math.min(ownDeadlineAt, this.#request.clientDeadlineAt);
    const stream = this.#request.graph.streams === step.name ? this.#takerOf(step) : undefined;
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
      // Without a bound enough that every slot has its next one waiting.
      const most = step.forEach === undefined ? 1 : (step.maxConcurrency ?? Math.max(1, 2 * this.#calls.slots(target)));
      while (next < inputs.length && open < most && !this.#over) {
        const index = next;
        const input = inputs[index];
        next += 1;
        open += 1;
        if (input === undefined) {
          settle(index, jsonNode(null));
          continue;
        }
        this.#calls.begin(step, {
          target,
          input,
          modelId,
          deadlineAt,
          ownDeadlineAt,
          // Items of one request behind its first are its own queue, here: they are not refused for each other's sake.
          exempt: open > 1,
          done: (value) => settle(index, value),
          failed: (error) => {
            // Where the time of the request is over, what stands for a step is no answer either.
            if (step.onError === undefined || this.#now() >= this.#deadlineAt) this.#fail(error);
            else settle(index, jsonNode(step.onError.value));
          },
          stream,
        });
      }
      looping = false;
      if (finished < inputs.length || this.#over) return;
      this.#finish(step, step.forEach === undefined ? (results[0] as ValueNode) : listNode(results as ValueNode[]));
    };
    proceed();
  }

  #finish(step: GraphStep, value: ValueNode): void {
    this.#state = finish(this.#state, step.name, value);
    this.#ready.push(...ready(this.#state));
    this.#advance();
  }

  /** What goes to the client as it comes is nobody's input: no value is kept of it. */
  #takerOf(step: GraphStep): StreamTaker {
    return {
      item: this.#request.item,
      end: () => {
        this.#streamed = true;
        this.#finish(step, jsonNode(null));
      },
    };
  }
}

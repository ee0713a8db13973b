/** A dispatcher whose calls the test answers, one by one, and that works on none of them. */
import type { CallRequest, Dispatcher } from '../../src/dispatch/dispatcher.ts';
import { Generation } from '../../src/dispatch/generation.ts';
import type { CallUnderWay } from '../../src/dispatch/pending.ts';
import { ServeError } from '../../src/domain/errors.ts';
import type { CallTarget } from '../../src/domain/graph.ts';
import type { ApplicationRouting } from '../../src/domain/snapshot.ts';
import { decodeValue, encodeValue } from '../../src/protocol/codec.ts';
import type { HttpAnswerHead } from '../../src/protocol/messages.ts';

export class FakeCall {
  readonly request: CallRequest;
  readonly credits: number[] = [];
  cancelled = false;
  /** What it is to whoever began it. */
  readonly pending: CallUnderWay;
  #isOver = false;

  constructor(request: CallRequest) {
    this.request = request;
    const call = this;
    this.pending = {
      get isOver() {
        return call.#isOver;
      },
      credit: (bytes: number) => this.credits.push(bytes),
      abandon: () => {
        this.cancelled = true;
        this.#isOver = true;
      },
    } as unknown as CallUnderWay;
  }

  get target(): string {
    return this.request.target.deployment;
  }

  get input(): unknown {
    return decodeValue(this.request.value);
  }

  answer(value: unknown, http?: HttpAnswerHead): void {
    this.#isOver = true;
    this.request.sink.result(encodeValue(value), http);
  }

  /** An item of a streamed answer, which counts as so many bytes. */
  chunk(value: unknown, bytes = 1): void {
    this.request.sink.chunk(encodeValue(value), bytes);
  }

  end(): void {
    this.#isOver = true;
    this.request.sink.end();
  }

  raw(skeleton: string): void {
    this.#isOver = true;
    this.request.sink.result({ skeleton, segments: [] }, undefined);
  }

  fail(code: ServeError['code'] = 'USER_ERROR', message = 'it failed'): void {
    this.#isOver = true;
    this.request.sink.error(new ServeError(code, message));
  }
}

export class FakeDispatcher {
  readonly calls: FakeCall[] = [];
  readonly idle: number[] = [];
  freeSlots = 1;
  /** Calls of this deployment are refused at the door. */
  refuses: string | undefined;
  /** Bytes that are kept for requests, and how many may be. */
  held = 0;
  mayHold = Number.POSITIVE_INFINITY;
  readonly #generations = new Map<string, Generation>();

  add(routing: ApplicationRouting): Generation {
    const generation = new Generation(routing, ({ number }) => this.idle.push(number));
    this.#generations.set(routing.name, generation);
    return generation;
  }

  generation(name: string): Generation | undefined {
    return this.#generations.get(name);
  }

  hold(bytes: number): boolean {
    this.held += bytes;
    return this.held <= this.mayHold;
  }

  idleSlots(): number {
    return this.freeSlots;
  }

  slots(generation: Generation, target: CallTarget): number {
    return generation.application === target.application ? this.freeSlots : 0;
  }

  call(request: CallRequest): CallUnderWay | undefined {
    const call = new FakeCall(request);
    this.calls.push(call);
    if (request.target.deployment !== this.refuses) return call.pending;
    call.fail('QUEUE_FULL');
    return undefined;
  }

  /** The calls of one deployment so far. */
  of(deployment: string): readonly FakeCall[] {
    return this.calls.filter(({ target }) => target === deployment);
  }

  get itself(): Dispatcher {
    return this as unknown as Dispatcher;
  }
}

/** One call of each replica of a deployment. Its answer is a stream: how the call of each has ended, in the order of their ranks, when all have. */
import { ServeError, shapeOfError } from '../domain/errors.ts';
import type { WireValue } from '../protocol/value.ts';
import type { CallUnderWay, Sink } from './pending.ts';

/** How it has ended for one replica. */
type Outcome = { readonly value: WireValue } | { readonly error: ServeError };

export class Broadcast<R extends { readonly replica: string }> implements CallUnderWay {
  readonly deployment: string;
  readonly replica = '';
  readonly batchSize = 0;
  readonly queueMs = 0;
  readonly workMs = 0;
  /** Nothing is sent before all is there. */
  readonly streaming = false;
  isOver = false;
  readonly #calls: (CallUnderWay | undefined)[] = [];
  readonly #outcomes = new Map<number, Outcome>();
  readonly #replicas: readonly R[];
  readonly #sink: Sink;

  /**
   * @param replicas in the order of their ranks
   * @param begin    begins the call of one of them
   */
  constructor(
    deployment: string,
    replicas: readonly R[],
    begin: (replica: R, sink: Sink) => CallUnderWay | undefined,
    sink: Sink,
  ) {
    this.deployment = deployment;
    this.#replicas = replicas;
    this.#sink = sink;
    for (const [index, replica] of replicas.entries()) {
      const call = begin(replica, this.#sinkOf(index));
      this.#calls[index] = call;
      // It began to stream at once.
      if (this.#outcomes.has(index)) call?.abandon(undefined);
    }
    this.#endWhereDone();
  }

  credit(): void {
    // What is sent was whole before.
  }

  abandon(error: ServeError | undefined): void {
    if (this.isOver) return;
    this.isOver = true;
    for (const call of this.#calls) call?.abandon(undefined);
    if (error !== undefined) this.#sink.error(error);
  }

  #sinkOf(index: number): Sink {
    return {
      result: (value) => this.#ended(index, { value }),
      error: (error) => this.#ended(index, { error }),
      open: () => {
        this.#ended(index, { error: new ServeError('CALL_REFUSED', 'a method that streams cannot be called with `broadcast`') });
        this.#calls[index]?.abandon(undefined);
      },
      chunk: () => {},
      end: () => {},
    };
  }

  #ended(index: number, outcome: Outcome): void {
    if (!this.#outcomes.has(index)) this.#outcomes.set(index, outcome);
    if (this.#calls.length === this.#replicas.length) this.#endWhereDone();
  }

  #endWhereDone(): void {
    if (this.isOver || this.#outcomes.size < this.#replicas.length) return;
    this.isOver = true;
    this.#sink.open(undefined);
    for (const [index, { replica }] of this.#replicas.entries()) {
      const value = settled(replica, this.#outcomes.get(index) as Outcome);
      this.#sink.chunk(value, value.skeleton.length);
    }
    this.#sink.end();
  }
}

/** As `Promise.allSettled` has it, with the replica; what a replica has answered is passed on unread. */
const settled = (replica: string, outcome: Outcome): WireValue => {
  const head = `{"replica":${JSON.stringify(replica)},"status":`;
  if ('error' in outcome) {
    const reason = JSON.stringify({ $error: shapeOfError(outcome.error, false) });
    return { skeleton: `${head}"rejected","reason":${reason}}`, segments: [] };
  }
  const { skeleton, segments } = outcome.value;
  const parts = [`${head}"fulfilled","value":`, skeleton, '}'];
  return { skeleton: Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part))), segments };
};

/** The calls that a test makes: through handles like those of code, straight into the queues. */
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import type { Calling } from '../dispatch/link.ts';
import { type ServeError, shapeOfError } from '../domain/errors.ts';
import { MAX_REPLICA_FRAME_BYTES } from '../protocol/accept.ts';
import { encodeFrame, FRAME, type Frame, outgoing } from '../protocol/frame.ts';
import type { CallMeta, CancelMeta, CreditMeta } from '../protocol/messages.ts';
import { FrameReader } from '../protocol/reader.ts';
import type { WireValue } from '../protocol/value.ts';
import { newRequestId } from '../proxy/request-id.ts';
import { ChildCalls } from '../replica/child-calls.ts';
import { makeHandle } from '../replica/handle.ts';
import type { Handle } from '../sdk/index.ts';
import { TEST } from './routing.ts';

/** To the dispatcher it is the link of a replica; what both say are frames, so that each side has bytes of its own. */
export class Caller implements Calling {
  readonly deployment: string;
  readonly #dispatcher: Dispatcher;
  readonly #calls = new ChildCalls();
  readonly #said = new FrameReader(MAX_REPLICA_FRAME_BYTES);
  readonly #heard = new FrameReader(MAX_REPLICA_FRAME_BYTES);

  constructor(dispatcher: Dispatcher, application: string) {
    this.deployment = `${application}/${TEST}`;
    this.#dispatcher = dispatcher;
    this.#calls.connect({
      write: (buffers) => this.#said.push(Buffer.concat(buffers), (frame) => this.#take(frame)),
      call: () => false,
    });
  }

  /** One that leads to a deployment, by its name. */
  handle(deployment: string): Handle<unknown> {
    return makeHandle(this.#calls, deployment);
  }

  /** Names the request that a call without a parent is: each call of a test is one of its own. */
  get replica(): string {
    return newRequestId();
  }

  /** It works on none. */
  call(): undefined {
    return undefined;
  }

  answer(id: number, { skeleton, segments }: WireValue): void {
    this.#tell(FRAME.RESULT, { ids: [id] }, [skeleton], segments.map(outgoing));
  }

  /** With its stack: whose code it is, is no secret in its test. */
  answerError(id: number, error: ServeError, source?: string): void {
    this.#tell(FRAME.ERROR, { ids: [id], error: { source, ...shapeOfError(error) } });
  }

  answerOpen(id: number): void {
    this.#tell(FRAME.OPEN, { id });
  }

  answerChunk(id: number, { skeleton, segments }: WireValue): void {
    this.#tell(FRAME.CHUNK, { id }, [skeleton], segments.map(outgoing));
  }

  answerEnd(id: number): void {
    this.#tell(FRAME.END, { id });
  }

  #take({ type, meta, skeletons, segments }: Frame): void {
    if (type === FRAME.CANCEL) {
      for (const id of (meta as unknown as CancelMeta).ids) this.#dispatcher.childCancelled(this, id);
    } else if (type === FRAME.CREDIT) {
      const { id, bytes } = meta as unknown as CreditMeta;
      this.#dispatcher.childCredit(this, id, bytes);
    } else {
      const call = meta as unknown as CallMeta;
      // Also where a deployment that the test has called calls back into it.
      const own = { ...call, parent: undefined };
      this.#dispatcher.childCall(this, call.calls[0]?.id as number, own, { skeleton: skeletons, segments });
    }
  }

  #tell(...frame: Parameters<typeof encodeFrame>): void {
    this.#heard.push(Buffer.concat(encodeFrame(...frame)), (heard) => this.#calls.take(heard));
  }
}

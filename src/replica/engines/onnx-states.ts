/** What a model keeps of sequences: inputs that clients do not send, each with the value that an output had in the run before. */
import type { StateSpec, StateSpecs } from '../../domain/desired.ts';
import { ServeError } from '../../domain/errors.ts';
import { Tensor } from '../../protocol/tensor.ts';
import { DTYPES, type Dtype } from '../../protocol/value.ts';
import type { SequenceCall } from '../engine.ts';
import { sizeOf } from './infer-tensor.ts';
import { type Feeds, type Port, type Signature, seenOf, shapeText, takesShape } from './onnx-signature.ts';
import type { Outputs } from './onnx-stack.ts';
import { filled } from './onnx-warmup.ts';

interface Model {
  readonly signature: Signature;
  readonly run: (feeds: Feeds, wanted?: readonly string[]) => Promise<Outputs>;
}

/** A model that a request runs, and then says that it was answered with it. */
interface SteppingModel extends Model {
  /** The state that its last run left is that of the sequence from now on. */
  readonly keep: () => void;
}

interface State {
  /** By input. */
  readonly feeds: Feeds;
  readonly bytes: number;
}

export class States {
  readonly #specs: StateSpecs;
  readonly #maxBytes: number;
  /** By the number of the start that they come of. */
  readonly #kept = new Map<number, State>();
  /** Of all that are kept. */
  #bytes = 0;

  /** @param maxBytes of all states together */
  constructor(specs: StateSpecs, maxBytes: number) {
    this.#specs = specs;
    this.#maxBytes = maxBytes;
  }

  /**
   * The model as one request of a sequence sees it: its run goes on from the state, and has the next one ready for `keep`. A client that is told
   * of an error sends its request again; so nothing of one that fails is kept, be it only that its answer could not be written.
   * @throws ServeError SEQUENCE_NOT_FOUND
   */
  modelOf(call: SequenceCall, { signature, run }: Model): SteppingModel {
    const { number, isStart } = call;
    const kept = isStart ? undefined : this.#kept.get(number);
    if (kept === undefined && !isStart)
      throw new ServeError(
        'SEQUENCE_NOT_FOUND',
        'The model has no state of this sequence, or another version of it has: start it again.',
      );
    const { inputs, outputs } = seenOf(signature);
    const next = Object.entries(this.#specs);
    const onAsking = signature.outputs.filter((port) => !outputs.includes(port));
    let left: Feeds | undefined;
    return {
      signature: { inputs, outputs, onAsking, sequence: call },
      run: async (feeds, wanted = outputs.map(({ name }) => name)) => {
        const state = kept?.feeds ?? this.#initialOf(number, feeds, signature);
        const needed = new Set([...wanted, ...next.map(([, { output }]) => output)]);
        const all = await run({ ...feeds, ...state }, [...needed]);
        const following = Object.fromEntries(next.map(([input, { output }]) => [input, all[output] as Tensor]));
        this.#expectRoom(number, bytesOf(following));
        left = following;
        return Object.fromEntries(wanted.map((name) => [name, all[name] as Tensor]));
      },
      keep: () => {
        if (left === undefined) return;
        const bytes = bytesOf(left);
        this.#bytes += bytes - (this.#kept.get(number)?.bytes ?? 0);
        this.#kept.set(number, { feeds: left, bytes });
      },
    };
  }

  forget(numbers: readonly number[]): void {
    for (const number of numbers) {
      this.#bytes -= this.#kept.get(number)?.bytes ?? 0;
      this.#kept.delete(number);
    }
  }

  /** The shapes are the client's to say: they are looked at before anything is made of them. */
  #initialOf(number: number, feeds: Feeds, { inputs }: Signature): Feeds {
    const extents = namedExtents(feeds, inputs);
    const ports = inputs.filter(({ name }) => Object.hasOwn(this.#specs, name));
    const shapes = ports.map((port) => initialShape(port, this.#specs[port.name] as StateSpec, extents));
    const bytes = ports.reduce((sum, { dtype }, index) => sum + sizeOf(shapes[index] as number[]) * bytesOfOne(dtype), 0);
    this.#expectRoom(number, bytes);
    return Object.fromEntries(ports.map((port, index) => [port.name, zeros(port, shapes[index] as number[])]));
  }

  /** @throws ServeError INVALID_INPUT for a state that would never fit, QUEUE_FULL for one that does not beside the others */
  #expectRoom(number: number, bytes: number): void {
    const most = `\`model.sequence.max_state_bytes\` allows (${this.#maxBytes})`;
    if (bytes > this.#maxBytes)
      throw invalid(`expected a state of at most as many bytes as ${most}, got ${bytes}: send smaller inputs, or raise it`);
    if (this.#bytes - (this.#kept.get(number)?.bytes ?? 0) + bytes <= this.#maxBytes) return;
    const message = `Request dropped: with a state of ${bytes} bytes the sequences of this replica would have more than ${most}.`;
    throw new ServeError('QUEUE_FULL', message, { retryAfterS: 1 });
  }
}

/** A free extent that has a name, as the request has it. */
interface Extent {
  readonly size: number;
  /** The input that has it is empty: it costs a client nothing to give any number. */
  readonly emptyInput: string | undefined;
}

/** So a batch of so many has a state of so many. */
const namedExtents = (feeds: Feeds, inputs: readonly Port[]): ReadonlyMap<string, Extent> => {
  const extents = new Map<string, Extent>();
  for (const { name, shape } of inputs)
    for (const [axis, extent] of (shape ?? []).entries()) {
      const given = feeds[name];
      const size = given?.shape[axis];
      if (typeof extent === 'string' && extent !== '' && size !== undefined)
        extents.set(extent, { size, emptyInput: given?.data.length === 0 ? name : undefined });
    }
  return extents;
};

/** @throws ServeError INVALID_INPUT */
const initialShape = ({ name, shape }: Port, spec: StateSpec, extents: ReadonlyMap<string, Extent>): readonly number[] =>
  spec.shape ??
  (shape ?? []).map((extent) => {
    if (typeof extent === 'number') return extent;
    const { size = 1, emptyInput } = extents.get(extent) ?? {};
    if (emptyInput !== undefined)
      throw invalid(`expected elements in the input \`${emptyInput}\`, of whose extents the state \`${name}\` is made, got none`);
    return size;
  });

const zeros = ({ dtype }: Port, shape: readonly number[]): Tensor =>
  new Tensor(
    dtype,
    shape,
    filled(dtype, sizeOf(shape), 'zero', () => 0),
  );

const bytesOf = (feeds: Feeds): number =>
  Object.values(feeds).reduce((sum, { dtype, shape, data }) => {
    const texts = dtype === 'string' ? (data as readonly string[]).reduce((length, text) => length + 2 * text.length, 0) : 0;
    return sum + sizeOf(shape) * bytesOfOne(dtype) + texts;
  }, 0);

/** Of an element. */
const bytesOfOne = (dtype: Dtype): number => (dtype === 'string' ? TEXT_BYTES : DTYPES[dtype]);
/** What a text costs beside its characters, about. */
const TEXT_BYTES = 16;

/** @throws ServeError INVALID_INPUT: what the config says of the states is not so */
export const withStates = (signature: Signature, specs: StateSpecs): Signature => {
  const states: Record<string, string> = {};
  for (const [input, { output, shape }] of Object.entries(specs)) {
    const from = portOf(input, signature.inputs, 'inputs');
    const to = portOf(output, signature.outputs, 'outputs');
    if (from.dtype !== to.dtype || !mayFit(from.shape, to.shape)) {
      const [one, other] = [from, to].map((port) => `\`${port.name}\` (${port.dtype} ${shapeText(port.shape)})`);
      throw invalid(`expected ${one} of \`sequence.state\` to take what ${other} gives`);
    }
    if (shape !== null && !takesShape(from, shape))
      throw invalid(
        `expected a shape of ${shapeText(from.shape)} for \`${input}\` in \`sequence.state\`, got [${shape.join(', ')}]`,
      );
    states[input] = output;
  }
  return Object.keys(states).length === 0 ? signature : { ...signature, states };
};

const invalid = (message: string): ServeError => new ServeError('INVALID_INPUT', message);

const portOf = (name: string, ports: readonly Port[], what: string): Port => {
  const port = ports.find((each) => each.name === name);
  if (port !== undefined) return port;
  const names = ports.map((each) => `\`${each.name}\``).join(', ');
  throw invalid(`expected ${what} of the model (${names}) in \`sequence.state\`, got \`${name}\``);
};

const mayFit = (one: Port['shape'], other: Port['shape']): boolean =>
  one === null ||
  other === null ||
  (one.length === other.length &&
    one.every((extent, axis) => typeof extent !== 'number' || typeof other[axis] !== 'number' || extent === other[axis]));

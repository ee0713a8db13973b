/** What a model keeps of sequences: inputs that clients do not send, each with the value that an output had in the run before. */
import type { StateSpec, StateSpecs } from '../../domain/desired.ts';
import { ServeError } from '../../domain/errors.ts';
import { Tensor } from '../../protocol/tensor.ts';
import type { SequenceCall } from '../engine.ts';
import { type Feeds, type Port, type Signature, seenOf, shapeText, takesShape } from './onnx-signature.ts';
import type { Outputs } from './onnx-stack.ts';
import { filled } from './onnx-warmup.ts';

interface Model {
  readonly signature: Signature;
  readonly run: (feeds: Feeds, wanted?: readonly string[]) => Promise<Outputs>;
}

export class States {
  readonly #specs: StateSpecs;
  /** By the number of the start that they come of, and then by input. */
  readonly #kept = new Map<number, Feeds>();

  constructor(specs: StateSpecs) {
    this.#specs = specs;
  }

  /**
   * The model as one request of a sequence sees it: its run goes on from the state, and leaves the next one. What fails leaves it as it is.
   * @throws ServeError SEQUENCE_NOT_FOUND
   */
  modelOf({ number, isStart }: SequenceCall, { signature, run }: Model): Model {
    const kept = this.#kept.get(number);
    if (kept === undefined && !isStart)
      throw new ServeError(
        'SEQUENCE_NOT_FOUND',
        'The model has no state of this sequence, or another version of it has: start it again.',
      );
    const { inputs, outputs } = seenOf(signature);
    const next = Object.entries(this.#specs);
    const onAsking = signature.outputs.filter((port) => !outputs.includes(port));
    return {
      signature: { inputs, outputs, onAsking },
      run: async (feeds, wanted = outputs.map(({ name }) => name)) => {
        const state = kept ?? initialOf(this.#specs, feeds, signature);
        const needed = new Set([...wanted, ...next.map(([, { output }]) => output)]);
        const all = await run({ ...feeds, ...state }, [...needed]);
        this.#kept.set(number, Object.fromEntries(next.map(([input, { output }]) => [input, all[output] as Tensor])));
        return Object.fromEntries(wanted.map((name) => [name, all[name] as Tensor]));
      },
    };
  }

  forget(numbers: readonly number[]): void {
    for (const number of numbers) this.#kept.delete(number);
  }
}

const initialOf = (specs: StateSpecs, feeds: Feeds, { inputs }: Signature): Feeds => {
  const extents = namedExtents(feeds, inputs);
  return Object.fromEntries(
    inputs
      .filter(({ name }) => Object.hasOwn(specs, name))
      .map((port) => [port.name, zeros(port, specs[port.name] as StateSpec, extents)]),
  );
};

/** Free extents that have a name, as the request has them: so a batch of so many has a state of so many. */
const namedExtents = (feeds: Feeds, inputs: readonly Port[]): ReadonlyMap<string, number> => {
  const extents = new Map<string, number>();
  for (const { name, shape } of inputs)
    for (const [axis, extent] of (shape ?? []).entries()) {
      const given = feeds[name]?.shape[axis];
      if (typeof extent === 'string' && extent !== '' && given !== undefined) extents.set(extent, given);
    }
  return extents;
};

const zeros = ({ dtype, shape }: Port, spec: StateSpec, extents: ReadonlyMap<string, number>): Tensor => {
  const own = spec.shape ?? (shape ?? []).map((extent) => (typeof extent === 'number' ? extent : (extents.get(extent) ?? 1)));
  const size = own.reduce((product, extent) => product * extent, 1);
  return new Tensor(
    dtype,
    own,
    filled(dtype, size, 'zero', () => 0),
  );
};

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

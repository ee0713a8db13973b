/** A model's inputs and outputs, and the checks that what a caller sends fits them. Pure. */
import { ServeError } from '../../domain/errors.ts';
import type { ModelPort, ModelPorts, ModelState } from '../../domain/model.ts';
import { exactDigits } from '../../protocol/exact-json.ts';
import { halfBits, halfOf, Tensor, type TensorData, TYPED_ARRAYS } from '../../protocol/tensor.ts';
import { DTYPES, type Dtype } from '../../protocol/value.ts';
import type { SequenceCall } from '../engine.ts';

export interface Port {
  readonly name: string;
  readonly dtype: Dtype;
  /** Numbers, or names of extents that may be anything; null: any number of extents. */
  readonly shape: readonly (number | string)[] | null;
}

export interface Signature {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** What a trial said of a model that names its axes 0 differently: whether every output has a row for each row of the inputs. */
  readonly rowsAgree?: boolean;
  /** What a sequence keeps: name of an input → that of the output that is its next value. Absent: nothing. */
  readonly states?: Readonly<Record<string, string>>;
  /** Outputs beside the others, for those who name them. */
  readonly onAsking?: readonly Port[];
  /** What a request of a sequence is in it, as the daemon was told. */
  readonly sequence?: SequenceCall;
}

export type Feeds = Readonly<Record<string, Tensor>>;

/** What the model is, for people and for `GET` on its route. Of what it keeps in a sequence clients send and get nothing. */
export const describe = (signature: Signature): ModelPorts => {
  const port = ({ name, dtype, shape }: Port): ModelPort => ({
    name,
    dtype,
    shape: shape === null ? null : shape.map((extent) => (typeof extent === 'number' ? extent : -1)),
  });
  const { inputs, outputs } = seenOf(signature);
  const { states = {} } = signature;
  const kept = signature.inputs
    .filter(({ name }) => Object.hasOwn(states, name))
    .map((each): ModelState => ({ ...port(each), output: states[each.name] as string }));
  return {
    inputs: inputs.map(port),
    outputs: outputs.map(port),
    ...(kept.length === 0 ? {} : { states: kept }),
  };
};

/** What a request of a sequence sends and gets. */
export const seenOf = ({ inputs, outputs, states = {} }: Signature): Pick<Signature, 'inputs' | 'outputs'> => {
  const next = new Set(Object.values(states));
  return {
    inputs: inputs.filter(({ name }) => !Object.hasOwn(states, name)),
    outputs: outputs.filter(({ name }) => !next.has(name)),
  };
};

/** Who sends neither a sequence nor the state may have forgotten either. */
export const missingHint = ({ states = {} }: Signature, name: string): string =>
  Object.hasOwn(states, name) ? ', nor a sequence (`sequence_id`, x-sequence-id) whose state it is' : '';

const hasFreeRows = ({ inputs, outputs }: Signature): boolean =>
  [...inputs, ...outputs].every(({ shape }) => shape !== null && shape.length > 0 && typeof shape[0] !== 'number');

/** One name for all: the rows that go in are those that come out. */
const namesAgree = ({ inputs, outputs }: Signature): boolean =>
  new Set([...inputs, ...outputs].map(({ shape }) => shape?.[0])).size === 1;

/** Whether only a trial can tell if requests may be stacked: a detector's boxes have a free axis 0 too. */
export const needsTrial = (signature: Signature): boolean =>
  hasFreeRows(signature) && !namesAgree(signature) && signature.rowsAgree === undefined;

/** Whether requests may be stacked: every input and every output has a free axis 0, which is the same for all. */
export const isStackable = (signature: Signature): boolean =>
  hasFreeRows(signature) && (namesAgree(signature) || signature.rowsAgree === true);

const invalid = (message: string): ServeError => new ServeError('INVALID_INPUT', message);

/** `[?, 3]`; of any rank: `[…]`. */
export const shapeText = (shape: readonly (number | string)[] | null): string =>
  shape === null ? '[…]' : `[${shape.map((extent) => (typeof extent === 'number' ? extent : '?')).join(', ')}]`;

/** Whether a shape of numbers is one that the port takes. */
export const takesShape = ({ shape }: Port, given: readonly number[]): boolean =>
  shape === null ||
  (shape.length === given.length && shape.every((extent, axis) => typeof extent !== 'number' || extent === given[axis]));

/**
 * The tensors that a call gives: an object of tensors by input name, or the bare tensor where the model has one input.
 * @throws ServeError INVALID_INPUT with expected and got: a name, a dtype or a shape that the model does not take
 */
export const feedsOf = (value: unknown, signature: Signature): Feeds => {
  const { inputs } = signature;
  const [only] = inputs;
  const record: Record<string, unknown> =
    value instanceof Tensor && inputs.length === 1 && only !== undefined ? { [only.name]: value } : namedInputs(value, signature);
  const feeds: Record<string, Tensor> = {};
  for (const port of inputs) feeds[port.name] = fit(record[port.name], port);
  return feeds;
};

const namedInputs = (value: unknown, { inputs }: Signature): Record<string, unknown> => {
  const names = inputs.map((port) => `\`${port.name}\``).join(', ');
  if (
    typeof value !== 'object' ||
    value === null ||
    Array.isArray(value) ||
    value instanceof Tensor ||
    ArrayBuffer.isView(value)
  ) {
    throw invalid(`expected an object with the input${inputs.length === 1 ? '' : 's'} ${names}, got ${kindOf(value)}`);
  }
  for (const key of Object.keys(value)) {
    if (!inputs.some((port) => port.name === key))
      throw invalid(`expected the input${inputs.length === 1 ? '' : 's'} ${names}, got \`${key}\``);
  }
  return value as Record<string, unknown>;
};

const kindOf = (value: unknown): string => {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (value instanceof Tensor) return `a tensor ${value.dtype} ${shapeText(value.shape)}`;
  return ArrayBuffer.isView(value) ? value.constructor.name : `a ${typeof value}`;
};

const fit = (value: unknown, port: Port): Tensor => {
  if (!(value instanceof Tensor))
    throw invalid(`expected a tensor ${port.dtype} ${shapeText(port.shape)} for input \`${port.name}\`, got ${kindOf(value)}`);
  if (value.dtype !== port.dtype || !takesShape(port, value.shape))
    throw invalid(
      `expected ${port.dtype} ${shapeText(port.shape)} for input \`${port.name}\`, got ${value.dtype} ${shapeText(value.shape)}`,
    );
  if (value.dtype === 'string') for (const text of value.data as readonly string[]) checkText(text, port.name);
  return value;
};

/** onnxruntime-node ends a text at its first NUL, and would say nothing of it. */
export const checkText = (text: string, name: string): void => {
  if (text.includes('\0')) throw invalid(`expected texts without NUL characters in input \`${name}\`, got one`);
};

/**
 * The tensors of a JSON body: `{"<input>": nested lists}`, or the bare list where the model has one input.
 * @throws ServeError INVALID_INPUT
 */
export const feedsOfJson = (body: unknown, signature: Signature): Feeds => {
  const { inputs } = signature;
  const [only] = inputs;
  const bare = inputs.length === 1 && only !== undefined && (Array.isArray(body) || typeof body === 'number');
  const record = bare ? { [only.name]: body } : namedInputs(body, signature);
  const feeds: Record<string, Tensor> = {};
  for (const port of inputs) {
    if (record[port.name] === undefined)
      throw invalid(
        `expected the input \`${port.name}\` (${port.dtype} ${shapeText(port.shape)}), got none${missingHint(signature, port.name)}`,
      );
    feeds[port.name] = fit(tensorOfLists(record[port.name], port), port);
  }
  return feeds;
};

/** The tensor of a raw body (little-endian, row-major) for a model with one input that has at most one free extent, its rows. */
export const feedsOfBytes = (bytes: Uint8Array, signature: Signature): Feeds => {
  const [port] = signature.inputs;
  if (signature.inputs.length !== 1 || port === undefined || port.dtype === 'string')
    throw invalid('a raw body is for models with one numeric input: send JSON');
  const fixed = port.shape?.slice(1);
  if (fixed === undefined || fixed.some((extent) => typeof extent !== 'number'))
    throw invalid(`a raw body is for inputs whose shape is fixed behind axis 0, not ${shapeText(port.shape)}: send JSON`);
  const rowBytes = (fixed as number[]).reduce((product, extent) => product * extent, DTYPES[port.dtype]);
  const rows = bytes.byteLength / rowBytes;
  if (!Number.isInteger(rows) || rows < 1)
    throw invalid(`expected a multiple of ${rowBytes} bytes (${port.dtype} ${shapeText(port.shape)}), got ${bytes.byteLength}`);
  const Type = TYPED_ARRAYS[port.dtype];
  // A view where it stands at a multiple of the element's size, as the buffer of a whole batch does.
  const own = bytes.byteOffset % Type.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
  return {
    [port.name]: fit(
      new Tensor(
        port.dtype,
        [rows, ...(fixed as number[])],
        new Type(own.buffer as ArrayBuffer, own.byteOffset, own.byteLength / Type.BYTES_PER_ELEMENT),
      ),
      port,
    ),
  };
};

const tensorOfLists = (lists: unknown, port: Port): Tensor => {
  const shape: number[] = [];
  for (let level = lists; Array.isArray(level); level = level[0] as unknown) {
    shape.push(level.length);
    if (shape.length > 32) throw invalid(`input \`${port.name}\` is nested deeper than 32 levels`);
  }
  const size = shape.reduce((product, extent) => product * extent, 1);
  const flat: unknown[] = [];
  const walk = (level: unknown, axis: number): void => {
    if (axis === shape.length) {
      flat.push(level);
      return;
    }
    if (!Array.isArray(level) || level.length !== shape[axis])
      throw invalid(`input \`${port.name}\` is ragged: expected lists of ${shape[axis]} on axis ${axis}`);
    for (const item of level) walk(item, axis + 1);
  };
  walk(lists, 0);
  if (flat.length !== size) throw invalid(`input \`${port.name}\` is ragged`);
  // Lists end where one is empty: of the axes behind it the model knows the extents.
  if (size === 0) for (const extent of port.shape?.slice(shape.length) ?? []) shape.push(typeof extent === 'number' ? extent : 0);
  return new Tensor(port.dtype, shape, dataOfJson(flat, port));
};

/**
 * The numbers, booleans or texts of a JSON text as the data of a tensor.
 * @throws ServeError INVALID_INPUT with the first one that the dtype cannot hold
 */
export const dataOfJson = (flat: readonly unknown[], port: Pick<Port, 'name' | 'dtype'>): TensorData => {
  const wrong = (value: unknown, expected: string) =>
    invalid(
      `expected ${expected} in input \`${port.name}\` (${port.dtype}), got ${exactDigits(value) ?? JSON.stringify(value)?.slice(0, 40) ?? String(value)}`,
    );
  switch (port.dtype) {
    case 'string':
      for (const value of flat) if (typeof value !== 'string') throw wrong(value, 'texts');
      return flat as readonly string[];
    case 'bool':
      return Uint8Array.from(flat, (value) => {
        if (typeof value !== 'boolean' && value !== 0 && value !== 1) throw wrong(value, 'true or false');
        return value ? 1 : 0;
      });
    case 'int64':
    case 'uint64': {
      const whole = flat.map((value) => {
        const exact = wholeOf(value);
        const bits = port.dtype === 'int64' ? BigInt.asIntN : BigInt.asUintN;
        if (exact === undefined || bits(64, exact) !== exact) throw wrong(value, `whole numbers that fit ${port.dtype}`);
        return exact;
      });
      return port.dtype === 'int64' ? BigInt64Array.from(whole) : BigUint64Array.from(whole);
    }
    case 'float16':
      return Uint16Array.from(flat, (given) => {
        const value = numberOf(given);
        if (value === undefined) throw wrong(given, 'numbers');
        const bits = halfBits(value);
        if (!Number.isFinite(halfOf(bits))) throw wrong(value, 'numbers that fit float16');
        return bits;
      });
    case 'float32':
    case 'float64': {
      const data = new TYPED_ARRAYS[port.dtype](flat.length);
      for (let index = 0; index < flat.length; index++) {
        const value = numberOf(flat[index]);
        if (value === undefined) throw wrong(flat[index], 'numbers');
        data[index] = value;
        if (!Number.isFinite(data[index])) throw wrong(value, `numbers that fit ${port.dtype}`);
      }
      return data;
    }
    default: {
      const data = new TYPED_ARRAYS[port.dtype](flat.length);
      for (let index = 0; index < flat.length; index++) {
        const value = flat[index];
        data[index] = value as number;
        if (data[index] !== value) throw wrong(value, `whole numbers that fit ${port.dtype}`);
      }
      return data;
    }
  }
};

/** A number as `parseExactly` gives it. */
const numberOf = (value: unknown): number | undefined => {
  if (typeof value === 'number') return value;
  const digits = exactDigits(value);
  return digits === undefined ? undefined : Number(digits);
};

/** A whole number as `parseExactly` gives it, or its digits as a text, which is how answers say those that JavaScript would round. */
const wholeOf = (value: unknown): bigint | undefined => {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : undefined;
  const digits = exactDigits(value) ?? value;
  return typeof digits === 'string' && /^-?\d{1,20}$/.test(digits) ? BigInt(digits) : undefined;
};

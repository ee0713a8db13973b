/** Reads of a model's file, which is protobuf, what goes in and comes out: names, dtypes, shapes. Nothing is loaded; what it cannot read it leaves out. */
import type { Dtype } from './value.ts';

/** Gives so many bytes from a place of the file on, or as many as there are. */
export type ReadBytes = (at: number, length: number) => Buffer;

export interface FilePort {
  readonly name: string;
  /** undefined: one that no replica serves, or no tensor. */
  readonly dtype: Dtype | undefined;
  /** -1: any extent; null: the file leaves the shape open altogether. */
  readonly shape: readonly number[] | null;
}

export interface FilePorts {
  readonly inputs: readonly FilePort[];
  readonly outputs: readonly FilePort[];
  /** Names of the inputs that have a value in the file, so that nobody needs to give one. */
  readonly given: ReadonlySet<string>;
}

/** Heads of fields: a tag and a length, each a varint. */
const HEAD_BYTES = 20;
/** Of one input or output, far beyond what its name and shape need. */
const MAX_PORT_BYTES = 65_536;
/** How often the file is read from: some times for each node and each weight, of which the largest models have ten thousands. */
const MAX_READS = 1_000_000;
const NO_BYTES = Buffer.alloc(0);

/** Fields of the messages of ONNX's protobuf that lead to a shape. */
const GRAPH = 7;
const GRAPH_INITIALIZER = 5;
const GRAPH_INPUT = 11;
const GRAPH_OUTPUT = 12;
const GRAPH_SPARSE_INITIALIZER = 15;
const SPARSE_VALUES = 1;
const TENSOR_NAME = 8;
const VALUE_NAME = 1;
const VALUE_TYPE = 2;
const TYPE_TENSOR = 1;
const TENSOR_ELEMENT = 1;
const TENSOR_SHAPE = 2;
const SHAPE_EXTENT = 1;
const EXTENT_VALUE = 1;

/** By the number of TensorProto.DataType. */
const DTYPE_OF: readonly (Dtype | undefined)[] = [
  undefined,
  'float32',
  'uint8',
  'int8',
  'uint16',
  'int16',
  'int32',
  'int64',
  'string',
  'bool',
  'float16',
  'float64',
  'uint32',
  'uint64',
];

/**
 * @param size of the file
 * @returns undefined for what is no model, or none that anybody wrote: whoever loads it says what is wrong
 */
export const portsOfFile = (readFile: ReadBytes, size: number): FilePorts | undefined => {
  let left = MAX_READS;
  const read: ReadBytes = (at, length) => (left-- > 0 ? readFile(at, length) : NO_BYTES);
  const inputs: FilePort[] = [];
  const outputs: FilePort[] = [];
  const given = new Set<string>();
  for (const graph of fields(read, 0, size)) {
    if (graph.number !== GRAPH) continue;
    for (const field of fields(read, graph.from, graph.to)) {
      switch (field.number) {
        case GRAPH_INPUT:
        case GRAPH_OUTPUT:
          (field.number === GRAPH_INPUT ? inputs : outputs).push(
            portOf(read(field.from, Math.min(lengthOf(field), MAX_PORT_BYTES))),
          );
          break;
        case GRAPH_INITIALIZER:
          given.add(textAt(read, find(read, field, TENSOR_NAME)));
          break;
        case GRAPH_SPARSE_INITIALIZER: {
          const values = find(read, field, SPARSE_VALUES);
          if (values !== undefined) given.add(textAt(read, find(read, values, TENSOR_NAME)));
        }
      }
    }
  }
  return left < 0 || inputs.length + outputs.length === 0 ? undefined : { inputs, outputs, given };
};

const portOf = (bytes: Buffer): FilePort => {
  const read: ReadBytes = (at, length) => bytes.subarray(at, at + length);
  const whole = { number: 0, from: 0, to: bytes.length, value: 0 };
  const type = find(read, whole, VALUE_TYPE);
  const tensor = type && find(read, type, TYPE_TENSOR);
  const shape = tensor && find(read, tensor, TENSOR_SHAPE);
  return {
    name: textAt(read, find(read, whole, VALUE_NAME)),
    dtype: tensor && DTYPE_OF[find(read, tensor, TENSOR_ELEMENT)?.value ?? 0],
    shape:
      shape === undefined
        ? null
        : [...fields(read, shape.from, shape.to)]
            .filter(({ number }) => number === SHAPE_EXTENT)
            .map((extent) => extentOf(find(read, extent, EXTENT_VALUE)?.value)),
  };
};

/** What has no number, or none that an extent can be, may be anything. */
const extentOf = (value: number | undefined): number =>
  value !== undefined && value > 0 && Number.isSafeInteger(value) ? value : -1;

interface Field {
  readonly number: number;
  /** Its content, where it has a length; else nothing. */
  readonly from: number;
  readonly to: number;
  /** Of a field that is a varint. */
  readonly value: number;
}

const lengthOf = ({ from, to }: Field): number => to - from;

/** The fields of one message that are varints or have a length; others are passed over. */
function* fields(read: ReadBytes, from: number, to: number): Generator<Field> {
  for (let at = from; at < to; ) {
    const head = read(at, HEAD_BYTES);
    const tag = varint(head, 0);
    const value = tag && varint(head, tag.next);
    if (tag === undefined || value === undefined) return;
    const number = Math.floor(tag.value / 8);
    const content = at + value.next;
    switch (tag.value % 8) {
      case 0:
        yield { number, from: content, to: content, value: value.value };
        at = content;
        break;
      case 1:
        at += tag.next + 8;
        break;
      case 2:
        yield { number, from: content, to: Math.min(to, content + value.value), value: 0 };
        at = content + value.value;
        break;
      case 5:
        at += tag.next + 4;
        break;
      default:
        return;
    }
  }
}

const find = (read: ReadBytes, { from, to }: Field, number: number): Field | undefined => {
  for (const field of fields(read, from, to)) if (field.number === number) return field;
  return undefined;
};

const textAt = (read: ReadBytes, field: Field | undefined): string =>
  field === undefined ? '' : read(field.from, Math.min(lengthOf(field), MAX_PORT_BYTES)).toString('utf8');

/** Of a number beyond 2^53, as a negative one is here, nothing but that it is large. */
const varint = (bytes: Buffer, from: number): { value: number; next: number } | undefined => {
  let value = 0;
  for (let index = from; index < Math.min(bytes.length, from + 10); index++) {
    const byte = bytes[index] as number;
    value += (byte & 0x7f) * 2 ** (7 * (index - from));
    if (byte < 0x80) return { value, next: index + 1 };
  }
  return undefined;
};

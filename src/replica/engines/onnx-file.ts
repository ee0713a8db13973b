/** Reads of a model's file what onnxruntime does not tell: which inputs and outputs have no rank of their own. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Heads of fields: a tag and a length, each a varint. */
const HEAD_BYTES = 20;
/** Of one input or output, far beyond what its name and shape need. */
const MAX_PORT_BYTES = 65_536;

/** Fields of the messages of ONNX's protobuf that lead to a shape. */
const GRAPH = 7;
const GRAPH_INPUT = 11;
const GRAPH_OUTPUT = 12;
const VALUE_NAME = 1;
const VALUE_TYPE = 2;
const TYPE_TENSOR = 1;
const TENSOR_SHAPE = 2;

/**
 * Names of the inputs and outputs whose shape the model leaves open altogether. onnxruntime-node reports them as scalars.
 * @throws nothing for what is no model: whoever loads it says what is wrong
 */
export const portsWithoutRank = (path: string): ReadonlySet<string> => {
  const names = new Set<string>();
  const file = openSync(path, 'r');
  try {
    const read: Read = (at, length) => {
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, readSync(file, bytes, 0, length, at));
    };
    for (const graph of fields(read, 0, fstatSync(file).size)) {
      if (graph.number !== GRAPH) continue;
      for (const { number, from, to } of fields(read, graph.from, graph.to)) {
        if (number !== GRAPH_INPUT && number !== GRAPH_OUTPUT) continue;
        const port = read(from, Math.min(to - from, MAX_PORT_BYTES));
        if (!hasRank(port)) names.add(nameOf(port));
      }
    }
  } finally {
    closeSync(file);
  }
  return names;
};

type Read = (at: number, length: number) => Buffer;

interface Field {
  readonly number: number;
  /** Its content. */
  readonly from: number;
  readonly to: number;
}

/** The fields of one message that have a length; others are passed over. */
function* fields(read: Read, from: number, to: number): Generator<Field> {
  for (let at = from; at < to; ) {
    const head = read(at, HEAD_BYTES);
    const tag = varint(head, 0);
    const value = tag && varint(head, tag.next);
    if (tag === undefined || value === undefined) return;
    const content = at + value.next;
    switch (tag.value % 8) {
      case 0:
        at = content;
        break;
      case 1:
        at += tag.next + 8;
        break;
      case 2:
        yield { number: Math.floor(tag.value / 8), from: content, to: content + value.value };
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

const inside = (bytes: Buffer, number: number): Buffer | undefined => {
  const read: Read = (at, length) => bytes.subarray(at, at + length);
  for (const field of fields(read, 0, bytes.length)) if (field.number === number) return bytes.subarray(field.from, field.to);
  return undefined;
};

const nameOf = (port: Buffer): string => inside(port, VALUE_NAME)?.toString('utf8') ?? '';

const hasRank = (port: Buffer): boolean => {
  const type = inside(port, VALUE_TYPE);
  const tensor = type && inside(type, TYPE_TENSOR);
  return tensor !== undefined && inside(tensor, TENSOR_SHAPE) !== undefined;
};

const varint = (bytes: Buffer, from: number): { value: number; next: number } | undefined => {
  let value = 0;
  for (let index = from; index < Math.min(bytes.length, from + 8); index++) {
    const byte = bytes[index] as number;
    value += (byte & 0x7f) * 2 ** (7 * (index - from));
    if (byte < 0x80) return { value, next: index + 1 };
  }
  return undefined;
};

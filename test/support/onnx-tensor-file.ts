/** Reads the tensor files of ONNX's own test data: one TensorProto each. */
import { Tensor, type TensorData, TYPED_ARRAYS } from '../../src/protocol/tensor.ts';
import type { Dtype } from '../../src/protocol/value.ts';

/** By number of TensorProto.DataType. */
const DTYPES: Readonly<Record<number, Dtype>> = {
  1: 'float32',
  2: 'uint8',
  3: 'int8',
  4: 'uint16',
  5: 'int16',
  6: 'int32',
  7: 'int64',
  8: 'string',
  9: 'bool',
  10: 'float16',
  11: 'float64',
  12: 'uint32',
  13: 'uint64',
};

const FIELD = { DIMS: 1, TYPE: 2, FLOATS: 4, INT32S: 5, STRINGS: 6, INT64S: 7, NAME: 8, RAW: 9, DOUBLES: 10, UINT64S: 11 };

interface Field {
  readonly number: number;
  /** Of a varint. */
  readonly value: bigint;
  /** Of what has a length, or 4 or 8 bytes. */
  readonly bytes: Buffer;
}

const varint = (bytes: Buffer, from: number): [bigint, number] => {
  let [value, at, shift] = [0n, from, 0n];
  for (;;) {
    const byte = bytes[at++] as number;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return [value, at];
    shift += 7n;
  }
};

const fieldsOf = (bytes: Buffer): Field[] => {
  const fields: Field[] = [];
  let at = 0;
  while (at < bytes.length) {
    const [tag, behind] = varint(bytes, at);
    const number = Number(tag >> 3n);
    let [value, length, start] = [0n, 0, behind];
    switch (Number(tag & 7n)) {
      case 0:
        [value, start] = varint(bytes, behind);
        break;
      case 1:
        length = 8;
        break;
      case 2: {
        const [size, content] = varint(bytes, behind);
        [length, start] = [Number(size), content];
        break;
      }
      case 5:
        length = 4;
        break;
      default:
        throw new Error('no protobuf');
    }
    fields.push({ number, value, bytes: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return fields;
};

/** Varints of a field that is packed, or stands there once for each. */
const varintsOf = (fields: readonly Field[], number: number): bigint[] =>
  fields.flatMap((field) => {
    if (field.number !== number) return [];
    if (field.bytes.length === 0) return [field.value];
    const values: bigint[] = [];
    for (let at = 0; at < field.bytes.length; ) {
      const [value, next] = varint(field.bytes, at);
      values.push(value);
      at = next;
    }
    return values;
  });

const joined = (fields: readonly Field[], number: number): Buffer =>
  Buffer.concat(fields.filter((field) => field.number === number).map(({ bytes }) => bytes));

/** @throws Error for what is no tensor, or of a dtype that onnxruntime-node has no form for */
export const readTensorFile = (bytes: Buffer): { readonly name: string; readonly tensor: Tensor } => {
  const fields = fieldsOf(bytes);
  const shape = varintsOf(fields, FIELD.DIMS).map(Number);
  const dtype = DTYPES[Number(varintsOf(fields, FIELD.TYPE)[0] ?? 0n)];
  if (dtype === undefined) throw new Error('no tensor of a dtype that is served');
  return { name: joined(fields, FIELD.NAME).toString(), tensor: new Tensor(dtype, shape, dataOf(fields, dtype)) };
};

const dataOf = (fields: readonly Field[], dtype: Dtype): TensorData => {
  if (dtype === 'string') return fields.filter(({ number }) => number === FIELD.STRINGS).map(({ bytes }) => bytes.toString());
  const Type = TYPED_ARRAYS[dtype];
  const of = (bytes: Buffer) => {
    const own = Uint8Array.from(bytes);
    return new Type(own.buffer, 0, own.length / Type.BYTES_PER_ELEMENT);
  };
  if (fields.some(({ number }) => number === FIELD.RAW)) return of(joined(fields, FIELD.RAW));
  switch (dtype) {
    case 'float32':
      return of(joined(fields, FIELD.FLOATS));
    case 'float64':
      return of(joined(fields, FIELD.DOUBLES));
    case 'int64':
      return BigInt64Array.from(varintsOf(fields, FIELD.INT64S), (value) => BigInt.asIntN(64, value));
    case 'uint64':
      return BigUint64Array.from(varintsOf(fields, FIELD.UINT64S));
    case 'uint32':
      return Uint32Array.from(varintsOf(fields, FIELD.UINT64S), Number);
    default:
      return (Type as typeof Int32Array).from(varintsOf(fields, FIELD.INT32S), (value) => Number(BigInt.asIntN(32, value)));
  }
};

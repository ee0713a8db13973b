/**
 * JavaScript values ⇄ values on the wire. Carried: JSON, `Uint8Array` and other typed arrays, `Tensor`, `Date`, `Map`, `Set`,
 * `Error`, bigint, NaN and the infinities. What cannot cross is an error that names the path to it.
 */
import { errorFromShape, ServeError, shapeOfError } from '../domain/errors.ts';
import { depthOf } from './json-place.ts';
import { Tensor, type TensorData, TYPED_ARRAYS } from './tensor.ts';
import { type Dtype, type Segment, skeletonText, type WireValue } from './value.ts';

/** Nesting beyond this is refused both ways: serialising deep values back would overflow the stack. */
export const MAX_DEPTH = 64;

const FLAT_DTYPES = new Map<unknown, Dtype>([
  [Int8Array, 'int8'],
  [Uint16Array, 'uint16'],
  [Int16Array, 'int16'],
  [Uint32Array, 'uint32'],
  [Int32Array, 'int32'],
  [Float32Array, 'float32'],
  [Float64Array, 'float64'],
  [BigUint64Array, 'uint64'],
  [BigInt64Array, 'int64'],
]);

/** Which segment each object that has one became; most values have none. */
interface Seen {
  indices: Map<object, number> | undefined;
}

/** @throws ServeError USER_ERROR naming the path to what cannot be encoded */
export const encodeValue = (value: unknown): WireValue => {
  const segments: Segment[] = [];
  const json = encodeNode(value, '', 0, segments, { indices: undefined });
  return { skeleton: JSON.stringify(json) ?? 'null', segments };
};

const refuse = (path: string, what: string): never => {
  throw new ServeError(
    'USER_ERROR',
    `${path === '' ? 'the value' : `the value at \`${path.replace(/^\./, '')}\``} cannot be encoded: ${what}`,
    { unencodable: true },
  );
};

const encodeNode = (value: unknown, path: string, depth: number, segments: Segment[], seen: Seen): unknown => {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      return Number.isFinite(value) ? value : { $number: String(value) };
    case 'undefined':
      return null;
    case 'bigint':
      return { $bigint: value.toString() };
    case 'function':
    case 'symbol':
      return refuse(path, `it is a ${typeof value}`);
    case 'object':
      break;
  }
  if (value === null) return null;
  if (depth > MAX_DEPTH) return refuse(path.slice(0, 120), `it is nested deeper than ${MAX_DEPTH} levels (or contains itself)`);
  const object = value as object;
  if (Array.isArray(object)) {
    let copy: unknown[] | undefined;
    for (let index = 0; index < object.length; index++) {
      const item: unknown = object[index];
      const encoded = isLeaf(item) ? item : encodeNode(item, `${path}[${index}]`, depth + 1, segments, seen);
      if (encoded !== item) {
        copy ??= object.slice();
        copy[index] = encoded;
      }
    }
    return copy ?? object;
  }
  const prototype: unknown = Object.getPrototypeOf(object);
  if (prototype === Object.prototype || prototype === null)
    return encodeRecord(object as Record<string, unknown>, path, depth, segments, seen);
  if (ArrayBuffer.isView(object) || object instanceof ArrayBuffer || object instanceof Tensor) {
    let index = seen.indices?.get(object);
    if (index === undefined) {
      index = segments.push(segmentOf(object, path)) - 1;
      seen.indices ??= new Map();
      seen.indices.set(object, index);
    }
    return { $seg: index };
  }
  if (object instanceof Date)
    return Number.isNaN(object.getTime()) ? refuse(path, 'it is an invalid date') : { $date: object.toISOString() };
  if (object instanceof Map) {
    const pairs = [...object].map(([key, item], index) => [
      encodeNode(key, `${path}.keys()[${index}]`, depth + 1, segments, seen),
      encodeNode(item, `${path}.get(${typeof key === 'string' ? JSON.stringify(key) : index})`, depth + 1, segments, seen),
    ]);
    return { $map: pairs };
  }
  if (object instanceof Set) {
    return { $set: [...object].map((item, index) => encodeNode(item, `${path}.values()[${index}]`, depth + 1, segments, seen)) };
  }
  if (object instanceof Error) return { $error: shapeOfError(object) };
  const name = (prototype as { constructor?: { name?: unknown } } | null)?.constructor?.name;
  return refuse(path, `it is an instance of ${typeof name === 'string' && name !== '' ? name : 'a class'}`);
};

const isLeaf = (value: unknown): boolean =>
  typeof value === 'string' ||
  typeof value === 'boolean' ||
  value === null ||
  (typeof value === 'number' && Number.isFinite(value));

const encodeRecord = (record: Record<string, unknown>, path: string, depth: number, segments: Segment[], seen: Seen): unknown => {
  let copy: Record<string, unknown> | undefined;
  const keys = Object.keys(record);
  for (const key of keys) {
    const item = record[key];
    const encoded = isLeaf(item)
      ? item
      : item === undefined
        ? undefined
        : encodeNode(item, `${path}.${key}`, depth + 1, segments, seen);
    const dollar = key.startsWith('$');
    if (encoded === item && !dollar) {
      if (copy !== undefined) defineKey(copy, key, encoded);
      continue;
    }
    if (copy === undefined) {
      copy = {};
      for (const earlier of keys) {
        if (earlier === key) break;
        defineKey(copy, earlier, record[earlier]);
      }
    }
    defineKey(copy, dollar ? `$${key}` : key, encoded);
  }
  // An object with its own toJSON would be rewritten by JSON.stringify behind our back.
  return typeof record['toJSON'] === 'function' ? refuse(`${path}.toJSON`, 'it is a function') : (copy ?? record);
};

const defineKey = (target: Record<string, unknown>, key: string, value: unknown): void => {
  if (key === '__proto__') Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  else target[key] = value;
};

const viewBytes = (view: ArrayBufferView): Uint8Array =>
  new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength);

const segmentOf = (object: ArrayBufferView | ArrayBuffer | Tensor, path: string): Segment => {
  if (object instanceof Tensor) return segmentOfTensor(object);
  if (object instanceof ArrayBuffer) return { dtype: 'bytes', shape: null, bytes: new Uint8Array(object) };
  if (object instanceof Uint8Array || object instanceof Uint8ClampedArray)
    return { dtype: 'bytes', shape: null, bytes: viewBytes(object) };
  for (const [type, dtype] of FLAT_DTYPES) {
    if (object instanceof (type as new () => ArrayBufferView)) return { dtype, shape: null, bytes: viewBytes(object) };
  }
  return refuse(path, `it is a ${object.constructor.name}`);
};

export const segmentOfTensor = (tensor: Tensor): Segment => {
  const { dtype, shape, data } = tensor;
  if (dtype !== 'string') return { dtype, shape, bytes: viewBytes(data as Exclude<TensorData, readonly string[]>) };
  const parts: Uint8Array[] = [];
  for (const text of data as readonly string[]) {
    const bytes = Buffer.from(text, 'utf8');
    const length = Buffer.allocUnsafe(4);
    length.writeUInt32LE(bytes.length);
    parts.push(length, bytes);
  }
  return { dtype, shape, bytes: Buffer.concat(parts) };
};

/**
 * A value off the wire as JavaScript. Typed arrays and tensors are views of the segments where alignment allows, else copies.
 * @throws ServeError INVALID_INPUT when the skeleton is not one that `encodeValue` could have made
 */
export const decodeValue = (value: WireValue): unknown => {
  const text = skeletonText(value);
  if (text.length > 2 * MAX_DEPTH && depthOf(text) > MAX_DEPTH + 2) bad(`nested deeper than ${MAX_DEPTH} levels`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new ServeError('INVALID_INPUT', 'the skeleton of a value is not JSON');
  }
  // Without a tag there is nothing to revive: most values take this way.
  return text.includes('"$') ? decodeNode(json, value.segments, 0) : json;
};

const bad = (what: string): never => {
  throw new ServeError('INVALID_INPUT', `a value on the wire is malformed: ${what}`);
};

const decodeNode = (json: unknown, segments: readonly Segment[], depth: number): unknown => {
  if (typeof json !== 'object' || json === null) return json;
  if (depth > MAX_DEPTH + 2) return bad(`nested deeper than ${MAX_DEPTH} levels`);
  if (Array.isArray(json)) return json.map((item) => decodeNode(item, segments, depth + 1));
  const record = json as Record<string, unknown>;
  const keys = Object.keys(record);
  const tag = keys[0];
  if (keys.length === 1 && tag !== undefined && tag.startsWith('$') && !tag.startsWith('$$'))
    return decodeTag(tag, record[tag], segments, depth);
  const copy: Record<string, unknown> = {};
  for (const key of keys)
    defineKey(copy, key.startsWith('$$') ? key.slice(1) : key, decodeNode(record[key], segments, depth + 1));
  return copy;
};

const decodeTag = (tag: string, content: unknown, segments: readonly Segment[], depth: number): unknown => {
  const list = (): unknown[] => (Array.isArray(content) ? content : (bad(`${tag} without a list`) as never));
  switch (tag) {
    case '$seg': {
      const segment = typeof content === 'number' ? segments[content] : undefined;
      return segment === undefined ? bad(`segment ${String(content)} of ${segments.length}`) : decodeSegment(segment);
    }
    case '$number':
      return Number(content);
    case '$bigint':
      return typeof content === 'string' && /^-?\d{1,1000}$/.test(content) ? BigInt(content) : bad('$bigint');
    case '$date':
      return new Date(String(content));
    case '$map':
      return new Map(
        list().map((pair) => {
          if (!Array.isArray(pair) || pair.length !== 2) return bad('$map');
          return [decodeNode(pair[0], segments, depth + 1), decodeNode(pair[1], segments, depth + 1)] as const;
        }),
      );
    case '$set':
      return new Set(list().map((item) => decodeNode(item, segments, depth + 1)));
    case '$error':
      return typeof content === 'object' && content !== null ? errorFromShape(content) : bad('$error');
    default:
      return bad(`unknown tag ${tag}`);
  }
};

/** Bytes as Uint8Array, a shaped segment as Tensor, a flat one as its typed array. */
export const decodeSegment = (segment: Segment): Uint8Array | TensorData | Tensor => {
  const { dtype, shape, bytes } = segment;
  if (dtype === 'bytes') return bytes;
  if (dtype === 'string') {
    const strings = decodeStrings(bytes);
    return shape === null ? strings : new Tensor(dtype, shape, strings);
  }
  const data = typedView(dtype, bytes);
  return shape === null ? data : new Tensor(dtype, shape, data);
};

/** A view of the bytes as the dtype's typed array; a copy when they do not stand at a multiple of its element size. */
export const typedView = (dtype: Exclude<Dtype, 'string'>, bytes: Uint8Array): Exclude<TensorData, readonly string[]> => {
  const Type = TYPED_ARRAYS[dtype];
  const size = Type.BYTES_PER_ELEMENT;
  if (bytes.byteLength % size !== 0) return bad(`${bytes.byteLength} bytes of ${dtype}`);
  const aligned = bytes.byteOffset % size === 0 ? bytes : Uint8Array.prototype.slice.call(bytes);
  return new Type(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / size);
};

const decodeStrings = (bytes: Uint8Array): string[] => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const strings: string[] = [];
  let at = 0;
  while (at < buffer.length) {
    if (at + 4 > buffer.length) return bad('a string tensor');
    const length = buffer.readUInt32LE(at);
    if (at + 4 + length > buffer.length) return bad('a string tensor');
    strings.push(buffer.toString('utf8', at + 4, at + 4 + length));
    at += 4 + length;
  }
  return strings;
};

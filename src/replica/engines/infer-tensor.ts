/** Tensors of the Open Inference Protocol: read from JSON or from raw bytes, and written as both. Pure. */
import { ServeError } from '../../domain/errors.ts';
import { segmentOfTensor, typedView } from '../../protocol/codec.ts';
import { DATATYPES } from '../../protocol/datatypes.ts';
import { Tensor, type TensorData } from '../../protocol/tensor.ts';
import { DTYPES } from '../../protocol/value.ts';
import { checkText, dataOfJson, type Port } from './onnx-signature.ts';

const invalid = (message: string): ServeError => new ServeError('INVALID_INPUT', message);
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * @param data flat, or nested exactly as the shape says
 * @throws ServeError INVALID_INPUT
 */
export const tensorOfJson = (data: unknown, shape: readonly number[], port: Port): Tensor => {
  if (port.dtype === 'float16')
    throw invalid(`input \`${port.name}\` is FP16, which the protocol has no JSON form for: send it as binary data`);
  const flat = flatOf(data, shape, port.name);
  const tensor = new Tensor(port.dtype, shape, dataOfJson(flat, port));
  if (port.dtype === 'string') for (const text of flat) checkText(text as string, port.name);
  return tensor;
};

const flatOf = (data: unknown, shape: readonly number[], name: string): readonly unknown[] => {
  const size = sizeOf(shape);
  if (shape.length === 0 && !Array.isArray(data)) return [data];
  if (!Array.isArray(data)) throw invalid(`expected \`data\` of input \`${name}\` to be a list`);
  if (!data.some(Array.isArray)) {
    // An empty list is flat, and nested where the first extent is 0.
    if (data.length === size) return data;
    throw invalid(
      `expected ${size} elements in \`data\` of input \`${name}\` for shape [${shape.join(', ')}], got ${data.length}`,
    );
  }
  const flat: unknown[] = [];
  const walk = (level: unknown, axis: number): void => {
    if (axis === shape.length) return void flat.push(level);
    const extent = shape[axis] as number;
    if (!Array.isArray(level) || level.length !== extent)
      throw invalid(
        `expected nested \`data\` of input \`${name}\` to be of shape [${shape.join(', ')}]: lists of ${extent} on axis ${axis}`,
      );
    for (const item of level) walk(item, axis + 1);
  };
  walk(data, 0);
  return flat;
};

export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

/**
 * @param bytes little-endian and row-major; BYTES: each element behind its length, a u32. Seen as they are where they stand at a multiple of the element's size
 * @throws ServeError INVALID_INPUT
 */
export const tensorOfBytes = (bytes: Uint8Array, shape: readonly number[], port: Port): Tensor => {
  const { name, dtype } = port;
  if (dtype === 'string') return new Tensor(dtype, shape, textsOf(bytes, sizeOf(shape), name));
  const wanted = sizeOf(shape) * DTYPES[dtype];
  if (bytes.byteLength !== wanted) {
    throw invalid(
      `expected ${wanted} bytes of ${DATATYPES[dtype]} [${shape.join(', ')}] for input \`${name}\`, got ${bytes.byteLength}`,
    );
  }
  if (dtype === 'bool' && bytes.some((byte) => byte > 1)) throw invalid(`expected bytes of 0 and 1 in input \`${name}\` (BOOL)`);
  return new Tensor(dtype, shape, typedView(dtype, bytes));
};

const textsOf = (bytes: Uint8Array, count: number, name: string): string[] => {
  const texts: string[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at < bytes.byteLength && texts.length < count) {
    const end = at + 4 <= bytes.byteLength ? at + 4 + view.getUint32(at, true) : Number.POSITIVE_INFINITY;
    if (end > bytes.byteLength) throw invalid(`input \`${name}\` ends in the middle of element ${texts.length}`);
    texts.push(textOf(bytes.subarray(at + 4, end), name));
    at = end;
  }
  if (texts.length !== count || at !== bytes.byteLength)
    throw invalid(
      `expected ${count} elements in input \`${name}\`, got ${texts.length}${at < bytes.byteLength ? ' and more bytes' : ''}`,
    );
  return texts;
};

/** @throws ServeError INVALID_INPUT: onnxruntime's texts are UTF-8 */
export const textOf = (bytes: Uint8Array, name: string): string => {
  let text: string;
  try {
    text = strict.decode(bytes);
  } catch {
    throw invalid(`expected UTF-8 in input \`${name}\`: the model takes texts`);
  }
  checkText(text, name);
  return text;
};

/** Of an output, as they go on the wire. */
export const bytesOfTensor = (tensor: Tensor): Uint8Array => segmentOfTensor(tensor).bytes;

/**
 * Of an output, flat.
 * @throws ServeError INVALID_INPUT: JSON has no form for it, and binary data has
 */
export const jsonOfTensor = (name: string, { dtype, data }: Tensor): string => {
  switch (dtype) {
    case 'string':
      return JSON.stringify(data);
    case 'bool':
      return `[${Array.from(data as Uint8Array, (value) => (value === 0 ? 'false' : 'true')).join()}]`;
    case 'float16':
      throw noJson(name, 'FP16');
    case 'float32':
    case 'float64':
      if (!areFinite(data)) throw noJson(name, 'NaN or infinite numbers');
      return `[${(data as Float32Array).join()}]`;
    default:
      return `[${(data as Int32Array).join()}]`;
  }
};

const noJson = (name: string, what: string): ServeError =>
  invalid(`output \`${name}\` has ${what}, which JSON cannot say: ask for binary data (\`"binary_data": true\`)`);

const areFinite = (data: TensorData): boolean => {
  for (let index = 0; index < data.length; index++) if (!Number.isFinite(data[index])) return false;
  return true;
};

/** Tensors for the runs that a config wants before a replica is ready: of zeros, ones or chance. */
import type { WarmupFill, WarmupSpec } from '../../domain/desired.ts';
import { ServeError } from '../../domain/errors.ts';
import { halfBits, Tensor, type TensorData, TYPED_ARRAYS } from '../../protocol/tensor.ts';
import type { Dtype } from '../../protocol/value.ts';
import { type Feeds, type Signature, shapeText, takesShape } from './onnx-signature.ts';

/**
 * @param random from 0 to below 1
 * @throws ServeError INVALID_INPUT: an input or a shape that the model does not take
 */
export const warmupFeeds = ({ inputs }: WarmupSpec, signature: Signature, random: () => number): Feeds => {
  for (const name of Object.keys(inputs)) {
    if (signature.inputs.some((port) => port.name === name)) continue;
    const names = signature.inputs.map((port) => `\`${port.name}\``).join(', ');
    throw new ServeError('INVALID_INPUT', `expected inputs of the model (${names}) in \`warmup\`, got \`${name}\``);
  }
  const feeds: Record<string, Tensor> = {};
  for (const port of signature.inputs) {
    const { shape = null, fill = 'zero' as const } = inputs[port.name] ?? {};
    const given = shape ?? (port.shape ?? []).map((extent) => (typeof extent === 'number' ? extent : 1));
    if (!takesShape(port, given)) {
      const message = `expected a shape of ${shapeText(port.shape)} for \`${port.name}\` in \`warmup\`, got [${given.join(', ')}]`;
      throw new ServeError('INVALID_INPUT', message);
    }
    const size = given.reduce((product, extent) => product * extent, 1);
    feeds[port.name] = new Tensor(port.dtype, given, filled(port.dtype, size, fill, random));
  }
  return feeds;
};

/** Texts are empty. @param random from 0 to below 1 */
export const filled = (dtype: Dtype, size: number, fill: WarmupFill, random: () => number): TensorData => {
  if (dtype === 'string') return new Array<string>(size).fill('');
  const data = new TYPED_ARRAYS[dtype](size);
  if (fill === 'zero') return data;
  const isFraction = dtype === 'float32' || dtype === 'float64' || dtype === 'float16';
  for (let index = 0; index < size; index++) {
    const value = fill === 'one' ? 1 : isFraction ? random() : Math.round(random());
    if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[index] = BigInt(value);
    else data[index] = dtype === 'float16' ? halfBits(value) : value;
  }
  return data;
};

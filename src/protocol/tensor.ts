/** A dense array with dtype and shape, as models take and give them. */
import { DTYPES, type Dtype } from './value.ts';

export type TensorData =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array
  | readonly string[];

/** The typed array of each dtype; `bool` and `float16` travel as `Uint8Array` (0 or 1) and `Uint16Array` (raw bits). */
export const TYPED_ARRAYS = {
  bool: Uint8Array,
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  float16: Uint16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float32: Float32Array,
  uint64: BigUint64Array,
  int64: BigInt64Array,
  float64: Float64Array,
} as const;

export class Tensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Row-major; its length is the product of `shape`. */
  readonly data: TensorData;

  /** @throws TypeError when data is not what the dtype wants, RangeError when its length is not the product of `shape` */
  constructor(dtype: Dtype, shape: readonly number[], data: TensorData) {
    if (!Object.hasOwn(DTYPES, dtype)) throw new TypeError(`expected a dtype (${Object.keys(DTYPES).join(', ')}), got ${dtype}`);
    const fits =
      dtype === 'string'
        ? Array.isArray(data) && data.every((text) => typeof text === 'string')
        : data instanceof TYPED_ARRAYS[dtype];
    if (!fits)
      throw new TypeError(`expected ${dtype === 'string' ? 'an array of strings' : TYPED_ARRAYS[dtype].name} for dtype ${dtype}`);
    let size = 1;
    for (const extent of shape) {
      if (!Number.isSafeInteger(extent) || extent < 0)
        throw new RangeError(`expected extents of at least 0, got [${shape.join(', ')}]`);
      size *= extent;
    }
    if (size !== data.length)
      throw new RangeError(`expected ${size} elements for shape [${shape.join(', ')}], got ${data.length}`);
    this.dtype = dtype;
    this.shape = shape;
    this.data = data;
  }
}

/** The number that the bits of a float16 are. */
export const halfOf = (bits: unknown): number => {
  const [sign, exponent, fraction] = [
    (bits as number) & 0x8000 ? -1 : 1,
    ((bits as number) >> 10) & 0x1f,
    (bits as number) & 0x3ff,
  ];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
};

/** The bits of the float16 that is nearest to a number; of two that are equally near, the even one. */
export const halfBits = (value: number): number => {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  // 65504 is the largest, and half a step above it the rest begins.
  if (size >= 65_520) return sign | 0x7c00;
  // Below 2^-14 steps are of 2^-24; above there are 1024 of them from one power of two to the next.
  if (size < 2 ** -14) return sign | roundHalfEven(size * 2 ** 24);
  const logarithm = Math.floor(Math.log2(size));
  // A logarithm may be rounded up to the next whole number.
  const power = size < 2 ** logarithm ? logarithm - 1 : logarithm;
  return sign | (((power + 14) << 10) + roundHalfEven(size / 2 ** (power - 10)));
};

const roundHalfEven = (value: number): number => {
  const floor = Math.floor(value);
  const over = value - floor;
  return over > 0.5 || (over === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
};

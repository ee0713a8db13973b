/** Whether two values say the same, with a tolerance for numbers: for conditions, and for answers of a shadow. */
import { typedView } from '../protocol/codec.ts';
import { halfOf } from '../protocol/tensor.ts';
import { type Segment, segmentIndex, type ValueNode } from '../protocol/value.ts';

/**
 * @param tolerance numbers a and b are alike when |a − b| ≤ tolerance · max(1, |a|, |b|). Shapes, dtypes, texts, keys and lengths must
 *   be the same; the order of keys means nothing
 */
export const isAlike = (a: ValueNode, b: ValueNode, tolerance: number): boolean => {
  const near = (x: number, y: number): boolean =>
    x === y || (Number.isNaN(x) && Number.isNaN(y)) || Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(x), Math.abs(y));
  const alike = (x: unknown, y: unknown): boolean => {
    if (typeof x === 'number' && typeof y === 'number') return near(x, y);
    if (typeof x !== 'object' || x === null || typeof y !== 'object' || y === null) return x === y;
    if (Array.isArray(x) || Array.isArray(y))
      return Array.isArray(x) && Array.isArray(y) && x.length === y.length && x.every((item, index) => alike(item, y[index]));
    const [i, j] = [segmentIndex(x), segmentIndex(y)];
    if (i !== undefined || j !== undefined) {
      const [one, other] = [i === undefined ? undefined : a.segments[i], j === undefined ? undefined : b.segments[j]];
      return one !== undefined && other !== undefined && areAlike(one, other, near);
    }
    const [keys, others] = [Object.keys(x), Object.keys(y)];
    return (
      keys.length === others.length &&
      keys.every(
        (key) => Object.hasOwn(y, key) && alike((x as Record<string, unknown>)[key], (y as Record<string, unknown>)[key]),
      )
    );
  };
  return alike(a.json, b.json);
};

const areAlike = (a: Segment, b: Segment, near: (x: number, y: number) => boolean): boolean => {
  if (a.dtype !== b.dtype || a.shape?.join() !== b.shape?.join() || a.bytes.byteLength !== b.bytes.byteLength) return false;
  if (Buffer.compare(a.bytes, b.bytes) === 0) return true;
  const { dtype } = a;
  if (dtype === 'bytes' || dtype === 'string' || dtype === 'bool') return false;
  const [x, y] = [typedView(dtype, a.bytes), typedView(dtype, b.bytes)] as ArrayLike<number | bigint>[];
  const numberOf = dtype === 'float16' ? halfOf : Number;
  for (let index = 0; index < (x as ArrayLike<unknown>).length; index++) {
    if (!near(numberOf((x as ArrayLike<number>)[index] as number), numberOf((y as ArrayLike<number>)[index] as number)))
      return false;
  }
  return true;
};

/** Stacking values on axis 0 into one, and splitting a stacked result back. Pure; segments are never copied. */
import { ServeError } from '../domain/errors.ts';
import type { OutgoingSegment } from '../protocol/frame.ts';
import { type Segment, skeletonText, type WireValue } from '../protocol/value.ts';

export interface Stackable {
  /** Equal keys may be stacked: same skeleton, dtypes and shapes behind axis 0. */
  readonly key: string;
  /** The same without extents: equal ones may be stacked once they are padded. */
  readonly kind: string;
  /** Size of axis 0, the same in every segment. */
  readonly rows: number;
}

/** How a value stacks; undefined when it cannot (no tensors, scalars, strings, or tensors of different rows). */
export const stackableOf = (value: WireValue): Stackable | undefined => {
  const { segments } = value;
  const rows = segments[0]?.shape?.[0];
  if (rows === undefined) return undefined;
  let key = skeletonText(value);
  let kind = key;
  for (const { dtype, shape } of segments) {
    if (shape === null || shape[0] !== rows || dtype === 'bytes' || dtype === 'string') return undefined;
    key += `|${dtype}:${shape.slice(1).join(',')}`;
    kind += `|${dtype}:${shape.length}`;
  }
  return { key, kind, rows };
};

/** Segment k of the stack is segment k of every value, one after the other. All values have the same stack key. */
export const stack = (values: readonly WireValue[]): OutgoingSegment[] => {
  const first = (values[0] as WireValue).segments;
  return first.map(({ dtype, shape }, index) => {
    let rows = 0;
    const parts: Uint8Array[] = [];
    for (const value of values) {
      const segment = value.segments[index] as Segment;
      rows += segment.shape?.[0] ?? 0;
      parts.push(segment.bytes);
    }
    return { dtype, shape: [rows, ...(shape ?? []).slice(1)], parts };
  });
};

/**
 * Splits a stacked result into one value for each member.
 * @param rows rows of each member, in order
 * @throws ServeError USER_ERROR when a segment does not have as many rows as all members together
 */
export const split = (result: WireValue, rows: readonly number[]): WireValue[] => {
  if (rows.length === 1) return [result];
  const total = rows.reduce((sum, each) => sum + each, 0);
  for (const { shape } of result.segments) {
    if (shape?.[0] !== total) {
      throw new ServeError(
        'USER_ERROR',
        `expected ${total} rows for a batch of ${rows.length} requests, got a result of shape [${shape?.join(', ') ?? ''}]`,
      );
    }
  }
  const offsets = result.segments.map((segment) => rowOffsets(segment, total));
  let from = 0;
  return rows.map((count) => {
    const start = from;
    from += count;
    return {
      skeleton: result.skeleton,
      segments: result.segments.map(({ dtype, shape, bytes }, index) => {
        const at = offsets[index] as (row: number) => number;
        return { dtype, shape: [count, ...(shape as readonly number[]).slice(1)], bytes: bytes.subarray(at(start), at(from)) };
      }),
    };
  });
};

/** Where a row begins, in bytes. Texts have lengths of their own. */
const rowOffsets = ({ dtype, shape, bytes }: Segment, total: number): ((row: number) => number) => {
  if (dtype !== 'string') {
    const bytesPerRow = total === 0 ? 0 : bytes.byteLength / total;
    return (row) => row * bytesPerRow;
  }
  const textsPerRow = (shape as readonly number[]).slice(1).reduce((product, extent) => product * extent, 1);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const starts = [0];
  let at = 0;
  for (let row = 0; row < total; row++) {
    for (let text = 0; text < textsPerRow; text++) {
      if (at + 4 > bytes.byteLength)
        throw new ServeError('USER_ERROR', 'a tensor of strings has fewer texts than its shape says');
      at += 4 + view.getUint32(at, true);
    }
    starts.push(at);
  }
  return (row) => starts[row] as number;
};

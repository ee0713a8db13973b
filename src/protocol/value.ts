/**
 * A value on the wire: a JSON skeleton and a table of raw segments that `{"$seg": i}` in the skeleton refers to. The daemon
 * passes values on without reading them; a graph slices the skeleton and never touches a segment.
 * In the skeleton a key that begins with `$` is a tag (`$seg`, `$date`, …); user keys that begin with `$` carry one more `$`.
 */

export const DTYPES = {
  bool: 1,
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  float16: 2,
  uint32: 4,
  int32: 4,
  float32: 4,
  uint64: 8,
  int64: 8,
  float64: 8,
  /** Length-prefixed (u32 LE) UTF-8 strings, one after the other. */
  string: 0,
} as const;

export type Dtype = keyof typeof DTYPES;

export interface Segment {
  /** `bytes`: a plain run of bytes, no tensor. */
  readonly dtype: Dtype | 'bytes';
  /** null: a flat typed array (or bytes), not a tensor. */
  readonly shape: readonly number[] | null;
  /** Little-endian, row-major. */
  readonly bytes: Uint8Array;
}

export interface WireValue {
  /** JSON text; bytes when it came off a socket. */
  readonly skeleton: string | Uint8Array;
  readonly segments: readonly Segment[];
}

/** A value with its skeleton parsed: what expressions are evaluated on. `json` still holds tags and `{"$seg": i}` into `segments`. */
export interface ValueNode {
  readonly json: unknown;
  readonly segments: readonly Segment[];
}

const decoder = new TextDecoder('utf-8', { fatal: false });

export const skeletonText = (value: WireValue): string =>
  typeof value.skeleton === 'string' ? value.skeleton : decoder.decode(value.skeleton);

/** Parses the skeleton. @throws SyntaxError when the peer sent something that is not JSON */
export const nodeOf = (value: WireValue): ValueNode => ({ json: JSON.parse(skeletonText(value)), segments: value.segments });

/** Longer runs of bytes are handed to a socket as they are; shorter ones are copied when their frame is written. */
export const COPY_BELOW = 4096;

/** The value with bytes of its own, where a frame would otherwise be written from memory that user code may fill anew meanwhile. */
export const copied = (value: WireValue): WireValue =>
  value.segments.some(({ bytes }) => bytes.byteLength > COPY_BELOW)
    ? {
        ...value,
        segments: value.segments.map((segment) => ({ ...segment, bytes: copyOf(segment.bytes) })),
      }
    : value;

/** Not zeroed first, as `slice` would. */
const copyOf = (bytes: Uint8Array): Uint8Array => {
  const copy = Buffer.allocUnsafeSlow(bytes.byteLength);
  copy.set(bytes);
  return copy;
};

/** Index of the segment that a skeleton node refers to; undefined when the node is anything else. */
export const segmentIndex = (json: unknown): number | undefined => {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return undefined;
  const index = (json as Record<string, unknown>)['$seg'];
  return typeof index === 'number' ? index : undefined;
};

/** Makes a sendable value of a parsed one: only the segments that its skeleton uses, renumbered, equal ones once. */
export const wireOf = (node: ValueNode): WireValue => {
  if (node.segments.length === 0) return { skeleton: JSON.stringify(node.json) ?? 'null', segments: [] };
  const segments: Segment[] = [];
  const numbers = new Map<Segment, number>();
  const renumber = (json: unknown): unknown => {
    if (typeof json !== 'object' || json === null) return json;
    if (Array.isArray(json)) return json.map(renumber);
    const index = segmentIndex(json);
    if (index !== undefined) {
      const segment = node.segments[index];
      if (segment === undefined) throw new RangeError(`a value refers to segment ${index} of ${node.segments.length}`);
      let number = numbers.get(segment);
      if (number === undefined) {
        number = segments.push(segment) - 1;
        numbers.set(segment, number);
      }
      return { $seg: number };
    }
    const copy: Record<string, unknown> = {};
    for (const key of Object.keys(json)) define(copy, key, renumber((json as Record<string, unknown>)[key]));
    return copy;
  };
  return { skeleton: JSON.stringify(renumber(node.json)) ?? 'null', segments };
};

/** Joins parsed values into one node builder: segments of all, each value's references shifted to its place. */
export const combine = (parts: readonly ValueNode[], build: (jsons: readonly unknown[]) => unknown): ValueNode => {
  const segments: Segment[] = [];
  const jsons = parts.map((part) => {
    const offset = segments.length;
    for (const segment of part.segments) segments.push(segment);
    return offset === 0 || part.segments.length === 0 ? part.json : shift(part.json, offset);
  });
  return { json: build(jsons), segments };
};

const shift = (json: unknown, offset: number): unknown => {
  if (typeof json !== 'object' || json === null) return json;
  if (Array.isArray(json)) return json.map((item) => shift(item, offset));
  const index = segmentIndex(json);
  if (index !== undefined) return { $seg: index + offset };
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(json)) define(copy, key, shift((json as Record<string, unknown>)[key], offset));
  return copy;
};

/** Sets an own property even for `__proto__`, which plain assignment would turn into the prototype. */
const define = (target: Record<string, unknown>, key: string, value: unknown): void => {
  if (key === '__proto__') Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  else target[key] = value;
};

/** HTTP bodies ⇄ values: what `call` gets of a body, and what a returned value is as an answer. One place for replica and data plane. */
import { ServeError } from '../domain/errors.ts';
import { decodeValue, encodeValue, MAX_DEPTH } from './codec.ts';
import { depthOf, errorOffset } from './json-place.ts';
import type { HttpHead } from './messages.ts';
import { halfOf, Tensor } from './tensor.ts';
import { skeletonText, type WireValue } from './value.ts';

const decoder = new TextDecoder('utf-8');

/** First value of a header in a flat list; `name` in lower case. */
export const headerOf = (headers: readonly string[], name: string): string | undefined => {
  for (let index = 0; index < headers.length; index += 2) if (headers[index] === name) return headers[index + 1];
  return undefined;
};

export const isJsonType = (contentType: string | undefined): boolean =>
  contentType !== undefined && /^application\/(?:[\w.-]+\+)?json\b/i.test(contentType);

/**
 * The input that `call` gets: JSON decoded, `text/*` as a string, anything else as bytes, an empty body as null.
 * @throws ServeError INVALID_INPUT with the position for a body that says it is JSON and is not
 */
export const inputOfBody = (head: HttpHead, body: Uint8Array): unknown => {
  if (body.byteLength === 0) return null;
  const contentType = headerOf(head.headers, 'content-type');
  if (isJsonType(contentType)) return parseJson(decoder.decode(body));
  if (contentType !== undefined && /^text\//i.test(contentType)) return decoder.decode(body);
  return body;
};

/** @throws ServeError INVALID_INPUT: not JSON (with the position), or nested deeper than the limit */
export const parseJson = (text: string): unknown => {
  if (text.length > 2 * MAX_DEPTH && depthOf(text) > MAX_DEPTH) {
    throw new ServeError('INVALID_INPUT', `expected JSON nested at most ${MAX_DEPTH} levels deep`);
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new ServeError('INVALID_INPUT', `expected a JSON body: ${placeOf(text)}`);
  }
};

/** Line and column, without quoting the body. */
const placeOf = (text: string): string => {
  const offset = errorOffset(text);
  const before = text.slice(0, offset).split('\n');
  const what = offset >= text.length ? 'the text ends too early' : `unexpected ${JSON.stringify(text[offset])}`;
  return `${what} at line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
};

export interface BodyAnswer {
  readonly contentType: string | null;
  readonly body: Uint8Array | string;
}

/**
 * A returned value as an HTTP body: string → text/plain, bytes → octet-stream, null → empty, anything else → JSON.
 * @throws ServeError USER_ERROR naming the path to what JSON cannot say
 */
export const answerOf = (value: unknown): BodyAnswer => {
  if (value === null || value === undefined) return { contentType: null, body: '' };
  if (typeof value === 'string') return { contentType: 'text/plain; charset=utf-8', body: value };
  if (value instanceof Uint8Array) return { contentType: 'application/octet-stream', body: value };
  if (value instanceof ArrayBuffer) return { contentType: 'application/octet-stream', body: new Uint8Array(value) };
  return { contentType: 'application/json', body: jsonOf(value) };
};

/** JSON text of a value: tensors as nested lists, typed arrays as lists, maps as objects, sets as lists, dates as ISO text. */
export const jsonOf = (value: unknown): string => {
  const wire = encodeValue(value);
  const text = wire.skeleton as string;
  // Nothing tagged: what was checked for the wire is already the answer.
  if (wire.segments.length === 0 && !text.includes('"$')) return text;
  return JSON.stringify(plainOf(value)) ?? 'null';
};

/** The same for the tensors of a model, by name. */
export const jsonOfTensors = (tensors: Readonly<Record<string, Tensor>>): string =>
  JSON.stringify(Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, plainOf(tensor)])));

const plainOf = (value: unknown): unknown => {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Tensor) {
    const flat = Array.from(value.data as ArrayLike<unknown>, value.dtype === 'float16' ? halfOf : plainOf);
    return nest(flat, value.shape, value.dtype === 'bool');
  }
  if (value instanceof ArrayBuffer) return Array.from(new Uint8Array(value));
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as Iterable<unknown>, plainOf);
  if (Array.isArray(value)) return value.map(plainOf);
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [String(key), plainOf(item)]));
  if (value instanceof Set) return [...value].map(plainOf);
  if (value instanceof Error) return { name: value.name, message: value.message };
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainOf(item)]));
};

/** A flat list as nested lists of the shape. */
const nest = (flat: unknown[], shape: readonly number[], bool: boolean): unknown => {
  let level: unknown[] = bool ? flat.map(Boolean) : flat;
  for (let axis = shape.length - 1; axis > 0; axis--) {
    const extent = shape[axis] as number;
    const count = extent === 0 ? shape.slice(0, axis).reduce((product, each) => product * each, 1) : level.length / extent;
    level = Array.from({ length: count }, (_, index) => level.slice(index * extent, (index + 1) * extent));
  }
  return shape.length === 0 ? level[0] : level;
};

/** The same for a value that is still on the wire; text without tags is sent as it came. */
export const answerOfWire = (value: WireValue): BodyAnswer => {
  const text = skeletonText(value);
  if (isJsonAsItIs(value, text) && text !== 'null') return { contentType: 'application/json', body: text };
  return answerOf(decodeValue(value));
};

/** Neither a text nor anything that a tag or a segment says. */
const isJsonAsItIs = ({ segments }: WireValue, text: string): boolean =>
  segments.length === 0 && !text.includes('"$') && !text.startsWith('"');

/** One item of a stream as a piece of an HTTP body; the first one says the content type of all. */
export interface BodyItem {
  readonly contentType: string;
  readonly bytes: Uint8Array;
}

/**
 * Strings as text, bytes as they are, other items as lines of JSON.
 * @throws ServeError USER_ERROR naming the path to what JSON cannot say
 */
export const itemOf = (item: unknown): BodyItem => {
  if (typeof item === 'string') return { contentType: 'text/plain; charset=utf-8', bytes: Buffer.from(item, 'utf8') };
  if (item instanceof Uint8Array) return { contentType: 'application/octet-stream', bytes: item };
  return lineOf(jsonOf(item));
};

/** The same for an item that is still on the wire. */
export const itemOfWire = (value: WireValue): BodyItem => {
  const text = skeletonText(value);
  return isJsonAsItIs(value, text) ? lineOf(text) : itemOf(decodeValue(value));
};

const lineOf = (json: string): BodyItem => ({ contentType: 'application/x-ndjson', bytes: Buffer.from(`${json}\n`, 'utf8') });

/** Calls under way among what another call is given: found, waited for, and replaced by their results. */
import { ServeError } from '../domain/errors.ts';
import { decodeValue, encodeValue, MAX_DEPTH } from '../protocol/codec.ts';

type Container = Record<string | number, unknown>;

/** Where a call stands: in which container, by which key. */
interface Place {
  readonly path: readonly (string | number)[];
  readonly call: PromiseLike<unknown>;
}

/**
 * Looks through lists and plain objects, as far as values may be nested.
 * @returns the value with the results in place of the calls, or the error of one that failed; undefined when there are no calls in it.
 *   What else is in it is taken as it is now: code may go on to change it
 * @throws ServeError USER_ERROR naming the path to what cannot cross, whatever becomes of the calls
 */
export const whenSettled = (
  value: unknown,
  isCall: (value: unknown) => value is PromiseLike<unknown>,
): Promise<unknown> | undefined => {
  const places: Place[] = [];
  const root = copyWithout({ value }, [], isCall, places);
  if (places.length === 0) return undefined;
  const copy = ownCopy(root) as Container;
  return Promise.all(places.map(({ call }) => call)).then((results) => {
    for (const [index, { path }] of places.entries()) {
      let at = copy;
      for (const key of path.slice(0, -1)) at = at[key] as Container;
      at[path.at(-1) as string | number] = results[index];
    }
    return copy['value'];
  });
};

const copyWithout = (
  value: unknown,
  path: readonly (string | number)[],
  isCall: (value: unknown) => value is PromiseLike<unknown>,
  places: Place[],
): unknown => {
  if (typeof value !== 'object' || value === null) return value;
  if (isCall(value)) {
    places.push({ path, call: value });
    return null;
  }
  const isList = Array.isArray(value);
  if (!isList && ![Object.prototype, null].includes(Object.getPrototypeOf(value) as null)) return value;
  if (path.length > MAX_DEPTH + 1)
    throw new ServeError(
      'USER_ERROR',
      `the value cannot be encoded: it is nested deeper than ${MAX_DEPTH} levels (or contains itself)`,
    );
  const inner = (key: string | number, held: unknown) => copyWithout(held, [...path, key], isCall, places);
  if (isList) return value.map((held, index) => inner(index, held));
  return Object.fromEntries(Object.entries(value).map(([key, held]) => [key, inner(key, held)]));
};

/** As the other side would get it, with bytes of its own. */
const ownCopy = (root: unknown): unknown => {
  const { skeleton, segments } = encodeValue((root as Container)['value']);
  const own = segments.map((segment) => ({ ...segment, bytes: Uint8Array.prototype.slice.call(segment.bytes) }));
  return { value: decodeValue({ skeleton, segments: own }) };
};

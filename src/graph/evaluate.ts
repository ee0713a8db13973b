/** Evaluates expressions on parsed values: slices and joins skeletons, and never touches the bytes of a segment. */
import { type ErrorCode, ServeError } from '../domain/errors.ts';
import type { Expression, Reference } from '../domain/graph.ts';
import type { Json } from '../domain/json.ts';
import { combine, segmentIndex, type ValueNode } from '../protocol/value.ts';
import { textOf } from './reference.ts';

/** The request as references see it. The properties are getters: what no reference names is never read or parsed. */
export interface RequestScope {
  /** @throws ServeError INVALID_INPUT when the body is no JSON; see `jsonNode` */
  readonly json: ValueNode;
  /** The bytes, as one segment. */
  readonly body: ValueNode;
  readonly path: ValueNode;
  /** null where the request has none of this name. */
  query(name: string): ValueNode;
  /** @param name in lower case */
  header(name: string): ValueNode;
}

export interface Scope {
  readonly request: RequestScope;
  /** Values of the steps that are done. */
  readonly steps: ReadonlyMap<string, ValueNode>;
  /** Inside `for_each`. */
  readonly item?: ValueNode;
  readonly index?: number;
  /** What an item of the wrong kind is: INVALID_INPUT where the list came from the request, else USER_ERROR (the default). */
  readonly itemError?: ErrorCode;
}

const NULL: ValueNode = { json: null, segments: [] };

/**
 * What is missing is null, and so is everything inside null.
 * @throws ServeError naming the reference, when it goes into something that has no inside (a text, bytes, a tensor), takes a field of a
 *   list or an index of an object: INVALID_INPUT in the request, USER_ERROR in the value of a step
 */
export const evaluate = (expression: Expression, scope: Scope): ValueNode => {
  switch (expression.kind) {
    case 'literal':
      return jsonNode(expression.value);
    case 'list':
      return listNode(expression.items.map((item) => evaluate(item, scope)));
    case 'object': {
      const keys = expression.entries.map(([key]) => storedKey(key));
      const values = expression.entries.map(([, value]) => evaluate(value, scope));
      return combine(values, (jsons) => Object.fromEntries(jsons.map((json, index) => [keys[index], json])));
    }
    case 'ref':
      return resolve(expression, scope);
  }
};

/** A value that is plain JSON, such as a literal or the body of a request: keys that begin with `$` get one more. */
export const jsonNode = (value: Json): ValueNode => ({ json: stored(value), segments: [] });

/** Joins values to one list, in their order. */
export const listNode = (values: readonly ValueNode[]): ValueNode => combine(values, (jsons) => jsons);

/** What a value is, for a message. */
export const describe = ({ json, segments }: ValueNode): string => {
  if (json === null || json === undefined) return 'null';
  if (Array.isArray(json)) return 'a list';
  if (typeof json !== 'object') return typeof json === 'string' ? 'a text' : `a ${typeof json}`;
  const index = segmentIndex(json);
  const segment = index === undefined ? undefined : segments[index];
  if (segment !== undefined) {
    if (segment.dtype === 'bytes') return 'bytes';
    return segment.shape === null ? `an array of ${segment.dtype}` : `a tensor of shape [${segment.shape.join(', ')}]`;
  }
  const tag = tagOf(json);
  return tag === undefined ? 'an object' : `a ${tag}`;
};

const resolve = (reference: Reference, scope: Scope): ValueNode => {
  switch (reference.root) {
    case 'request':
      return resolveRequest(reference, scope.request);
    case 'step': {
      const value = scope.steps.get(reference.step);
      if (value === undefined) throw new Error(`the step ${reference.step} was referred to before it was done`);
      return navigate(value, reference, 0, 'USER_ERROR');
    }
    case 'item':
      if (scope.item === undefined) throw new Error('$item was referred to outside for_each');
      return navigate(scope.item, reference, 0, scope.itemError ?? 'USER_ERROR');
    case 'index':
      return { json: scope.index ?? null, segments: [] };
  }
};

const resolveRequest = (reference: Reference, request: RequestScope): ValueNode => {
  const [part, name] = reference.path;
  switch (part) {
    case 'json':
      return navigate(request.json, reference, 1, 'INVALID_INPUT');
    case 'body':
      return request.body;
    case 'path':
      return request.path;
    case 'query':
      return request.query(String(name));
    case 'headers':
      return request.header(String(name));
    default:
      throw new Error(`a request has no ${part}`);
  }
};

/** @param from how much of the reference's path led to `node` */
const navigate = (node: ValueNode, reference: Reference, from: number, code: ErrorCode): ValueNode => {
  let json = node.json;
  for (let at = from; at < reference.path.length; at++) {
    const key = reference.path[at];
    if (key === undefined || json === null || json === undefined) return NULL;
    const isList = Array.isArray(json);
    const hasInside = typeof key === 'number' ? isList : typeof json === 'object' && !isList && tagOf(json) === undefined;
    if (!hasInside) {
      const wanted = typeof key === 'number' ? 'a list' : 'an object';
      const got = describe({ json, segments: node.segments });
      throw new ServeError(code, `\`${textOf(reference)}\`: expected ${wanted} at \`${textOf(reference, at)}\`, got ${got}`);
    }
    const property = typeof key === 'number' ? key : storedKey(key);
    json = Object.hasOwn(json, property) ? (json as Record<string | number, unknown>)[property] : null;
  }
  if (json === null || json === undefined) return NULL;
  return { json, segments: typeof json === 'object' ? node.segments : [] };
};

/** The name of the tag that an object of a skeleton is (`date` for `{"$date": …}`); undefined when it is a user's object. */
const tagOf = (json: object): string | undefined => {
  for (const key in json) return key.startsWith('$') && !key.startsWith('$$') ? key.slice(1) : undefined;
  return undefined;
};

const storedKey = (key: string): string => (key.startsWith('$') ? `$${key}` : key);

const stored = (value: Json): unknown => {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(stored);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [storedKey(key), stored(inner)]));
};

/** What is known of values before anything has run: what models give, what literals say; of the rest nothing. Pure. */
import type { Expression, Reference } from '../domain/graph.ts';
import type { Json } from '../domain/json.ts';
import type { ModelPort } from '../domain/model.ts';
import { suggestion } from './nearest.ts';
import { textOf } from './reference.ts';

export type Known =
  | { readonly kind: 'anything' }
  /** Some JSON of the request; so no bytes, and no tensor. */
  | { readonly kind: 'json' }
  | { readonly kind: 'literal'; readonly value: Json }
  | { readonly kind: 'text' | 'number' | 'bytes' }
  | { readonly kind: 'tensor'; readonly dtype: string; readonly shape: ModelPort['shape'] }
  | { readonly kind: 'object'; readonly fields: ReadonlyMap<string, Alternatives> /** Of a model. */; readonly isAnswer?: true }
  | { readonly kind: 'list'; readonly items: Alternatives };

/** A value is one of these: a step may be skipped, fail to the value of `on_error`, or call one of several targets. */
export type Alternatives = readonly Known[];

export const ANYTHING: Alternatives = [{ kind: 'anything' }];
export const NULL: Known = { kind: 'literal', value: null };

export const isNull = (known: Known): boolean => known.kind === 'literal' && known.value === null;

/** What references may refer to. */
export interface KnownScope {
  readonly steps: ReadonlyMap<string, Alternatives>;
  /** Inside `for_each`. */
  readonly item?: Alternatives;
}

/** Beyond so many a value may be anything: a list of the file may have thousands of items. */
const MAX_ALTERNATIVES = 16;

export const oneOf = (alternatives: Alternatives): Alternatives =>
  alternatives.length > MAX_ALTERNATIVES || alternatives.some(({ kind }) => kind === 'anything') ? ANYTHING : alternatives;

export const knownOf = (expression: Expression, scope: KnownScope): Alternatives => {
  switch (expression.kind) {
    case 'literal':
      return [expression];
    case 'ref': {
      const { values, missing } = reach(expression, scope);
      // That is told where it stands, and nothing follows from it.
      return missing === undefined ? values : ANYTHING;
    }
    case 'list':
      return [{ kind: 'list', items: oneOf(expression.items.flatMap((item) => knownOf(item, scope))) }];
    case 'object':
      return [{ kind: 'object', fields: new Map(expression.entries.map(([key, value]) => [key, knownOf(value, scope)])) }];
  }
};

export interface Reached {
  readonly values: Alternatives;
  /** Where it goes into what has no inside. */
  readonly mistake?: string;
  /** Where a model is asked for what it has not: the value is null. */
  readonly missing?: string;
}

export const reach = (reference: Reference, scope: KnownScope): Reached => {
  let { values, from } = rootOf(reference, scope);
  for (let at = from; at < reference.path.length; at++) {
    const key = reference.path[at] as string | number;
    const found = values.map((known) => into(known, key));
    const next = found.flatMap((each) => each.values);
    if (next.every(isNull)) {
      const told = (message: (place: string) => string) => `\`${textOf(reference)}\`: ${message(textOf(reference, at))}`;
      const mistake = found.find((each) => each.mistake !== undefined)?.mistake;
      if (mistake !== undefined) return { values: ANYTHING, mistake: told(mistake) };
      const missing = found.find((each) => each.missing !== undefined)?.missing;
      if (missing !== undefined) return { values: [NULL], missing: told(missing) };
    }
    values = oneOf(next);
  }
  return { values };
};

const rootOf = (reference: Reference, { steps, item }: KnownScope): { values: Alternatives; from: number } => {
  switch (reference.root) {
    case 'step':
      return { values: steps.get(reference.step) ?? ANYTHING, from: 0 };
    case 'item':
      return { values: item ?? ANYTHING, from: 0 };
    case 'index':
      return { values: [{ kind: 'number' }], from: 0 };
    case 'request':
      return rootOfRequest(reference.path);
  }
};

const rootOfRequest = (path: Reference['path']): { values: Alternatives; from: number } => {
  switch (path[0]) {
    case 'json':
      return { values: [{ kind: 'json' }], from: 1 };
    case 'body':
      return { values: [{ kind: 'bytes' }], from: 1 };
    case 'path':
      return { values: [{ kind: 'text' }], from: 1 };
    default:
      // A parameter or a header, which may be missing.
      return { values: [{ kind: 'text' }, NULL], from: 2 };
  }
};

interface Inside {
  /** What it is in a run that goes on. */
  readonly values: Alternatives;
  /** What is wrong at the place that was reached: the run ends there. */
  readonly mistake?: (place: string) => string;
  readonly missing?: (place: string) => string;
}

/** As `evaluate` goes into values: what is missing is null, and what has no inside ends the request. What the file leaves out is left out knowingly. */
const into = (known: Known, key: string | number): Inside => {
  if (known.kind === 'anything' || known.kind === 'json') return { values: [known] };
  if (isNull(known)) return { values: [NULL] };
  if (typeof key === 'number') {
    if (known.kind === 'list') return { values: [...known.items, NULL] };
    if (known.kind === 'literal' && Array.isArray(known.value))
      return { values: [key < known.value.length ? { kind: 'literal', value: known.value[key] as Json } : NULL] };
    return { values: [], mistake: (place) => `expected a list at \`${place}\`, got ${describeKnown(known)}` };
  }
  const fields = fieldsOf(known);
  if (fields === undefined)
    return { values: [], mistake: (place) => `expected an object at \`${place}\`, got ${describeKnown(known)}` };
  const values = fields.get(key);
  if (values !== undefined) return { values };
  if (known.kind !== 'object' || !known.isAnswer) return { values: [NULL] };
  return {
    values: [NULL],
    missing: (place) => `\`${place}\` has no \`${key}\`${suggestion(key, [...fields.keys()], 'fields')}`,
  };
};

/** What an object has in it; undefined: it is none. */
export const fieldsOf = (known: Known): ReadonlyMap<string, Alternatives> | undefined => {
  if (known.kind === 'object') return known.fields;
  if (known.kind !== 'literal' || typeof known.value !== 'object' || known.value === null || Array.isArray(known.value))
    return undefined;
  return new Map(Object.entries(known.value).map(([key, value]) => [key, [{ kind: 'literal', value: value as Json }]]));
};

/** What the items of a list are; undefined: it is none. */
export const itemsOf = (known: Known): Alternatives | undefined => {
  switch (known.kind) {
    case 'anything':
    case 'json':
      return [known];
    case 'list':
      return known.items;
    case 'literal':
      return Array.isArray(known.value)
        ? oneOf(known.value.slice(0, MAX_ALTERNATIVES + 1).map((value: Json) => ({ kind: 'literal', value })))
        : undefined;
    default:
      return undefined;
  }
};

export const describeKnown = (known: Known): string => {
  switch (known.kind) {
    case 'tensor':
      return `a tensor ${known.dtype} ${extentsText(known.shape)}`;
    case 'bytes':
      return 'bytes';
    case 'json':
      return 'JSON of the request';
    case 'anything':
      return 'anything';
    case 'literal':
      return describeLiteral(known.value);
    case 'object':
      return 'an object';
    default:
      return `a ${known.kind}`;
  }
};

const describeLiteral = (value: Json): string => {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  return typeof value === 'string' ? 'a text' : `a ${typeof value}`;
};

/** `[?, 3]`; of any rank: `[…]`. */
export const extentsText = (shape: ModelPort['shape']): string =>
  shape === null ? '[…]' : `[${shape.map((extent) => (extent < 0 ? '?' : extent)).join(', ')}]`;

/** Compiles what `input`, `for_each` and `output` say: literals with references anywhere in them. */
import type { Expression, Reference } from '../domain/graph.ts';
import type { Json } from '../domain/json.ts';
import { suggestion } from './nearest.ts';
import { readReference } from './reference.ts';
import type { Path, Report } from './source.ts';

/** What an expression may refer to. */
export interface Names {
  readonly steps: readonly string[];
  /** Whether `$item` and `$index` are known: in the `input` of a step with `for_each`. */
  readonly item: boolean;
}

/** Stands where a mistake was reported; a graph with a mistake is never run. */
const NOTHING: Expression = { kind: 'literal', value: null };

/** An expression without references comes back as one literal, however deep. */
export const compileExpression = (source: unknown, path: Path, names: Names, report: Report): Expression => {
  if (typeof source === 'string') return compileText(source, path, names, report);
  if (Array.isArray(source)) {
    const items = source.map((item, index) => compileExpression(item, [...path, index], names, report));
    const values = literals(items);
    return values === undefined ? { kind: 'list', items } : { kind: 'literal', value: values };
  }
  if (isPlainObject(source)) {
    const entries = Object.entries(source).map(
      ([key, value]) => [key, compileExpression(value, [...path, key], names, report)] as const,
    );
    const values = literals(entries.map(([, value]) => value));
    if (values === undefined) return { kind: 'object', entries };
    return { kind: 'literal', value: Object.fromEntries(entries.map(([key], index) => [key, values[index] ?? null])) };
  }
  return { kind: 'literal', value: scalar(source, path, report) };
};

/** Compiles a value in which references are not known (`on_error`), with the same `$$` for a dollar. */
export const compileLiteral = (source: unknown, path: Path, report: Report): Json => {
  if (typeof source === 'string') {
    if (!source.startsWith('$')) return source;
    if (source.startsWith('$$')) return source.slice(1);
    report(
      'BAD_REFERENCE',
      path,
      `\`${source}\`: references are not known here; text that begins with a dollar is written \`$${source}\``,
    );
    return null;
  }
  if (Array.isArray(source)) return source.map((item, index) => compileLiteral(item, [...path, index], report));
  if (isPlainObject(source)) {
    return Object.fromEntries(Object.entries(source).map(([key, value]) => [key, compileLiteral(value, [...path, key], report)]));
  }
  return scalar(source, path, report);
};

/** All references in an expression, from left to right. */
export const referencesIn = (expression: Expression): readonly Reference[] => {
  switch (expression.kind) {
    case 'ref':
      return [expression];
    case 'literal':
      return [];
    case 'object':
      return expression.entries.flatMap(([, value]) => referencesIn(value));
    case 'list':
      return expression.items.flatMap(referencesIn);
  }
};

/** The steps that an expression refers to, each once. */
export const stepsIn = (expression: Expression): readonly string[] => {
  const steps = referencesIn(expression).map((reference) => (reference.root === 'step' ? reference.step : undefined));
  return [...new Set(steps.filter((step) => step !== undefined))];
};

const compileText = (text: string, path: Path, names: Names, report: Report): Expression => {
  if (!text.startsWith('$')) return { kind: 'literal', value: text };
  if (text.startsWith('$$')) return { kind: 'literal', value: text.slice(1) };
  const read = readReference(text);
  if ('mistake' in read) {
    report('BAD_REFERENCE', path, read.mistake);
    return NOTHING;
  }
  const { reference } = read;
  if (reference.root === 'step' && !names.steps.includes(reference.step)) {
    report(
      'UNKNOWN_STEP',
      path,
      `\`${text}\`: there is no step \`${reference.step}\`${suggestion(reference.step, names.steps, 'steps')}`,
    );
    return NOTHING;
  }
  if ((reference.root === 'item' || reference.root === 'index') && !names.item) {
    report(
      'ITEM_OUTSIDE_FOR_EACH',
      path,
      `\`${text}\`: \`$${reference.root}\` is known only in the input of a step with \`for_each\``,
    );
    return NOTHING;
  }
  return reference;
};

/** The values of expressions that all are literals, else undefined. */
const literals = (expressions: readonly Expression[]): readonly Json[] | undefined => {
  const values: Json[] = [];
  for (const expression of expressions) {
    if (expression.kind !== 'literal') return undefined;
    values.push(expression.value);
  }
  return values;
};

const scalar = (source: unknown, path: Path, report: Report): Json => {
  if (source === null || source === undefined) return null;
  if (typeof source === 'boolean' || (typeof source === 'number' && Number.isFinite(source))) return source;
  report('NOT_JSON', path, `expected a JSON value, got ${typeof source === 'number' ? source : typeof source}`);
  return null;
};

const isPlainObject = (source: unknown): source is Record<string, unknown> => {
  if (typeof source !== 'object' || source === null) return false;
  const prototype: unknown = Object.getPrototypeOf(source);
  return prototype === Object.prototype || prototype === null;
};

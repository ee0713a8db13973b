/** Whether a condition can hold at all, by what is known before anything has run. Pure. */
import type { Condition } from '../domain/graph.ts';
import type { Json } from '../domain/json.ts';
import { compares } from './condition.ts';
import { jsonNode } from './evaluate.ts';
import { type Alternatives, describeKnown, type Known, type KnownScope, knownOf, reach } from './known.ts';
import { textOf } from './reference.ts';

type Compare = Extract<Condition, { kind: 'compare' }>;

/** @returns why it never holds; undefined: it may, for all that is known */
export const neverHolds = (condition: Condition, scope: KnownScope): string | undefined =>
  truthOf(condition, scope) === false ? whyNever(condition, scope) : undefined;

/** @returns undefined: it depends */
const truthOf = (condition: Condition, scope: KnownScope): boolean | undefined => {
  switch (condition.kind) {
    case 'compare':
      return agreed(valuesOf(condition, scope).map((known) => truthOfOne(known, condition)));
    case 'not': {
      const inner = truthOf(condition.condition, scope);
      return inner === undefined ? undefined : !inner;
    }
    case 'all': {
      const truths = condition.conditions.map((each) => truthOf(each, scope));
      if (truths.includes(false) || contradiction(condition.conditions) !== undefined) return false;
      return truths.includes(undefined) ? undefined : true;
    }
  }
};

/** As the runtime has them: what a model has not is null. */
const valuesOf = ({ value }: Compare, scope: KnownScope): Alternatives =>
  value.kind === 'ref' ? reach(value, scope).values : knownOf(value, scope);

const agreed = (truths: readonly (boolean | undefined)[]): boolean | undefined =>
  truths.every((truth) => truth === truths[0]) ? truths[0] : undefined;

/** As `holds` compares, for a value of which the kind alone is known. */
const truthOfOne = (known: Known, { operator, operand }: Compare): boolean | undefined => {
  if (known.kind === 'anything' || known.kind === 'json') return undefined;
  if (known.kind === 'literal') return compares(jsonNode(known.value), operator, operand);
  switch (operator) {
    case 'exists':
      return operand === true;
    case 'equals':
      return mayEqual(known, operand) ? undefined : false;
    case 'in':
      return Array.isArray(operand) && operand.some((each) => mayEqual(known, each)) ? undefined : false;
    case 'gt':
    case 'lt':
      return known.kind === 'number' ? undefined : false;
  }
};

/** Bytes and tensors equal nothing that a file can say. */
const mayEqual = ({ kind }: Known, operand: Json): boolean => {
  switch (kind) {
    case 'text':
      return typeof operand === 'string';
    case 'number':
      return typeof operand === 'number';
    case 'list':
      return Array.isArray(operand);
    case 'object':
      return typeof operand === 'object' && operand !== null && !Array.isArray(operand);
    default:
      return false;
  }
};

const whyNever = (condition: Condition, scope: KnownScope): string => {
  if (condition.kind === 'compare') return `${nameOf(condition)} is ${valuesText(valuesOf(condition, scope))}`;
  if (condition.kind === 'not') return 'what must not hold always does';
  const clash = contradiction(condition.conditions);
  if (clash !== undefined) return `no value of ${nameOf(clash)} is all of what is asked`;
  const [first] = condition.conditions.filter((each) => truthOf(each, scope) === false);
  return first === undefined ? '' : whyNever(first, scope);
};

const nameOf = ({ value }: Compare): string => (value.kind === 'ref' ? `\`${textOf(value)}\`` : 'it');

const valuesText = (alternatives: Alternatives): string => [...new Set(alternatives.map(describeKnown))].join(' or ');

/** Of conditions that must hold together, the first of those on one value that no value can meet; they need not stand side by side. */
const contradiction = (conditions: readonly Condition[]): Compare | undefined => {
  const byValue = new Map<string, Demand[]>();
  for (const condition of conditions) {
    const isMet = condition.kind !== 'not';
    const compare = condition.kind === 'not' ? condition.condition : condition;
    if (compare.kind !== 'compare') continue;
    const key = JSON.stringify(compare.value);
    byValue.set(key, [...(byValue.get(key) ?? []), { compare, isMet }]);
  }
  return [...byValue.values()].find((demands) => !canAllBeMet(demands))?.[0]?.compare;
};

interface Demand {
  readonly compare: Compare;
  /** Else it must not hold. */
  readonly isMet: boolean;
}

const canAllBeMet = (demands: readonly Demand[]): boolean => {
  const candidates = demands.map(({ compare, isMet }) => (isMet ? candidatesOf(compare) : undefined)).find((each) => each);
  if (candidates !== undefined)
    return candidates.some((value) =>
      demands.every(({ compare: { operator, operand }, isMet }) => compares(jsonNode(value), operator, operand) === isMet),
    );
  const bounds = (which: 'gt' | 'lt') =>
    demands.flatMap(({ compare: { operator, operand }, isMet }) => (isMet && operator === which ? Number(operand) : []));
  return Math.max(...bounds('gt'), Number.NEGATIVE_INFINITY) < Math.min(...bounds('lt'), Number.POSITIVE_INFINITY);
};

/** Where a condition is met by a few values only: these. */
const candidatesOf = ({ operator, operand }: Compare): readonly Json[] | undefined => {
  if (operator === 'equals') return [operand];
  if (operator === 'in' && Array.isArray(operand)) return operand as readonly Json[];
  return operator === 'exists' && operand === false ? [null] : undefined;
};

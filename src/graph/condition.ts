/** `when` of a step: compiles it, and tells whether it holds. */
import type { Condition, Expression } from '../domain/graph.ts';
import type { Json } from '../domain/json.ts';
import type { ValueNode } from '../protocol/value.ts';
import { isAlike } from './alike.ts';
import { evaluate, jsonNode, type Scope } from './evaluate.ts';
import { compileExpression, compileLiteral, type Names, referencesIn } from './expression.ts';
import type { ConditionSource, Path, Report } from './source.ts';

const OPERATORS = ['equals', 'in', 'exists', 'gt', 'lt'] as const;
const WANTED = `\`ref\` and one of ${OPERATORS.map((name) => `\`${name}\``).join(', ')}; or \`not\` around such a condition; or a list, all of which must hold`;

/** The shape was checked before, but for which of the keys stand together. */
export const compileCondition = (source: ConditionSource, path: Path, names: Names, report: Report): Condition | undefined => {
  if (Array.isArray(source)) {
    if (source.length === 0) report('BAD_CONDITION', path, `expected at least one condition, got an empty list`);
    const conditions = source.map((each, index) => compileCondition(each, [...path, index], names, report));
    return { kind: 'all', conditions: conditions.filter((each) => each !== undefined) };
  }
  const single = source as Readonly<Record<string, unknown>>;
  const given = Object.keys(single);
  if (given.includes('not')) {
    if (given.length > 1) report('BAD_CONDITION', path, `\`not\` stands alone: expected ${WANTED}`);
    const condition = compileCondition(single['not'] as ConditionSource, [...path, 'not'], names, report);
    return condition && { kind: 'not', condition };
  }
  const operators = OPERATORS.filter((name) => given.includes(name));
  const [operator] = operators;
  const { ref } = single;
  if (operator === undefined || operators.length > 1 || typeof ref !== 'string') {
    report('BAD_CONDITION', path, `expected ${WANTED}; got ${given.map((key) => `\`${key}\``).join(', ') || 'nothing'}`);
    return undefined;
  }
  if (!/^\$(?!\$)/.test(ref)) {
    report('BAD_REFERENCE', [...path, 'ref'], `expected a reference, as in \`$step.field\`, got \`${ref}\``);
    return undefined;
  }
  const operand = compileLiteral(single[operator], [...path, operator], report);
  return { kind: 'compare', value: compileExpression(ref, [...path, 'ref'], names, report), operator, operand };
};

/** What a condition looks at. */
export const valuesIn = (condition: Condition): readonly Expression[] => {
  switch (condition.kind) {
    case 'compare':
      return [condition.value];
    case 'not':
      return valuesIn(condition.condition);
    case 'all':
      return condition.conditions.flatMap(valuesIn);
  }
};

/** Whether it must be asked for each item of a `for_each`. */
export const isOfItem = (condition: Condition): boolean =>
  valuesIn(condition).some((value) => referencesIn(value).some(({ root }) => root === 'item' || root === 'index'));

/**
 * What is missing is null: it equals null, does not exist, and is neither greater nor less than anything.
 * @throws ServeError as `evaluate`
 */
export const holds = (condition: Condition, scope: Scope): boolean => {
  switch (condition.kind) {
    case 'not':
      return !holds(condition.condition, scope);
    case 'all':
      return condition.conditions.every((each) => holds(each, scope));
    case 'compare':
      return compares(evaluate(condition.value, scope), condition.operator, condition.operand);
  }
};

type Operator = (Condition & { kind: 'compare' })['operator'];

export const compares = (node: ValueNode, operator: Operator, operand: Json): boolean => {
  const equals = (json: Json) => isAlike(node, jsonNode(json), 0);
  switch (operator) {
    case 'equals':
      return equals(operand);
    case 'in':
      return Array.isArray(operand) && operand.some(equals);
    case 'exists':
      return (node.json !== null && node.json !== undefined) === operand;
    case 'gt':
      return typeof node.json === 'number' && node.json > Number(operand);
    case 'lt':
      return typeof node.json === 'number' && node.json < Number(operand);
  }
};

/** Checks a compiled graph for what can never work, by what is known of values before anything has run; when in doubt it is silent. Pure. */
import type { CallTarget, Condition, Expression, Graph, GraphStep } from '../domain/graph.ts';
import type { ModelPorts } from '../domain/model.ts';
import { isOfItem } from './condition.ts';
import { answerOfModel, misfits } from './fit.ts';
import { neverHolds } from './hope.ts';
import { type Alternatives, ANYTHING, describeKnown, itemsOf, type KnownScope, knownOf, NULL, oneOf, reach } from './known.ts';
import type { GraphMistake, Path, Report } from './source.ts';

/** What the model of a deployment takes and gives; undefined: it is code, or nothing is known of it. */
export type ModelOf = (target: CallTarget) => ModelPorts | undefined;

export const checkValues = (graph: Graph, modelOf: ModelOf, report: Report): void => {
  const steps = new Map<string, Alternatives>();
  for (const step of graph.steps) steps.set(step.name, checkStep(step, { steps }, modelOf, report));
  checkReferences(graph.output, ['output'], { steps }, report);
};

/** What is to be said once the models of the steps are known, beside what `checkValues` said without them. */
export const checkModelSteps = (graph: Graph, modelOf: ModelOf): readonly GraphMistake[] => {
  const found: GraphMistake[] = [];
  checkValues(graph, modelOf, (code, path, message, severity = 'error') => found.push({ severity, code, path, message }));
  if (found.length === 0) return found;
  const said = new Set<string>();
  checkValues(
    graph,
    () => undefined,
    (code, path) => said.add(JSON.stringify([code, path])),
  );
  return found.filter(({ code, path }) => !said.has(JSON.stringify([code, path])));
};

/** @returns what its value can be */
const checkStep = (step: GraphStep, outer: KnownScope, modelOf: ModelOf, report: Report): Alternatives => {
  const path: Path = ['steps', step.name];
  const { when, forEach, input, model, split, shadow } = step;
  const never = (scope: KnownScope): boolean => {
    if (when === undefined) return false;
    checkCondition(when, [...path, 'when'], scope, report);
    const why = neverHolds(when, scope);
    const message = `the step \`${step.name}\` never runs, as its condition cannot hold: ${why}`;
    if (why !== undefined) report('STEP_UNREACHABLE', [...path, 'when'], message, 'warning');
    return why !== undefined;
  };
  const isOfItems = when !== undefined && isOfItem(when);
  // Nothing is said of what is never asked.
  if (!isOfItems && never(outer)) return [NULL];
  const item = forEach === undefined ? undefined : checkForEach(forEach, [...path, 'for_each'], outer, report);
  const inner: KnownScope = item === undefined ? outer : { ...outer, item };
  if (isOfItems && never(inner)) return [{ kind: 'list', items: [NULL] }];
  checkReferences(input, [...path, 'input'], inner, report);
  if (model !== undefined) checkReferences(model, [...path, 'model'], outer, report);
  if (split?.stickyBy !== undefined) checkReferences(split.stickyBy, [...path, 'split', 'sticky_by'], outer, report);
  const targets = split === undefined ? [step.target] : split.targets.flatMap(({ target, weight }) => (weight > 0 ? target : []));
  const check = (target: CallTarget, severity: 'error' | 'warning') => {
    const ports = target.method === 'call' ? modelOf(target) : undefined;
    if (ports === undefined) return ANYTHING;
    for (const each of misfits(input, inner, ports, target.deployment, [...path, 'input']))
      report('INPUT_MISMATCH', each.path, each.message, severity);
    return [answerOfModel(ports)];
  };
  // The client does not see that the calls of a shadow all fail.
  if (shadow !== undefined) check(shadow.target, 'warning');
  const answers = targets.flatMap((target) => check(target, 'error'));
  return stepValue(step, answers);
};

/** With what stands for the answer where the step is skipped, or its call fails. */
const stepValue = ({ when, forEach, onError }: GraphStep, answers: Alternatives): Alternatives => {
  const isAsked = when !== undefined;
  const byItem = isAsked && isOfItem(when);
  const each = oneOf([
    ...answers,
    ...(onError === undefined ? [] : [{ kind: 'literal', value: onError.value } as const]),
    ...(byItem || (isAsked && forEach === undefined) ? [NULL] : []),
  ]);
  if (forEach === undefined) return each;
  return [{ kind: 'list', items: each }, ...(isAsked && !byItem ? [NULL] : [])];
};

/** @returns what its items can be */
const checkForEach = (forEach: Expression, path: Path, scope: KnownScope, report: Report): Alternatives => {
  if (!checkReferences(forEach, path, scope, report)) return ANYTHING;
  const known = knownOf(forEach, scope);
  const items = known.flatMap((each) => itemsOf(each) ?? []);
  if (known.length > 0 && known.every((each) => itemsOf(each) === undefined)) {
    const got = [...new Set(known.map(describeKnown))].join(' or ');
    report('BAD_FOR_EACH', path, `expected a list, got ${got}`);
    return ANYTHING;
  }
  return oneOf(items);
};

/** @returns whether every reference in it may have a value */
const checkReferences = (expression: Expression, path: Path, scope: KnownScope, report: Report): boolean => {
  switch (expression.kind) {
    case 'literal':
      return true;
    case 'ref': {
      const { mistake, missing = mistake } = reach(expression, scope);
      if (missing !== undefined) report('UNKNOWN_FIELD', path, missing);
      return missing === undefined;
    }
    case 'list':
      return expression.items.map((item, index) => checkReferences(item, [...path, index], scope, report)).every(Boolean);
    case 'object':
      return expression.entries.map(([key, value]) => checkReferences(value, [...path, key], scope, report)).every(Boolean);
  }
};

const checkCondition = (condition: Condition, path: Path, scope: KnownScope, report: Report): void => {
  switch (condition.kind) {
    case 'compare':
      checkCompared(condition, [...path, 'ref'], scope, report);
      return;
    case 'not':
      return checkCondition(condition.condition, [...path, 'not'], scope, report);
    case 'all':
      for (const [index, each] of condition.conditions.entries()) checkCondition(each, [...path, index], scope, report);
  }
};

/** A condition may well look at what is not there: `exists` is made for that, as for an output that a version to come has. */
const checkCompared = (
  { value, operator }: Extract<Condition, { kind: 'compare' }>,
  path: Path,
  scope: KnownScope,
  report: Report,
): void => {
  if (value.kind !== 'ref') return;
  const { mistake, missing } = reach(value, scope);
  if (mistake !== undefined) report('UNKNOWN_FIELD', path, mistake);
  if (missing !== undefined && operator !== 'exists') report('UNKNOWN_FIELD', path, missing, 'warning');
};

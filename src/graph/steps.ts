/** Compiles `steps` and `output`: a flow of calls that the daemon itself runs. */
import type { CallTarget, Expression, Graph, GraphStep } from '../domain/graph.ts';
import { checkValues } from './check-values.ts';
import { compileCondition, valuesIn } from './condition.ts';
import { compileExpression, compileLiteral, type Names, stepsIn } from './expression.ts';
import { listed } from './nearest.ts';
import { cyclesOf, orderOf } from './order.ts';
import type { KnownApplication, Path, Report, StepSource } from './source.ts';
import { compileSplit } from './split.ts';
import { callTarget } from './target.ts';
import { compileVerdict } from './verdict.ts';

const STEP_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** `$request`, `$item` and `$index` are something else; the others are no names for a property. */
const RESERVED = ['request', 'item', 'index', '__proto__', 'constructor', 'prototype'];

/** @returns undefined where the steps have no order, nothing to answer, or are mistaken so that neither can be said */
export const compileSteps = (
  source: Readonly<Record<string, StepSource>>,
  output: unknown,
  application: KnownApplication,
  all: readonly KnownApplication[],
  report: Report,
): Graph | undefined => {
  let errors = 0;
  const count: Report = (code, path, message, severity = 'error') => {
    if (severity === 'error') errors++;
    report(code, path, message, severity);
  };
  const names = Object.keys(source);
  if (names.length === 0) count('STEPS_EMPTY', ['steps'], 'expected at least one step, got none');
  const steps = new Map<string, GraphStep>();
  for (const [name, step] of Object.entries(source)) {
    steps.set(name, compileStep(name, step, names, application, all, count));
  }
  const answer = output === undefined ? undefined : compileExpression(output, ['output'], { steps: names, item: false }, count);
  const needs = new Map([...steps].map(([name, step]) => [name, step.needs]));
  const ordered = orderOf(needs);
  if ('cycle' in ordered) {
    for (const cycle of cyclesOf(needs)) {
      const message = `the steps wait for each other: ${cycle.join(' → ')} (each refers to the next)`;
      count('GRAPH_CYCLE', ['steps', cycle[0] ?? ''], message);
    }
    return undefined;
  }
  if (errors > 0) return undefined;
  const inOrder = ordered.order.flatMap((name) => steps.get(name) ?? []);
  const result = answerOf(answer, inOrder, report);
  if (result === undefined) return undefined;
  const graph = { steps: inOrder, output: result, streams: streamingStep(result, inOrder) };
  checkValues(graph, () => undefined, report);
  return graph;
};

/** A list of answers is no stream, and what another step refers to is needed as a whole. */
const streamingStep = (output: Expression, steps: readonly GraphStep[]): string | undefined => {
  if (output.kind !== 'ref' || output.root !== 'step' || output.path.length > 0) return undefined;
  const { step: name } = output;
  const isList = steps.some((step) => step.name === name && step.forEach !== undefined);
  return isList || steps.some(({ needs }) => needs.includes(name)) ? undefined : name;
};

const compileStep = (
  name: string,
  source: StepSource,
  steps: readonly string[],
  application: KnownApplication,
  all: readonly KnownApplication[],
  report: Report,
): GraphStep => {
  const path: Path = ['steps', name];
  if (!STEP_NAME.test(name) || RESERVED.includes(name)) {
    const wanted = `letters, digits and \`_\`, no digit first, and none of ${RESERVED.map((word) => `\`${word}\``).join(', ')}`;
    report('BAD_NAME', path, `\`${name}\` is no name for a step: ${wanted}`);
  }
  const forEach = compileForEach(source.for_each, [...path, 'for_each'], steps, report);
  const names: Names = { steps, item: forEach !== undefined };
  const call = compileCall(source, path, names, application, all, report);
  const input = compileInput(source, path, names, report);
  const when = source.when ? compileCondition(source.when, [...path, 'when'], names, report) : undefined;
  const { on_error: onError } = source;
  const value = typeof onError === 'object' ? compileLiteral(onError.value, [...path, 'on_error', 'value'], report) : undefined;
  if (source.max_concurrency !== undefined && forEach === undefined) {
    report('NO_EFFECT', [...path, 'max_concurrency'], '`max_concurrency` does nothing without `for_each`', 'warning');
  }
  const model =
    source.model === undefined
      ? undefined
      : compileExpression(source.model, [...path, 'model'], { ...names, item: false }, report);
  const used = [input, forEach, model, call.split?.stickyBy, ...(when === undefined ? [] : valuesIn(when))].filter(
    (each) => each !== undefined,
  );
  return {
    name,
    // Where the call is mistaken the references still count, so that a cycle is found at the first reading.
    target: call.target ?? { application: application.name, deployment: '', method: 'call' },
    split: call.split,
    shadow: call.shadow,
    when,
    retry: retryOf(source.retry),
    input,
    forEach,
    timeoutMs: source.timeout_s === undefined ? undefined : source.timeout_s * 1000,
    maxConcurrency: source.max_concurrency,
    onError: value === undefined ? undefined : { value },
    model,
    needs: [...new Set(used.flatMap(stepsIn))],
  };
};

/** `call`, or `split` in its place; and beside either a `shadow`. */
const compileCall = (
  source: StepSource,
  path: Path,
  names: Names,
  application: KnownApplication,
  all: readonly KnownApplication[],
  report: Report,
): Pick<GraphStep, 'split' | 'shadow'> & { readonly target: CallTarget | undefined } => {
  const { call, split: said, shadow: copied } = source;
  if (call === undefined && !said) report('CALL_NEEDED', path, 'expected `call` with the name of a deployment, or `split`');
  if (call !== undefined && said)
    report('SPLIT_BESIDE_CALL', [...path, 'split'], '`split` stands in place of `call`: expected one of them, got both');
  const split = said ? compileSplit(said, [...path, 'split'], names, application, all, report) : undefined;
  const target = call === undefined ? split?.targets[0]?.target : callTarget(call, [...path, 'call'], application, all, report);
  const copy = copied ? callTarget(copied.call, [...path, 'shadow', 'call'], application, all, report) : undefined;
  const verdict =
    split && said?.verdict ? compileVerdict(said.verdict, said, split, copy, [...path, 'split', 'verdict'], report) : undefined;
  return {
    target,
    split: split && { ...split, ...(verdict === undefined ? {} : { verdict }) },
    shadow: copy && { target: copy, tolerance: copied?.tolerance ?? 0 },
  };
};

/** Whoever says `retry` wants a second try, also where no number is given. */
const retryOf = (source: StepSource['retry']): GraphStep['retry'] =>
  source ? { maxAttempts: source.max_attempts ?? 2, backoffMs: (source.backoff_s ?? 0) * 1000 } : undefined;

/** With `for_each` a step gets the item where nothing else is said; without, the file must say what it gets. */
const compileInput = (source: StepSource, path: Path, names: Names, report: Report): Expression => {
  if (source.input !== undefined) return compileExpression(source.input, [...path, 'input'], names, report);
  if (names.item) return { kind: 'ref', root: 'item', path: [] };
  const choices = '`$request.json`, `$request.body` (the bytes), another step (`$name`), or a literal such as `null`';
  report('INPUT_NEEDED', path, `\`input\` is needed: say what the step gets, e.g. ${choices}`);
  return { kind: 'literal', value: null };
};

const compileForEach = (source: unknown, path: Path, steps: readonly string[], report: Report): Expression | undefined => {
  if (source === undefined) return undefined;
  if (!Array.isArray(source) && !(typeof source === 'string' && /^\$(?!\$)/.test(source))) {
    report('BAD_FOR_EACH', path, `expected a reference to a list, or a list, got ${JSON.stringify(source)}`);
  }
  return compileExpression(source, path, { steps, item: false }, report);
};

/** `output`, or in its absence the one step that no other uses. Warns of steps whose value goes nowhere. */
const answerOf = (output: Expression | undefined, steps: readonly GraphStep[], report: Report): Expression | undefined => {
  const used = new Set([...steps.flatMap((step) => step.needs), ...(output === undefined ? [] : stepsIn(output))]);
  const unused = steps.map((step) => step.name).filter((name) => !used.has(name));
  if (output !== undefined) {
    for (const name of unused) {
      report(
        'STEP_UNUSED',
        ['steps', name],
        `nothing uses the value of the step \`${name}\`: neither \`output\` nor another step`,
        'warning',
      );
    }
    return output;
  }
  const [only] = unused;
  if (only !== undefined && unused.length === 1) return { kind: 'ref', root: 'step', step: only, path: [] };
  report(
    'OUTPUT_NEEDED',
    ['steps'],
    `\`output\` is needed, as several steps (${listed(unused)}) are used by no other: say what the graph answers`,
  );
  return undefined;
};

/**
 * The run of a graph for one request, as values: which steps may run now, and what the answer is. Whoever executes it calls the
 * deployments, keeps the time and bounds how many calls are out at once.
 */
import { type ErrorCode, ServeError } from '../domain/errors.ts';
import type { CallTarget, Graph, GraphStep } from '../domain/graph.ts';
import { type Segment, segmentIndex, type ValueNode } from '../protocol/value.ts';
import { holds, isOfItem } from './condition.ts';
import { describe, evaluate, type RequestScope, type Scope } from './evaluate.ts';
import { referencesIn } from './expression.ts';
import { choose, pointOf } from './split.ts';

export interface RunState {
  readonly graph: Graph;
  /** Values of the steps that are done. */
  readonly results: ReadonlyMap<string, ValueNode>;
  /** Steps that the last transition made ready; each step of the graph stands here in exactly one state of a run. */
  readonly ready: readonly string[];
}

export const start = (graph: Graph): RunState => ({
  graph,
  results: new Map(),
  ready: graph.steps.filter((step) => step.needs.length === 0).map((step) => step.name),
});

/** The steps to begin now, all at the same time: those that the last transition made ready. Ask once after each transition. */
export const ready = (state: RunState): readonly string[] => state.ready;

/**
 * Takes the value of a step: its answer, the list of its answers with `for_each`, or what `on_error` says.
 * @throws Error when the step is not of this graph, not ready yet, or done already
 */
export const finish = (state: RunState, name: string, result: ValueNode): RunState => {
  const { graph } = state;
  const step = graph.steps.find((known) => known.name === name);
  if (step === undefined) throw new Error(`the graph has no step ${name}`);
  if (state.results.has(name)) throw new Error(`the step ${name} was done already`);
  if (!step.needs.every((need) => state.results.has(need))) throw new Error(`the step ${name} was not ready`);
  const results = new Map(state.results).set(name, result);
  const freed = graph.steps.filter((later) => later.needs.includes(name) && later.needs.every((need) => results.has(need)));
  return { graph, results, ready: freed.map((later) => later.name) };
};

/** Whether every step has its value; also those that `output` does not need, as they were asked for. */
export const isDone = (state: RunState): boolean => state.results.size === state.graph.steps.length;

/** What the graph answers. @throws Error when it is not done; ServeError as `evaluate` */
export const outputOf = (state: RunState, request: RequestScope): ValueNode => {
  if (!isDone(state)) throw new Error('the graph is not done');
  return evaluate(state.graph.output, { request, steps: state.results });
};

/**
 * What the calls of a step get: one value, or with `for_each` one for each item, in the order of the list; undefined for an item that
 * `when` leaves out, and in place of the list where it leaves out the step: their values are null.
 * @throws ServeError as `evaluate`, and as `items` when `for_each` gives no list
 */
export const inputsOf = (
  state: RunState,
  step: GraphStep,
  request: RequestScope,
): readonly (ValueNode | undefined)[] | undefined => {
  const scope: Scope = { request, steps: state.results };
  const { forEach, when } = step;
  if (when !== undefined && !isOfItem(when) && !holds(when, scope)) return undefined;
  if (forEach === undefined) return [evaluate(step.input, scope)];
  const itemError = blame(step);
  return items(step, evaluate(forEach, scope)).map((item, index) => {
    const here: Scope = { ...scope, item, index, itemError };
    return when !== undefined && isOfItem(when) && !holds(when, here) ? undefined : evaluate(step.input, here);
  });
};

/**
 * Whom a step calls for this request.
 * @param next in [0, 1): decides where nothing sticks; asked only then
 */
export const targetOf = (state: RunState, step: GraphStep, request: RequestScope, next: () => number): CallTarget => {
  const { split } = step;
  if (split === undefined) return step.target;
  const key = split.stickyBy === undefined ? undefined : evaluate(split.stickyBy, { request, steps: state.results });
  const sticks = key !== undefined && key.json !== null && key.segments.length === 0;
  return choose(split, sticks ? pointOf(`${step.name}\n${JSON.stringify(key.json)}`) : next());
};

/**
 * The multiplexed model that a step's calls are for; undefined: for none, also where the reference is to nothing.
 * @throws ServeError INVALID_INPUT when it is no text
 */
export const modelOf = (state: RunState, step: GraphStep, request: RequestScope): string | undefined => {
  if (step.model === undefined) return undefined;
  const value = evaluate(step.model, { request, steps: state.results });
  if (value.json === null || value.json === '') return undefined;
  if (typeof value.json === 'string') return value.json;
  throw new ServeError(
    'INVALID_INPUT',
    `\`model\` of the step \`${step.name}\`: expected the id of a model, got ${describe(value)}`,
  );
};

/** Each item costs some hundred bytes before its call begins, and a body of a few bytes an item may name millions. */
export const MAX_ITEMS = 100_000;

/**
 * The items of the list that `for_each` gave, each with its own segments only.
 * @throws ServeError naming the step when it is no list, or too long: INVALID_INPUT where it came from the request, else USER_ERROR
 */
export const items = (step: GraphStep, list: ValueNode): readonly ValueNode[] => {
  if (Array.isArray(list.json)) {
    const { length } = list.json;
    if (length > MAX_ITEMS)
      throw new ServeError(
        blame(step),
        `\`for_each\` of the step \`${step.name}\`: expected at most ${MAX_ITEMS} items, got ${length}: send them in several requests`,
      );
    return list.json.map((json: unknown) => narrow({ json, segments: list.segments }));
  }
  throw new ServeError(blame(step), `\`for_each\` of the step \`${step.name}\`: expected a list, got ${describe(list)}`);
};

/** Whose mistake a wrong list or item is: the client's, where the list comes from nothing but the request. */
const blame = ({ forEach }: GraphStep): ErrorCode => {
  const references = forEach === undefined ? [] : referencesIn(forEach);
  const fromRequest = references.length > 0 && references.every((reference) => reference.root === 'request');
  return fromRequest ? 'INVALID_INPUT' : 'USER_ERROR';
};

/** Drops the segments that a value does not use: else every call of a fan-out would drag along the segments of all items. */
const narrow = ({ json, segments }: ValueNode): ValueNode => {
  if (segments.length === 0) return { json, segments };
  const kept: Segment[] = [];
  const places = new Map<number, number>();
  const renumber = (inner: unknown): unknown => {
    if (typeof inner !== 'object' || inner === null) return inner;
    if (Array.isArray(inner)) return inner.map(renumber);
    const index = segmentIndex(inner);
    if (index === undefined) return Object.fromEntries(Object.entries(inner).map(([key, value]) => [key, renumber(value)]));
    const segment = segments[index];
    if (segment === undefined) throw new RangeError(`a value refers to segment ${index} of ${segments.length}`);
    const place = places.get(index) ?? kept.push(segment) - 1;
    places.set(index, place);
    return { $seg: place };
  };
  return { json: renumber(json), segments: kept };
};

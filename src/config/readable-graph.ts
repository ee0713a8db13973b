/** What of an application's graph can be compiled although parts of it have the wrong shape, so that all mistakes are told at once. */
import type { GraphMistake, GraphSource, StepSource, VerdictSource } from '../graph/compile.ts';
import type { Checking, SeenApplication } from './checking.ts';
import { isMapping, listOf, type Mapping, mappingOf, pathText, textOf } from './finding.ts';

/** Stands for a call that cannot be read; nothing is said about it. */
const UNREADABLE = '';

/** The name of an application for the graph compiler, also where the file gives it none. */
export const graphName = ({ name, path }: SeenApplication): string => name ?? pathText(path);

/** Leaves out what is no value of its field; a step stays, so that references to it are no mistakes. */
export const readableGraph = (graph: unknown): GraphSource | undefined => {
  if (!isMapping(graph)) return undefined;
  const { ingress, calls, steps, output } = graph;
  return {
    ...(isText(ingress) ? { ingress } : {}),
    ...(isMapping(calls) ? { calls: mapOf(calls, (handles) => filterOf(mappingOf(handles) ?? {}, isText)) } : {}),
    ...(isMapping(steps) ? { steps: mapOf(steps, readableStep) } : {}),
    ...('output' in graph ? { output } : {}),
  };
};

const readableStep = (source: unknown): StepSource => {
  const step: Mapping = mappingOf(source) ?? { call: UNREADABLE, input: null };
  const { call, split, shadow, when, retry, timeout_s: timeout, max_concurrency: concurrency, on_error: onError, model } = step;
  return {
    ...('call' in step ? { call: isText(call) ? call : UNREADABLE } : {}),
    ...(given(split) ? { split: readableSplit(split) } : {}),
    ...(isMapping(shadow) ? { shadow: readableShadow(shadow) } : {}),
    ...(isCondition(when) ? { when: when as StepSource['when'] } : {}),
    ...(isMapping(retry) ? { retry: filterOf(retry, isNumber) } : {}),
    ...('input' in step ? { input: step.input } : {}),
    ...('for_each' in step ? { for_each: step.for_each } : {}),
    ...(isNumber(timeout) ? { timeout_s: timeout } : {}),
    ...(isNumber(concurrency) ? { max_concurrency: concurrency } : {}),
    ...(isText(model) ? { model } : {}),
    ...(isMapping(onError) && 'value' in onError ? { on_error: { value: onError.value } } : {}),
  };
};

const readableShadow = ({ call, tolerance }: Mapping): NonNullable<StepSource['shadow']> => ({
  call: isText(call) ? call : UNREADABLE,
  ...(isNumber(tolerance) ? { tolerance } : {}),
});

/** Every target stays in its place, as mistakes are told by their index. */
const readableSplit = (split: unknown): NonNullable<StepSource['split']> => {
  const { targets, sticky_by: stickyBy, verdict } = mappingOf(split) ?? {};
  const read = listOf(targets).map((target) => {
    const { call, weight } = mappingOf(target) ?? {};
    return { call: isText(call) ? call : UNREADABLE, weight: isNumber(weight) ? weight : 1 };
  });
  const some = read.length === 0 && !Array.isArray(targets) ? [{ call: UNREADABLE, weight: 1 }] : read;
  return {
    targets: some,
    ...(isText(stickyBy) ? { sticky_by: stickyBy } : {}),
    ...(isMapping(verdict) ? { verdict: readableVerdict(verdict) } : {}),
  };
};

const readableVerdict = (verdict: Mapping): VerdictSource => {
  const { steps, promote_when: promoteWhen, abort_when: abortWhen } = verdict;
  return {
    ...filterOf(verdict, isNumber),
    ...(Array.isArray(steps) ? { steps: steps.filter(isNumber) } : {}),
    ...(isMapping(promoteWhen) ? { promote_when: filterOf(promoteWhen, isNumber) } : {}),
    ...(isMapping(abortWhen) ? { abort_when: filterOf(abortWhen, isNumber) } : {}),
  };
};

const isCondition = (when: unknown): boolean =>
  Array.isArray(when) ? when.every(isCondition) : isMapping(when) && (!('not' in when) || isCondition(when.not));

const given = (value: unknown): boolean => value !== undefined && value !== null;

const isNumber = (value: unknown): value is number => typeof value === 'number';

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';

const mapOf = <T>(mapping: Mapping, each: (value: unknown) => T): Record<string, T> =>
  Object.assign(
    Object.create(null),
    Object.fromEntries(Object.entries(mapping).map(([key, value]) => [key, each(value)])),
  ) as Record<string, T>;

const filterOf = <T>(mapping: Mapping, fits: (value: unknown) => value is T): Record<string, T> =>
  mapOf(Object.fromEntries(Object.entries(mapping).filter(([, value]) => fits(value))), (value) => value as T);

/**
 * Whether a mistake is one indeed, and no echo of another: what cannot be read may be what seems to be missing.
 * @param all every application of the file
 */
export const isOwnMistake = (
  mistake: GraphMistake,
  seen: SeenApplication,
  all: readonly SeenApplication[],
  checking: Checking,
): boolean => {
  // Where every part has the right shape there is nothing to echo.
  if (checking.sound([])) return true;
  const { code, severity, path } = mistake;
  const graph = [...seen.path, 'graph'];
  const at = [...graph, ...path];
  // The shape check says what a name may be.
  if (code === 'BAD_NAME' || checking.wrong(at)) return false;
  if (path.at(-1) === 'call' && textOf(valueAt(seen.data.graph, path)) === undefined) return false;
  if (severity === 'warning')
    return all.every(({ path: each }) => checking.sound([...each, 'graph'])) && hasNames(seen, checking);
  switch (code) {
    case 'INGRESS_NEEDED':
    case 'OUTPUT_WITHOUT_STEPS':
      return isEntryKnown(seen, checking);
    case 'OUTPUT_NEEDED':
      return checking.sound([...graph, 'steps']) && !checking.hasUnknownKey(graph);
    case 'CALL_NEEDED':
      return !checking.meant([...at, 'call']) && !checking.meant([...at, 'split']) && isMapping(valueAt(seen.data.graph, path));
    case 'INPUT_NEEDED':
      return isMapping(valueAt(seen.data.graph, path)) && !checking.meant([...at, 'input']);
    case 'BAD_VERDICT':
      // What it says hangs together with all that the split says, and with the shadow beside it.
      return checking.sound([...graph, ...path.slice(0, path.indexOf('split'))]);
    case 'UNKNOWN_APPLICATION':
      return all.every(({ name }) => name !== undefined);
    case 'UNKNOWN_DEPLOYMENT': {
      const [, callee] = /^([^/]+)\//.exec(textOf(valueAt(seen.data.graph, path)) ?? '') ?? [];
      const called = callee === undefined ? seen : all.find(({ name }) => name === callee);
      return called === undefined || hasNames(called, checking);
    }
    default:
      return true;
  }
};

const valueAt = (holder: unknown, path: readonly (string | number)[]): unknown =>
  path.reduce<unknown>((held, key) => (Array.isArray(held) || isMapping(held) ? (held as Mapping)[key] : undefined), holder);

/** Whether every deployment has a name that can be read. */
const hasNames = ({ path, data, deployments }: SeenApplication, checking: Checking): boolean =>
  !checking.wrong([...path, 'deployments']) &&
  !checking.meant([...path, 'deployments']) &&
  (!Array.isArray(data.deployments) || data.deployments.length === deployments.length) &&
  deployments.every(({ name }) => name !== undefined);

/** Whether what the file says of the application's entry can be read; with two names it is needed whatever else there is. */
const isEntryKnown = (seen: SeenApplication, checking: Checking): boolean => {
  const { path, deployments } = seen;
  const graph = [...path, 'graph'];
  if (checking.meant(graph) || [graph, [...graph, 'ingress'], [...graph, 'steps']].some(checking.wrong)) return false;
  if (checking.hasUnknownKey(graph)) return false;
  return hasNames(seen, checking) || deployments.filter(({ name }) => name !== undefined).length > 1;
};

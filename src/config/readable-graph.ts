/** What of an application's graph can be compiled although parts of it have the wrong shape, so that all mistakes are told at once. */
import type { GraphMistake, GraphSource, StepSource } from '../graph/compile.ts';
import type { Checking, SeenApplication } from './checking.ts';
import { isMapping, type Mapping, mappingOf, pathText, textOf } from './finding.ts';

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
  const step: Mapping = mappingOf(source) ?? { input: null };
  const { call, timeout_s: timeout, max_concurrency: concurrency, on_error: onError, ...values } = step;
  return {
    ...values,
    call: isText(call) ? call : UNREADABLE,
    ...(typeof timeout === 'number' ? { timeout_s: timeout } : {}),
    ...(typeof concurrency === 'number' ? { max_concurrency: concurrency } : {}),
    ...(isMapping(onError) && 'value' in onError ? { on_error: { value: onError.value } } : {}),
  };
};

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
    case 'INPUT_NEEDED':
      return isMapping(valueAt(seen.data.graph, path)) && !checking.meant([...at, 'input']);
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

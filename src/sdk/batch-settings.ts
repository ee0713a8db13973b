/**
 * What the file says of the batched functions of this process: the daemon tells it, `batch` looks it up by name. There is one of it in a
 * process, however many copies of this package are loaded.
 */
import type { BatchedFunctionSpec } from '../domain/desired.ts';

interface Settings {
  byName: Readonly<Record<string, BatchedFunctionSpec>>;
  /** Names of functions that were made, for the warning about a name that the file has wrong. */
  readonly made: Set<string>;
  /** Functions that hold items for company at this moment: they look again when the settings change. */
  readonly holding: Set<() => void>;
}

/** Code may make functions with names of its own for ever: more are not remembered, and only the warning misses them. */
const MAX_NAMES = 1000;

const KEY = Symbol.for('serve-daemon.batched-functions');
const shared = globalThis as unknown as Record<symbol, Settings | undefined>;
shared[KEY] ??= { byName: {}, made: new Set(), holding: new Set() };
const settings = shared[KEY];

export const noteMade = (name: string): void => {
  if (settings.made.size < MAX_NAMES) settings.made.add(name);
};

/** What holds in place of what the code says. */
export const saidOf = (name: string): BatchedFunctionSpec =>
  Object.hasOwn(settings.byName, name) ? (settings.byName[name] as BatchedFunctionSpec) : {};

/** @returns what ends it */
export const whileHolding = (look: () => void): (() => void) => {
  settings.holding.add(look);
  return () => settings.holding.delete(look);
};

/** In force at once, also for what waits. */
export const setBatchedFunctions = (byName: Readonly<Record<string, BatchedFunctionSpec>>): void => {
  settings.byName = byName;
  for (const look of [...settings.holding]) look();
};

/** Names that the file has and the code has not made, where there are any, and those that it has. */
export const unknownNames = (): { readonly unknown: readonly string[]; readonly known: readonly string[] } => ({
  unknown: Object.keys(settings.byName).filter((name) => !settings.made.has(name)),
  known: [...settings.made],
});

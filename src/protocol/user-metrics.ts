/** Metrics of user code, as a replica tells them: what they look like, and how many there may be. Both sides hold to it, as neither trusts the other's code. */

export const METRIC_KINDS = ['counter', 'gauge', 'histogram'] as const;
export type MetricKind = (typeof METRIC_KINDS)[number];

export interface MetricShape {
  readonly name: string;
  readonly kind: MetricKind;
  readonly help: string;
  /** Names of its labels. */
  readonly labels: readonly string[];
  /** Histograms: upper bounds, rising. */
  readonly buckets?: readonly number[];
}

/**
 * Values of the labels, and what it stands at: a number; of a histogram how many fell into each bucket by itself, how many lay above all of
 * them, and their sum.
 */
export type SeriesReport = readonly [labels: readonly string[], value: number | readonly number[]];

export interface MetricReport extends MetricShape {
  /** Those that have changed since they were told last. */
  readonly series: readonly SeriesReport[];
}

/** Replica → daemon, where SETTINGS asks for it. */
export interface MetricsMeta {
  readonly metrics: readonly MetricReport[];
}

/** Of one replica. */
export const MAX_METRICS = 100;
/** Of one replica, over all its metrics. */
export const MAX_SERIES = 1000;
/** Of one replica in `/metrics`: of a series of a histogram one for each bucket, and three besides. */
export const MAX_LINES = 20_000;
/** Of one replica: its own names and labels, in UTF-8, on all its lines. */
export const MAX_TEXT_BYTES = 4 * 1024 * 1024;
export const MAX_LABELS = 10;
/** In UTF-16 units. */
export const MAX_LABEL_NAME = 64;
export const MAX_BUCKETS = 64;
/** In UTF-16 units. */
export const MAX_NAME = 200;
export const MAX_HELP = 500;
export const MAX_LABEL_VALUE = 200;

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
/** Of names: the daemon's own. */
const TAKEN = /^(?:serve|process)_/;
/** Given by the daemon, or by the format. */
const GIVEN_LABELS: ReadonlySet<unknown> = new Set(['application', 'deployment', 'replica', 'le', 'quantile']);

/** @returns what is wrong with it, as `expected …, got …`; undefined: nothing */
export const shapeMistake = (shape: { readonly [field in keyof MetricShape]?: unknown }): string | undefined => {
  const { name, kind, help, labels, buckets } = shape;
  if (typeof name !== 'string' || name.length > MAX_NAME || !NAME.test(name))
    return `expected a name of letters, digits, \`_\` and \`:\` that begins with no digit, ${MAX_NAME} at most, got ${told(name)}`;
  if (name in Object.prototype) return `expected a name that no object of JavaScript has by itself, got ${told(name)}`;
  if (TAKEN.test(name))
    return `expected a name that does not begin with \`serve_\` or \`process_\`, which are the daemon's, got ${told(name)}`;
  if (!METRIC_KINDS.includes(kind as MetricKind)) return `expected a counter, a gauge or a histogram, got ${told(kind)}`;
  if (typeof help !== 'string' || help.length > MAX_HELP) return `expected a help text of at most ${MAX_HELP} characters`;
  if (!Array.isArray(labels) || labels.length > MAX_LABELS) return `expected a list of at most ${MAX_LABELS} labels`;
  const wrong: unknown = labels.find((label, index) => !isLabel(label) || labels.indexOf(label) !== index);
  if (wrong !== undefined || labels.includes(undefined))
    return `expected labels of letters, digits and \`_\`, ${MAX_LABEL_NAME} at most, each once, and none of application, deployment, replica, le, quantile, constructor and the like, got ${told(wrong)}`;
  if ((buckets !== undefined) !== (kind === 'histogram')) return 'expected buckets for a histogram, and for nothing else';
  if (buckets !== undefined && !areBounds(buckets))
    return `expected 1 to ${MAX_BUCKETS} buckets, finite and rising, got ${told(buckets)}`;
  return undefined;
};

const isLabel = (label: unknown): boolean =>
  typeof label === 'string' &&
  label.length <= MAX_LABEL_NAME &&
  LABEL.test(label) &&
  !label.startsWith('__') &&
  !(label in Object.prototype) &&
  !GIVEN_LABELS.has(label);

const areBounds = (buckets: unknown): boolean =>
  Array.isArray(buckets) &&
  buckets.length >= 1 &&
  buckets.length <= MAX_BUCKETS &&
  buckets.every((bound, index) => Number.isFinite(bound) && (index === 0 || bound > buckets[index - 1]));

const told = (value: unknown): string => (JSON.stringify(value) ?? typeof value).slice(0, 80);

/** Two metrics of one name are one only where all else is the same but the help. */
export const isSameShape = (one: MetricShape, other: MetricShape): boolean =>
  one.kind === other.kind && sameList(one.labels, other.labels) && sameList(one.buckets ?? [], other.buckets ?? []);

const sameList = (one: readonly unknown[], other: readonly unknown[]): boolean =>
  one.length === other.length && one.every((each, index) => each === other[index]);

/** Halves of characters would all be written as the same one: of two series one name. */
export const wellFormed = (label: string): string => label.replaceAll(/\p{Surrogate}/gu, '\uFFFD');

/** By which the series of a metric are told apart. */
export const seriesKey = (labels: readonly string[]): string =>
  labels.length === 1 ? (labels[0] as string) : JSON.stringify(labels);

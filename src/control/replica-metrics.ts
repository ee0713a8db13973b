/** What one replica tells of the metrics of its code. Nothing of it is believed: what is not as it must be, or too much, is left out. */
import { MetricRoom } from '../protocol/metric-room.ts';
import {
  isSameShape,
  MAX_LABEL_VALUE,
  type MetricReport,
  type MetricShape,
  type SeriesReport,
  seriesKey,
  shapeMistake,
  wellFormed,
} from '../protocol/user-metrics.ts';

interface Held {
  readonly shape: MetricShape;
  readonly series: Map<string, SeriesReport>;
}

export class HeldMetrics {
  readonly #metrics = new Map<string, Held>();
  readonly #room = new MetricRoom();

  /** @returns why something of it was left out, for the log; undefined: all was taken */
  take(meta: Readonly<Record<string, unknown>>): string | undefined {
    const metrics = meta['metrics'];
    if (!Array.isArray(metrics)) return 'expected a list of metrics';
    let why: string | undefined;
    for (const metric of metrics) why = this.#takeOne(metric) ?? why;
    return why;
  }

  read(): readonly MetricReport[] {
    return [...this.#metrics.values()].map(({ shape, series }) => ({ ...shape, series: [...series.values()] }));
  }

  #takeOne(metric: unknown): string | undefined {
    if (typeof metric !== 'object' || metric === null) return 'expected a metric to be an object';
    const { name, kind, help, labels, buckets, series } = metric as Record<string, unknown>;
    const given = { name, kind, help, labels, ...(buckets === undefined ? {} : { buckets }) };
    const mistake = shapeMistake(given);
    if (mistake !== undefined) return mistake;
    const shape = given as unknown as MetricShape;
    const held = this.#metrics.get(shape.name) ?? { shape, series: new Map() };
    if (!isSameShape(held.shape, shape)) return `the metric ${shape.name} has changed its type, labels or buckets`;
    if (!Array.isArray(series)) return `expected series of the metric ${shape.name}`;
    if (!this.#metrics.has(shape.name)) {
      const refused = this.#room.addMetric(shape);
      if (refused !== undefined) return refused;
      this.#metrics.set(shape.name, held);
    }
    let why: string | undefined;
    for (const each of series) why = this.#takeSeries(held, each) ?? why;
    return why;
  }

  #takeSeries({ shape, series }: Held, each: unknown): string | undefined {
    const [given, value] = Array.isArray(each) ? (each as readonly unknown[]) : [];
    if (!areLabels(given, shape.labels.length)) return `expected ${shape.labels.length} labels of the metric ${shape.name}`;
    if (!isValue(value, shape)) return `expected a value that a ${shape.kind} can have for the metric ${shape.name}`;
    const labels = given.map(wellFormed);
    const key = seriesKey(labels);
    const passed = series.has(key) ? undefined : this.#room.addSeries(shape, labels);
    if (passed !== undefined) return `expected at most ${passed} in a replica, got more with the metric ${shape.name}`;
    series.set(key, [labels, value]);
    return undefined;
  }
}

const areLabels = (labels: unknown, count: number): labels is readonly string[] =>
  Array.isArray(labels) &&
  labels.length === count &&
  labels.every((label) => typeof label === 'string' && label.length <= MAX_LABEL_VALUE);

const isValue = (value: unknown, { kind, buckets = [] }: MetricShape): value is SeriesReport[1] => {
  if (kind !== 'histogram') return Number.isFinite(value) && (kind === 'gauge' || (value as number) >= 0);
  if (!Array.isArray(value) || value.length !== buckets.length + 2) return false;
  return value.every((each, index) => Number.isFinite(each) && (index > buckets.length || (Number.isInteger(each) && each >= 0)));
};

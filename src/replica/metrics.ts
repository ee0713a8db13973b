/** The metrics of a replica's code: plain numbers here, told to the daemon at most once a second, and only those that have changed. */
import { SECONDS } from '../domain/metrics.ts';
import { MetricRoom } from '../protocol/metric-room.ts';
import {
  isSameShape,
  MAX_LABEL_VALUE,
  type MetricReport,
  type MetricShape,
  type MetricsMeta,
  seriesKey,
  shapeMistake,
  wellFormed,
} from '../protocol/user-metrics.ts';
import type { Counter, Gauge, Histogram, HistogramOptions, MetricLabels, MetricOptions, Metrics } from '../sdk/metrics.ts';

/** Between two tellings. */
const PERIOD_MS = 1000;

interface Series {
  readonly labels: readonly string[];
  value: number;
  /** Of a histogram: of each bucket for itself, and what lies above all. `value` is the sum. */
  readonly counts: number[] | undefined;
}

interface Metric {
  readonly shape: MetricShape;
  readonly series: Map<string, Series>;
  readonly changed: Set<Series>;
  /** That it has more series than there is room for was said. */
  warned: boolean;
}

export class ReplicaMetrics implements Metrics {
  readonly #metrics = new Map<string, Metric>();
  readonly #tell: ((meta: MetricsMeta) => void) | undefined;
  readonly #warn: (fields: object, message: string) => void;
  readonly #later: (work: () => void) => void;
  readonly #room = new MetricRoom();
  #isDue = false;

  /**
   * @param tell  undefined: nobody is told
   * @param later does its work after a while, once
   */
  constructor(
    tell: ((meta: MetricsMeta) => void) | undefined,
    warn: (fields: object, message: string) => void,
    later: (work: () => void) => void = (work) => void setTimeout(work, PERIOD_MS).unref(),
  ) {
    this.#tell = tell;
    this.#warn = warn;
    this.#later = later;
  }

  counter(name: string, options: MetricOptions = {}): Counter {
    const metric = this.#metricOf(name, 'counter', options);
    return {
      inc: (value = 1, labels) => {
        if (!(finite(value, name) >= 0)) throw new TypeError(`expected the counter \`${name}\` to grow, got ${value}`);
        this.#change(metric, labels, (series) => {
          series.value += value;
        });
      },
    };
  }

  gauge(name: string, options: MetricOptions = {}): Gauge {
    const metric = this.#metricOf(name, 'gauge', options);
    const add = (value: number, labels: MetricLabels | undefined) =>
      this.#change(metric, labels, (series) => {
        series.value += finite(value, name);
      });
    return {
      set: (value, labels) =>
        this.#change(metric, labels, (series) => {
          series.value = finite(value, name);
        }),
      inc: (value = 1, labels) => add(value, labels),
      dec: (value = 1, labels) => add(-value, labels),
    };
  }

  histogram(name: string, { buckets = SECONDS, ...options }: HistogramOptions = {}): Histogram {
    const metric = this.#metricOf(name, 'histogram', options, buckets);
    return {
      observe: (value, labels) => {
        finite(value, name);
        this.#change(metric, labels, (series) => {
          const at = buckets.findIndex((bound) => value <= bound);
          const counts = series.counts as number[];
          const bucket = at < 0 ? buckets.length : at;
          counts[bucket] = (counts[bucket] as number) + 1;
          series.value += value;
        });
      },
    };
  }

  #metricOf(
    name: string,
    kind: MetricShape['kind'],
    { help = '', labels = [] }: MetricOptions,
    buckets?: readonly number[],
  ): Metric {
    const shape: MetricShape = { name, kind, help, labels, ...(buckets === undefined ? {} : { buckets }) };
    const mistake = shapeMistake(shape);
    if (mistake !== undefined) throw new TypeError(`a metric: ${mistake}`);
    const known = this.#metrics.get(name);
    if (known !== undefined) {
      if (isSameShape(known.shape, shape)) return known;
      throw new TypeError(`the metric \`${name}\` was made as ${textOf(known.shape)}, and is now asked for as ${textOf(shape)}`);
    }
    const refused = this.#room.addMetric(shape);
    if (refused !== undefined) throw new TypeError(`a metric: ${refused}`);
    const metric = { shape, series: new Map<string, Series>(), changed: new Set<Series>(), warned: false };
    this.#metrics.set(name, metric);
    return metric;
  }

  #change(metric: Metric, labels: MetricLabels | undefined, change: (series: Series) => void): void {
    const series = this.#seriesOf(metric, labels);
    if (series === undefined) return;
    change(series);
    if (this.#tell === undefined) return;
    metric.changed.add(series);
    if (this.#isDue) return;
    this.#isDue = true;
    this.#later(() => this.#report());
  }

  /** @returns undefined: there is no room for it. What labels say may come from clients, who are many */
  #seriesOf(metric: Metric, given: MetricLabels | undefined): Series | undefined {
    const { labels: names, buckets } = metric.shape;
    const strange = given === undefined ? undefined : Object.keys(given).find((name) => !names.includes(name));
    if (strange !== undefined) {
      const known = names.length === 0 ? 'none' : names.join(', ');
      throw new TypeError(
        `expected labels that the metric \`${metric.shape.name}\` was made with (${known}), got \`${strange}\``,
      );
    }
    const labels = names.map((name) => wellFormed(String(given?.[name] ?? '').slice(0, MAX_LABEL_VALUE)));
    const key = seriesKey(labels);
    const known = metric.series.get(key);
    if (known !== undefined) return known;
    const limit = this.#room.addSeries(metric.shape, labels);
    if (limit !== undefined) {
      if (!metric.warned) {
        const fields = { metric: metric.shape.name, labels: Object.fromEntries(names.map((name, at) => [name, labels[at]])) };
        this.#warn({ ...fields, limit }, 'a metric has new values of labels beyond the limit of a replica: they are not counted');
      }
      metric.warned = true;
      return undefined;
    }
    const counts = buckets === undefined ? undefined : new Array<number>(buckets.length + 1).fill(0);
    const series = { labels, value: 0, counts };
    metric.series.set(key, series);
    return series;
  }

  #report(): void {
    this.#isDue = false;
    const metrics: MetricReport[] = [];
    for (const { shape, changed } of this.#metrics.values()) {
      if (changed.size === 0) continue;
      const series = [...changed].map(
        ({ labels, value, counts }) => [labels, counts === undefined ? value : [...counts, value]] as const,
      );
      metrics.push({ ...shape, series });
      changed.clear();
    }
    this.#tell?.({ metrics });
  }
}

const finite = (value: number, name: string): number => {
  if (Number.isFinite(value)) return value;
  throw new TypeError(`expected a finite number for the metric \`${name}\`, got ${value}`);
};

const textOf = ({ kind, labels, buckets }: MetricShape): string =>
  [
    `a ${kind}`,
    labels.length === 0 ? 'without labels' : `with the labels ${labels.join(', ')}`,
    ...(buckets === undefined ? [] : [`and ${buckets.length} buckets`]),
  ].join(' ');

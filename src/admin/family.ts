/** A metric with all its values, as Prometheus groups them. */
import type { HistogramCounts } from '../domain/metrics.ts';

export type Labels = Readonly<Record<string, string>>;
export type Value = readonly [labels: Labels, value: number];

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly values: readonly {
    readonly labels: Readonly<Record<string, string | number>>;
    readonly value: number;
    readonly metricName?: string;
  }[];
}

export const family = (type: 'counter' | 'gauge', name: string, help: string, values: readonly Value[]): Family => ({
  name,
  help,
  type,
  values: values.map(([labels, value]) => ({ labels, value })),
});

export const histogram = (name: string, help: string, series: readonly (readonly [Labels, HistogramCounts])[]): Family => ({
  name,
  help,
  type: 'histogram',
  values: series.flatMap(([labels, { bounds, counts, sum }]) => {
    let total = 0;
    const buckets = counts.map((count, index) => {
      total += count;
      return { labels: { ...labels, le: bounds[index] ?? '+Inf' }, value: total, metricName: `${name}_bucket` };
    });
    return [...buckets, { labels, value: sum, metricName: `${name}_sum` }, { labels, value: total, metricName: `${name}_count` }];
  }),
});

export const counted = (labels: Labels, name: string, counts: Readonly<Record<string, number>>): readonly Value[] =>
  Object.entries(counts).map(([key, value]) => [{ ...labels, [name]: key }, value]);

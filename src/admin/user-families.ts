/** Metrics of user code as families of `/metrics`, each series with the application, the deployment and the replica that it is of. */
import type { HistogramCounts, UserMetric, UserMetrics } from '../domain/metrics.ts';
import { type Family, family, histogram, type Labels, type Value } from './family.ts';

interface Group {
  readonly first: UserMetric;
  readonly numbers: Value[];
  readonly histograms: (readonly [Labels, HistogramCounts])[];
}

/** A name has one type: where two deployments keep different things under it, those of the first count, and it is said whose do not. */
export const userFamilies = (replicas: readonly UserMetrics[]): readonly Family[] => {
  const groups = new Map<string, Group>();
  const conflicts = new Map<string, Labels>();
  for (const { application, deployment, replica, metrics } of replicas) {
    const own = { application, deployment, replica };
    for (const metric of metrics) {
      const group = groups.get(metric.name) ?? { first: metric, numbers: [], histograms: [] };
      groups.set(metric.name, group);
      if (group.first.kind !== metric.kind) {
        conflicts.set(`${application}/${deployment} ${metric.name}`, { application, deployment, metric: metric.name });
        continue;
      }
      for (const [values, value] of metric.series) {
        const labels = { ...own, ...Object.fromEntries(metric.labels.map((label, index) => [label, values[index] ?? ''])) };
        if (typeof value === 'number') group.numbers.push([labels, value]);
        else group.histograms.push([labels, countsOf(metric, value)]);
      }
    }
  }
  const families = [...groups.values()].map(familyOf);
  if (conflicts.size === 0) return families;
  const help = 'Metrics of code that are left out, as another deployment has something else under the name.';
  return [
    ...families,
    family(
      'gauge',
      'serve_metric_conflicts',
      help,
      [...conflicts.values()].map((labels) => [labels, 1]),
    ),
  ];
};

const familyOf = ({ first: { name, kind, help }, numbers, histograms }: Group): Family =>
  kind === 'histogram' ? histogram(name, help, histograms) : family(kind, name, help, numbers);

const countsOf = ({ buckets = [] }: UserMetric, value: readonly number[]): HistogramCounts => ({
  bounds: buckets,
  counts: value.slice(0, -1),
  sum: value.at(-1) ?? 0,
});

/** Metrics of user code as families of `/metrics`, each series with the application, the deployment and the replica that it is of. */
import { type HistogramCounts, lineNames, type UserMetric, type UserMetrics } from '../domain/metrics.ts';
import { type Family, family, histogram, type Labels, type Value } from './family.ts';

interface Group {
  readonly first: UserMetric;
  readonly numbers: Value[];
  readonly histograms: (readonly [Labels, HistogramCounts])[];
}

/**
 * A name has one type, and a line one metric: where two deployments keep different things under one, those of the first count, and it is said
 * whose do not. What has no values counts for nothing.
 * @param order of the deployments, as `application/deployment`
 */
export const userFamilies = (replicas: readonly UserMetrics[], order: readonly string[]): readonly Family[] => {
  const groups = new Map<string, Group>();
  /** Whose lines have a name. */
  const owners = new Map<string, string>();
  const conflicts = new Map<string, Labels>();
  const places = new Map(order.map((key, index) => [key, index]));
  const placeOf = ({ application, deployment }: UserMetrics) => places.get(`${application}/${deployment}`) ?? order.length;
  // Replicas come and go, and their order with them: who is first must not change with it.
  for (const { application, deployment, replica, metrics } of [...replicas].sort((one, other) => placeOf(one) - placeOf(other))) {
    const own = { application, deployment, replica };
    for (const metric of metrics) {
      if (metric.series.length === 0) continue;
      const group = groups.get(metric.name) ?? { first: metric, numbers: [], histograms: [] };
      const names = lineNames(metric);
      if (group.first.kind !== metric.kind || names.some((name) => (owners.get(name) ?? metric.name) !== metric.name)) {
        conflicts.set(`${application}/${deployment} ${metric.name}`, { application, deployment, metric: metric.name });
        continue;
      }
      groups.set(metric.name, group);
      for (const name of names) owners.set(name, metric.name);
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

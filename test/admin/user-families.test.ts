/** Metrics of code as a scrape shows them: whose stand where two are called the same, and that no one spoils the others'. */
import t from 'tap';
import { exposition } from '../../src/admin/exposition.ts';
import { family } from '../../src/admin/family.ts';
import { userFamilies } from '../../src/admin/user-families.ts';
import type { UserMetric, UserMetrics } from '../../src/domain/metrics.ts';

const metric = (name: string, kind: UserMetric['kind'], value?: number | readonly number[]): UserMetric => ({
  name,
  kind,
  help: '',
  labels: [],
  ...(kind === 'histogram' ? { buckets: [1] } : {}),
  series: value === undefined ? [] : [[[], value]],
});
const of = (application: string, replica: string, ...metrics: UserMetric[]): UserMetrics => ({
  application,
  deployment: 'D',
  replica,
  metrics,
});
const ORDER = ['one/D', 'two/D'];
const typesOf = (...replicas: UserMetrics[]) =>
  userFamilies(replicas, ORDER).map(({ name, type, values }) => [name, type, values.map(({ labels }) => labels['application'])]);

t.test('a metric without values takes no name from another', async (t) => {
  const types = typesOf(of('one', 'a', metric('x', 'gauge')), of('two', 'b', metric('x', 'counter', 1)));
  t.same(types, [['x', 'counter', ['two']]]);
});

t.test('whose metric stands is said by the order of the config, whoever has started first', async (t) => {
  const [one, two] = [of('one', 'a', metric('x', 'gauge', 1)), of('two', 'b', metric('x', 'counter', 1))];
  const wanted = [
    ['x', 'gauge', ['one']],
    ['serve_metric_conflicts', 'gauge', ['two']],
  ];
  t.same(typesOf(one, two), wanted);
  t.same(typesOf(two, one), wanted);
});

t.test('a line is of one metric, also where another would have it by its suffix', async (t) => {
  const [sum, whole] = [metric('x_sum', 'counter', 1), metric('x', 'histogram', [1, 0, 1])];
  const conflict = ['serve_metric_conflicts', 'gauge', ['two']];
  t.same(typesOf(of('one', 'a', sum), of('two', 'b', whole)), [['x_sum', 'counter', ['one']], conflict]);
  t.same(typesOf(of('one', 'a', whole), of('two', 'b', sum)), [['x', 'histogram', ['one', 'one', 'one', 'one']], conflict]);
});

t.test('a family that cannot be written is left out and named, and all others are written', async (t) => {
  const { text } = await exposition([
    family('gauge', 'first', '', [[{}, 1]]),
    family('gauge', 'constructor', '', [[{}, 2]]),
    family('gauge', 'last', '', [[{}, 3]]),
  ]);
  t.match(text, /^first 1$/m);
  t.match(text, /^last 3$/m);
  t.match(text, /^# "constructor" is left out: /m);
});

import fc from 'fast-check';
import t from 'tap';
import { HeldMetrics } from '../../src/control/replica-metrics.ts';
import { MAX_METRICS, MAX_SERIES } from '../../src/protocol/user-metrics.ts';

const counter = (name: string, series: unknown, more: object = {}) => ({
  name,
  kind: 'counter',
  help: '',
  labels: ['a'],
  series,
  ...more,
});

t.test('what is told takes the place of what was told before, series by series', async (t) => {
  const held = new HeldMetrics();
  t.equal(
    held.take({
      metrics: [
        counter('x', [
          [['1'], 1],
          [['2'], 2],
        ]),
      ],
    }),
    undefined,
  );
  t.equal(held.take({ metrics: [counter('x', [[['2'], 5]])] }), undefined);
  const buckets = { kind: 'histogram', buckets: [1] };
  t.equal(held.take({ metrics: [counter('y', [[['1'], [1, 0, 0.5]]], buckets)] }), undefined);
  t.match(held.read(), [
    {
      name: 'x',
      series: [
        [['1'], 1],
        [['2'], 5],
      ],
    },
    { name: 'y', series: [[['1'], [1, 0, 0.5]]] },
  ]);
});

const odd: readonly (readonly [what: string, metrics: unknown, why: RegExp])[] = [
  ['no list', {}, /a list of metrics/],
  ['no object', [5], /an object/],
  ['a name of the daemon', [counter('serve_http_requests_total', [])], /the daemon's/],
  ['no series', [counter('x', null)], /series of the metric x/],
  ['too few labels', [counter('x', [[[], 1]])], /expected 1 labels/],
  ['a label that is no text', [counter('x', [[[1], 1]])], /expected 1 labels/],
  ['a long label', [counter('x', [[['a'.repeat(201)], 1]])], /expected 1 labels/],
  ['no number', [counter('x', [[['a'], null]])], /a value that a counter can have/],
  ['a counter below 0', [counter('x', [[['a'], -1]])], /a value that a counter can have/],
  ['a list for a counter', [counter('x', [[['a'], [1, 2]]])], /a value that a counter can have/],
  ['too few buckets', [counter('x', [[['a'], [1, 2]]], { kind: 'histogram', buckets: [1] })], /a histogram can have/],
  ['half a count', [counter('x', [[['a'], [0.5, 0, 1]]], { kind: 'histogram', buckets: [1] })], /a histogram can have/],
];
for (const [what, metrics, why] of odd) {
  t.test(`it is left out, with why: ${what}`, async (t) => {
    const held = new HeldMetrics();
    const rest = Array.isArray(metrics) ? metrics : [];
    t.match(held.take({ metrics: Array.isArray(metrics) ? [...rest, counter('good', [[['a'], 1]])] : metrics }), why);
    t.same(
      held.read().flatMap(({ name, series }) => series.map(([, value]) => [name, value])),
      Array.isArray(metrics) ? [['good', 1]] : [],
      'and nothing else is',
    );
  });
}

t.test('a metric stays what it was first told to be', async (t) => {
  const held = new HeldMetrics();
  held.take({ metrics: [counter('x', [[['a'], 1]])] });
  t.match(held.take({ metrics: [counter('x', [[['a'], 2]], { kind: 'gauge' })] }), /has changed its type/);
  t.match(held.read(), [{ kind: 'counter', series: [[['a'], 1]] }]);
});

t.test('a replica holds no more of the daemon’s memory than the limits allow', async (t) => {
  const held = new HeldMetrics();
  for (let name = 0; name < 3 * MAX_METRICS; name++)
    held.take({
      metrics: [
        counter(
          `x${name}`,
          Array.from({ length: 50 }, (_, index) => [[`${index}`], 1]),
        ),
      ],
    });
  const metrics = held.read();
  t.equal(metrics.length, MAX_METRICS);
  t.equal(
    metrics.reduce((sum, { series }) => sum + series.length, 0),
    MAX_SERIES,
  );
});

t.test('whatever a replica sends, nothing is thrown, and what is kept can be shown', async () => {
  const word = fc.constantFrom('x', 'y', 'serve_x', '', 'le', 'a b');
  const series = fc.array(fc.oneof(fc.anything(), fc.tuple(fc.array(word), fc.oneof(fc.double(), fc.array(fc.double())))));
  const metric = fc.record(
    {
      name: fc.oneof(word, fc.anything()),
      kind: fc.constantFrom('counter', 'gauge', 'histogram', 'summary'),
      help: fc.oneof(fc.string(), fc.anything()),
      labels: fc.oneof(fc.array(word), fc.anything()),
      buckets: fc.oneof(fc.constant([1, 2]), fc.anything()),
      series: fc.oneof(series, fc.anything()),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(metric, fc.anything())), (metrics) => {
      const held = new HeldMetrics();
      held.take({ metrics });
      for (const { name, labels, series } of held.read()) {
        if (!/^[xy]$/.test(name)) throw new Error(`kept ${name}`);
        for (const [values, value] of series) {
          if (values.length !== labels.length) throw new Error('labels without values');
          if (![value].flat().every(Number.isFinite)) throw new Error(`kept ${JSON.stringify(value)}`);
        }
      }
    }),
  );
});

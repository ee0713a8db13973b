import fc from 'fast-check';
import t from 'tap';
import { exposition } from '../../src/admin/exposition.ts';
import { userFamilies } from '../../src/admin/user-families.ts';
import { HeldMetrics } from '../../src/control/replica-metrics.ts';
import { MAX_LABEL_NAME, MAX_LINES, MAX_METRICS, MAX_SERIES, MAX_TEXT_BYTES } from '../../src/protocol/user-metrics.ts';

/** What a scrape gets of it. */
const shown = async (held: HeldMetrics): Promise<readonly string[]> => {
  const of = { application: 'app', deployment: 'D', replica: 'r' };
  const { text } = await exposition(userFamilies([{ ...of, metrics: held.read() }], []));
  return text.split('\n').filter((line) => line !== '' && !/^# (HELP|TYPE) /.test(line));
};

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
  ['a name of every object', [counter('constructor', [[['a'], 1]])], /no object of JavaScript has .* got "constructor"/],
  ['the name of a prototype', [counter('__proto__', [[['a'], 1]])], /no object of JavaScript has/],
  ['a label of every object', [counter('x', [[['a'], 1]], { labels: ['toString'] })], /got "toString"/],
  ['a long name of a label', [counter('x', [[['a'], 1]], { labels: ['a'.repeat(MAX_LABEL_NAME + 1)] })], /64 at most/],
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

const many = (count: number, text: string) => Array.from({ length: count }, (_, index) => [`${index}${text}`]);

t.test('a scrape gets no more lines of a replica than the limit', async (t) => {
  const held = new HeldMetrics();
  const buckets = Array.from({ length: 64 }, (_, index) => index);
  const value = [...buckets, 0, 1];
  const told = counter(
    'x',
    many(MAX_SERIES, '').map((labels) => [labels, value]),
    { kind: 'histogram', buckets },
  );
  t.match(held.take({ metrics: [told] }), `expected at most ${MAX_LINES} lines in a replica, got more with the metric x`);
  t.equal((await shown(held)).length, MAX_LINES - (MAX_LINES % 67));
});

t.test('a scrape gets no more text of a replica than the limit', async (t) => {
  const held = new HeldMetrics();
  const name = 'n'.repeat(200);
  const buckets = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const value = [...buckets, 0, 1];
  const told = counter(
    name,
    many(MAX_SERIES, '\u20ac'.repeat(190)).map((labels) => [labels, value]),
    { kind: 'histogram', buckets },
  );
  t.match(held.take({ metrics: [told] }), /^expected at most 4194304 bytes of names and labels/);
  const bytes = Buffer.byteLength((await shown(held)).join('\n'));
  t.ok(bytes > MAX_TEXT_BYTES && bytes < 1.2 * MAX_TEXT_BYTES, `${bytes}`);
});

t.test('no two lines have one name', async (t) => {
  const held = new HeldMetrics();
  const histogram = counter('x', [[['a'], [1, 0, 1]]], { kind: 'histogram', buckets: [1] });
  t.match(held.take({ metrics: [histogram, counter('x_sum', [[['a'], 1]])] }), /another name than `x_sum`.* of `x` /);
  const halves = ['\ud800', '\udc00', 'a\udc00'].map((label) => [[label], 1]);
  held.take({ metrics: [counter('y_count', []), counter('z', halves)] });
  t.match(held.take({ metrics: [{ ...histogram, name: 'y' }] }), /another name than `y`.* of `y_count` /);
  const names = (await shown(held)).map((line) => line.slice(0, line.lastIndexOf(' ')));
  t.equal(names.length, 4 + 2);
  t.equal(new Set(names).size, names.length);
});

t.test('whatever a replica sends, nothing is thrown, and what is kept can be shown', async () => {
  const word = fc.constantFrom(
    'x',
    'y',
    'x_sum',
    'serve_x',
    '',
    'le',
    'a b',
    'constructor',
    '__proto__',
    'toString',
    '\ud800',
    '\udc00',
  );
  const values = fc.oneof(fc.double(), fc.constant(1), fc.array(fc.double()), fc.constant([1, 0, 2, 1.5]));
  const series = fc.array(fc.oneof(fc.anything(), fc.tuple(fc.array(word, { maxLength: 2 }), values)));
  const fields = {
    name: fc.oneof(word, fc.anything()),
    kind: fc.constantFrom('counter', 'gauge', 'histogram', 'summary'),
    help: fc.oneof(fc.string(), fc.anything()),
    labels: fc.oneof(fc.array(word, { maxLength: 2 }), fc.anything()),
    buckets: fc.oneof(fc.constant([1, 2]), fc.anything()),
    series: fc.oneof(series, fc.anything()),
  };
  const likely = fc.record({
    ...fields,
    name: word,
    help: fc.string(),
    labels: fc.constant(['a']),
    buckets: fc.constant(undefined),
    series,
  });
  const metric = fc.oneof(likely, fc.record(fields, { requiredKeys: [] }));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(metric, fc.anything())), async (metrics) => {
      const held = new HeldMetrics();
      held.take({ metrics });
      let lines = 0;
      for (const { name, labels, buckets, series } of held.read()) {
        if (!/^(x|y|x_sum|le)$/.test(name)) throw new Error(`kept ${name}`);
        for (const [values, value] of series) {
          if (values.length !== labels.length) throw new Error('labels without values');
          if (![value].flat().every(Number.isFinite)) throw new Error(`kept ${JSON.stringify(value)}`);
          lines += buckets === undefined ? 1 : buckets.length + 3;
        }
      }
      const names = (await shown(held)).map((line) => line.slice(0, line.lastIndexOf(' ')));
      if (names.length !== lines || new Set(names).size !== lines) throw new Error(`${lines} lines, shown: ${names.join('\n')}`);
    }),
  );
});

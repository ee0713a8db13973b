import t from 'tap';
import { MAX_METRICS, MAX_SERIES, type MetricsMeta } from '../../src/protocol/user-metrics.ts';
import { ReplicaMetrics } from '../../src/replica/metrics.ts';

/** Metrics whose time is the test's. */
const start = () => {
  const told: MetricsMeta[] = [];
  const warned: object[] = [];
  const timers: (() => void)[] = [];
  const metrics = new ReplicaMetrics(
    (meta) => told.push(meta),
    (fields, message) => warned.push({ ...fields, message }),
    (work) => timers.push(work),
  );
  const tick = () => {
    for (const run of timers.splice(0)) run();
    return told.splice(0).flatMap((meta) => meta.metrics);
  };
  return { metrics, tick, warned, timers };
};

t.test('what has changed is told once a period, and nothing where nothing has', async (t) => {
  const { metrics, tick, timers } = start();
  const hits = metrics.counter('hits_total', { help: 'What was asked for.', labels: ['model'] });
  const depth = metrics.gauge('depth');
  t.equal(timers.length, 0, 'a metric that was only made costs nothing');
  hits.inc(1, { model: 'a' });
  hits.inc(2.5, { model: 'a' });
  hits.inc(undefined, { model: 'b' });
  depth.set(7);
  t.equal(timers.length, 1, 'one timer, however much changes');
  t.same(tick(), [
    {
      name: 'hits_total',
      kind: 'counter',
      help: 'What was asked for.',
      labels: ['model'],
      series: [
        [['a'], 3.5],
        [['b'], 1],
      ],
    },
    { name: 'depth', kind: 'gauge', help: '', labels: [], series: [[[], 7]] },
  ]);
  t.equal(timers.length, 0, 'no timer while nothing changes');
  depth.inc(3);
  depth.dec();
  t.match(tick(), [{ name: 'depth', series: [[[], 9]] }], 'what has not changed is not told again');
});

t.test('a histogram counts what falls into each bucket, its bound included, and what lies above', async (t) => {
  const { metrics, tick } = start();
  const sizes = metrics.histogram('sizes', { buckets: [1, 2] });
  for (const value of [0.5, 1, 1.5, 99]) sizes.observe(value);
  t.match(tick(), [{ kind: 'histogram', buckets: [1, 2], series: [[[], [2, 1, 1, 102]]] }]);
  metrics.histogram('seconds').observe(0.002);
  const [seconds] = tick();
  t.ok((seconds?.buckets?.length ?? 0) > 10, 'buckets of its own are not needed');
});

t.test('a name that is asked for again is the same metric; as something else it is an error', async (t) => {
  const { metrics, tick } = start();
  metrics.counter('hits_total', { labels: ['a'] }).inc();
  metrics.counter('hits_total', { labels: ['a'], help: 'other words' }).inc();
  t.match(tick(), [{ series: [[[''], 2]] }], 'what is not given is empty');
  t.throws(() => metrics.gauge('hits_total', { labels: ['a'] }), {
    name: 'TypeError',
    message: /was made as a counter with the labels a, and is now asked for as a gauge with the labels a/,
  });
  t.throws(() => metrics.counter('hits_total', { labels: ['b'] }), { message: /labels a, .* labels b/ });
});

const refused: readonly (readonly [what: string, make: (metrics: ReplicaMetrics) => unknown, RegExp])[] = [
  ['a name with a blank', (metrics) => metrics.counter('two words'), /expected a name of letters.*got "two words"/],
  ['a name of the daemon', (metrics) => metrics.counter('serve_hits'), /does not begin with `serve_`/],
  ['no name', (metrics) => metrics.counter(undefined as never), /got undefined/],
  ['a label twice', (metrics) => metrics.counter('a', { labels: ['x', 'x'] }), /each once.*got "x"/],
  ['a label of the daemon', (metrics) => metrics.counter('a', { labels: ['replica'] }), /none of application.*got "replica"/],
  ['a label of the format', (metrics) => metrics.counter('a', { labels: ['__name__'] }), /got "__name__"/],
  ['labels that are no list', (metrics) => metrics.counter('a', { labels: 'x' as never }), /a list of at most 10 labels/],
  ['buckets that fall', (metrics) => metrics.histogram('a', { buckets: [2, 1] }), /finite and rising, got \[2,1\]/],
  ['no buckets', (metrics) => metrics.histogram('a', { buckets: [] }), /1 to 64 buckets/],
  ['a counter that falls', (metrics) => metrics.counter('a').inc(-1), /expected the counter `a` to grow, got -1/],
  ['no number', (metrics) => metrics.gauge('a').set(Number.NaN), /expected a finite number for the metric `a`, got NaN/],
  ['a text', (metrics) => metrics.gauge('a').set('5' as never), /expected a finite number/],
  ['an infinite one', (metrics) => metrics.histogram('a').observe(Number.POSITIVE_INFINITY), /finite/],
  [
    'a name of every object',
    (metrics) => metrics.counter('constructor'),
    /no object of JavaScript has by itself, got "constructor"/,
  ],
  [
    'a name that a histogram has lines of',
    (metrics) => [metrics.histogram('a'), metrics.counter('a_sum')],
    /expected another name than `a_sum`: its lines and those of `a`/,
  ],
  ['a strange label', (metrics) => metrics.counter('a', { labels: ['x'] }).inc(1, { y: 1 }), /made with \(x\), got `y`/],
];
for (const [what, make, message] of refused) {
  t.test(`it is refused with what was expected: ${what}`, async (t) => {
    const { metrics, timers } = start();
    t.throws(() => make(metrics), { name: 'TypeError', message });
    t.equal(timers.length, 0, 'and nothing has changed');
  });
}

t.test('values of labels beyond the limit are not kept, and it is said once', async (t) => {
  const { metrics, tick, warned } = start();
  const users = metrics.counter('users_total', { labels: ['user'] });
  for (let user = 0; user < MAX_SERIES + 500; user++) users.inc(1, { user });
  t.match(warned, [{ metric: 'users_total', limit: `${MAX_SERIES} series`, labels: { user: String(MAX_SERIES) } }]);
  t.equal(warned.length, 1);
  t.equal(tick()[0]?.series.length, MAX_SERIES);
  users.inc(1, { user: 0 });
  t.same(tick()[0]?.series, [[['0'], 2]], 'those that are kept go on');
  for (let count = 1; count < MAX_METRICS; count++) metrics.counter(`more_${count}`);
  t.throws(() => metrics.counter('one_more'), { message: /at most 100 metrics/ });
});

t.test('halves of characters are one series, as they are one in the text', async (t) => {
  const { metrics, tick } = start();
  const words = metrics.counter('words_total', { labels: ['word'] });
  for (const word of ['\ud800', '\udc00', `${'a'.repeat(199)}😀`]) words.inc(1, { word });
  t.same(tick()[0]?.series, [
    [['\ufffd'], 2],
    [[`${'a'.repeat(199)}\ufffd`], 1],
  ]);
});

t.test('where nobody is told there is no timer', async (t) => {
  const timers: unknown[] = [];
  const alone = new ReplicaMetrics(
    undefined,
    () => {},
    (work) => timers.push(work),
  );
  alone.counter('a').inc();
  t.equal(timers.length, 0);
});

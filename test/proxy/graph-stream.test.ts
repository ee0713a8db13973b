/** The answer of a last step that comes as a stream: it goes on as it comes; where it cannot, it is collected within bounds. */
import t from 'tap';
import { compileGraph, type GraphSource } from '../../src/graph/compile.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type GraphRig, graphRig } from '../support/graph-rig.ts';

/** One step calls `A`, another gets its answer where the test says so. */
const only = (more: object = {}): GraphSource => ({ steps: { a: { call: 'A', input: 1, ...more } } });
const stream = ({ dispatcher }: GraphRig, items: readonly unknown[]) => {
  const call = dispatcher.of('A').at(-1);
  for (const item of items) call?.chunk(item);
  call?.end();
};

t.test('items go on as they come, and the end behind them', async (t) => {
  const rig = graphRig(only());
  rig.dispatcher.calls[0]?.chunk({ word: 'one' });
  t.same(rig.outcomes, [{ item: { word: 'one' } }], 'before there is another');
  stream(rig, ['two']);
  t.same(rig.outcomes, [{ item: { word: 'one' } }, { item: 'two' }, 'end']);
  t.same(rig.dispatcher.idle, [1], 'its generation may go');
});

t.test('a stream of nothing ends', async (t) => {
  const rig = graphRig(only());
  stream(rig, []);
  t.same(rig.outcomes, ['end']);
});

t.test('its producer goes on when what it sent was taken, and not before', async (t) => {
  const { run, dispatcher } = graphRig(only());
  dispatcher.calls[0]?.chunk('x', 7);
  t.same(dispatcher.calls[0]?.credits, []);
  run.credit(7);
  t.same(dispatcher.calls[0]?.credits, [7]);
});

t.test('which step streams: the one whose whole value is the output, and nothing else', async (t) => {
  const two = { a: { call: 'A', input: 1 }, b: { call: 'B', input: '$a' } };
  const cases: [string, GraphSource, string | undefined][] = [
    ['the only one', only(), 'a'],
    ['the last of two', { steps: two }, 'b'],
    ['one that is named', { steps: two, output: '$b' }, 'b'],
    ['one among unused ones', { steps: { ...two, c: { call: 'C', input: 1 } }, output: '$b' }, 'b'],
    ['not one that another needs', { steps: two, output: '$a' }, undefined],
    [
      'not one that a condition looks at',
      { steps: { ...two, b: { ...two.b, when: { ref: '$a', exists: true } } }, output: '$a' },
      undefined,
    ],
    ['not a part of it', { steps: two, output: '$b.x' }, undefined],
    ['not inside something', { steps: two, output: { x: '$b' } }, undefined],
    ['not a fan-out', only({ for_each: [1, 2] }), undefined],
  ];
  for (const [title, source, streams] of cases) {
    const { ingress } = compileGraph(source, { name: 'app', deployments: ['A', 'B', 'C'] }, []);
    t.equal(ingress?.kind === 'graph' && ingress.graph.streams, streams, title);
  }
});

t.test('what another step needs is collected to a list, and its producer never waits', async (t) => {
  const rig = graphRig({ steps: { a: { call: 'A', input: 1 }, b: { call: 'B', input: '$a' } } });
  rig.dispatcher.calls[0]?.chunk('one', 3);
  t.same(rig.dispatcher.calls[0]?.credits, [3]);
  stream(rig, [{ two: 2 }]);
  t.same(rig.dispatcher.of('B')[0]?.input, ['one', { two: 2 }]);
  t.same(rig.outcomes, []);
});

t.test('an answer that is no stream is the output as ever', async (t) => {
  const { dispatcher, outcomes } = graphRig(only());
  dispatcher.calls[0]?.answer({ whole: true });
  t.same(outcomes, [{ whole: true }]);
});

t.test('the request is over when all steps are, also those that nobody needs', async (t) => {
  const rig = graphRig({ steps: { a: { call: 'A', input: 1 }, b: { call: 'B', input: 1 } }, output: '$a' });
  stream(rig, ['one']);
  t.same(rig.outcomes, [{ item: 'one' }]);
  rig.dispatcher.of('B')[0]?.answer('late');
  t.same(rig.outcomes, [{ item: 'one' }, 'end']);
});

t.test('before its first item a stream may be retried, or have a value in its place', async (t) => {
  const clock = new FakeClock(t);
  const again = graphRig(only({ retry: { max_attempts: 2, backoff_s: 1 } }));
  again.dispatcher.calls[0]?.fail('REPLICA_DIED');
  clock.advance(1000);
  stream(again, ['well']);
  t.same(again.outcomes, [{ item: 'well' }, 'end']);
  const instead = graphRig(only({ on_error: { value: 'instead' } }));
  instead.dispatcher.calls[0]?.fail();
  t.same(instead.outcomes, ['instead']);
});

t.test('behind its first item a failure ends the request, whatever was to stand in its place', async (t) => {
  const clock = new FakeClock(t);
  const { dispatcher, outcomes } = graphRig(only({ retry: { max_attempts: 3, backoff_s: 1 }, on_error: { value: 'instead' } }));
  dispatcher.calls[0]?.chunk('one');
  dispatcher.calls[0]?.fail('REPLICA_DIED');
  clock.advance(5000);
  t.equal(dispatcher.calls.length, 1);
  t.match(outcomes, [{ item: 'one' }, { code: 'REPLICA_DIED' }]);
  t.same(dispatcher.idle, [1]);
});

t.test('when another step fails, the stream is cancelled and the request fails', async (t) => {
  const { dispatcher, outcomes } = graphRig({ steps: { a: { call: 'A', input: 1 }, b: { call: 'B', input: 1 } }, output: '$a' });
  dispatcher.of('A')[0]?.chunk('one');
  dispatcher.of('B')[0]?.fail();
  t.equal(dispatcher.of('A')[0]?.cancelled, true);
  t.match(outcomes, [{ item: 'one' }, { code: 'USER_ERROR' }]);
});

t.test('a client that leaves cancels the stream', async (t) => {
  const { run, dispatcher, outcomes } = graphRig(only());
  dispatcher.calls[0]?.chunk('one');
  run.cancel();
  t.equal(dispatcher.calls[0]?.cancelled, true);
  t.same(outcomes, [{ item: 'one' }]);
});

t.test('a stream that cannot be read ends the request', async (t) => {
  const { dispatcher, outcomes } = graphRig({ steps: { a: { call: 'A', input: 1 }, b: { call: 'B', input: '$a' } } });
  dispatcher.calls[0]?.request.sink.chunk({ skeleton: '{', segments: [] }, 1);
  t.match(outcomes, [{ code: 'USER_ERROR', message: /could not be read/ }]);
});

t.test(
  'what is collected is held within what the daemon may hold; beyond it the request ends, and lets all of it go',
  async (t) => {
    const collected = graphRig({ steps: { a: { call: 'A', input: 1 }, b: { call: 'B', input: '$a' } } });
    collected.dispatcher.mayHold = 100;
    collected.dispatcher.calls[0]?.chunk('x', 60);
    t.equal(collected.dispatcher.held, 60);
    collected.dispatcher.calls[0]?.chunk('x', 60);
    t.match(collected.outcomes, [{ code: 'QUEUE_FULL', message: /max_buffered_bytes/ }]);
    t.equal(collected.dispatcher.calls[0]?.cancelled, true);
    t.equal(collected.dispatcher.held, 0);

    const fan = graphRig({ steps: { each: { call: 'A', for_each: [1, 2], input: '$item' } } });
    fan.dispatcher.mayHold = 100;
    fan.dispatcher.calls[0]?.answer('x'.repeat(60));
    t.equal(fan.outcomes.length, 0);
    fan.dispatcher.calls[1]?.answer('x'.repeat(60));
    t.match(fan.outcomes, [{ code: 'QUEUE_FULL' }]);
    t.equal(fan.dispatcher.held, 0);
  },
);

t.test('a whole answer counts while it is kept, and is never dropped for its size', async (t) => {
  const { dispatcher, outcomes } = graphRig({ steps: { a: { call: 'A', input: 1 }, b: { call: 'B', input: '$a' } } });
  dispatcher.mayHold = 10;
  dispatcher.calls[0]?.answer('x'.repeat(60));
  t.equal(dispatcher.held, 62);
  dispatcher.of('B')[0]?.answer(1);
  t.same(outcomes, [1]);
  t.equal(dispatcher.held, 0);
});

t.test('what streams to the client is not held', async (t) => {
  const rig = graphRig(only());
  rig.dispatcher.mayHold = 10;
  stream(rig, ['x'.repeat(100)]);
  t.same(rig.outcomes.at(-1), 'end');
  t.equal(rig.dispatcher.held, 0);
});

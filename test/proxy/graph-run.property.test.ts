/** Any graph, whatever ends first and whatever fails: the executor comes to what working off one step after the other comes to. */
import fc from 'fast-check';
import t from 'tap';
import { ServeError } from '../../src/domain/errors.ts';
import { compileGraph } from '../../src/graph/compile.ts';
import type { RetryBudgets } from '../../src/proxy/retry-budget.ts';
import { FakeClock } from '../support/fake-clock.ts';
import type { FakeCall } from '../support/fake-dispatcher.ts';
import { answerOf, body, type DrawnGraph, drawnGraph, type Failures, type Value, workedOff } from '../support/graph-arbitrary.ts';
import { graphRig } from '../support/graph-rig.ts';

t.setTimeout(240_000);

/** Whatever is asked of it: how seldom a retry is allowed is not what this is about. */
const ALWAYS = { of: () => ({ first: () => {}, again: () => true }) } as unknown as RetryBudgets;

const failuresOf =
  (drawn: readonly number[]): Failures =>
  (step, index) =>
    drawn[([...step].reduce((sum, each) => sum + each.charCodeAt(0), 0) + index) % drawn.length] ?? 0;

/** Mostly none, so that most requests come to their end. */
const failures = fc
  .array(fc.constantFrom(0, 0, 0, 0, 0, 0, 1, 2, 9), { minLength: 7, maxLength: 7 })
  .map((drawn) => ({ drawn, of: failuresOf(drawn) }));

const compiled = (graph: DrawnGraph) => compileGraph(graph, { name: 'app', deployments: ['A', 'B', 'C'] }, []);
const stepOf = ({ request }: FakeCall): string => request.target.method;
const placeOf = (input: unknown): number => (input as { at?: number } | null)?.at ?? 0;

/** Answers every call of a run, in an order that is drawn. @returns how often each step was called */
const runOff = (
  rig: ReturnType<typeof graphRig>,
  graph: DrawnGraph,
  fails: Failures,
  picks: Iterator<number>,
  clock: FakeClock,
) => {
  const tries = new Map<string, number>();
  const calls = new Map<string, number>();
  const answered = new Set<FakeCall>();
  for (;;) {
    const open = rig.dispatcher.calls.filter((call) => !answered.has(call) && !call.cancelled);
    for (const [name, { max_concurrency: most = Number.POSITIVE_INFINITY }] of Object.entries(graph.steps)) {
      const own = open.filter((call) => stepOf(call) === name).length;
      if (own > most) throw new Error(`${own} calls of ${name} at once`);
    }
    if (open.length === 0) {
      if (clock.pending === 0) return calls;
      clock.advance(1);
      continue;
    }
    const call = open[Number(picks.next().value) % open.length] as FakeCall;
    answered.add(call);
    const step = stepOf(call);
    const index = graph.steps[step]?.for_each === undefined ? 0 : placeOf(call.input);
    const attempt = (tries.get(`${step} ${index}`) ?? 0) + 1;
    tries.set(`${step} ${index}`, attempt);
    calls.set(step, (calls.get(step) ?? 0) + 1);
    if (attempt <= fails(step, index)) call.fail('USER_ERROR');
    else call.answer(answerOf(call.target, call.input as Value));
  }
};

t.test('the executor comes to the same as a naive evaluation, in any order of answers', async (t) => {
  const clock = new FakeClock(t);
  const seen = { answered: 0, failed: 0, refused: 0 };
  fc.assert(
    fc.property(
      drawnGraph,
      body,
      failures,
      fc.infiniteStream(fc.nat()),
      fc.integer({ min: 0, max: 3 }),
      (graph, request, { of: fails }, picks, slots) => {
        if (compiled(graph).ingress === undefined) {
          seen.refused++;
          return;
        }
        const expected = workedOff(graph, request, fails);
        const rig = graphRig(graph, { body: request, slots, retries: ALWAYS });
        const calls = runOff(rig, graph, fails, picks, clock);
        t.equal(rig.outcomes.length, 1);
        t.same(rig.dispatcher.idle, [1], 'its generation may go');
        t.equal(rig.dispatcher.held, 0, 'nothing is held any more');
        const [outcome] = rig.outcomes;
        if (expected.output === undefined) {
          seen.failed++;
          if (!(outcome instanceof ServeError)) throw new Error(`expected a failure, got ${JSON.stringify(outcome)}`);
          return;
        }
        seen.answered++;
        t.same(outcome, expected.output);
        t.same(Object.fromEntries(calls), Object.fromEntries(expected.calls));
      },
    ),
    { numRuns: 1500 },
  );
  t.comment(JSON.stringify(seen));
  t.ok(seen.answered > 200 && seen.failed > 100, JSON.stringify(seen));
});

t.test(
  'what the compiler says of a graph is so: what it refuses cannot work, what it calls unreachable is not reached',
  async (t) => {
    const seen = { refused: 0, unreachable: 0 };
    fc.assert(
      fc.property(drawnGraph, body, failures, (graph, request, { of: fails }) => {
        const { mistakes } = compiled(graph);
        const { output, reached, calls, found } = workedOff(graph, request, fails);
        for (const { code, path, severity, message } of mistakes) {
          const step = String(path[1]);
          if (code === 'STEP_UNREACHABLE') {
            seen.unreachable++;
            if (reached.has(step)) {
              const { for_each: forEach, when } = graph.steps[step] ?? {};
              // Where each item is asked, the step is reached and calls nobody.
              const isOfItems = forEach !== undefined && /\$(item|index)/.test(JSON.stringify(when));
              if (!isOfItems) throw new Error(`${message}: it was reached`);
            }
            if ((calls.get(step) ?? 0) > 0) throw new Error(`${message}: it was called`);
          }
          if (severity !== 'error') continue;
          seen.refused++;
          if (code === 'BAD_FOR_EACH' && reached.has(step) && output !== undefined) throw new Error(`${message}: it worked`);
          const [, reference = ''] = /^`([^`]+)`/.exec(message) ?? [];
          const by = path[0] === 'output' ? 'output' : step;
          if (code === 'UNKNOWN_FIELD' && found.has(`${by} ${reference}`)) throw new Error(`${message}: it has`);
          if (code !== 'BAD_FOR_EACH' && code !== 'UNKNOWN_FIELD') throw new Error(`${code} ${message}`);
        }
      }),
      { numRuns: 1500 },
    );
    t.comment(JSON.stringify(seen));
    t.ok(seen.refused > 20 && seen.unreachable > 20, JSON.stringify(seen));
  },
);

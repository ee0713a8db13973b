/** A graph run for one request, over a dispatcher whose calls the test answers. */
import { weighed } from '../../src/control/judged-splits.ts';
import { ServeError } from '../../src/domain/errors.ts';
import { compileGraph, type GraphSource } from '../../src/graph/compile.ts';
import { decodeValue } from '../../src/protocol/codec.ts';
import { GraphRun } from '../../src/proxy/graph-run.ts';
import { requestScope } from '../../src/proxy/request-scope.ts';
import { RetryBudgets } from '../../src/proxy/retry-budget.ts';
import { Shadows } from '../../src/proxy/shadow.ts';
import { Splits } from '../../src/proxy/splits.ts';
import { FakeDispatcher } from './fake-dispatcher.ts';
import { applicationRouting } from './routing.ts';

export interface GraphRigOptions {
  /** Of the request; JSON. */
  readonly body?: unknown;
  readonly headers?: readonly string[];
  readonly deadlineAt?: number;
  /** What the client allows. */
  readonly clientDeadlineAt?: number;
  /** Free slots of each deployment. */
  readonly slots?: number;
  /** Where a request falls that no `sticky_by` decides, in [0, 1). */
  readonly next?: () => number;
  readonly retries?: RetryBudgets;
  /** Calls of this deployment are refused at the door. */
  readonly refuses?: string;
  /** What splits with a verdict are counted as; close `splits` behind it. */
  readonly judgedAs?: string;
}

/** Splits whose requests fall where the test says. */
export const splitsAt = (shadows: Shadows, next: () => number): Splits => {
  const splits = new Splits(
    shadows,
    () => 1000,
    () => {},
  );
  splits.next = next;
  return splits;
};

/** Deployments are `A`, `B` and `C`, and `Far` of the application `other`; it is the millisecond 1000. The run has begun. */
export const graphRig = (
  source: GraphSource,
  {
    body = null,
    headers = [],
    deadlineAt = Number.POSITIVE_INFINITY,
    clientDeadlineAt = Number.POSITIVE_INFINITY,
    slots = 1,
    next = () => 0,
    retries = new RetryBudgets(),
    refuses,
    judgedAs,
  }: GraphRigOptions = {},
) => {
  const { ingress: compiled, mistakes } = compileGraph(source, { name: 'app', deployments: ['A', 'B', 'C'] }, [
    { name: 'other', deployments: ['Far'] },
  ]);
  const ingress = compiled && weighed(compiled, () => (judgedAs === undefined ? undefined : { judgedAs, percent: undefined }));
  if (ingress?.kind !== 'graph') throw new Error(`expected a graph: ${JSON.stringify(mistakes)}`);
  const dispatcher = new FakeDispatcher();
  dispatcher.freeSlots = slots;
  dispatcher.refuses = refuses;
  const routing = applicationRouting({ ingress });
  const generation = dispatcher.add(routing);
  dispatcher.add(applicationRouting({ name: 'other' }));
  /** The output or the error; of a stream its items as `{item}`, and `end`. */
  const outcomes: unknown[] = [];
  const shadows = new Shadows();
  const splits = splitsAt(shadows, next);
  splits.follow([routing]);
  const run = new GraphRun(
    dispatcher.itself,
    {
      graph: ingress.graph,
      generation,
      scope: requestScope({ method: 'POST', path: '/', query: '', headers }, Buffer.from(JSON.stringify(body))),
      requestId: 'r',
      sessionId: undefined,
      priority: undefined,
      ownDeadlineAt: deadlineAt,
      clientDeadlineAt,
      traces: [],
      splits,
      shadows,
      retries,
      done: (output) => outcomes.push(output instanceof ServeError ? output : decodeValue(output)),
      item: (value) => outcomes.push({ item: decodeValue(value) }),
      end: () => outcomes.push('end'),
    },
    () => 1000,
  );
  run.begin();
  generation.retire();
  return { run, dispatcher, outcomes, shadows, splits };
};

export type GraphRig = ReturnType<typeof graphRig>;

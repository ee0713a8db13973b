/**
 * Random questions, deadlines, departures and answers, of clients whose heads differ in what is not asked, against what each may expect: one
 * outcome, his own question's answer, nothing that was meant for another, no time-out before his time; and no work for nobody, nor anybody
 * without work.
 */
import fc from 'fast-check';
import t from 'tap';
import { DeploymentCounts } from '../../src/dispatch/counts.ts';
import type { CallRequest } from '../../src/dispatch/dispatcher.ts';
import type { Run } from '../../src/dispatch/flight.ts';
import type { CallUnderWay } from '../../src/dispatch/pending.ts';
import { timedOut } from '../../src/dispatch/pending.ts';
import { ResponseCache } from '../../src/dispatch/response-cache.ts';
import { ServeError } from '../../src/domain/errors.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { deploymentRouting } from '../support/routing.ts';

type Step =
  | { readonly kind: 'ask'; readonly question: number; readonly leftMs: number }
  | { readonly kind: 'leave' | 'answer' | 'own' | 'refuse' | 'late' | 'fail' | 'send' | 'stream' | 'end'; readonly which: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'from'; readonly from: 'v1' | 'v2' | null };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      question: fc.nat(2),
      leftMs: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constant(Number.POSITIVE_INFINITY)),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom(...(['leave', 'answer', 'own', 'refuse', 'late', 'fail', 'send', 'stream', 'end'] as const)),
      which: fc.nat(5),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(20) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('from' as const), from: fc.constantFrom('v1' as const, 'v2' as const, null) }),
  },
);

const TOO_SLOW = 'what it called was too slow';

class Client {
  readonly id: string;
  readonly question: number;
  readonly deadlineAt: number;
  underWay: CallUnderWay | undefined;
  outcomes = 0;
  isStreaming = false;
  hasLeft = false;
  answer: string | undefined;
  error: string | undefined;
  /** For whom that was which he got and which was not for all. */
  readonly meantFor: string[] = [];

  constructor(id: string, question: number, deadlineAt: number) {
    this.id = id;
    this.question = question;
    this.deadlineAt = deadlineAt;
  }

  get waits(): boolean {
    return this.outcomes === 0 && !this.hasLeft;
  }
}

class FakeRun implements Run {
  readonly request: CallRequest;
  readonly number: number;
  deadlineAt: number;
  isSent = false;
  isStreaming = false;
  isOver = false;
  readonly deployment = 'app/A';
  readonly replica = 'r';
  readonly batchSize = 1;
  readonly queueMs = 0;
  readonly workMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(request: CallRequest, number: number, now: number) {
    this.request = request;
    this.number = number;
    this.deadlineAt = request.deadlineAt;
    this.#limit(now);
  }

  get generation() {
    return this.request.generation;
  }

  /** Of the client whose request it has, in both places. */
  get id(): string {
    const { requestId, http } = this.request;
    return requestId === http?.headers[1] ? requestId : 'a request of two';
  }

  get question(): number {
    return Number(this.request.value.skeleton);
  }

  extend(deadlineAt: number, now: () => number): boolean {
    if (this.isSent) return false;
    this.deadlineAt = deadlineAt;
    this.#limit(now());
    return true;
  }

  credit(): void {}

  abandon(): void {
    this.end();
  }

  end(): boolean {
    if (this.isOver) return false;
    this.isOver = true;
    clearTimeout(this.#timer);
    return true;
  }

  #limit(now: number): void {
    clearTimeout(this.#timer);
    if (this.deadlineAt === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => {
      if (this.end()) this.request.sink.error(timedOut());
    }, this.deadlineAt - now);
  }
}

t.test('each who asks gets what he asked for, once, and nothing runs for nobody', async (t) => {
  const clock = new FakeClock(t);
  const play = (steps: readonly Step[]): string | undefined => {
    const clients: Client[] = [];
    const runs: FakeRun[] = [];
    let isForNobody = false;
    const begin = (request: CallRequest) => {
      const run = new FakeRun(request, runs.length, clock.now());
      runs.push(run);
      isForNobody ||= !clients.some(({ id, waits }) => waits && id === run.id);
      return run;
    };
    const cache = new ResponseCache('app/A', new DeploymentCounts(), clock.now, begin);
    const routingOf = (from: string | null) =>
      deploymentRouting({ responseCache: { maxBytes: 2 ** 20, ttlMs: 30, vary: null, from } });
    let routing = routingOf('v1');
    cache.follow(routing);
    const live = () => runs.filter(({ isOver }) => !isOver);
    const problem = (): string | undefined => {
      if (isForNobody) return 'a run was begun with the request of one who does not wait';
      const waiting = clients.filter(({ waits }) => waits);
      const questions = (list: readonly { question: number }[]) => new Set(list.map(({ question }) => question));
      for (const question of questions(live()))
        if (!questions(waiting).has(question)) return `a run for ${question}, for which nobody waits`;
      for (const question of questions(waiting))
        if (!questions(live()).has(question)) return `somebody waits for ${question}, on which nothing runs`;
      if (live().length > waiting.length) return 'more runs than there are who wait';
      for (const { id, meantFor, outcomes, answer, question, error, deadlineAt, hasLeft } of clients) {
        for (const other of meantFor) if (other !== id) return `${id} got what was meant for ${other}`;
        if (outcomes > 1 || (hasLeft && outcomes > 0)) return `${outcomes} outcomes`;
        if (answer !== undefined && !answer.startsWith(`${question} `)) return `${answer} for ${question}`;
        if (error === 'DEADLINE_EXCEEDED' && clock.now() < deadlineAt) return 'a time-out before its time';
      }
      const own = clients.flatMap(({ answer }) => (answer?.endsWith('own') ? [answer] : []));
      return new Set(own).size === own.length ? undefined : 'an answer for one that two have';
    };
    for (const each of steps) {
      if (each.kind === 'ask') {
        const client = new Client(`client ${clients.length}`, each.question, clock.now() + each.leftMs);
        clients.push(client);
        const request = {
          target: { application: 'app', deployment: 'A', method: 'call' },
          requestId: client.id,
          value: { skeleton: String(each.question), segments: [] },
          http: { method: 'GET', path: '/', query: '', headers: ['x-request-id', client.id] },
          deadlineAt: client.deadlineAt,
          sink: {
            result: (value: { skeleton: unknown }, { headers }: { headers: string[] }) => {
              client.outcomes += 1;
              if (headers[0] === 'set-cookie') client.meantFor.push(headers[1] as string);
              client.answer = String(value.skeleton);
            },
            error: (error: ServeError) => {
              client.outcomes += 1;
              client.error = error.message === TOO_SLOW ? 'of the work' : error.code;
              if (error.code === 'HTTP_ERROR') client.meantFor.push(error.message);
            },
            open: ({ headers }: { headers: string[] }) => {
              client.isStreaming = true;
              client.meantFor.push(headers[1] as string);
            },
            chunk: () => {},
            end: () => {
              client.outcomes += 1;
            },
          },
        } as unknown as CallRequest;
        const taken = cache.take(request, routing, client.deadlineAt);
        if (taken === undefined) {
          // Of its own way nothing is looked at here.
          clients.pop();
        } else if (taken !== 'answered') client.underWay = taken;
      } else if (each.kind === 'wait') clock.advance(each.ms);
      else if (each.kind === 'from') {
        routing = routingOf(each.from);
        cache.follow(routing);
      } else if (each.kind === 'leave') {
        const waiting = clients.filter(({ waits }) => waits);
        const client = waiting[each.which % Math.max(1, waiting.length)];
        if (client === undefined) continue;
        client.hasLeft = true;
        client.underWay?.abandon(undefined);
      } else {
        const run = live()[each.which % Math.max(1, live().length)];
        if (run === undefined) continue;
        const { sink } = run.request;
        const head = (headers: string[]) => ({ status: 200, headers });
        const value = (text: string) => ({ skeleton: `${run.question} ${run.number}${text}`, segments: [] });
        if (each.kind === 'send') run.isSent = true;
        else if (each.kind === 'stream') {
          if (run.isStreaming) continue;
          run.isStreaming = true;
          run.isSent = true;
          sink.open(head(['x-for', run.id]));
        } else if (each.kind === 'fail') {
          if (run.end()) sink.error(new ServeError('USER_ERROR', 'no'));
        } else if (each.kind === 'refuse') {
          if (run.end()) sink.error(new ServeError('HTTP_ERROR', run.id));
        } else if (each.kind === 'late') {
          // Its own work says so, of something that it waited for.
          if (run.end()) sink.error(new ServeError('DEADLINE_EXCEEDED', TOO_SLOW));
        } else if (each.kind === 'end') {
          if (run.isStreaming && run.end()) sink.end();
        } else if (!run.isStreaming && run.end()) {
          const isOwn = each.kind === 'own';
          sink.result(value(isOwn ? ' own' : ''), head(isOwn ? ['set-cookie', run.id] : []));
        }
      }
      const found = problem();
      if (found !== undefined) return found;
    }
    for (const client of clients.filter(({ waits }) => waits)) {
      client.hasLeft = true;
      client.underWay?.abandon(undefined);
    }
    return live().length === 0 && clock.pending === 0 ? undefined : 'something is left when all have gone';
  };
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const found = play(steps);
      if (found !== undefined) throw new Error(found);
    }),
    { numRuns: 1000 },
  );
});

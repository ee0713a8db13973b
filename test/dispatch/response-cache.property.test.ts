/**
 * Random questions, deadlines, departures and answers, against what each who asks may expect: one outcome, his own question's answer, no
 * time-out before his time; and no work for nobody, nor anybody without work.
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
  | { readonly kind: 'leave' | 'answer' | 'own' | 'fail' | 'send' | 'stream' | 'end'; readonly which: number }
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
      kind: fc.constantFrom(...(['leave', 'answer', 'own', 'fail', 'send', 'stream', 'end'] as const)),
      which: fc.nat(5),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(20) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('from' as const), from: fc.constantFrom('v1' as const, 'v2' as const, null) }),
  },
);

class Client {
  readonly question: number;
  readonly deadlineAt: number;
  underWay: CallUnderWay | undefined;
  outcomes = 0;
  isStreaming = false;
  hasLeft = false;
  answer: string | undefined;
  error: string | undefined;

  constructor(question: number, deadlineAt: number) {
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

  get question(): number {
    return Number(this.request.value.skeleton);
  }

  extend(deadlineAt: number, now: number): boolean {
    if (this.isSent) return false;
    this.deadlineAt = deadlineAt;
    this.#limit(now);
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
    const begin = (request: CallRequest) => {
      const run = new FakeRun(request, runs.length, clock.now());
      runs.push(run);
      return run;
    };
    const cache = new ResponseCache('app/A', new DeploymentCounts(), clock.now, begin);
    const routingOf = (from: string | null) =>
      deploymentRouting({ responseCache: { maxBytes: 2 ** 20, ttlMs: 30, vary: null, from } });
    let routing = routingOf('v1');
    cache.follow(routing);
    const live = () => runs.filter(({ isOver }) => !isOver);
    const problem = (): string | undefined => {
      const waiting = clients.filter(({ waits }) => waits);
      const questions = (list: readonly { question: number }[]) => new Set(list.map(({ question }) => question));
      for (const question of questions(live()))
        if (!questions(waiting).has(question)) return `a run for ${question}, for which nobody waits`;
      for (const question of questions(waiting))
        if (!questions(live()).has(question)) return `somebody waits for ${question}, on which nothing runs`;
      if (live().length > waiting.length) return 'more runs than there are who wait';
      for (const { outcomes, answer, question, error, deadlineAt, hasLeft } of clients) {
        if (outcomes > 1 || (hasLeft && outcomes > 0)) return `${outcomes} outcomes`;
        if (answer !== undefined && !answer.startsWith(`${question} `)) return `${answer} for ${question}`;
        if (error === 'DEADLINE_EXCEEDED' && clock.now() < deadlineAt) return 'a time-out before its time';
      }
      const own = clients.flatMap(({ answer }) => (answer?.endsWith('own') ? [answer] : []));
      return new Set(own).size === own.length ? undefined : 'an answer for one that two have';
    };
    for (const each of steps) {
      if (each.kind === 'ask') {
        const client = new Client(each.question, clock.now() + each.leftMs);
        clients.push(client);
        const request = {
          target: { application: 'app', deployment: 'A', method: 'call' },
          requestId: 'r',
          value: { skeleton: String(each.question), segments: [] },
          http: { method: 'GET', path: '/', query: '', headers: [] },
          deadlineAt: client.deadlineAt,
          sink: {
            result: (value: { skeleton: unknown }) => {
              client.outcomes += 1;
              client.answer = String(value.skeleton);
            },
            error: (error: ServeError) => {
              client.outcomes += 1;
              client.error = error.code;
            },
            open: () => {
              client.isStreaming = true;
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
          sink.open(head([]));
        } else if (each.kind === 'fail') {
          if (run.end()) sink.error(new ServeError('USER_ERROR', 'no'));
        } else if (each.kind === 'end') {
          if (run.isStreaming && run.end()) sink.end();
        } else if (!run.isStreaming && run.end()) {
          const isOwn = each.kind === 'own';
          sink.result(value(isOwn ? ' own' : ''), head(isOwn ? ['set-cookie', 'a=1'] : []));
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

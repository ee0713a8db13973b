/** Canaries from beginning to end: requests of a seeded random source, counted and told as the data plane does, judged by the clock of the test. */
import t from 'tap';
import type { VerdictMove } from '../../src/control/verdict-record.ts';
import { Verdicts } from '../../src/control/verdicts.ts';
import type { VerdictSpec } from '../../src/domain/graph.ts';
import { emptyLatency, latencyBucket } from '../../src/domain/latency.ts';
import { seeded } from '../soak/soak.ts';

interface Behaviour {
  readonly errorRate?: number;
  /** Mean of an exponential distribution. */
  readonly meanMs?: number;
  readonly differing?: number;
  /** Of what the stable target accepts. */
  readonly refuses?: number;
  /** Answers nothing until its client leaves, after ten seconds. */
  readonly hangs?: number;
}

const SPEC: VerdictSpec = {
  steps: [5, 25, 50, 100],
  windowMs: 60_000,
  minRequests: 200,
  isSticky: false,
  promoteWhen: { errorRate: 0.02, p99Ratio: 1.5, difference: 0.05 },
  abortWhen: { errorRate: 0.04, p99Ms: 1000, p99Ratio: 2.5, difference: 0.2 },
};

class Target {
  readonly counts = {
    requests: 0,
    errors: 0,
    clientErrors: 0,
    abandoned: 0,
    latency: emptyLatency(),
    waited: emptyLatency(),
  };
  readonly #behaviour: Behaviour;
  readonly #random: () => number;

  constructor(behaviour: Behaviour, random: () => number) {
    this.#behaviour = behaviour;
    this.#random = random;
  }

  ask(): void {
    const { errorRate = 0.002, meanMs = 20, refuses = 0, hangs = 0 } = this.#behaviour;
    if (this.#random() < 0.03 + 0.97 * refuses) {
      this.counts.clientErrors += 1;
      return;
    }
    if (this.#random() < hangs) {
      this.counts.abandoned += 1;
      const bucket = latencyBucket(10_000);
      this.counts.waited[bucket] = (this.counts.waited[bucket] as number) + 1;
      return;
    }
    this.counts.requests += 1;
    if (this.#random() < errorRate) {
      this.counts.errors += 1;
      return;
    }
    const bucket = latencyBucket(-meanMs * Math.log(1 - this.#random()));
    this.counts.latency[bucket] = (this.counts.latency[bucket] as number) + 1;
  }
}

/** @param perSecond requests of both together @returns the moves in an hour, in seconds and percents, and what is said at its end */
const simulate = (canary: Behaviour, perSecond = 100, seed = 1, spec = SPEC) => {
  const random = seeded(seed);
  const moves: { readonly at: number; readonly move: VerdictMove }[] = [];
  const verdicts = new Verdicts({ standings: new Map(), keep: () => {} });
  const split = { application: 'app', step: 'score', identity: 'x', hash: 'h', spec, declared: 5, canary: 'New' };
  verdicts.follow(new Map([['app/score', split]]), () => false, 0, new Date(0));
  const [old, fresh] = [new Target({}, random), new Target(canary, random)];
  const shadow = { same: 0, different: 0, failed: 0, skipped: 0 };
  for (let second = 1; second <= 3600; second++) {
    const now = second * 1000;
    for (let request = 0; request < perSecond; request++) {
      const { percent = 5 } = verdicts.overlayOf('app', 'score') ?? {};
      if (random() * 100 < percent) fresh.ask();
      else {
        old.ask();
        shadow[random() < (canary.differing ?? 0.01) ? 'different' : 'same'] += 1;
      }
    }
    const { judgedAs = '' } = verdicts.overlayOf('app', 'score') ?? {};
    const counts = structuredClone({ stable: old.counts, canary: fresh.counts, shadow });
    for (const move of verdicts.observe({ [judgedAs]: counts }, now, new Date(now))) moves.push({ at: second, move });
  }
  return { moves, view: verdicts.viewOf('app', 'score', 3_600_000) };
};

const SEEDS = [1, 2, 3, 4, 5];

t.test('a good canary is promoted through all steps, each for a window', async (t) => {
  for (const seed of SEEDS) {
    const { moves, view } = simulate({}, 100, seed);
    t.same(
      moves.map(({ move: { from, to, state } }) => [from, to, state]),
      [
        [5, 25, 'progressing'],
        [25, 50, 'progressing'],
        [50, 100, 'promoted'],
      ],
    );
    const times = moves.map(({ at }) => at);
    t.ok(
      times.every((at, index) => at - (times[index - 1] ?? 1) >= 60),
      `${times}`,
    );
    t.match(view, { standing: { state: 'promoted', percent: 100 }, next: undefined });
  }
});

const BAD: readonly (readonly [what: string, canary: Behaviour, why: RegExp])[] = [
  ['fails one time in ten', { errorRate: 0.1 }, /error rate .* is above 4 %/],
  ['refuses half of what is valid', { refuses: 0.5 }, /of them refused where the stable target does not/],
  ['refuses everything', { refuses: 1 }, /of them refused where the stable target does not/],
  ['hangs in one call of five', { hangs: 0.2 }, /p99 .* is above 1000 ms/],
  ['hangs always', { hangs: 1 }, /p99 .* is above 1000 ms/],
  ['is five times as slow', { meanMs: 100 }, /times the .* is above 2.5 times/],
  ['answers otherwise', { differing: 0.4 }, /answers of the shadow differing is above 20 %/],
];
for (const [what, canary, why] of BAD) {
  t.test(`a canary that ${what} is aborted at its first step, and stays so`, async (t) => {
    for (const seed of SEEDS) {
      const { moves, view } = simulate(canary, 100, seed);
      t.equal(moves.length, 1);
      t.match(moves[0]?.move, { from: 5, to: 0, state: 'aborted', why });
      t.match(view, { standing: { state: 'aborted', percent: 0 }, message: why });
    }
  });
}

t.test('a canary that is neither good nor bad enough stays where it is', async (t) => {
  const { moves, view } = simulate({ meanMs: 38 }, 1000);
  t.same(moves, []);
  t.match(view?.message, /is not below 1.5 times/);
});

t.test('a canary with too few requests waits for ever, and says for how many', async (t) => {
  const { moves, view } = simulate({ errorRate: 1 }, 10);
  t.same(moves, []);
  t.match(view, { standing: { state: 'progressing', percent: 5 }, next: 25, message: /^\d+ of 200 requests of the canary/ });
});

const ERRORS_ALONE: VerdictSpec = { ...SPEC, promoteWhen: { errorRate: 0.02 }, abortWhen: undefined };
for (const [what, canary, why] of [
  ['refuses a tenth of what is valid', { refuses: 0.1 }, /of the canary refused with a 4xx/],
  ['hangs in one call of five', { hangs: 0.2 }, /of the canary left before their end/],
] as const) {
  t.test(`where only errors are asked for, a canary that ${what} is not promoted, and the status says why`, async (t) => {
    for (const seed of SEEDS) {
      const { moves, view } = simulate(canary, 100, seed, ERRORS_ALONE);
      t.same(moves, []);
      t.match(view, { standing: { state: 'progressing', percent: 5 }, message: why });
    }
  });
}

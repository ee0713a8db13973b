import t from 'tap';
import type { VerdictSpec } from '../../src/domain/graph.ts';
import { decide, type Standing } from '../../src/verdict/judge.ts';
import type { Figures } from '../../src/verdict/window.ts';

const spec = (given: Partial<VerdictSpec> = {}): VerdictSpec => ({
  steps: [5, 25, 100],
  windowMs: 60_000,
  minRequests: 100,
  isSticky: false,
  promoteWhen: { errorRate: 0.01 },
  abortWhen: { errorRate: 0.05 },
  ...given,
});
const AT_5: Standing = { state: 'progressing', percent: 5 };
const target = (requests: number, errors = 0, p99Ms = 10, clientErrors = 0, abandoned = 0) => ({
  requests,
  errors,
  clientErrors,
  abandoned,
  timed: requests - errors,
  p99Ms,
});
const figures = (given: Partial<Figures> = {}): Figures => ({
  stable: target(1000),
  canary: target(200),
  compared: 0,
  differing: 0,
  ...given,
});
const on = (more: Partial<VerdictSpec>, given: Partial<Figures> = {}, standing = AT_5, heldMs = 60_000) =>
  decide(spec(more), standing, figures(given), heldMs);

t.test('what is good for a whole window gets the next step, and with the last it is promoted', async (t) => {
  t.same(on({}), { type: 'promote', percent: 25, isLast: false, why: 'error rate 0 % of 200 requests is below 1 %' });
  t.match(on({}, {}, { state: 'progressing', percent: 25 }), { type: 'promote', percent: 100, isLast: true });
  t.match(on({}, {}, { state: 'progressing', percent: 10 }), { percent: 25 }, 'from weights that are no step to the next above');
});

t.test('it waits for its window, and for requests enough, and says for which', async (t) => {
  t.same(on({}, {}, AT_5, 12_300), { type: 'hold', why: '12.3 of 60 s at 5 %' });
  t.same(on({}, { canary: target(60) }), { type: 'hold', why: '60 of 100 requests of the canary' });
  t.same(on({ abortWhen: undefined, promoteWhen: { p99Ratio: 2 } }, { stable: target(3) }), {
    type: 'hold',
    why: '3 of 100 answers of the stable target to compare with',
  });
});

t.test('right answers of its shadow do not stand in for requests that it gets itself', async (t) => {
  const seen = { canary: target(60), compared: 400, differing: 0 };
  t.same(on({ promoteWhen: { difference: 0.1 } }, seen), { type: 'hold', why: '60 of 100 requests of the canary' });
});

t.test('between the bounds it waits', async (t) => {
  t.same(on({}, { canary: target(200, 6) }), { type: 'hold', why: 'error rate 3 % of 200 requests is not below 1 %' });
});

t.test(
  'too many errors, too slow, slower than the stable one, or other answers: it is aborted at once, and all reasons are told',
  async (t) => {
    const p99 = { p99Ms: 50, p99Ratio: 4 };
    t.same(on({ abortWhen: { errorRate: 0.05, ...p99 } }, { canary: target(200, 20, 60) }, AT_5, 0), {
      type: 'abort',
      why: [
        'error rate 10 % of 200 requests is above 5 %',
        'p99 60 ms of 180 calls is above 50 ms',
        'p99 60 ms, 6 times the 10 ms of the stable target, is above 4 times',
      ].join('; '),
    });
    t.same(on({ abortWhen: { difference: 0.1 } }, { compared: 400, differing: 50 }, AT_5, 0), {
      type: 'abort',
      why: '12.5 % of 400 answers of the shadow differing is above 10 %',
    });
  },
);

t.test('a bound of 0 is passed by a single error', async (t) => {
  t.equal(on({ abortWhen: { errorRate: 0 } }, { canary: target(1000, 1) }).type, 'abort');
  t.equal(on({ abortWhen: { errorRate: 0 } }, { canary: target(1000) }).type, 'promote');
});

t.test('a canary that gets no requests is known by its shadow alone', async (t) => {
  const none: Standing = { state: 'progressing', percent: 0 };
  const both = { promoteWhen: { errorRate: 0.01, difference: 0.1 } };
  t.match(on(both, { canary: target(0), compared: 100 }, none), { type: 'promote', percent: 5 });
  t.match(on(both, { canary: target(0), compared: 99 }, none), { type: 'hold', why: '99 of 100 answers of the shadow' });
  t.match(on(both, { canary: target(0), compared: 100 }), { type: 'hold' }, 'one that does get them is not');
});

t.test('one that only guards never gives more', async (t) => {
  t.match(on({ promoteWhen: undefined }), { type: 'hold', why: /nothing is wrong with it/ });
});

t.test('one that refuses what the stable target accepts is aborted, as if it had failed', async (t) => {
  t.same(on({}, { canary: target(100, 0, 10, 100) }, AT_5, 0), {
    type: 'abort',
    why: 'error rate 46.52 % of 187 requests, 87 of them refused where the stable target does not, is above 5 %',
  });
  t.match(on({}, { canary: target(0, 0, 10, 200) }, AT_5, 0), { type: 'abort', why: /error rate 100 %/ });
});

t.test('refusals that may be chance abort nothing', async (t) => {
  t.match(on({}, { stable: target(800, 0, 10, 200), canary: target(150, 0, 10, 50) }, AT_5, 0), {
    type: 'hold',
    why: /^25 % of 200 calls of the canary refused with a 4xx, and 20 % of 1000 of the stable target/,
  });
});

t.test('where callers stick to their side, refusals abort nothing, and promote nothing either', async (t) => {
  t.same(on({ isSticky: true }, { canary: target(100, 0, 10, 100) }), {
    type: 'hold',
    why: '50 % of 200 calls of the canary refused with a 4xx, and 0 % of 1000 of the stable target',
  });
});

t.test('what both refuse alike is the clients’, and stops nothing', async (t) => {
  t.equal(on({}, { stable: target(900, 0, 10, 300), canary: target(150, 0, 10, 50) }).type, 'promote');
});

t.test(
  'a canary that refuses a little more than the stable target waits, and so does one that nothing can be compared with',
  async (t) => {
    t.match(on({}, { stable: target(900, 0, 10, 100), canary: target(170, 0, 10, 30) }), {
      type: 'hold',
      why: '15 % of 200 calls of the canary refused with a 4xx, and 10 % of 1000 of the stable target',
    });
    t.match(on({}, { stable: target(20), canary: target(150, 0, 10, 50) }), {
      type: 'hold',
      why: '25 % of 200 calls of the canary refused with a 4xx, and 20 of 100 calls of the stable target to compare with',
    });
  },
);

t.test('a canary that clients leave more often than the stable target gets no more', async (t) => {
  t.match(on({}, { canary: target(160, 0, 10, 0, 40) }), {
    type: 'hold',
    why: '20 % of 200 calls of the canary left before their end, and 0 % of 1000 of the stable target',
  });
});

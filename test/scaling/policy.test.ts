/** Ray Serve's rules, one by one. */
import t from 'tap';
import { autoscale, damped, NO_WISH, type ScaleInput, type ScaleMemory, wishFor } from '../../src/scaling/policy.ts';
import { autoscalingSpec, steadyLoad } from '../support/scaling.ts';

const input = (given: Partial<ScaleInput> = {}): ScaleInput => ({
  spec: autoscalingSpec(),
  bounds: { lower: 1, upper: 100 },
  running: 1,
  target: 1,
  waiting: 0,
  raw: 1,
  memory: NO_WISH,
  now: 0,
  ...given,
});

t.test('requests over target_ongoing_requests, rounded up', async (t) => {
  const table: readonly (readonly [requests: number, target: number, running: number, gives: number])[] = [
    [0, 2, 3, 0],
    [1, 2, 3, 1],
    [2, 2, 3, 1],
    [2.1, 2, 3, 2],
    [10, 2, 3, 5],
    [11, 2, 3, 6],
    [0.5, 0.1, 1, 5],
    [3 * 0.1, 0.1, 1, 3],
  ];
  for (const [requests, targetOngoingRequests, running, gives] of table) {
    const spec = autoscalingSpec({ targetOngoingRequests });
    const raw = wishFor(spec, steadyLoad(requests), running, 5);
    t.equal(damped(raw, running, spec), gives, `${requests} requests at ${targetOngoingRequests} each`);
  }
});

t.test('a factor lengthens or shortens the way, each direction its own', async (t) => {
  const table: readonly (readonly [raw: number, running: number, up: number, down: number, gives: number])[] = [
    [10, 4, 0.5, 1, 7],
    [10, 4, 2, 1, 16],
    [10, 4, 1, 0.1, 10],
    [4, 10, 1, 0.5, 7],
    [4, 10, 0.1, 1, 4],
    [4, 10, 1, 2, 0],
    // Rounding would leave 10 for ever: one goes.
    [9, 10, 1, 0.05, 9],
    [1, 10, 1, 0.01, 9],
    // 9.5 needs 10: nothing to lose.
    [9.5, 10, 1, 0.05, 10],
    [0, 1, 1, 0.1, 0],
  ];
  for (const [raw, running, upscalingFactor, downscalingFactor, gives] of table)
    t.equal(damped(raw, running, { upscalingFactor, downscalingFactor }), gives, `${raw} from ${running}`);
});

t.test('at zero replicas one request is enough, at once and whatever the delay', async (t) => {
  const spec = autoscalingSpec({ minReplicas: 0, upscaleDelayMs: 60_000 });
  const none = input({ spec, bounds: { lower: 0, upper: 10 }, running: 0, target: 0, raw: 0 });
  t.equal(autoscale(none).target, 0);
  t.equal(autoscale({ ...none, waiting: 1 }).target, 1);
  t.equal(autoscale({ ...none, waiting: 500 }).target, 1);
  t.equal(autoscale({ ...none, waiting: 1, spec: { ...spec, upscalingFactor: 2.5 } }).target, 3);
  t.equal(autoscale({ ...none, waiting: 1, target: 4 }).target, 4, 'those that are on their way count');
  t.equal(autoscale({ ...none, waiting: 1, bounds: { lower: 0, upper: 0 } }).target, 0, 'bounds hold');
});

t.test('while none runs and nobody waits, what is on its way stays wanted', async (t) => {
  t.equal(autoscale(input({ bounds: { lower: 0, upper: 10 }, running: 0, target: 2, raw: 0 })).target, 2);
});

t.test('a wish is followed after its delay, and what is applied is the wish of that moment', async (t) => {
  const spec = autoscalingSpec({ upscaleDelayMs: 30_000 });
  let memory: ScaleMemory = NO_WISH;
  const at = (now: number, raw: number, target = 1) => {
    const decision = autoscale(input({ spec, target, raw, memory, now }));
    memory = decision.memory;
    return decision.target;
  };
  t.equal(at(0, 3), 1);
  t.equal(at(29_999, 8), 1);
  t.equal(at(30_000, 5), 5);
  t.equal(at(30_001, 9, 5), 5, 'the next one waits anew');
});

t.test('the delay begins anew when the wish vanishes, and when it flips', async (t) => {
  const spec = autoscalingSpec({ upscaleDelayMs: 1000, downscaleDelayMs: 1000 });
  const run = (...wishes: readonly (readonly [now: number, raw: number])[]) => {
    let memory: ScaleMemory = NO_WISH;
    let target = 4;
    for (const [now, raw] of wishes) ({ target, memory } = autoscale(input({ spec, running: 4, target, raw, memory, now })));
    return target;
  };
  t.equal(run([0, 6], [1000, 6]), 6);
  t.equal(run([0, 6], [500, 4], [1000, 6]), 4);
  t.equal(run([0, 6], [500, 2], [1000, 6], [1999, 6]), 4);
  t.equal(run([0, 6], [500, 2], [1499, 2]), 4);
  t.equal(run([0, 6], [500, 2], [1500, 2]), 2);
});

t.test('going down stops at 1; from 1 to none is a step of its own with its own delay', async (t) => {
  const spec = autoscalingSpec({ minReplicas: 0, downscaleDelayMs: 1000, downscaleToZeroDelayMs: 5000 });
  const bounds = { lower: 0, upper: 10 };
  const idle = (now: number, target: number, memory: ScaleMemory = NO_WISH) =>
    autoscale(input({ spec, bounds, running: target, target, raw: 0, memory, now }));
  const first = idle(1000, 4, idle(0, 4).memory);
  t.equal(first.target, 1);
  const waits = idle(1000, 1, first.memory);
  t.equal(idle(5999, 1, waits.memory).target, 1);
  t.equal(idle(6000, 1, waits.memory).target, 0);
});

t.test('bounds that have moved are kept at once', async (t) => {
  const spec = autoscalingSpec({ upscaleDelayMs: 1e6, downscaleDelayMs: 1e6 });
  t.equal(autoscale(input({ spec, bounds: { lower: 3, upper: 9 }, running: 1, target: 1 })).target, 3);
  t.equal(autoscale(input({ spec, bounds: { lower: 1, upper: 2 }, running: 7, target: 7, raw: 7 })).target, 2);
});

t.test('where nothing is known of the load nothing changes', async (t) => {
  t.equal(autoscale(input({ running: 3, target: 3, raw: undefined })).target, 3);
});

t.test('target_queue_delay_s: late requests ask for more, at most twice as many as run', async (t) => {
  const spec = { targetOngoingRequests: null, targetQueueDelayMs: 100 };
  const wish = (queueDelayMs: number, latestMs: number, running: number, ongoing = running * 5) =>
    wishFor(spec, { requests: 99, ongoing, queueDelayMs, latest: { requests: 99, queueDelayMs: latestMs } }, running, 5);
  t.equal(wish(150, 150, 4), 6);
  t.equal(wish(9000, 9000, 4), 8);
  t.equal(wish(9000, 0, 4), 4, 'the queue has been worked off');
  t.equal(wish(9000, 6000, 4), 4, 'it is being worked off');
  t.equal(wish(0, 9000, 4), 4, 'for a moment only');
  t.equal(wish(0, 0, 4), 4, 'four full ones are not too many');
});

t.test('target_queue_delay_s: replicas go where the rest would not be full', async (t) => {
  const spec = { targetOngoingRequests: null, targetQueueDelayMs: 100 };
  t.equal(wishFor(spec, steadyLoad(8, 8), 4, 5), 2);
  t.equal(wishFor(spec, steadyLoad(12, 12), 4, 5), 3);
  t.equal(wishFor(spec, steadyLoad(0, 0), 4, 5), 0);
});

t.test('of two targets the one that asks for more counts', async (t) => {
  const both = { targetOngoingRequests: 2, targetQueueDelayMs: 100 };
  t.equal(wishFor(both, steadyLoad(20, 4, 0), 4, 5), 10);
  t.equal(wishFor(both, steadyLoad(2, 2, 200), 4, 5), 8);
});

/**
 * Runs the policy against a deployment that is only imagined: requests arrive by a load, wait in one queue, are worked on by replicas that
 * take a while to start, and are measured as the data plane measures them. Time is that of the simulation; equal seeds give equal runs.
 */
import type { AutoscalingSpec } from '../../src/domain/desired.ts';
import type { Spread } from '../../src/domain/snapshot.ts';
import { boundsOf } from '../../src/scaling/capacity.ts';
import { aggregate, type LoadSample, remember } from '../../src/scaling/load.ts';
import { autoscale, NO_WISH, type ScaleMemory, wishFor } from '../../src/scaling/policy.ts';

export interface Scenario {
  readonly spec: AutoscalingSpec;
  /** Requests per second at a time in seconds. */
  readonly rate: (second: number) => number;
  readonly seconds: number;
  /** Mean time that a replica works on one request; each takes between half and one and a half of it. */
  readonly workMs: number;
  /** Requests that one replica works on at once. */
  readonly slots: number;
  /** From the decision to the first request. */
  readonly startMs: number;
  readonly seed: number;
  /** Arrivals in a random, not an even, rhythm. */
  readonly noise?: boolean;
}

export interface Outcome {
  /** The target whenever it changed, from the first. */
  readonly targets: readonly { readonly second: number; readonly target: number }[];
  /** Running replicas, each 250 ms. */
  readonly running: readonly number[];
  /** Milliseconds that each request waited, in the order in which they left the queue, with the time when they left. */
  readonly waits: readonly { readonly second: number; readonly ms: number }[];
  readonly left: number;
}

const STEP_MS = 10;
const SAMPLE_MS = 50;
const REPORT_MS = 250;

export const random = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
};

export const simulate = ({ spec, rate, seconds, workMs, slots, startMs, seed, noise = true }: Scenario): Outcome => {
  const rand = random(seed);
  const bounds = boundsOf(spec, null, null);
  let target = spec.initialReplicas ?? spec.minReplicas;
  let memory: ScaleMemory = NO_WISH;
  let samples: readonly LoadSample[] = [];
  /** When each replica is ready, and when each of its requests will be done. */
  let replicas: { readyAt: number; readonly done: number[] }[] = Array.from({ length: target }, () => ({ readyAt: 0, done: [] }));
  const queue: number[] = [];
  let due = 0;
  const targets = [{ second: 0, target }];
  const running: number[] = [];
  const waits: { second: number; ms: number }[] = [];
  let gauges: { requests: number; ongoing: number; queueDelayMs: number }[] = [];

  for (let now = 0; now < seconds * 1000; now += STEP_MS) {
    const expected = (rate(now / 1000) * STEP_MS) / 1000;
    due += noise ? poisson(expected, rand) : expected;
    for (; due >= 1; due--) queue.push(now);
    for (const replica of replicas) {
      const going = replica.done.filter((at) => at > now);
      replica.done.splice(0, replica.done.length, ...going);
    }
    const ready = replicas.filter(({ readyAt }) => readyAt <= now);
    while (queue.length > 0) {
      const free = ready.reduce<(typeof ready)[number] | undefined>(
        (least, each) => (each.done.length < (least?.done.length ?? slots) ? each : least),
        undefined,
      );
      if (free === undefined) break;
      const since = queue.shift() as number;
      waits.push({ second: now / 1000, ms: now - since });
      free.done.push(now + workMs * (0.5 + rand()));
    }
    const ongoing = replicas.reduce((sum, { done }) => sum + done.length, 0);
    if (now % SAMPLE_MS === 0)
      gauges.push({
        requests: queue.length + ongoing,
        ongoing,
        queueDelayMs: queue.length === 0 ? 0 : now - (queue[0] as number),
      });
    if (now % REPORT_MS !== 0) continue;
    running.push(ready.length);
    const spread = (quantity: keyof (typeof gauges)[number]): Spread => {
      const values = gauges.map((gauge) => gauge[quantity]);
      return {
        mean: values.reduce((sum, each) => sum + each, 0) / values.length,
        max: Math.max(...values),
        min: Math.min(...values),
      };
    };
    const report = {
      durationMs: REPORT_MS,
      requests: spread('requests'),
      ongoing: spread('ongoing'),
      queueDelayMs: spread('queueDelayMs'),
    };
    gauges = [];
    samples = remember(samples, report, spec.lookBackMs, now);
    const load = aggregate(samples, spec.aggregation, spec.lookBackMs, now);
    const raw = load && wishFor(spec, load, ready.length, slots);
    const waiting = load?.latest.requests ?? 0;
    const decision = autoscale({ spec, bounds, running: ready.length, target, waiting, raw, memory, now });
    memory = decision.memory;
    if (decision.target === target) continue;
    target = decision.target;
    targets.push({ second: now / 1000, target });
    while (replicas.length < target) replicas.push({ readyAt: now + startMs, done: [] });
    // Those that are not ready go first, then the newest; what they have is finished, as their work is known.
    replicas = [...replicas].sort((a, b) => a.readyAt - b.readyAt).slice(0, target);
  }
  return { targets, running, waits, left: queue.length };
};

const poisson = (mean: number, rand: () => number): number => {
  let count = 0;
  for (let product = rand(); product > Math.exp(-mean); product *= rand()) count += 1;
  return count;
};

/** How often the target turned from growing to shrinking or back. */
export const turns = ({ targets }: Outcome): number => {
  const signs = targets.slice(1).map(({ target }, index) => Math.sign(target - (targets[index]?.target ?? 0)));
  return signs.slice(1).filter((sign, index) => sign !== signs[index]).length;
};

export const peak = ({ targets }: Outcome): number => Math.max(...targets.map(({ target }) => target));

/** The target at a time. */
export const targetAt = ({ targets }: Outcome, second: number): number =>
  targets.findLast((each) => each.second <= second)?.target ?? 0;

/** The first time from `from` on when the target was at least so much; Infinity: never. */
export const reached = ({ targets }: Outcome, target: number, from = 0): number =>
  targets.find((each) => each.second >= from && each.target >= target)?.second ?? Number.POSITIVE_INFINITY;

/** The wait of the request for which so many per cent waited no longer, of those that left the queue in the span. */
export const waitOf = ({ waits }: Outcome, percent: number, from: number, until: number): number => {
  const seen = waits.filter(({ second }) => second >= from && second < until).map(({ ms }) => ms);
  return seen.sort((a, b) => a - b)[Math.min(seen.length - 1, Math.floor((seen.length * percent) / 100))] ?? 0;
};

import fc from 'fast-check';
import t from 'tap';
import type { AutoscalingSpec } from '../../src/domain/desired.ts';
import { boundsOf } from '../../src/scaling/capacity.ts';
import { autoscale, damped, NO_WISH, type ScaleMemory, wishFor } from '../../src/scaling/policy.ts';
import { autoscalingSpec, steadyLoad } from '../support/scaling.ts';

const specs = (greatestFactor: number) =>
  fc
    .record({
      min: fc.nat(5),
      more: fc.nat(20),
      target: fc.double({ min: 0.1, max: 50, noNaN: true }),
      up: fc.double({ min: 0.05, max: greatestFactor, noNaN: true }),
      down: fc.double({ min: 0.05, max: greatestFactor, noNaN: true }),
      upDelay: fc.nat(3000),
      downDelay: fc.nat(3000),
    })
    .map(({ min, more, target, up, down, upDelay, downDelay }) =>
      autoscalingSpec({
        minReplicas: min,
        maxReplicas: Math.max(1, min + more),
        targetOngoingRequests: target,
        upscalingFactor: up,
        downscalingFactor: down,
        upscaleDelayMs: upDelay,
        downscaleDelayMs: downDelay,
      }),
    );

/** Replicas that start at once, and a load for each quarter of a second. @returns the target of each */
const targetsOver = (spec: AutoscalingSpec, loads: readonly number[], first: number): number[] => {
  const bounds = boundsOf(spec, null, null);
  let memory: ScaleMemory = NO_WISH;
  let target = first;
  return loads.map((requests, index) => {
    const raw = wishFor(spec, steadyLoad(requests), target, 5);
    ({ target, memory } = autoscale({ spec, bounds, running: target, target, waiting: requests, raw, memory, now: index * 250 }));
    return target;
  });
};

/** Nothing, or a mean that a single request leaves behind. */
const constant = fc.oneof(fc.constant(0), fc.double({ min: 1e-5, max: 200, noNaN: true }));

const loads = fc.array(fc.double({ min: 0, max: 500, noNaN: true }), { minLength: 1, maxLength: 100 });

t.test('the bounds hold, whatever the load, the factors and where it began', async () => {
  fc.assert(
    fc.property(specs(5), loads, fc.nat(50), (spec, loads, first) =>
      targetsOver(spec, loads, first).every((target) => target >= spec.minReplicas && target <= spec.maxReplicas),
    ),
  );
});

t.test('under a constant load the target goes one way, and then stays', async () => {
  fc.assert(
    fc.property(specs(1), constant, fc.nat(30), (spec, requests, first) => {
      const targets = targetsOver(spec, Array<number>(1500).fill(requests), first);
      const moves = targets.slice(1).map((target, index) => Math.sign(target - (targets[index] as number)));
      const oneWay = !(moves.includes(1) && moves.includes(-1));
      return oneWay && new Set(targets.slice(-100)).size === 1;
    }),
  );
});

t.test('a constant load ends with replicas that suffice for it, where the bounds allow', async () => {
  fc.assert(
    fc.property(specs(1), fc.double({ min: 0.1, max: 200, noNaN: true }), fc.nat(30), (spec, requests, first) => {
      const last = targetsOver(spec, Array<number>(1500).fill(requests), first).at(-1) as number;
      return last === spec.maxReplicas || last * (spec.targetOngoingRequests as number) >= requests - 1e-6;
    }),
  );
});

t.test('more load never asks for fewer replicas', async () => {
  fc.assert(
    fc.property(
      specs(5),
      fc.integer({ min: 1, max: 50 }),
      fc.double({ min: 0, max: 500, noNaN: true }),
      fc.double({ min: 0, max: 500, noNaN: true }),
      (spec, running, a, b) => {
        const wish = (requests: number) => damped(wishFor(spec, steadyLoad(requests), running, 5), running, spec);
        return wish(Math.min(a, b)) <= wish(Math.max(a, b));
      },
    ),
  );
});

t.test('it never goes from several to none in one step', async () => {
  fc.assert(
    fc.property(specs(5), loads, fc.nat(50), (spec, loads, first) => {
      const targets = targetsOver({ ...spec, minReplicas: 0 }, [...loads, ...Array<number>(40).fill(0)], first);
      return targets.every((target, index) => target !== 0 || index === 0 || (targets[index - 1] as number) <= 1);
    }),
  );
});

/**
 * How many replicas a deployment should have, as Ray Serve decides it: a wish from the load, factors on the way to it, delays before it is
 * followed, bounds around it. Pure: time and memory are arguments.
 */
import type { AutoscalingSpec } from '../domain/desired.ts';
import { type Bounds, within } from './capacity.ts';
import type { Load } from './load.ts';

/** Since when the wish has pointed one way without a break; times are monotonic milliseconds. */
export type ScaleMemory =
  | { readonly towards: 'none' }
  | { readonly towards: 'up'; readonly since: number }
  | { readonly towards: 'down' | 'zero'; readonly since: number };

export const NO_WISH: ScaleMemory = { towards: 'none' };

export interface ScaleInput {
  readonly spec: AutoscalingSpec;
  readonly bounds: Bounds;
  /** Replicas that take work now; those that start do not count. */
  readonly running: number;
  /** Replicas that are wanted now. */
  readonly target: number;
  /** Requests that are there at this moment: at zero replicas one is enough. */
  readonly waiting: number;
  /** Replicas that the load asks for, a fraction; undefined: nothing is known, and nothing changes. See `wishFor`. */
  readonly raw: number | undefined;
  readonly memory: ScaleMemory;
  readonly now: number;
}

export interface Decision {
  readonly target: number;
  readonly memory: ScaleMemory;
}

export const autoscale = (input: ScaleInput): Decision => {
  const { spec, bounds, running, waiting, raw, now } = input;
  const target = within(input.target, bounds);
  if (target !== input.target) return { target, memory: NO_WISH };
  if (running === 0) {
    // Whoever waits for the first replica has waited long enough.
    const first = waiting > 0 ? Math.max(Math.ceil(spec.upscalingFactor), target) : target;
    return { target: within(first, bounds), memory: NO_WISH };
  }
  if (raw === undefined) return { target, memory: NO_WISH };
  return follow(within(damped(raw, running, spec), bounds), { ...input, target }, now);
};

/** A mean of exactly 3 replicas must not become 4 by the last bit of a division. */
const EPSILON = 1e-9;
const ceil = (value: number): number => Math.max(0, Math.ceil(value * (1 - EPSILON)));

/** The way from what runs to what the load asks for, times the factor. */
export const damped = (
  raw: number,
  running: number,
  { upscalingFactor, downscalingFactor }: Pick<AutoscalingSpec, 'upscalingFactor' | 'downscalingFactor'>,
): number => {
  const factor = raw > running ? upscalingFactor : downscalingFactor;
  const wish = ceil(running + factor * (raw - running));
  // A small factor must not hold for ever what the load could do without.
  return wish === running && ceil(raw) < running ? running - 1 : wish;
};

/** A wish is followed once it has pointed the same way for its delay; what is applied is the wish of that moment. */
const follow = (wish: number, { spec, target, memory }: ScaleInput, now: number): Decision => {
  if (wish === target) return { target, memory: NO_WISH };
  const towards = wish > target ? 'up' : target === 1 ? 'zero' : 'down';
  const delayMs = { up: spec.upscaleDelayMs, down: spec.downscaleDelayMs, zero: spec.downscaleToZeroDelayMs }[towards];
  const since = memory.towards === towards ? memory.since : now;
  if (now - since < delayMs) return { target, memory: { towards, since } };
  // The last replica goes by a step of its own, after its own delay.
  return { target: towards === 'down' ? Math.max(1, wish) : wish, memory: NO_WISH };
};

/**
 * Replicas that the load asks for. Of two targets the one that asks for more counts.
 * @param slots requests that one replica may have in work, `max_ongoing_requests`
 */
export const wishFor = (
  { targetOngoingRequests, targetQueueDelayMs }: Pick<AutoscalingSpec, 'targetOngoingRequests' | 'targetQueueDelayMs'>,
  load: Load,
  running: number,
  slots: number,
): number =>
  Math.max(
    targetOngoingRequests === null ? 0 : load.requests / targetOngoingRequests,
    targetQueueDelayMs === null ? 0 : wishForDelay(targetQueueDelayMs, load, running, slots),
  );

/** One step multiplies what runs by this at most: how far the queue is behind does not say how many more would hold it. */
const GREATEST_STEP = 2;
/** Fewer replicas are wanted only where they would be filled to this part: without waiting requests there is nothing else to go by. */
const FILLED = 0.8;

/** A queue whose delay is so much below that of the look-back is being worked off. */
const FALLING = 0.9;

/**
 * Both the look-back and this moment must be late, and a queue that is being worked off asks for nothing more: what runs suffices. It grows
 * on what runs, so replicas that still start are waited for before more are asked for.
 */
const wishForDelay = (targetMs: number, { queueDelayMs, ongoing, latest }: Load, running: number, slots: number): number => {
  const delayMs = Math.min(queueDelayMs, latest.queueDelayMs);
  if (delayMs > targetMs) {
    const isFalling = latest.queueDelayMs < FALLING * queueDelayMs;
    return isFalling ? running : running * Math.min(GREATEST_STEP, delayMs / targetMs);
  }
  return Math.min(running, ongoing / (slots * FILLED));
};

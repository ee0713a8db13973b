/** Short ways to write down how a deployment scales. */
import type { AutoscalingSpec } from '../../src/domain/desired.ts';
import type { LoadReport, Spread } from '../../src/domain/snapshot.ts';
import type { Load } from '../../src/scaling/load.ts';

/** Without delays, so that one decision is one wish. */
export const autoscalingSpec = (given: Partial<AutoscalingSpec> = {}): AutoscalingSpec => ({
  minReplicas: 1,
  initialReplicas: null,
  maxReplicas: 100,
  targetOngoingRequests: 2,
  targetQueueDelayMs: null,
  lookBackMs: 5000,
  aggregation: 'mean',
  upscalingFactor: 1,
  downscalingFactor: 1,
  upscaleDelayMs: 0,
  downscaleDelayMs: 0,
  downscaleToZeroDelayMs: given.downscaleDelayMs ?? 0,
  policy: null,
  ...given,
});

export const steady = (value: number): Spread => ({ mean: value, max: value, min: value });

export const loadReport = (requests: number, ongoing = requests, queueDelayMs = 0, durationMs = 250): LoadReport => ({
  durationMs,
  requests: steady(requests),
  ongoing: steady(ongoing),
  queueDelayMs: steady(queueDelayMs),
});

/** A load that has been the same for the whole look-back. */
export const steadyLoad = (requests: number, ongoing = requests, queueDelayMs = 0): Load => ({
  requests,
  ongoing,
  queueDelayMs,
  latest: { requests, queueDelayMs },
});

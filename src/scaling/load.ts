/** What is known of a deployment's load, and how the samples of the look-back become one number. Pure. */

import type { LoadReport, Spread } from '../domain/snapshot.ts';

/** Times are monotonic milliseconds. */
export interface LoadSample extends LoadReport {
  readonly until: number;
}

/** The look-back as one. */
export interface Load {
  readonly requests: number;
  readonly ongoing: number;
  readonly queueDelayMs: number;
  /** Of the last sample: what is there at this moment. */
  readonly latest: { readonly requests: number; readonly queueDelayMs: number };
}

export type Aggregation = keyof Spread;

/** @returns the samples with the new one, and without those that no look-back reaches any more */
export const remember = (
  samples: readonly LoadSample[],
  report: LoadReport,
  lookBackMs: number,
  now: number,
): readonly LoadSample[] => [...samples.filter(({ until }) => until > now - lookBackMs), { ...report, until: now }];

/** @returns undefined where nothing was measured within the look-back */
export const aggregate = (
  samples: readonly LoadSample[],
  how: Aggregation,
  lookBackMs: number,
  now: number,
): Load | undefined => {
  const from = now - lookBackMs;
  const seen = samples.filter(({ until }) => until > from);
  const last = seen.at(-1);
  if (last === undefined) return undefined;
  const over = (quantity: 'requests' | 'ongoing' | 'queueDelayMs'): number => {
    if (how !== 'mean') return Math[how](...seen.map((sample) => sample[quantity][how]));
    let sum = 0;
    let time = 0;
    for (const sample of seen) {
      const weight = sample.until - Math.max(from, sample.until - sample.durationMs);
      sum += weight * sample[quantity].mean;
      time += weight;
    }
    return time === 0 ? last[quantity].mean : sum / time;
  };
  return {
    requests: over('requests'),
    ongoing: over('ongoing'),
    queueDelayMs: over('queueDelayMs'),
    latest: { requests: last.requests.max, queueDelayMs: last.queueDelayMs.mean },
  };
};

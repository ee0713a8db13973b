/** Whether a series grows: a slope that a few odd values do not turn, and means of its ends. Pure. */
import { percentile } from './soak.ts';

export type Point = readonly [x: number, y: number];

/** Pairs grow with the square. */
const MOST_POINTS = 400;

/** Theil and Sen's: the median of the slopes between all pairs. 0 where there are none. */
export const slopeOf = (points: readonly Point[]): number => {
  const step = Math.max(1, Math.ceil(points.length / MOST_POINTS));
  const some = points.filter((_, index) => index % step === 0);
  const slopes: number[] = [];
  for (const [index, [x, y]] of some.entries())
    for (const [later, high] of some.slice(index + 1)) if (later !== x) slopes.push((high - y) / (later - x));
  return percentile(slopes, 0.5);
};

const mean = (values: readonly number[]): number => values.reduce((sum, each) => sum + each, 0) / Math.max(1, values.length);

/** Means of the first and of the last quarter. */
export const quartersOf = (points: readonly Point[]): { readonly first: number; readonly last: number } => {
  const quarter = Math.max(1, Math.floor(points.length / 4));
  return { first: mean(points.slice(0, quarter).map(([, y]) => y)), last: mean(points.slice(-quarter).map(([, y]) => y)) };
};

/** So many of a series, evenly, as text: the raw figures beside a verdict. */
export const seriesText = (points: readonly Point[], count = 20): string =>
  Array.from({ length: Math.min(count, points.length) }, (_, index) => {
    const [, y] = points[Math.floor((index * points.length) / Math.min(count, points.length))] as Point;
    return String(Math.round(y));
  }).join(' ');

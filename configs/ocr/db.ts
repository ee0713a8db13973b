/**
 * Finds the lines of text in the map that the detector gives. The detector marks the shrunken core of each line
 * (Liao et al., Real-time Scene Text Detection with Differentiable Binarization), so a line's box is its core's, grown again.
 */
import { hull, type Point, type Rect } from './geometry.ts';

/** Probabilities of text times 255, row-major. */
export interface TextMap {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** One connected patch of text. */
export interface Patch {
  /** Convex outline in pixels of the map. */
  readonly outline: readonly Point[];
  /** Mean probability over its pixels, 0 to 1. */
  readonly score: number;
}

export interface PatchOptions {
  /** Pixels at or above it are text, 0 to 1. */
  readonly threshold: number;
  /** Patches below it are dropped, 0 to 1. */
  readonly minScore: number;
  /** Patches of fewer pixels are dropped. */
  readonly minPixels: number;
}

/** Connected components (eight neighbours) of the pixels above the threshold, found as runs of each row joined with those of the row above. */
export const findPatches = (map: TextMap, options: PatchOptions): Patch[] => {
  const runs = findRuns(map, Math.max(1, Math.round(options.threshold * 255)));
  const patches = new Map<number, { points: Point[]; sum: number; pixels: number }>();
  for (let run = 0; run < runs.count; run++) {
    const root = rootOf(runs.parent, run);
    const [y, from, to] = [runs.y[run] ?? 0, runs.from[run] ?? 0, runs.to[run] ?? 0];
    let patch = patches.get(root);
    if (!patch) {
      patch = { points: [], sum: 0, pixels: 0 };
      patches.set(root, patch);
    }
    patch.points.push([from, y], [to, y], [from, y + 1], [to, y + 1]);
    patch.pixels += to - from;
    patch.sum += runs.sum[run] ?? 0;
  }
  const found: Patch[] = [];
  for (const { points, sum, pixels } of patches.values()) {
    const score = sum / pixels / 255;
    if (pixels >= options.minPixels && score >= options.minScore) found.push({ outline: hull(points), score });
  }
  return found;
};

interface Runs {
  count: number;
  readonly y: number[];
  /** First x, and the x after the last. */
  readonly from: number[];
  readonly to: number[];
  /** Sum of the map over the run. */
  readonly sum: number[];
  /** Union-find: a run of the same patch; itself at the root. */
  readonly parent: number[];
}

const findRuns = ({ data, width, height }: TextMap, least: number): Runs => {
  const runs: Runs = { count: 0, y: [], from: [], to: [], sum: [], parent: [] };
  let above = 0; // the first run of the row above that may still touch the current one
  for (let y = 0; y < height; y++) {
    const firstOfRow = runs.count;
    const row = y * width;
    for (let x = 0; x < width; x++) {
      if ((data[row + x] ?? 0) < least) continue;
      const from = x;
      let sum = 0;
      for (; x < width && (data[row + x] ?? 0) >= least; x++) sum += data[row + x] ?? 0;
      const run = runs.count++;
      runs.y.push(y);
      runs.from.push(from);
      runs.to.push(x);
      runs.sum.push(sum);
      runs.parent.push(run);
      while (above < firstOfRow && (runs.to[above] ?? 0) < from) above++;
      for (let other = above; other < firstOfRow && (runs.from[other] ?? 0) <= x; other++) join(runs.parent, other, run);
    }
    above = firstOfRow;
  }
  return runs;
};

const rootOf = (parent: number[], run: number): number => {
  let root = run;
  for (let next = parent[root] ?? root; next !== root; next = parent[root] ?? root) {
    parent[root] = parent[next] ?? next; // halve the path on the way
    root = next;
  }
  return root;
};

const join = (parent: number[], a: number, b: number): void => {
  parent[rootOf(parent, a)] = rootOf(parent, b);
};

/** Grows a core to the whole line: every side moves out by `ratio` times area over perimeter, as the shrinking moved it in. */
export const grow = (core: Rect, ratio: number): Rect => {
  const out = (ratio * core.along * core.across) / (core.along + core.across);
  return { ...core, along: core.along + out, across: core.across + out };
};

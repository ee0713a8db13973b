/** Guesses how high the letters of a page are before anything is detected, to show the detector the page at the scale it likes. */
import type { Raster } from './crop.ts';

/** Columns looked at together: a few letters, and few enough for the lines of a tilted page not to run into each other. */
const STRIP = 32;
/** Rows of a strip with more of its contrast than this are in a line. */
const ACTIVE = 0.3;
/** Mean difference between neighbouring pixels (of 255) below which a strip is blank. */
const LEAST_CONTRAST = 4;
/** Less than half, for the small print among large. */
const SHARE = 0.35;

/**
 * In every strip of columns the rows of a line differ from column to column and the rows between lines do not; so runs of
 * such rows are as high as small letters and a bit. The answer is the run that `SHARE` of all active rows lie in or below.
 * @returns pixels; undefined when nothing looks like lines
 */
export const guessTextHeight = ({ data, width, height }: Raster): number | undefined => {
  const runs: number[] = []; // by length, how many rows lie in runs of it
  const energy = new Float32Array(height);
  for (let left = 0; left + STRIP <= width; left += STRIP) {
    for (let y = 0; y < height; y++) {
      let sum = 0;
      let at = (y * width + left) * 3 + 1;
      let last = data[at] as number;
      for (let x = 2; x < STRIP; x += 2) {
        at += 6;
        const next = data[at] as number;
        sum += next > last ? next - last : last - next;
        last = next;
      }
      energy[y] = sum;
    }
    const sorted = energy.slice().sort();
    const paper = sorted[Math.floor(height * 0.1)] as number;
    const ink = sorted[Math.floor(height * 0.97)] as number;
    if (ink - paper < (LEAST_CONTRAST * STRIP) / 2) continue;
    const least = paper + ACTIVE * (ink - paper);
    for (let y = 0, run = 0; y <= height; y++) {
      if (y < height && (energy[y] as number) >= least) run++;
      else {
        if (run > 2) runs[run] = (runs[run] ?? 0) + run;
        run = 0;
      }
    }
  }
  let rest = runs.reduce((sum, rows) => sum + rows, 0) * SHARE;
  if (rest === 0) return undefined;
  for (let length = 0; length < runs.length; length++) {
    rest -= runs[length] ?? 0;
    if (rest <= 0) return length;
  }
  return undefined;
};

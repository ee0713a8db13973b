/** Where a line has ink and where only paper, whatever their colours: the contrast within each column. */
import type { Raster } from './crop.ts';

/** Rows of the strip looked at; above and below there may be parts of other lines. */
const TOP = 3;
const BOTTOM = 45;
/** Columns with less ink count as paper, of 255. */
export const PAPER = 70;

/**
 * Contrast of each column (its brightest less its darkest row, rows averaged by three against noise), stretched so that the
 * column with the least is 0 and nearly the greatest is 255.
 * @param width columns that show the page
 */
export const columnInk = ({ data, width: stride }: Raster, width: number): Uint8Array => {
  const contrast = new Float32Array(width);
  const luma = new Float32Array(BOTTOM - TOP);
  for (let x = 0; x < width; x++) {
    for (let row = TOP; row < BOTTOM; row++) {
      const at = (row * stride + x) * 3;
      luma[row - TOP] = 0.3 * (data[at] as number) + 0.6 * (data[at + 1] as number) + 0.1 * (data[at + 2] as number);
    }
    let low = Infinity;
    let high = -Infinity;
    for (let i = 1; i < luma.length - 1; i++) {
      const mean = ((luma[i - 1] as number) + (luma[i] as number) + (luma[i + 1] as number)) / 3;
      if (mean < low) low = mean;
      if (mean > high) high = mean;
    }
    contrast[x] = high - low;
  }
  const sorted = contrast.slice().sort();
  const paper = sorted[Math.floor(width * 0.03)] ?? 0;
  const ink = Math.max(paper + 1, sorted[Math.floor(width * 0.9)] ?? 0);
  return Uint8Array.from(contrast, (value) => Math.min(255, Math.max(0, (255 * (value - paper)) / (ink - paper))));
};

/** Widest run of columns below `limit` between two columns; 0 if none. */
export const widestGap = (ink: Uint8Array, from: number, to: number, limit: number): number =>
  gapsOf(ink.subarray(Math.max(0, Math.floor(from)), Math.ceil(to) + 1), limit, 1).reduce(
    (widest, gap) => Math.max(widest, gap.to - gap.from),
    0,
  );

/** Runs of at least `least` columns below `limit`, `to` excluded. */
export const gapsOf = (ink: Uint8Array, limit: number, least: number): { from: number; to: number }[] => {
  const gaps: { from: number; to: number }[] = [];
  for (let x = 0, from = 0; x <= ink.length; x++) {
    if (x < ink.length && (ink[x] as number) < limit) continue;
    if (x - from >= least) gaps.push({ from, to: x });
    from = x + 1;
  }
  return gaps;
};

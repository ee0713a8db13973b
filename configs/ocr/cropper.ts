/** Cuts the lines out of the page, turns them when the page lies upside down, and draws those wider that were hard to read. */
import { Tensor } from 'serve-daemon';
import { cutOut, type Raster, turnUpsideDown } from './crop.ts';
import { certaintyOf, type Steps } from './ctc.ts';
import { findPatches } from './db.ts';
import { halfTurn, type Rect } from './geometry.ts';
import { columnInk, gapsOf, PAPER } from './ink.ts';
import { type FoundLine, findLines } from './lines.ts';
import type { DetectView } from './page.ts';

export interface CutLine {
  /** In pixels of `DecodedPage.pixels`. */
  readonly rect: Rect;
  readonly withPage: boolean;
  /** Columns of the strip that show the page; behind them it is padding. */
  readonly width: number;
}

export interface Cut {
  readonly lines: readonly CutLine[];
  /** One per line: uint8 [1, 48, bucket, 3]. */
  readonly strips: readonly Tensor[];
  /** For the classifier: uint8 [1, 48, 192, 3]. */
  readonly samples: readonly Tensor[];
  /** Of each sample, which line it shows. */
  readonly sampled: readonly number[];
}

/** A cut, and for each sample what the classifier said: the probability that it stands on its head, [1]. */
export interface Voted extends Omit<Cut, 'samples'> {
  readonly votes: readonly { readonly turned: Tensor }[];
}

export interface UprightLine extends CutLine {
  /** One byte per column of the strip, 0: paper only, 255: as much contrast as the line has. */
  readonly ink: Uint8Array;
}

export interface Widened {
  /** Which lines they show; `ink` as in `UprightLine`. */
  readonly lines: readonly { readonly line: number; readonly ink: Uint8Array }[];
  readonly strips: readonly Tensor[];
}

/** Height of a strip, as the recognizer was trained. */
const HEIGHT = 48;
const SAMPLE_WIDTH = 192;
/** Strips are padded to multiples of it, so that strips of equal width meet in a batch. */
const BUCKET = 32;
const MIN_WIDTH = 64;
const MAX_WIDTH = 3200;
/** A page of texture must not fill the recognizer's queue; a full page of newspaper has some 500 lines. */
const MAX_LINES = 1000;
/** So many lines, the longest, say whether the page lies upside down. */
const VOTERS = 8;
/** The vote is clear when the mean is so far from one half. */
const CLEAR = 0.25;
/** Where it is not, so many lines are read both ways, those of about this width. */
const TRIALS = 3;
const TRIAL_WIDTH = 320;
/** Strips read with less certainty are read again, so many times as wide. */
const UNSURE = 0.93;
const WIDER = 1.15;
/** Columns of paper that part two lines; the widest spaces have some 40. */
const SPLIT_GAP = 54;
const END_GAP = 20;
const MARGIN = 6;
const PATCHES = { threshold: 0.3, minScore: 0.55, minPixels: 12 };
/** How far the core of a line is grown. */
const GROW = 1.8;
/** Pixels of the page. */
const MIN_LINE_HEIGHT = 5;

export class Cropper {
  cut({ pixels, view, text }: { pixels: Tensor; view: DetectView; text: Tensor }): Cut {
    const [, height = 0, width = 0] = text.shape;
    const patches = findPatches({ data: text.data as Uint8Array, width, height }, PATCHES).map((patch) => ({
      ...patch,
      outline: patch.outline.map(([x, y]) => [x - view.offset[0], y - view.offset[1]] as const),
    }));
    const { lines } = findLines(patches, [1 / view.scale[0], 1 / view.scale[1]], GROW, MIN_LINE_HEIGHT);
    const page = rasterOf(pixels);
    const cutLine = (line: FoundLine): { line: CutLine; strip: Raster } => {
      const width = widthOf(line.rect);
      return { line: { ...line, width }, strip: cutOut(page, line.rect, width, HEIGHT, bucketOf(width)) };
    };
    const cut = longest(lines)
      .map(cutLine)
      .flatMap((whole) => {
        const parts = splitAtGaps(whole.line, columnInk(whole.strip, whole.line.width));
        return parts[0] === whole.line ? [whole] : parts.map(cutLine);
      });
    const cuts = cut.map(({ line }) => line);
    const strips = cut.map(({ strip }) => strip);
    const samples = chooseVoters(cuts).flatMap((line) =>
      samplesOf(cuts[line] as CutLine, strips[line] as Raster).map((raster) => ({ line, raster })),
    );
    return {
      lines: cuts,
      strips: strips.map(tensorOf),
      samples: samples.map(({ raster }) => tensorOf(raster)),
      sampled: samples.map(({ line }) => line),
    };
  }

  /** Where the classifier is of two minds about the page: a few strips, each as it is and turned, for the recognizer to try. */
  doubt({ lines, strips, sampled, votes }: Voted): { tried: number[]; trials: Tensor[] } {
    const mean = meanVote({ lines, sampled, votes });
    if (mean === undefined || Math.abs(mean - 0.5) >= CLEAR) return { tried: [], trials: [] };
    const off = (line: number): number => Math.abs((lines[line]?.width ?? 0) - TRIAL_WIDTH);
    const voters = [...new Set(sampled)].filter((line) => lines[line]?.withPage).sort((a, b) => off(a) - off(b));
    const tried = voters.slice(0, TRIALS);
    const trials = tried.flatMap((line) => {
      const strip = strips[line] as Tensor;
      const turned = rasterOf(new Tensor('uint8', strip.shape, (strip.data as Uint8Array).slice()));
      turnUpsideDown(turned, lines[line]?.width ?? 0);
      return [strip, tensorOf(turned)];
    });
    return { tried, trials };
  }

  /** Turns the strips that read upside down. Lines along the page go all one way, by trial or vote; any other by its own vote. */
  turn({ lines, strips, sampled, votes, trials }: Voted & { trials: readonly Steps[] }): {
    lines: UprightLine[];
    strips: Tensor[];
  } {
    const trial = trials.reduce((sum, steps, i) => sum + (i % 2 === 0 ? -1 : 1) * certaintyOf(steps), 0);
    const pageTurned = trials.length > 0 ? trial > 0 : (meanVote({ lines, sampled, votes }) ?? 0) > 0.5;
    const upright = lines.map((line, i): UprightLine => {
      const raster = rasterOf(strips[i] as Tensor);
      const turned = line.withPage ? pageTurned : Number(votes[sampled.indexOf(i)]?.turned.data[0] ?? 0) > 0.5;
      if (turned) turnUpsideDown(raster, line.width);
      return { ...line, rect: turned ? halfTurn(line.rect) : line.rect, ink: columnInk(raster, line.width) };
    });
    return { lines: upright, strips: [...strips] };
  }

  /** Strips read with little certainty, drawn wider: narrow letters lose less that way. */
  widen({ lines, strips, read }: { lines: readonly UprightLine[]; strips: readonly Tensor[]; read: readonly Steps[] }): Widened {
    const widened: { line: number; ink: Uint8Array }[] = [];
    const wider = lines.flatMap(({ width }, line) => {
      const target = Math.round(width * WIDER);
      if (certaintyOf(read[line] as Steps) >= UNSURE || target > MAX_WIDTH) return [];
      const whole = { x: width / 2, y: HEIGHT / 2, along: width, across: HEIGHT, angle: 0 };
      const strip = cutOut(rasterOf(strips[line] as Tensor), whole, target, HEIGHT, bucketOf(target));
      widened.push({ line, ink: columnInk(strip, target) });
      return [tensorOf(strip)];
    });
    return { lines: widened, strips: wider };
  }
}

/** Mean probability that the lines along the page stand on their heads; undefined without such lines. */
const meanVote = ({ lines, sampled, votes }: Omit<Voted, 'strips'>): number | undefined => {
  const values = votes.flatMap(({ turned }, i) => (lines[sampled[i] ?? -1]?.withPage ? [Number(turned.data[0])] : []));
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
};

/** [1, height, width, 3] and back. */
const rasterOf = ({ data, shape }: Tensor): Raster => ({ data: data as Uint8Array, width: shape[2] ?? 0, height: shape[1] ?? 0 });

const tensorOf = ({ data, width, height }: Raster): Tensor => new Tensor('uint8', [1, height, width, 3], data);

/**
 * The detector joins what lies side by side with a gap that no space has, such as cells of a table; each part is a line.
 * Paper at the ends is cut off, too: what seems to touch the next column would be joined to it.
 */
const splitAtGaps = (line: CutLine, ink: Uint8Array): FoundLine[] => {
  const gaps = gapsOf(ink, PAPER, END_GAP).filter(({ from, to }) => from === 0 || to === line.width || to - from >= SPLIT_GAP);
  const [first, last] = [gaps[0], gaps.at(-1)];
  const start = first?.from === 0 ? first.to : MARGIN;
  const end = last?.to === line.width ? last.from : line.width - MARGIN;
  const between = gaps.filter(({ from, to }) => from > 0 && to < line.width);
  if (start > end || (start === MARGIN && end === line.width - MARGIN && between.length === 0)) return [line];
  const scale = line.rect.along / line.width;
  const [cos, sin] = [Math.cos(line.rect.angle), Math.sin(line.rect.angle)];
  return [start, ...between.map(({ to }) => to)].map((from, i) => {
    const [left, right] = [from - MARGIN, (between[i]?.from ?? end) + MARGIN];
    const off = ((left + right) / 2 - line.width / 2) * scale;
    return {
      ...line,
      rect: { ...line.rect, x: line.rect.x + off * cos, y: line.rect.y + off * sin, along: (right - left) * scale },
    };
  });
};

/** In their old order. */
const longest = (lines: readonly FoundLine[]): readonly FoundLine[] => {
  if (lines.length <= MAX_LINES) return lines;
  const least = lines.map(({ rect }) => rect.along).sort((a, b) => b - a)[MAX_LINES] ?? 0;
  return lines.filter(({ rect }) => rect.along > least);
};

const widthOf = ({ along, across }: Rect): number => Math.min(MAX_WIDTH, Math.max(8, Math.round((HEIGHT * along) / across)));

const bucketOf = (width: number): number => Math.max(MIN_WIDTH, Math.ceil(width / BUCKET) * BUCKET);

/** Every line beside the page's direction, and the longest of the others. */
const chooseVoters = (lines: readonly CutLine[]): number[] => {
  const byWidth = lines.map((_, i) => i).sort((a, b) => (lines[b]?.width ?? 0) - (lines[a]?.width ?? 0));
  const voters = byWidth.filter((i) => lines[i]?.withPage).slice(0, VOTERS);
  return [...voters, ...byWidth.filter((i) => !lines[i]?.withPage)];
};

/** All of a short strip; of a long one its start, and twice as much of its middle at half the width. */
const samplesOf = (line: CutLine, strip: Raster): Raster[] => {
  const part = (x: number, along: number): Raster =>
    cutOut(strip, { x, y: HEIGHT / 2, along, across: HEIGHT, angle: 0 }, Math.min(along, SAMPLE_WIDTH), HEIGHT, SAMPLE_WIDTH);
  if (line.width <= SAMPLE_WIDTH) return [part(line.width / 2, line.width)];
  return [part(SAMPLE_WIDTH / 2, SAMPLE_WIDTH), part(line.width / 2, Math.min(line.width, 2 * SAMPLE_WIDTH))];
};

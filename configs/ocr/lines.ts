/** Makes boxes of lines out of the detector's patches: which way the page is read, and one rectangle per line in that direction. */
import { grow, type Patch } from './db.ts';
import { cornersOf, foldAngle, minAreaRect, type Point, quarterTurn, type Rect, rectAt, weightedMedian } from './geometry.ts';

/** A line as found, before anyone knows whether the page stands on its head. */
export interface FoundLine {
  readonly rect: Rect;
  /** Reads in the direction of the page's other lines; else it runs up or down beside them. */
  readonly withPage: boolean;
}

export interface FoundLines {
  readonly lines: readonly FoundLine[];
  /** Direction of reading of the page up to half a turn, in [-π/4, 3π/4). */
  readonly angle: number;
}

/** A core at least so many times as long as it is thick tells its direction by its own shape. */
const TELLING = 3;
/** A rectangle in the page's direction that is larger than the smallest by less than this is as good. */
const NEARLY = 1.1;
const ROUGHLY = 1.4; // where the shape says little
/** A line across the page's direction must be so many times as long as it is thick; single letters are tall, too. */
const CROSSWISE = 2.5;

/**
 * @param scale       pixels of the page for one of the map, [x, y]
 * @param growRatio   how far cores are grown, see `grow`
 * @param minHeight   lines less high are dropped, pixels of the page
 */
export const findLines = (patches: readonly Patch[], scale: Point, growRatio: number, minHeight: number): FoundLines => {
  const cores = patches.map(({ outline }) => {
    const points = outline.map(([x, y]): Point => [x * scale[0], y * scale[1]]);
    return { points, rect: minAreaRect(points) };
  });
  const telling = cores.map(({ rect }) => longSide(rect)).filter((rect) => rect.along >= TELLING * rect.across);
  const sideways = sum(telling, (rect) => (upDown(rect.angle) ? rect.along : -rect.along)) > 0;
  const slants = telling.filter((rect) => upDown(rect.angle) === sideways);
  const slant = weightedMedian(slants.map((rect) => ({ value: foldAngle(rect.angle, Math.PI / 2), weight: rect.along }))) ?? 0;
  const isStraight = sum(slants, (rect) => areaOf(rectAt(cornersOf(rect), 0))) <= NEARLY * sum(slants, areaOf);
  const straight = isStraight ? 0 : slant;
  const angle = straight + (sideways ? Math.PI / 2 : 0);

  const lines: GrownLine[] = [];
  for (const { points, rect } of cores) {
    const paged = rectAt(points, foldAngle(angle, Math.PI / 2));
    const own = longSide(rect);
    const slack = own.along >= TELLING * own.across ? NEARLY : ROUGHLY;
    const core = turnedTo(areaOf(paged) <= slack * areaOf(rect) ? paged : rect, angle);
    const grown = grow(core, growRatio);
    const crosswise = grown.across > CROSSWISE * grown.along;
    const line = crosswise
      ? { core: quarterTurn(core), rect: quarterTurn(grown), withPage: false }
      : { core, rect: grown, withPage: true };
    if (line.rect.across >= minHeight && line.rect.along >= minHeight / 2) lines.push(line);
  }
  return { lines: keepApart(lines).map(({ rect, withPage }) => ({ rect, withPage })), angle };
};

interface GrownLine extends FoundLine {
  readonly core: Rect;
}

/** Ends lines half-way to the next core of their row: grown over it, a line would show the other's letters. */
const keepApart = (lines: readonly GrownLine[]): GrownLine[] =>
  lines.map((line) => {
    const { core, rect } = line;
    const [cos, sin] = [Math.cos(core.angle), Math.sin(core.angle)];
    let [start, end] = [-rect.along / 2, rect.along / 2];
    for (const other of lines) {
      const [dx, dy] = [other.core.x - core.x, other.core.y - core.y];
      const [along, across] = [dx * cos + dy * sin, dy * cos - dx * sin];
      if (other === line || other.withPage !== line.withPage || Math.abs(across) > (core.across + other.core.across) / 4)
        continue;
      const free = Math.abs(along) - (core.along + other.core.along) / 2;
      const room = core.along / 2 + free / 2;
      if (free > 0 && along > 0) end = Math.min(end, room);
      if (free > 0 && along < 0) start = Math.max(start, -room);
    }
    const middle = (start + end) / 2;
    return { ...line, rect: { ...rect, x: rect.x + middle * cos, y: rect.y + middle * sin, along: end - start } };
  });

const areaOf = ({ along, across }: Rect): number => along * across;

const longSide = (rect: Rect): Rect => (rect.along >= rect.across ? rect : quarterTurn(rect));

/** Reads up or down rather than across, give or take 45°. */
const upDown = (angle: number): boolean => Math.abs(Math.sin(angle)) > Math.SQRT1_2;

/** The same rectangle, its side nearest to the direction `angle` named `along`. */
const turnedTo = (rect: Rect, angle: number): Rect => {
  const off = foldAngle(angle - rect.angle, Math.PI);
  return Math.abs(off) <= Math.PI / 4 ? rect : quarterTurn(rect);
};

const sum = <T>(items: readonly T[], of: (item: T) => number): number => items.reduce((total, item) => total + of(item), 0);

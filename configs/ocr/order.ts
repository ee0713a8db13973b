/** Puts lines in the order of reading: bands from the top down, in each band columns from the left, in each column its rows. */
import { cornersOf, type Point, type Rect, rectAt } from './geometry.ts';

export interface ReadLine {
  readonly text: string;
  readonly confidence: number;
  /** Its angle is the direction in which it is read. */
  readonly rect: Rect;
  /** Reads in the direction of the page; others, such as a note along the margin, come last. */
  readonly withPage: boolean;
}

/** A line's extent on the page turned upright. */
interface Box {
  readonly line: ReadLine;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** A gap between columns is at least so many line heights wide. */
const COLUMN_GAP = 0.9;
/** Parts of one row that lie less than so many line heights apart are one line. */
const SAME_LINE_GAP = 0.9;
/** Lines of running text are at least so many times as long as high, at the median; cells of a table are not. */
const RUNNING_TEXT = 5;

/** @param angle direction of reading of the page, radians */
export const readingOrder = (lines: readonly ReadLine[], angle: number): ReadLine[] => {
  const boxes = lines.filter(({ withPage }) => withPage).map((line) => boxAt(line, angle));
  const beside = lines.filter(({ withPage }) => !withPage).map((line) => boxAt(line, angle));
  const rows = orderBlock(boxes);
  return [
    ...rows.flatMap((row) => joinRow(row, angle)),
    ...beside.sort((a, b) => a.left - b.left || a.top - b.top).map(({ line }) => line),
  ];
};

const boxAt = (line: ReadLine, angle: number): Box => {
  const { x, y, along, across } = rectAt(cornersOf(line.rect), angle);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const [u, v] = [x * cos + y * sin, y * cos - x * sin];
  return { line, left: u - along / 2, right: u + along / 2, top: v - across / 2, bottom: v + across / 2 };
};

/** Rows of a block in order; columns are found where a run of rows leaves the same gap free. */
const orderBlock = (boxes: readonly Box[]): Box[][] => {
  const rows = rowsOf(boxes);
  const ordered: Box[][] = [];
  for (let from = 0; from < rows.length; ) {
    const { to, columns } = longestColumns(rows, from);
    if (columns) for (const column of columns) ordered.push(...orderBlock(column));
    else ordered.push(...splitRow(rows[from] as Box[]));
    from = to;
  }
  return ordered;
};

/** The most rows from `from` on that fall into columns together; one row when none do. */
const longestColumns = (rows: readonly Box[][], from: number): { to: number; columns?: Box[][] } => {
  let best: { to: number; columns?: Box[][] } = { to: from + 1 };
  const block: Box[] = [];
  for (let to = from; to < rows.length; to++) {
    block.push(...(rows[to] as Box[]));
    const parts = partsOf(block);
    if (parts.length < 2 && to > from) break;
    const columns = joinCells(parts);
    if (columns.length > 1) best = { to: to + 1, columns };
  }
  return best;
};

/** Joins parts side by side that are read across, such as the columns of a table. */
const joinCells = (parts: readonly Box[][]): Box[][] => {
  const columns: Box[][] = [];
  for (const part of parts) {
    const last = columns.at(-1);
    if (last && !areColumns(last, part)) last.push(...part);
    else columns.push([...part]);
  }
  return columns;
};

/** Clusters along one axis: boxes whose cores overlap, however many others lie between. */
const clusters = (boxes: readonly Box[], start: (box: Box) => number, end: (box: Box) => number, leastGap: number): Box[][] => {
  const sorted = [...boxes].sort((a, b) => start(a) - start(b));
  const found: Box[][] = [];
  let reach = -Infinity;
  for (const box of sorted) {
    if (start(box) - reach >= leastGap || found.length === 0) found.push([box]);
    else found.at(-1)?.push(box);
    reach = Math.max(reach, end(box));
  }
  return found;
};

const heightOf = (box: Box): number => box.bottom - box.top;

/** Rows overlap little once a quarter is taken off above and below. */
const rowsOf = (boxes: readonly Box[]): Box[][] =>
  clusters(
    boxes,
    (box) => box.top + 0.25 * heightOf(box),
    (box) => box.bottom - 0.25 * heightOf(box),
    0,
  );

const partsOf = (boxes: readonly Box[]): Box[][] =>
  clusters(
    boxes,
    (box) => box.left,
    (box) => box.right,
    COLUMN_GAP * medianOf(boxes.map(heightOf)),
  );

/** Whether two parts side by side are read one after the other: at least two rows each, and running text, or rows that do not line up. */
const areColumns = (a: readonly Box[], b: readonly Box[]): boolean => {
  if (rowsOf(a).length < 2 || rowsOf(b).length < 2) return false;
  const isRunning = (part: readonly Box[]): boolean =>
    medianOf(part.map((box) => (box.right - box.left) / heightOf(box))) >= RUNNING_TEXT;
  return (isRunning(a) && isRunning(b)) || alignment(a, b) < 0.5;
};

/** Of the fewer boxes, the share that has one beside it at the same height. */
const alignment = (a: readonly Box[], b: readonly Box[]): number => {
  const [few, many] = a.length <= b.length ? [a, b] : [b, a];
  const middle = (box: Box): number => (box.top + box.bottom) / 2;
  const beside = few.filter((box) => many.some((other) => Math.abs(middle(box) - middle(other)) < 0.25 * heightOf(box)));
  return beside.length / few.length;
};

/** One row, left to right; a row that is several lines beside something tall, by the lines' own heights. */
const splitRow = (row: readonly Box[]): Box[][] => {
  const left: Box[] = [...row].sort((a, b) => a.top + a.bottom - b.top - b.bottom);
  const rows: Box[][] = [];
  for (const box of left) {
    const fits = rows.find((other) =>
      other.every(
        (member) =>
          overlap(member, box) > 0.5 &&
          (member.right <= box.left + heightOf(box) / 2 || box.right <= member.left + heightOf(box) / 2),
      ),
    );
    if (fits) fits.push(box);
    else rows.push([box]);
  }
  return rows.map((members) => members.sort((a, b) => a.left - b.left));
};

/** Of the lower one's height, the part at the same height as the other. */
const overlap = (a: Box, b: Box): number =>
  (Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)) / Math.min(heightOf(a), heightOf(b));

/** Joins neighbours in a row that the detector took apart. */
const joinRow = (row: readonly Box[], angle: number): ReadLine[] => {
  const joined: Box[] = [];
  for (const box of row) {
    const last = joined.at(-1);
    const near = last && box.left - last.right < SAME_LINE_GAP * Math.min(heightOf(last), heightOf(box)) && alike(last, box);
    if (near) joined[joined.length - 1] = join(last, box, angle);
    else joined.push(box);
  }
  return joined.map(({ line }) => line);
};

const alike = (a: Box, b: Box): boolean => Math.max(heightOf(a), heightOf(b)) < 1.6 * Math.min(heightOf(a), heightOf(b));

const join = (a: Box, b: Box, angle: number): Box => {
  const corners: Point[] = [...cornersOf(a.line.rect), ...cornersOf(b.line.rect)];
  const [m, n] = [a.line.text.length, b.line.text.length];
  const line: ReadLine = {
    text: `${a.line.text} ${b.line.text}`,
    confidence: (m * a.line.confidence + n * b.line.confidence) / (m + n),
    rect: rectAt(corners, angle),
    withPage: true,
  };
  return boxAt(line, angle);
};

const medianOf = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

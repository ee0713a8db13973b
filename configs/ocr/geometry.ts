/** Points, turned rectangles and the smallest of them around a set of points. Pixels; x to the right, y down; angles in radians, clockwise on screen. */

export type Point = readonly [x: number, y: number];

/** A rectangle whose `along` side points in direction `angle` (the direction of reading) and whose `across` side points 90° clockwise of it (down the page). */
export interface Rect {
  readonly x: number;
  readonly y: number;
  readonly along: number;
  readonly across: number;
  readonly angle: number;
}

/** Clockwise from the corner where reading begins at the top: top left, top right, bottom right, bottom left. */
export type Quad = readonly [Point, Point, Point, Point];

/** Convex hull by Andrew's monotone chain, without collinear points. @param points at least one; the array is sorted in place */
export const hull = (points: Point[]): Point[] => {
  points.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const half = (ordered: Iterable<Point>): Point[] => {
    const chain: Point[] = [];
    for (const point of ordered) {
      for (
        let last = chain.at(-1), before = chain.at(-2);
        last && before && turn(before, last, point) <= 0;
        last = chain.at(-1), before = chain.at(-2)
      )
        chain.pop();
      chain.push(point);
    }
    chain.pop();
    return chain;
  };
  return points.length < 3 ? points : [...half(points), ...half(points.slice().reverse())];
};

const turn = (a: Point, b: Point, c: Point): number => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);

/** The rectangle of direction `angle` around points. */
export const rectAt = (points: readonly Point[], angle: number): Rect => {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  let [minU, maxU, minV, maxV] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const [x, y] of points) {
    const u = x * cos + y * sin;
    const v = y * cos - x * sin;
    if (u < minU) minU = u;
    if (u > maxU) maxU = u;
    if (v < minV) minV = v;
    if (v > maxV) maxV = v;
  }
  const [u, v] = [(minU + maxU) / 2, (minV + maxV) / 2];
  return { x: u * cos - v * sin, y: u * sin + v * cos, along: maxU - minU, across: maxV - minV, angle };
};

/** The rectangle of least area around a convex polygon; one of its sides lies on a side of the polygon. Its angle is in [-π/4, π/4). */
export const minAreaRect = (polygon: readonly Point[]): Rect => {
  let best = rectAt(polygon, 0);
  polygon.forEach(([x, y], i) => {
    const [nextX, nextY] = polygon[(i + 1) % polygon.length] ?? [x, y];
    const rect = rectAt(polygon, foldAngle(Math.atan2(nextY - y, nextX - x), Math.PI / 2));
    if (rect.along * rect.across < best.along * best.across) best = rect;
  });
  return best;
};

/** The angle in [-period/2, period/2) that differs from `angle` by a multiple of `period`. */
export const foldAngle = (angle: number, period: number): number => angle - period * Math.floor(angle / period + 0.5);

/** The same place read in a direction a quarter turn clockwise of the old one. */
export const quarterTurn = (rect: Rect): Rect => ({
  ...rect,
  along: rect.across,
  across: rect.along,
  angle: rect.angle + Math.PI / 2,
});

/** The same place read from its other end. */
export const halfTurn = (rect: Rect): Rect => ({ ...rect, angle: rect.angle + Math.PI });

export const cornersOf = ({ x, y, along, across, angle }: Rect): Quad => {
  const [cos, sin] = [Math.cos(angle) / 2, Math.sin(angle) / 2];
  const corner = (u: number, v: number): Point => [
    x + u * along * cos - v * across * sin,
    y + u * along * sin + v * across * cos,
  ];
  return [corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1)];
};

/** The middle value when every value counts as often as its weight says; undefined for an empty list. */
export const weightedMedian = (values: readonly { readonly value: number; readonly weight: number }[]): number | undefined => {
  const sorted = [...values].sort((a, b) => a.value - b.value);
  let rest = sorted.reduce((sum, { weight }) => sum + weight, 0) / 2;
  for (const { value, weight } of sorted) {
    rest -= weight;
    if (rest <= 0) return value;
  }
  return undefined;
};

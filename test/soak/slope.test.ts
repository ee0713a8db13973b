import t from 'tap';
import { type Point, quartersOf, seriesText, slopeOf } from './slope.ts';

const line = (count: number, slope: number): Point[] => Array.from({ length: count }, (_, x) => [x, 100 + slope * x]);

t.test('the slope is that of the line, whatever a few points say', async (t) => {
  t.equal(slopeOf(line(50, 0.5)), 0.5);
  t.equal(slopeOf(line(50, 0)), 0);
  const odd = line(50, 0.5).map(([x, y], index): Point => (index % 10 === 3 ? [x, y + 1000] : [x, y]));
  t.ok(Math.abs(slopeOf(odd) - 0.5) < 0.05, String(slopeOf(odd)));
  t.ok(Math.abs(slopeOf(line(5000, 0.25)) - 0.25) < 1e-9, 'of many points some are taken');
});

t.test('points at one place, and none, have no slope', async (t) => {
  t.equal(slopeOf([]), 0);
  t.equal(
    slopeOf([
      [1, 5],
      [1, 9],
    ]),
    0,
  );
});

t.test('quarters and the series are told', async (t) => {
  t.same(quartersOf(line(8, 1)), { first: 100.5, last: 106.5 });
  t.equal(seriesText(line(8, 1), 4), '100 102 104 106');
  t.equal(seriesText(line(2, 1), 4), '100 101');
});

import { Tensor } from 'serve-daemon';
import t, { type Test } from 'tap';
import { cutOut, turnUpsideDown } from '../../configs/ocr/crop.ts';
import { Cropper } from '../../configs/ocr/cropper.ts';
import { decodeSteps, type Letter, type Steps } from '../../configs/ocr/ctc.ts';
import { findPatches, grow } from '../../configs/ocr/db.ts';
import {
  cornersOf,
  foldAngle,
  hull,
  minAreaRect,
  type Point,
  type Rect,
  rectAt,
  weightedMedian,
} from '../../configs/ocr/geometry.ts';
import { columnInk, widestGap } from '../../configs/ocr/ink.ts';
import { type ReadLine, readingOrder } from '../../configs/ocr/order.ts';
import { splitWords } from '../../configs/ocr/spaces.ts';
import { narrow, spell } from '../../configs/ocr/text.ts';
import { guessTextHeight } from '../../configs/ocr/text-height.ts';

const near = (t: Test, found: Rect, wanted: Rect): void => {
  for (const key of ['x', 'y', 'along', 'across', 'angle'] as const)
    t.ok(Math.abs(found[key] - wanted[key]) < 1e-6, `${key}: ${found[key]} is ${wanted[key]}`);
};

t.test('the smallest rectangle around the corners of a turned one is that one', (t) => {
  for (const angle of [-0.7, -0.1, 0, 0.3, 0.78]) {
    const rect = { x: 50, y: 20, along: 80, across: 10, angle };
    near(t, minAreaRect(hull([...cornersOf(rect), [50, 20]])), rect);
  }
  t.end();
});

t.test('a hull has the outer points only, also of points on one line', (t) => {
  const square: Point[] = [
    [0, 0],
    [2, 0],
    [1, 1],
    [2, 2],
    [0, 2],
    [1, 0],
  ];
  t.equal(hull(square).length, 4);
  t.equal(
    hull([
      [0, 0],
      [1, 1],
      [2, 2],
    ]).length,
    2,
  );
  t.end();
});

t.test('angles fold into one period, and a median follows the weights', (t) => {
  t.equal(foldAngle(0.25 + 3, 1), 0.25);
  t.equal(foldAngle(0.5, 1), -0.5);
  t.equal(
    weightedMedian([
      { value: 1, weight: 1 },
      { value: 5, weight: 9 },
    ]),
    5,
  );
  t.equal(weightedMedian([]), undefined);
  t.end();
});

t.test('patches of the map that touch at a corner are one, a faint one is none', (t) => {
  const rows = ['99..........', '..99....55..', '..99....55..', '9...........'];
  const data = Uint8Array.from(rows.join(''), (mark) => (mark === '.' ? 0 : Number(mark) * 28));
  const patches = findPatches({ data, width: 12, height: 4 }, { threshold: 0.3, minScore: 0.7, minPixels: 2 });
  t.equal(patches.length, 1);
  const rect = rectAt(patches[0]?.outline ?? [], 0);
  t.match(rect, { x: 2, y: 1.5, along: 4, across: 3 });
  t.ok(Math.abs((patches[0]?.score ?? 0) - 252 / 255) < 1e-6);
  t.end();
});

t.test('runs that meet only further down are one patch', (t) => {
  const rows = ['9.9.9', '9.9.9', '99999'];
  const data = Uint8Array.from(rows.join(''), (mark) => (mark === '.' ? 0 : 255));
  t.equal(findPatches({ data, width: 5, height: 3 }, { threshold: 0.3, minScore: 0.5, minPixels: 1 }).length, 1);
  t.end();
});

t.test('a core grows by the same length on all sides', (t) => {
  t.match(grow({ x: 0, y: 0, along: 30, across: 10, angle: 0 }, 2), { along: 45, across: 25 });
  t.end();
});

t.test('a strip shows the rectangle upright, and upside down after half a turn', (t) => {
  const data = Uint8Array.from({ length: 4 * 3 * 3 }, (_, i) => Math.floor(i / 3) * 10);
  const page = { data, width: 4, height: 3 };
  const strip = cutOut(page, { x: 2, y: 1.5, along: 4, across: 3, angle: 0 }, 4, 3, 5);
  const red = (raster: { data: Uint8Array }): number[] => [...raster.data].filter((_, i) => i % 3 === 0);
  t.same(red(strip), [0, 10, 20, 30, 128, 40, 50, 60, 70, 128, 80, 90, 100, 110, 128]);
  turnUpsideDown(strip, 4);
  t.same(red(strip), [110, 100, 90, 80, 128, 70, 60, 50, 40, 128, 30, 20, 10, 0, 128]);
  const quarter = cutOut(page, { x: 2, y: 1.5, along: 3, across: 4, angle: Math.PI / 2 }, 3, 4, 3);
  t.same(red(quarter), [30, 70, 110, 20, 60, 100, 10, 50, 90, 0, 40, 80]);
  t.end();
});

t.test('columns of ink are found in any colours', (t) => {
  for (const [ink, paper] of [
    [0, 255],
    [200, 90],
  ] as const) {
    const data = new Uint8Array(48 * 40 * 3).fill(paper);
    for (let row = 15; row < 30; row++)
      for (const x of [2, 3, 4, 5, 30, 31, 32]) data.fill(ink, (row * 40 + x) * 3, (row * 40 + x) * 3 + 3);
    const columns = columnInk({ data, width: 40, height: 48 }, 40);
    t.equal(columns[3], 255);
    t.equal(columns[10], 0);
    t.equal(widestGap(columns, 3, 31, 70), 24);
  }
  t.end();
});

const steps = (index: number[], space = index.map(() => 0)): Steps => ({
  index: new Tensor('int32', [1, index.length], Int32Array.from(index)),
  probability: new Tensor('float32', [1, index.length], new Float32Array(index.length).fill(0.75)),
  space: new Tensor('float32', [1, index.length], Float32Array.from(space)),
});

t.test('a class said in steps on end is one character, said again after none it is two', (t) => {
  const letters = decodeSteps(steps([0, 1, 1, 0, 1, 2, 0]), ['a', 'b']);
  t.same(
    letters.map(({ text, column }) => [text, column]),
    [
      ['a', 16],
      ['a', 36],
      ['b', 44],
    ],
  );
  t.end();
});

const letter = (text: string, column: number, probability = 0.99): Letter => ({ text, column, probability });

t.test('words part where there is much paper, or some and a hint of the recognizer', (t) => {
  const ink = new Uint8Array(240).fill(255);
  const letters = [...'abcdefgh'].map((text, i) => letter(text, 16 + 24 * i));
  [2, 18, 9, 9, 2, 2, 2].forEach((columns, i) => {
    ink.fill(0, 20 + 24 * i, 20 + 24 * i + columns);
  });
  const space = Array.from({ length: 25 }, () => 0);
  space[12] = 0.2; // between d and e; c and d have as much paper
  const words = splitWords(
    letters,
    steps(
      space.map(() => 0),
      space,
    ),
    ink,
  );
  t.same(
    words.map((word) => word.map(({ text }) => text).join('')),
    ['ab', 'cd', 'efgh'],
  );
  t.end();
});

t.test('wide marks become narrow unless the line has a wide script', (t) => {
  const texts = (letters: Letter[]): string => letters.map(({ text }) => text).join('');
  t.equal(texts(narrow([letter('a', 0), letter('，', 8)])), 'a,');
  t.equal(texts(narrow([letter('中', 0), letter('，', 8)])), '中，');
  t.end();
});

t.test('only an unsure character takes the kind of its neighbours', (t) => {
  const word = (text: string, unsure: number): string =>
    spell([...text].map((each, i) => letter(each, 8 * i, i === unsure ? 0.6 : 0.99)));
  t.equal(word('9o', 1), '90');
  t.equal(word('0nly', 0), 'Only');
  t.equal(word('s0on', 1), 'soon');
  t.equal(word('9o', 0), '9o');
  t.equal(word('H20', 2), 'H20');
  t.end();
});

const at = (text: string, left: number, top: number, width: number, height = 10): ReadLine => ({
  text,
  confidence: 1,
  rect: { x: left + width / 2, y: top + height / 2, along: width, across: height, angle: 0 },
  withPage: true,
});
const order = (lines: ReadLine[]): string[] => readingOrder(lines, 0).map(({ text }) => text);

t.test('columns of running text are read one after the other, under a heading over both', (t) => {
  const page = [at('H', 0, 0, 210, 14)];
  for (let row = 0; row < 3; row++) page.push(at(`b${row}`, 110, 20 + 12 * row, 100), at(`a${row}`, 0, 20 + 12 * row, 95 - row));
  page.push(at('F', 0, 80, 210));
  t.same(order(page), ['H', 'a0', 'a1', 'a2', 'b0', 'b1', 'b2', 'F']);
  t.end();
});

t.test('a table is read row by row', (t) => {
  const rows = ['tea', 'milk', 'bread'].flatMap((name, row) => [at(`${row}.00`, 200, 20 * row, 30), at(name, 0, 20 * row, 40)]);
  t.same(order(rows), ['tea', '0.00', 'milk', '1.00', 'bread', '2.00']);
  t.end();
});

t.test('parts of one line become one line, from its first corner to its last', (t) => {
  const [joined] = readingOrder([at('world', 66, 0, 50), at('hello', 0, 1, 60)], 0);
  t.match(joined, { text: 'hello world', rect: { along: 116, across: 11 } });
  t.end();
});

t.test('a page upside down is ordered from its own top', (t) => {
  const turned = [at('last', 0, 0, 100), at('first', 0, 20, 100)].map((line) => ({
    ...line,
    rect: { ...line.rect, angle: Math.PI },
  }));
  t.same(
    readingOrder(turned, Math.PI).map(({ text }) => text),
    ['first', 'last'],
  );
  t.end();
});

t.test('the height of letters is guessed from bands of rows, in any colours; a blank page has none', (t) => {
  const data = new Uint8Array(64 * 100 * 3).fill(40);
  for (let y = 0; y < 100; y++)
    for (let x = 0; x < 64; x++) if (y % 25 < 9 && x % 6 < 3) data.fill(220, (y * 64 + x) * 3, (y * 64 + x) * 3 + 3);
  t.equal(guessTextHeight({ data, width: 64, height: 100 }), 9);
  t.equal(guessTextHeight({ data: data.fill(255), width: 64, height: 100 }), undefined);
  t.end();
});

t.test('lines are tried both ways only where the classifier is in doubt, and the surer way counts', (t) => {
  const line = { rect: at('', 0, 0, 60).rect, withPage: true, width: 60 };
  const strip = new Tensor('uint8', [1, 48, 64, 3], new Uint8Array(48 * 64 * 3));
  const cut = { lines: [line], strips: [strip], sampled: [0] };
  const vote = (turned: number) => [{ turned: new Tensor('float32', [1], Float32Array.of(turned)) }];
  const cropper = new Cropper();
  t.same(cropper.doubt({ ...cut, votes: vote(0.9) }).trials, []);
  t.equal(cropper.doubt({ ...cut, votes: vote(0.4) }).trials.length, 2);
  const [sure, unsure] = [steps([1, 1]), { ...steps([1, 1]), probability: new Tensor('float32', [1, 2], new Float32Array(2)) }];
  const angleOf = (votes: number, trials: Steps[]): number | undefined =>
    cropper.turn({ ...cut, votes: vote(votes), trials }).lines[0]?.rect.angle;
  t.equal(angleOf(0.9, []), Math.PI);
  t.equal(angleOf(0.4, [unsure, sure]), Math.PI);
  t.equal(angleOf(0.6, [sure, unsure]), 0);
  t.end();
});

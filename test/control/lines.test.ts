import t from 'tap';
import { LineSplitter } from '../../src/control/lines.ts';

const splitter = () => {
  const lines: string[] = [];
  const clock = { now: 0 };
  return {
    lines,
    clock,
    splitter: new LineSplitter(
      (line) => lines.push(line),
      () => clock.now,
    ),
  };
};

t.test('lines come whole, however they were cut, with or without a carriage return', async (t) => {
  const { lines, splitter: each } = splitter();
  for (const byte of Buffer.from('eins\r\nzwö\n\ndrei')) each.push(Buffer.of(byte));
  t.same(lines, ['eins', 'zwö', '']);
  each.end();
  t.same(lines.at(-1), 'drei');
});

t.test('a line without an end does not grow for ever', async (t) => {
  const { lines, splitter: each } = splitter();
  for (let count = 0; count < 100; count++) each.push(Buffer.alloc(1000, 'x'));
  t.ok(lines.length > 5);
  t.ok(lines.every((line) => line.length <= 8193 + 1000));
});

t.test('a line that is too long is cut', async (t) => {
  const { lines, splitter: each } = splitter();
  each.push(Buffer.from(`${'x'.repeat(20_000)}\n`));
  t.equal(lines[0]?.length, 8193);
});

t.test('a thousand lines a second are kept, the rest is counted', async (t) => {
  const { lines, clock, splitter: each } = splitter();
  for (let count = 0; count < 1500; count++) each.push(Buffer.from(`${count}\n`));
  t.equal(lines.length, 1000);
  clock.now = 1000;
  each.push(Buffer.from('later\n'));
  t.same(lines.slice(1000), ['(500 more lines were not kept: at most 1000 a second are)', 'later']);
});

t.test('what was not kept is told at the end too', async (t) => {
  const { lines, splitter: each } = splitter();
  each.push(Buffer.from('x\n'.repeat(1001)));
  each.end();
  t.match(lines.at(-1), /^\(1 more lines/);
});

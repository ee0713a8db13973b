import fc from 'fast-check';
import t from 'tap';
import { fit, Screen, widthOf } from '../../src/telemetry/screen.ts';
import { FakeTerminal } from '../support/fake-terminal.ts';

const screenOn = (columns: number, rows: number) => {
  const terminal = new FakeTerminal(columns, rows);
  const screen = new Screen(
    // A terminal begins a line at its left where the program ends one.
    (text) => terminal.feed(text.replaceAll('\n', '\r\n')),
    () => terminal,
  );
  return { terminal, screen };
};

t.test('lines pass above what is drawn, and nothing of an older drawing stays', async (t) => {
  const { terminal, screen } = screenOn(40, 10);
  screen.print('before\n');
  screen.draw(['a starts', 'b starts', 'waiting']);
  screen.print('a line of the log\n');
  screen.draw(['a is ready', 'b starts']);
  screen.print(`a long line ${'x'.repeat(60)}\nanother\n`);
  t.same(terminal.lines, [
    'before',
    'a line of the log',
    `a long line ${'x'.repeat(28)}`,
    'x'.repeat(32),
    'another',
    'a is ready',
    'b starts',
  ]);
  screen.draw(['all ready']);
  screen.leave();
  screen.print('after\n');
  screen.draw(['anew']);
  t.same(terminal.lines.slice(-3), ['all ready', 'after', 'anew']);
  t.same(terminal.unknown, []);
});

t.test('what has not changed is not drawn again', async (t) => {
  let written = '';
  const screen = new Screen(
    (text) => {
      written += text;
    },
    () => ({ columns: 80, rows: 24 }),
  );
  screen.draw(['one', 'two']);
  const before = written;
  screen.draw(['one', 'two']);
  t.equal(written, before);
});

t.test('a terminal that has become narrower has wrapped what was drawn', async (t) => {
  let [written, columns] = ['', 40];
  const screen = new Screen(
    (text) => {
      written += text;
    },
    () => ({ columns, rows: 24 }),
  );
  screen.draw(['x'.repeat(39), 'y']);
  columns = 20;
  written = '';
  screen.draw(['z']);
  t.equal(written, '\r\x1b[3A\x1b[Jz\n');
});

t.test('whatever is printed and drawn, what was printed is all there, in order, with the last drawing below it', async (t) => {
  const line = fc.string({
    minLength: 1,
    maxLength: 19,
    unit: fc.constantFrom('a', 'b', ' ', '.', 'é').filter((c) => c !== ' '),
  });
  const step = fc.oneof(
    fc.record({ print: line }),
    fc.record({ draw: fc.array(line, { maxLength: 6 }) }),
    fc.constant({ leave: true as const }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { terminal, screen } = screenOn(20, 8);
      const finished: string[] = [];
      let drawn: readonly string[] = [];
      for (const each of steps) {
        if ('print' in each) {
          screen.print(`${each.print}\n`);
          finished.push(each.print);
        } else if ('draw' in each) {
          screen.draw(each.draw);
          drawn = each.draw;
        } else {
          screen.leave();
          finished.push(...drawn);
          drawn = [];
        }
      }
      t.same(terminal.lines, [...finished, ...drawn]);
    }),
  );
});

t.test('widths are those of a terminal', async (t) => {
  t.equal(widthOf('\x1b[31mred\x1b[0m'), 3);
  t.equal(widthOf('日本🎉e\u0301'), 7);
  t.equal(fit('日本語', 6), '日本語');
  t.equal(fit('日本語', 5), '日本…');
  t.equal(fit('abcdef', 4), 'abc…');
  t.equal(fit('abc', 0), '');
});

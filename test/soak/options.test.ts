import t from 'tap';
import { helpText, optionsOf } from './options.ts';

const KNOWN = ['R1', 'R5 R6', 'R10'];

t.test('without arguments everything runs at its full size', async (t) => {
  t.same(optionsOf([], KNOWN), { ids: [], scale: 1, sabotage: 'too' });
});

t.test('any word of an id names its promise', async (t) => {
  t.same(optionsOf(['R6', '--scale', '0.1', '--no-sabotage'], KNOWN), { ids: ['R5 R6'], scale: 0.1, sabotage: 'no' });
  t.same(optionsOf(['R10', 'R1', '--sabotage-only'], KNOWN), { ids: ['R1', 'R10'], scale: 1, sabotage: 'only' });
});

t.test('help is asked for, and names every promise', async (t) => {
  t.equal(optionsOf(['--help', 'R1'], KNOWN), undefined);
  t.equal(optionsOf(['-h'], KNOWN), undefined);
  const text = helpText({ R1: 'nothing is lost', 'R5 R6': 'all come back' });
  t.match(text, /^ {2}R1 {5}nothing is lost$/m);
  t.match(text, /^ {2}R5 R6 {2}all come back$/m);
});

t.test('what cannot be meant is refused in a line, also beside what can', async (t) => {
  t.throws(() => optionsOf(['R1', 'R99'], KNOWN), { message: 'there is no promise R99; there are R1, R5, R6, R10' });
  t.throws(() => optionsOf(['--scale', 'much'], KNOWN), { message: 'expected --scale above 0, got much' });
  t.throws(() => optionsOf(['--scale', '0'], KNOWN), { message: 'expected --scale above 0, got 0' });
  t.throws(() => optionsOf(['--no-sabotage', '--sabotage-only'], KNOWN), { message: /leave nothing/ });
  t.throws(() => optionsOf(['--sclae', '1'], KNOWN), { message: /--sclae/ });
});

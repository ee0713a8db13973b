import t from 'tap';
import { BENCHES, HELP, optionsOf } from './options.ts';

t.test('without arguments everything runs that installs nothing', async (t) => {
  const all = Object.keys(BENCHES).filter((name) => name !== 'ray');
  t.same(optionsOf([]), { names: all, long: undefined });
  t.same(optionsOf(['ray', 'echo']), { names: ['echo', 'ray'], long: undefined }, 'named, it does; in their own order');
});

t.test('the long run is two million requests, or so many', async (t) => {
  t.same(optionsOf(['traffic', '--long']), { names: ['traffic'], long: 2_000_000 });
  t.same(optionsOf(['traffic', '--long', '--requests', '5000']), { names: ['traffic'], long: 5000 });
});

t.test('help is asked for, and names every bench', async (t) => {
  t.equal(optionsOf(['--help', 'echo']), undefined);
  for (const name of Object.keys(BENCHES)) t.match(HELP, new RegExp(`^ {2}${name} `, 'm'));
});

t.test('what cannot be meant is refused in a line', async (t) => {
  t.throws(() => optionsOf(['echo', 'ehco']), { message: /^there is no bench ehco; there are echo, / });
  t.throws(() => optionsOf(['echo', '--long']), { message: '--long is for traffic' });
  t.throws(() => optionsOf(['traffic', '--requests', '5']), { message: /needs it/ });
  t.throws(() => optionsOf(['traffic', '--long', '--requests', 'many']), { message: 'expected --requests above 0, got many' });
  t.throws(() => optionsOf(['--lnog']), { message: /--lnog/ });
});

import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import t from 'tap';
import { connect, nextTurn } from '../../src/local/connection.ts';

t.test('what is written in a turn comes in the next, in one piece, and copied', async (t) => {
  const [one, other] = connect(nextTurn());
  const came: string[] = [];
  other.on('data', (bytes: Buffer) => came.push(bytes.toString()));
  const bytes = Buffer.from('one ');
  one.write(bytes);
  bytes.fill('-');
  one.write('two');
  t.equal(one.writableLength, 0, 'its memory may be used anew');
  await Promise.resolve();
  t.same(came, [], 'not in this turn');
  await once(other, 'data');
  t.same(came, ['one two']);
  one.write('three');
  await once(other, 'data');
  t.same(came, ['one two', 'three']);
});

t.test('both directions, at once', async (t) => {
  const [one, other] = connect(nextTurn());
  one.write('to the other');
  other.write('to the one');
  const [[atOther], [atOne]] = await Promise.all([once(other, 'data'), once(one, 'data')]);
  t.same([String(atOther), String(atOne)], ['to the other', 'to the one']);
});

t.test('an end that is paused keeps what comes', async (t) => {
  const [one, other] = connect(nextTurn());
  other.once('data', () => other.pause());
  one.write('a');
  await once(other, 'data');
  for (const letter of ['b', 'c']) {
    one.write(letter);
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(other.isPaused(), true);
  const came: string[] = [];
  other.on('data', (bytes: Buffer) => came.push(bytes.toString()));
  other.resume();
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(came.join(''), 'bc');
});

t.test('the end of one is the end of the other, behind what was written', async (t) => {
  const [one, other] = connect(nextTurn());
  const seen: string[] = [];
  other.on('data', (bytes: Buffer) => seen.push(bytes.toString()));
  one.write('last words');
  one.destroy();
  await once(other, 'close');
  t.same(seen, ['last words']);
  t.equal(other.destroyed, true);
});

t.test('what comes belongs to no call of who wrote it', async (t) => {
  const call = new AsyncLocalStorage<string>();
  const [one, other] = call.run('the test', () => connect(nextTurn()));
  const seen = new Promise((resolve) => other.on('data', () => resolve(call.getStore())));
  call.run('a call', () => one.write('x'));
  t.equal(await seen, 'the test');
});

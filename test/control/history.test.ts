import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { History } from '../../src/control/history.ts';

const entry = (text: string) => ({ at: '2026-01-01T00:00:00.000Z', source: 'file' as const, hash: text, text, confined: false });
const rig = (t: Test) => {
  const root = mkdtempSync(join(tmpdir(), 'sd-history-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const complaints: string[] = [];
  const folder = join(root, 'history');
  return { root, folder, complaints, open: () => new History(folder, (message) => complaints.push(message)) };
};

t.test('what was applied is there after a restart, for this user alone', async (t) => {
  const { folder, complaints, open } = rig(t);
  const history = open();
  for (const text of ['a', 'b', 'c']) history.add(entry(text));
  const again = open();
  t.same(
    again.revisions.map(({ revision, text }) => [revision, text]),
    [
      [1, 'a'],
      [2, 'b'],
      [3, 'c'],
    ],
  );
  t.equal(again.add(entry('d')).revision, 4);
  for (const name of readdirSync(folder)) t.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
  t.same(complaints, []);
});

t.test('their number and their size are bounded, on disk too; the newest two stay', async (t) => {
  const { folder, open } = rig(t);
  const history = open();
  for (let count = 0; count < 120; count++) history.add(entry(`${count}`));
  t.equal(history.revisions.length, 50);
  t.equal(readdirSync(folder).length, 50);
  t.match(history.newest, { revision: 120, text: '119' });
  const large = 'x'.repeat(5 * 1024 * 1024);
  history.add(entry(`${large}1`));
  history.add(entry(`${large}2`));
  t.same(
    history.revisions.map(({ revision }) => revision),
    [121, 122],
  );
  t.equal(readdirSync(folder).length, 2);
  t.equal(open().revisions.length, 2);
});

t.test('files that are broken are left out and told, and harm nothing', async (t) => {
  const { folder, complaints, open } = rig(t);
  const history = open();
  for (const text of ['a', 'b', 'c', 'd']) history.add(entry(text));
  const [first, second, third] = readdirSync(folder).sort() as [string, string, string];
  writeFileSync(join(folder, first), '{"revision": 1');
  writeFileSync(join(folder, second), '{"revision": 2}');
  writeFileSync(join(folder, third), readFileSync(join(folder, third), 'utf8').slice(0, 20));
  writeFileSync(join(folder, 'other.txt'), 'not ours');
  t.same(
    open().revisions.map(({ text }) => text),
    ['d'],
  );
  t.equal(complaints.length, 3);
});

t.test('where nothing can be written the history lives as long as the process', async (t) => {
  const { root, complaints } = rig(t);
  writeFileSync(join(root, 'file'), '');
  chmodSync(join(root, 'file'), 0o600);
  const history = new History(join(root, 'file', 'history'), (message) => complaints.push(message));
  history.add(entry('a'));
  history.add(entry('b'));
  t.equal(history.revisions.length, 2);
  t.match(complaints.at(-1), /cannot be kept in .*ENOTDIR/);
});

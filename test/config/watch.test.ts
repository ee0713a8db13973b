/** Files are told of when they are quiet; those of one group keep no other waiting. */
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FileWatcher, type Followed } from '../../src/config/watch.ts';

const rig = (t: Test) => {
  const folder = mkdtempSync(join(tmpdir(), 'sd-watch-'));
  let wake = () => {};
  let told = 0;
  const looked = new Set<string>();
  const watcher = new FileWatcher(
    () => {
      told += 1;
      wake();
    },
    (error) => t.fail(error.message),
    (file) => {
      looked.add(file);
      return statSync(file, { throwIfNoEntry: false })?.ctimeMs.toString() ?? '';
    },
  );
  t.teardown(async () => {
    await watcher.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    path: (name: string) => join(folder, name),
    /** Files that have been looked at. */
    looked,
    follow: (groups: Readonly<Record<string, Followed>>, since = Date.now() + 60_000) =>
      watcher.follow(new Map(Object.entries(groups)), since),
    /** Resolves when something is told from now on. */
    told: () => {
      const before = told;
      return new Promise<void>((resolve) => {
        wake = () => told > before && resolve();
      });
    },
  };
};

t.test('a group that goes on changing keeps no other from being told', async (t) => {
  const { path, follow, told } = rig(t);
  mkdirSync(path('busy'));
  mkdirSync(path('calm'));
  writeFileSync(path('calm/a'), '1');
  follow({ busy: { files: [path('busy/a')] }, calm: { files: [path('calm/a')] } });
  const writing = setInterval(() => appendFileSync(path('busy/a'), 'x'), 10);
  try {
    const first = told();
    writeFileSync(path('calm/a'), '22');
    await first;
  } finally {
    clearInterval(writing);
  }
  await told();
});

t.test('what was found changing is told when it is quiet, also where it changes no more', async (t) => {
  const { path, follow, told } = rig(t);
  writeFileSync(path('a'), '1');
  const quiet = told();
  follow({ a: { files: [path('a')], unsettled: true } });
  await quiet;
});

t.test('what changed before it was followed is told', async (t) => {
  const { path, follow, told } = rig(t);
  const since = Date.now();
  writeFileSync(path('a'), '1');
  const quiet = told();
  follow({ a: { files: [path('a')] } }, since);
  await quiet;
});

t.test('a file that comes into a folder, and the folder itself', async (t) => {
  const { path, follow, told } = rig(t);
  follow({ a: { files: [path('new/a'), path('new')] } });
  const folder = told();
  mkdirSync(path('new'));
  await folder;
  follow({ a: { files: [path('new/a'), path('new')] } });
  const file = told();
  writeFileSync(path('new/a'), '1');
  await file;
});

t.test('a folder that goes and comes again is followed again', async (t) => {
  const { path, follow, told } = rig(t);
  const groups = { a: { files: [path('dir'), path('dir/a')] } };
  mkdirSync(path('dir'));
  follow(groups);
  const gone = told();
  renameSync(path('dir'), path('away'));
  await gone;
  const back = told();
  renameSync(path('away'), path('dir'));
  await back;
  follow(groups);
  const file = told();
  writeFileSync(path('dir/a'), '1');
  await file;
  follow(groups);
  const emptied = told();
  rmSync(path('dir/a'));
  await emptied;
});

t.test('where something changes, the files of other folders are not looked at', async (t) => {
  const { path, follow, told, looked } = rig(t);
  for (const name of ['a', 'b', 'store']) mkdirSync(path(name));
  symlinkSync(path('store/x'), path('b/link'));
  follow({ a: { files: [path('a/1'), path('a/2')] }, b: { files: [path('b/1'), path('b/link')] } });
  for (const file of ['b/1', 'a/1', 'store/x']) {
    const first = told();
    writeFileSync(path(file), '1');
    await first;
  }
  looked.clear();
  const second = told();
  writeFileSync(path('a/2'), '2');
  await second;
  t.same([...looked].sort(), [path('a/1'), path('a/2')]);
});

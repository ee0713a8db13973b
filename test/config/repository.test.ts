/** What a folder of models holds, with everything in it that somebody may have put there. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { type FoundModel, readRepository, repositoryReader } from '../../src/config/repository.ts';

const folderOf = (t: Test, files: Readonly<Record<string, string>> = {}): string => {
  const folder = mkdtempSync(join(tmpdir(), 'sd-models-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
};

const found = (folder: string): readonly FoundModel[] => {
  const repository = readRepository(folder);
  if ('problem' in repository) throw new Error(repository.problem);
  return repository.models;
};

t.test('models by name: with versions, without, and with a config beside them', async (t) => {
  const folder = folderOf(t, {
    'b/1/model.onnx': 'x',
    'b/config.pbtxt': 'max_batch_size: 1',
    'a/model.onnx': 'x',
    'c/1/model.onnx': 'x',
    'c/old.onnx': 'x',
    'd/one.onnx': 'x',
    'd/two.onnx': 'x',
    'e/labels.txt': 'x',
    'README.md': 'x',
    '.git/HEAD': 'x',
    '..data/a/model.onnx': 'x',
  });
  const models = found(folder);
  t.same(
    models.map(({ name, path }) => [name, path.slice(folder.length)]),
    [
      ['a', '/a/model.onnx'],
      ['b', '/b'],
      ['c', '/c'],
      ['d', '/d'],
      ['e', '/e'],
    ],
  );
  t.equal(Buffer.from(models[1]?.config ?? []).toString(), 'max_batch_size: 1');
  t.same(
    models.map(({ problem }) => problem),
    Array(5).fill(undefined),
  );
});

t.test('a folder that cannot be looked at says why', async (t) => {
  const folder = folderOf(t, { file: 'x' });
  t.same(readRepository(join(folder, 'none')), { problem: 'is not there' });
  t.same(readRepository(join(folder, 'file')), { problem: 'is no folder' });
  symlinkSync('circle', join(folder, 'circle'));
  t.same(readRepository(join(folder, 'circle')), { problem: 'cannot be read: its links lead in a circle' });
  t.same(found(folderOf(t)), []);
});

t.test('links: within the folder, out of it, to nowhere and in a circle', async (t) => {
  const outside = folderOf(t, { 'm/1/model.onnx': 'x', 'config.pbtxt': 'secret: "x"' });
  const folder = folderOf(t, { 'real/1/model.onnx': 'x', 'sly/1/model.onnx': 'x' });
  symlinkSync('real', join(folder, 'again'));
  symlinkSync(join(outside, 'm'), join(folder, 'out'));
  symlinkSync('gone', join(folder, 'dangling'));
  symlinkSync('circle', join(folder, 'circle'));
  symlinkSync('..', join(folder, 'up'));
  symlinkSync(join(outside, 'config.pbtxt'), join(folder, 'sly', 'config.pbtxt'));
  const problems = Object.fromEntries(found(folder).map(({ name, problem }) => [name, problem]));
  t.match(problems, {
    again: undefined,
    circle: /links lead in a circle/,
    dangling: /is not there/,
    out: /leads out of the folder of models/,
    real: undefined,
    sly: /config\.pbtxt: it is a link that leads out/,
    up: /leads out of the folder of models/,
  });
  t.equal(found(folder).find(({ name }) => name === 'sly')?.config, undefined, 'nothing of it is read');
  const linked = join(outside, 'linked');
  symlinkSync(folder, linked);
  t.equal(found(linked).find(({ name }) => name === 'again')?.problem, undefined, 'the folder itself may be a link');
});

t.test('a config that is a pipe, a folder, or as long as one likes is no danger', async (t) => {
  const folder = folderOf(t, { 'pipe/1/model.onnx': 'x', 'dir/config.pbtxt/x': 'x', 'long/config.pbtxt': 'x'.repeat(1_000_000) });
  execFileSync('mkfifo', [join(folder, 'pipe', 'config.pbtxt')]);
  const [dir, long, pipe] = found(folder);
  t.match(dir?.problem, /config\.pbtxt is no file/);
  t.equal(long?.config?.byteLength, 256 * 1024 + 1, 'no more of it than says that it is too long');
  t.match(pipe?.problem, /config\.pbtxt is no file/);
});

t.test('a model without permission says so, and the others are there', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sd-models-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const name of ['a', 'b']) {
    mkdirSync(join(folder, name, '1'), { recursive: true });
    writeFileSync(join(folder, name, '1', 'model.onnx'), 'x');
  }
  chmodSync(folder, 0o755);
  chmodSync(join(folder, 'a'), 0);
  // To root nothing is forbidden.
  const wasRoot = process.geteuid?.() === 0;
  if (wasRoot) process.seteuid?.(65_534);
  let models: ReturnType<typeof found>;
  try {
    models = found(folder);
  } finally {
    if (wasRoot) process.seteuid?.(0);
    chmodSync(join(folder, 'a'), 0o700);
  }
  t.match(models, [
    { name: 'a', problem: /permission denied/ },
    { name: 'b', problem: undefined },
  ]);
});

t.test('a thousand are served from one folder, and the rest are counted', async (t) => {
  const folder = folderOf(t);
  for (let index = 0; index < 1003; index++) mkdirSync(join(folder, `m${String(index).padStart(4, '0')}`));
  const repository = readRepository(folder);
  t.match(repository, { left: 3 });
  t.equal(found(folder).length, 1000);
});

t.test('what is no model counts for none of the thousand, and what was served is pushed out by nobody', async (t) => {
  const folder = folderOf(t);
  for (let index = 0; index < 1000; index++) mkdirSync(join(folder, `n${String(index).padStart(4, '0')}`));
  for (let index = 0; index < 50; index++) {
    mkdirSync(join(folder, String(index)));
    symlinkSync('/dev/null', join(folder, `a${index}`));
  }
  const read = repositoryReader();
  const first = read(folder);
  t.match(first, { left: 0 });
  const names = (repository: typeof first) => ('models' in repository ? repository.models.map(({ name }) => name) : []);
  t.equal(names(first).length, 1020, 'of those that cannot be models some are told');
  mkdirSync(join(folder, 'another'));
  const second = read(folder);
  t.match(second, { left: 1 });
  t.notOk(names(second).includes('another'));
  t.ok(names(second).includes('n0999'));
  t.ok(names(readRepository(folder)).includes('another'), 'at the start the names decide');
});

t.test('a folder that is empty because its disk is away cannot be looked at, and one that was emptied can', async (t) => {
  const folder = folderOf(t, { 'a/1/model.onnx': 'x' });
  let disk = 1;
  const read = repositoryReader(() => disk);
  t.match(read(folder), { models: [{ name: 'a' }] });
  rmSync(join(folder, 'a'), { recursive: true });
  disk = 2;
  t.match(read(folder), { problem: /on another disk/ });
  t.match(read(folder), { problem: /on another disk/ }, 'as long as it is so');
  disk = 1;
  t.match(read(folder), { models: [] });
  disk = 2;
  t.match(read(folder), { models: [] }, 'where nothing was, nothing is missed');
});

/** What a file compiled to is remembered until something that went in changes. */
import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { recall, remember } from '../../src/control/code-record.ts';

t.test('a compiled file is recalled until it, or what decides what its imports mean, changes', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'code-record-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const [file, entry] = [join(folder, 'a.ts'), join(folder, 'a.mjs')];
  await writeFile(file, 'export const a = 1;');
  await writeFile(entry, 'export const a = 1;');
  const code = { entry, fingerprint: 'f', exports: ['a'], files: [file] };
  const later = Date.now() + 10_000;
  t.equal(await recall(file, folder, 'maker'), undefined);
  await remember(file, folder, 'maker', code, later);
  t.same(await recall(file, folder, 'maker'), code);
  t.equal(await recall(file, folder, 'another maker'), undefined);
  await writeFile(join(folder, 'tsconfig.json'), '{}');
  t.equal(await recall(file, folder, 'maker'), undefined, 'a tsconfig has come');
  await remember(file, folder, 'maker', code, later);
  await utimes(file, 1, 1);
  t.equal(await recall(file, folder, 'maker'), undefined, 'the file has changed');
  await remember(file, folder, 'maker', code, later);
  await rm(entry);
  t.equal(await recall(file, folder, 'maker'), undefined, 'what it compiled to is gone');
});

t.test('and until a tsconfig changes that its own extends, through however many', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'code-record-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const file = join(folder, 'a.ts');
  const texts = {
    'a.ts': 'export const a = 1;',
    'tsconfig.json': '{ "extends": ["@tsconfig/node20", "./own"] }',
    'own.json': '{ "extends": "./shared.json" }',
    'shared.json': '{ "extends": "./own.json" }',
  };
  for (const [name, text] of Object.entries(texts)) await writeFile(join(folder, name), text);
  for (const name of ['own.json', 'shared.json']) {
    await remember(file, folder, 'maker', { entry: file, fingerprint: 'f', exports: [], files: [file] }, Date.now() + 10_000);
    t.match(await recall(file, folder, 'maker'), { fingerprint: 'f' });
    await writeFile(join(folder, name), '{ }');
    t.equal(await recall(file, folder, 'maker'), undefined, name);
    await writeFile(join(folder, name), texts[name as keyof typeof texts]);
  }
});

t.test('a file that was saved while the compiler read is not remembered', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'code-record-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const file = join(folder, 'a.ts');
  const began = Date.now();
  await writeFile(file, 'export const a = 1;');
  await remember(file, folder, 'maker', { entry: file, fingerprint: 'f', exports: [], files: [file] }, began);
  t.equal(await recall(file, folder, 'maker'), undefined);
});

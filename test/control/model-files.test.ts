/** Files of models on disk: whether somebody is writing them, and where links lead. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { isBeingWritten, ModelError, modelArtifact } from '../../src/control/model-files.ts';
import { addModel } from '../support/onnx-writer.ts';

const folderOf = (t: Test, files: Readonly<Record<string, Uint8Array>>): string => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'sd-model-')));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
};

const model = (path: string, within?: string) =>
  modelArtifact({ kind: 'model', path, ...(within === undefined ? {} : { within }) });

t.test('what was changed a moment ago is being written; what is older, not there, or ahead of any clock is not', async (t) => {
  const file = join(folderOf(t, { a: new Uint8Array(1) }), 'a');
  const at = statSync(file).ctimeMs;
  const ages: readonly (readonly [number, boolean])[] = [
    [0, true],
    [90, true],
    [110, false],
    [-500, true],
    [-5000, false],
  ];
  for (const [age, expected] of ages) t.equal(isBeingWritten([file], at + age), expected, `${age} ms`);
  t.equal(isBeingWritten([`${file}.none`], at), false);
  t.equal(isBeingWritten([`${file}.none`, file], at), true, 'any of them');
});

t.test('a version that leads out of its folder is refused, and one within it is not', async (t) => {
  const outside = folderOf(t, { 'model.onnx': addModel([1]), '1/model.onnx': addModel([1]) });
  const folder = folderOf(t, { 'm/1/model.onnx': addModel([1]), 'store/x.onnx': addModel([2]) });
  mkdirSync(join(folder, 'file/1'), { recursive: true });
  symlinkSync(join(outside, 'model.onnx'), join(folder, 'file/1/model.onnx'));
  mkdirSync(join(folder, 'dir'));
  symlinkSync(join(outside, '1'), join(folder, 'dir/1'));
  mkdirSync(join(folder, 'inner/1'), { recursive: true });
  symlinkSync('../../store/x.onnx', join(folder, 'inner/1/model.onnx'));
  for (const name of ['file', 'dir']) {
    await t.rejects(model(join(folder, name), folder), { constructor: ModelError, message: /leads out of the folder of models/ });
    t.ok(await model(join(folder, name)), 'who names it as a deployment means it');
  }
  for (const name of ['m', 'inner']) t.ok(await model(join(folder, name), folder));
});

t.test('a model of many pieces has one hash, whatever else is looked into', async (t) => {
  const whole = addModel(Array.from({ length: 1_000_000 }, (_, index) => index));
  const files = Object.fromEntries(
    Array.from({ length: 12 }, (_, index) => [`${index}.onnx`, index < 6 ? whole : addModel([index])]),
  );
  const folder = folderOf(t, files);
  const found = await Promise.all(Object.keys(files).map((name) => model(join(folder, name))));
  t.equal(new Set(found.slice(0, 6).map(({ fingerprint }) => fingerprint)).size, 1);
  t.equal(new Set(found.map(({ fingerprint }) => fingerprint)).size, 7);
});

t.test('weights in files of their own are part of the model', async (t) => {
  const bytes = (text: string) => Buffer.from(text);
  const folder = folderOf(t, {
    'm/1/model.onnx': addModel([1]),
    'm/1/weights.bin': bytes('half'),
    'm/1/.hidden': bytes('x'),
    'flat/model.onnx': addModel([1]),
    'flat/model.onnx_data': bytes('half'),
    'flat/other.bin': bytes('x'),
  });
  for (const [path, weights, stranger] of [
    ['m', 'm/1/weights.bin', 'm/1/.hidden'],
    ['flat/model.onnx', 'flat/model.onnx_data', 'flat/other.bin'],
  ] as const) {
    const before = await model(join(folder, path), folder);
    t.ok(before.files.includes(join(folder, weights)), 'it is watched');
    writeFileSync(join(folder, stranger), 'changed');
    t.equal((await model(join(folder, path), folder)).fingerprint, before.fingerprint);
    writeFileSync(join(folder, weights), 'whole, at last');
    t.not((await model(join(folder, path), folder)).fingerprint, before.fingerprint, 'taken again when it is whole');
  }
  symlinkSync('/etc/hostname', join(folder, 'm/1/more.bin'));
  await t.rejects(model(join(folder, 'm'), folder), { message: /leads out of the folder of models/ });
});

t.test('a folder of models may be the root, and two models beside each other are told as such', async (t) => {
  const folder = folderOf(t, { 'm/1/model.onnx': addModel([1]), 'two/a.onnx': addModel([1]), 'two/b.onnx': addModel([2]) });
  t.ok(await model(join(folder, 'm'), '/'));
  await t.rejects(model(join(folder, 'two')), { message: /expected one \.onnx in .*two, .*got a\.onnx, b\.onnx/ });
});

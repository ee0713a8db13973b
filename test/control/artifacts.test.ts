import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { findArtifacts } from '../../src/control/artifacts.ts';
import { applicationSpec, deploymentSpec } from '../support/targets.ts';

/** A protobuf field of bytes. */
const field = (number: number, bytes: Uint8Array) => Buffer.concat([Buffer.of(number * 8 + 2), varint(bytes.length), bytes]);
const varint = (value: number): Buffer =>
  value < 128 ? Buffer.of(value) : Buffer.concat([Buffer.of((value % 128) + 128), varint(Math.floor(value / 128))]);
const model = (graph = Buffer.alloc(300)) =>
  Buffer.concat([Buffer.of(8, 9), field(2, Buffer.from('a maker')), field(7, graph), Buffer.of(66, 2, 16, 13)]);

const problemOf = async (folder: string, bytes: Uint8Array | string | null): Promise<string | undefined> => {
  const path = join(folder, 'model.onnx');
  if (bytes !== null) await writeFile(path, bytes);
  const spec = applicationSpec({ deployments: [deploymentSpec({ runs: { kind: 'model', path } })] });
  const { found, problems, files } = await findArtifacts(spec, folder, new Map());
  t.ok(files.includes(path), 'it is watched, broken or not');
  return found.has('A') ? undefined : problems.get('A')?.replace(folder, '');
};

const models: readonly (readonly [string, Uint8Array | string | null, string | undefined])[] = [
  ['a model', model(), undefined],
  ['a text', 'hello, this is my model', '/model.onnx is not an ONNX model: it does not begin as one'],
  ['a page of an error', '<!doctype html><title>Not found</title>', '/model.onnx is not an ONNX model: it does not begin as one'],
  [
    'a pointer to a large file',
    'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n',
    '/model.onnx is not an ONNX model: it does not begin as one',
  ],
  ['zeros', Buffer.alloc(100), '/model.onnx is not an ONNX model: it does not begin as one'],
  ['nothing', '', '/model.onnx is not an ONNX model: it is empty'],
  ['a model that is cut off', model().subarray(0, 200), '/model.onnx is not an ONNX model: it is cut off'],
  ['a model without a graph', Buffer.of(8, 9), '/model.onnx is not an ONNX model: it has no graph'],
  ['no file', null, 'the model /model.onnx is missing'],
];
for (const [what, bytes, problem] of models) {
  t.test(`a model file: ${what}`, async (t) => {
    t.equal(await problemOf(t.testdir(), bytes), problem);
  });
}

t.test('a changed model is another one, the same is the same', async (t) => {
  const folder = t.testdir();
  const spec = applicationSpec({ deployments: [deploymentSpec({ runs: { kind: 'model', path: join(folder, 'm.onnx') } })] });
  const fingerprint = async (bytes: Uint8Array) => {
    await writeFile(join(folder, 'm.onnx'), bytes);
    return (await findArtifacts(spec, folder, new Map())).found.get('A')?.fingerprint;
  };
  const first = await fingerprint(model());
  t.equal(await fingerprint(model()), first);
  t.not(await fingerprint(model(Buffer.alloc(301))), first);
});

t.test('an export that is missing is told with those that exist', async (t) => {
  const folder = t.testdir({ 'a.ts': 'export class Real {}\nexport default 5;\n' });
  await mkdir(join(folder, 'cache'));
  const spec = applicationSpec({
    deployments: [deploymentSpec({ runs: { kind: 'module', file: join(folder, 'a.ts'), export: 'A' } })],
  });
  const { problems } = await findArtifacts(spec, join(folder, 'cache'), new Map());
  t.match(problems.get('A'), /a\.ts has no export `A`; it has Real, default$/);
});

t.test('one broken deployment does not hide what is wrong with the next', async (t) => {
  const folder = t.testdir({ 'a.ts': 'export class A {', 'b.onnx': 'text' });
  const spec = applicationSpec({
    deployments: [
      deploymentSpec({ runs: { kind: 'module', file: join(folder, 'a.ts'), export: 'A' } }),
      deploymentSpec({ name: 'B', runs: { kind: 'model', path: join(folder, 'b.onnx') } }),
    ],
  });
  const { problems } = await findArtifacts(spec, folder, new Map());
  t.same([...problems.keys()], ['A', 'B']);
});

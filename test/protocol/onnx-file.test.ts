/** What a model's file says of its inputs and outputs, as the runtime that loads it sees them. */
import { readdirSync, readFileSync } from 'node:fs';
import { InferenceSession } from 'onnxruntime-node';
import t from 'tap';
import { type FilePort, portsOfFile, type ReadBytes } from '../../src/protocol/onnx-file.ts';
import { MODELS } from '../e2e/inference-models.ts';
import { identityModel, onnxModel } from '../support/onnx-writer.ts';

const ROOT = new URL('../../models/', import.meta.url);
const REAL = ['ocr/', 'vad/'].flatMap((folder) =>
  readdirSync(new URL(folder, ROOT))
    .filter((name) => name.endsWith('.onnx'))
    .map((name) => [`${folder}${name}`, readFileSync(new URL(folder + name, ROOT))] as const),
);

const readerOf =
  (bytes: Uint8Array): ReadBytes =>
  (at, length) =>
    Buffer.from(bytes.subarray(at, at + length));

const portsOf = (bytes: Uint8Array) => portsOfFile(readerOf(bytes), bytes.byteLength);

for (const [name, bytes] of [...REAL, ...Object.entries(MODELS)]) {
  t.test(`${name}: names, dtypes and shapes are those that the runtime tells`, async (t) => {
    const session = await InferenceSession.create(bytes);
    const found = portsOf(bytes);
    const told = (metadata: readonly InferenceSession.ValueMetadata[], open: readonly FilePort[]) =>
      metadata.map((meta) => {
        if (!meta.isTensor) throw new Error(`${meta.name} is no tensor`);
        // The runtime tells a shape that is left open as that of a scalar.
        const isOpen = open.some((port) => port.name === meta.name && port.shape === null);
        const shape = meta.shape.map((extent) => (typeof extent === 'number' && extent > 0 ? extent : -1));
        return { name: meta.name, dtype: meta.type, shape: isOpen ? null : shape };
      });
    t.same(
      found?.inputs.filter((port) => !found.given.has(port.name)),
      told(session.inputMetadata, found?.inputs ?? []),
    );
    // Of an output the runtime may know more than the file says.
    t.match(
      found?.outputs.map(({ name, dtype }) => ({ name, dtype })),
      session.outputMetadata.map(({ name, ...meta }) => ({ name, dtype: meta.isTensor ? meta.type : undefined })),
    );
    await session.release();
  });
}

t.test('an input that has a value in the file is one that nobody needs to give', async (t) => {
  const bytes = onnxModel({
    inputs: [
      { name: 'x', element: 'float32', shape: ['n', 2] },
      { name: 'b', element: 'float32', shape: [2] },
    ],
    outputs: [{ name: 'y', element: 'float32', shape: ['n', 2] }],
    nodes: [{ op: 'Add', inputs: ['x', 'b'], outputs: ['y'] }],
    constants: [{ name: 'b', shape: [2], values: [1, 2] }],
  });
  t.same([...(portsOf(bytes)?.given ?? [])], ['b']);
  t.same((await InferenceSession.create(bytes)).inputNames, ['x']);
});

t.test('a shape that is left open is none, an extent without a number may be anything', async (t) => {
  const shapeOf = (shape: Parameters<typeof identityModel>[1]) => portsOf(identityModel('int64', shape))?.inputs[0]?.shape;
  t.same([shapeOf(null), shapeOf([]), shapeOf(['n', 3]), shapeOf([0, 3])], [null, [], [-1, 3], [-1, 3]]);
});

t.test('a dtype that no replica serves is none', async (t) => {
  t.match(portsOf(identityModel('bfloat16', [1])), { inputs: [{ dtype: undefined }] });
});

t.test('what is no model, or a part of one, is read to its end and never beyond', async (t) => {
  for (const text of ['', 'not a model', '\0\0\0\0', '\xff'.repeat(100)])
    t.equal(portsOf(Buffer.from(text, 'latin1')), undefined);
  const whole = MODELS['pair'] as Uint8Array;
  for (let length = 0; length < whole.length; length++) {
    const found = portsOf(whole.subarray(0, length));
    t.ok((found?.inputs.length ?? 0) <= 2 && (found?.outputs.length ?? 0) <= 3);
  }
  for (let at = 0; at < whole.length; at++) {
    const bent = Uint8Array.from(whole, (byte, index) => (index === at ? byte ^ 0xff : byte));
    t.doesNotThrow(() => portsOf(bent));
  }
});

t.test('a file of nothing but fields is given up', async (t) => {
  const whole = MODELS['pair'] as Uint8Array;
  const fields = (count: number) => Buffer.concat([whole, Buffer.alloc(2 * count, Buffer.from([0x08, 0x01]))]);
  t.ok(portsOf(fields(1000)));
  t.equal(portsOf(fields(1_000_000)), undefined);
});

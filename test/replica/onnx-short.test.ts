import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { IncomingCall } from '../../src/replica/engine.ts';
import type { OpenModel } from '../../src/replica/engines/onnx-model.ts';
import { areShort as areShortOf, isShortModel, rowMsOf } from '../../src/replica/engines/onnx-short.ts';
import type { Port, Signature } from '../../src/replica/engines/onnx-signature.ts';

/** Of the Open Inference Protocol where its header is there. */
const areShort = (calls: readonly IncomingCall[], rowMs: number, signature: Signature): boolean =>
  areShortOf(calls, rowMs, signature, calls[0]?.http?.headers.includes('inference-header-content-length') === true);

const portOf = (shape: Port['shape'], dtype: Port['dtype'] = 'float32'): Port => ({ name: 'x', dtype, shape });
const signatureOf = (...inputs: Port[]): Signature => ({ inputs, outputs: [] });

const IMAGE = signatureOf(portOf(['n', 3, 224, 224]));
const IMAGE_BYTES = 3 * 224 * 224 * 4;

/** A body over HTTP. */
const body = (bytes: number, headers: readonly string[] = ['content-type', 'application/octet-stream']): IncomingCall =>
  ({
    http: { method: 'POST', path: '/', query: '', headers },
    rows: 1,
    value: { skeleton: '', segments: [{ dtype: 'bytes', shape: null, bytes: { byteLength: bytes } }] },
  }) as unknown as IncomingCall;
const binary = (bytes: number, headerLength: string) => body(bytes, ['inference-header-content-length', headerLength]);
const tensors = (rows: number) => ({ http: undefined, rows }) as unknown as IncomingCall;

t.test('a body counts by the rows that it may have at most', async (t) => {
  t.ok(areShort([body(IMAGE_BYTES)], 2, IMAGE));
  t.ok(areShort([body(IMAGE_BYTES), body(IMAGE_BYTES)], 2, IMAGE));
  t.notOk(areShort(Array(20).fill(body(IMAGE_BYTES)), 2, IMAGE), 'all together');
  t.notOk(areShort([body(20 * IMAGE_BYTES)], 2, IMAGE));
  t.ok(areShort([body(20 * IMAGE_BYTES)], 0.1, IMAGE));
});

t.test('JSON takes its time to be read', async (t) => {
  t.ok(areShort([body(4000, [])], 0.01, signatureOf(portOf(['n', 784]))));
  t.notOk(areShort([body(4_000_000, [])], 0.00001, signatureOf(portOf(['n', 784]))), 'all of it is JSON');
  t.notOk(areShort([body(4_000_000, ['content-type', 'application/json'])], 0.00001, signatureOf(portOf(['n', 784]))));
  t.ok(areShort([binary(IMAGE_BYTES + 200, '200')], 2, IMAGE), 'a part of it is');
  t.notOk(areShort([binary(IMAGE_BYTES + 200, '602000')], 2, IMAGE));
});

t.test('an inference without its header is JSON, whatever type its client says', async (t) => {
  const octets = body(4_000_000);
  t.ok(areShortOf([octets], 0.00001, signatureOf(portOf(['n', 784])), false));
  t.notOk(areShortOf([octets], 0.00001, signatureOf(portOf(['n', 784])), true));
});

t.test('answers take their time to be written too', async (t) => {
  const large: Signature = { inputs: [portOf(['n', 2])], outputs: [portOf(['n', 100_000]), portOf(['n', 'free'])] };
  t.notOk(areShortOf([body(8)], 0.01, large, true));
  t.ok(areShortOf([body(8)], 0.01, { ...large, outputs: [portOf(['n', 1000])] }, true));
});

t.test('a client that says nonsense gains nothing', async (t) => {
  t.notOk(areShort([binary(20 * IMAGE_BYTES, '-1e12')], 2, IMAGE));
  t.notOk(areShort([binary(IMAGE_BYTES, 'much')], 2, IMAGE), 'for the session thread to refuse');
  t.notOk(areShort([body(1)], 1, signatureOf(portOf(['n', 0]))), 'rows without bytes are without number');
});

t.test('bytes and texts are counted as small as they can be', async (t) => {
  t.notOk(areShort([body(1000)], 0.1, signatureOf(portOf(['n'], 'bool'))));
  t.ok(areShort([body(100)], 0.1, signatureOf(portOf(['n'], 'bool'))));
  t.ok(areShort([body(100)], 0.1, signatureOf(portOf(['n'], 'string'))));
  t.notOk(areShort([body(1000)], 0.1, signatureOf(portOf(['n'], 'string'))));
});

t.test('of tensors from code the rows are known', async (t) => {
  t.ok(areShort([tensors(4), tensors(5)], 2, IMAGE));
  t.notOk(areShort([tensors(4), tensors(7)], 2, IMAGE));
});

t.test('a row is tried out where what it takes can be told beforehand', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sd-short-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'm.onnx');
  writeFileSync(path, 'small');
  let runs = 0;
  const opened = (inputs: Port[], more: Partial<OpenModel> = {}) =>
    ({
      signature: signatureOf(...inputs),
      provider: 'cpu',
      run: async () => {
        runs += 1;
        return {};
      },
      ...more,
    }) as unknown as OpenModel;
  t.ok(isShortModel(await rowMsOf(opened([portOf(['n', 2]), portOf([])]), path)));
  t.equal(runs, 4);
  t.equal(await rowMsOf(opened([portOf(['n', 'm'])]), path), undefined, 'an extent is free');
  t.equal(await rowMsOf(opened([portOf(null)]), path), undefined, 'so is the rank');
  t.equal(await rowMsOf(opened([portOf(['n', 2])], { provider: 'cuda' }), path), undefined);
  t.equal(runs, 4);
  const run = () => Promise.reject(new Error('no zeros'));
  t.equal(await rowMsOf(opened([portOf(['n', 2])], { run }), path), undefined);
  writeFileSync(path, Buffer.alloc(17 * 1024 * 1024));
  t.equal(await rowMsOf(opened([portOf(['n', 2])]), path), undefined, 'it would be there twice');
  t.notOk(isShortModel(6));
  t.notOk(isShortModel(undefined));
});

/** The example of a model without code, as its README uses it. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import { startDaemon } from '../support/daemon-rig.ts';
import { binaryRequest, infer } from '../support/inference.ts';

t.setTimeout(120_000);

const text = readFileSync('configs/models/config.yaml', 'utf8');

t.test('the example answers in both forms', async (t) => {
  const config = text
    .replace('8000', '0')
    .replace('8265', '0')
    .replace('../../models/ocr/cls.onnx', resolve('models/ocr/cls.onnx'));
  await using daemon = await startDaemon(config);
  const body = new Uint8Array(48 * 192 * 3);
  const plain = await daemon.ask('/turned', { method: 'POST', body, headers: { 'content-type': 'application/octet-stream' } });
  const [turned] = (JSON.parse(plain.text) as { turned: number[] }).turned;
  const request = binaryRequest([{ name: 'pixels', datatype: 'UINT8', shape: [1, 48, 192, 3], bytes: body }]);
  const { json } = await infer(daemon, 'Turned/infer', request.body, request.headers);
  t.match(json, { model_name: 'Turned', outputs: [{ name: 'turned', datatype: 'FP32', shape: [1], data: [turned] }] });
  await daemon.running();
  const [replica] = await daemon.replicas('models', 'Turned');
  t.match(replica?.model_versions, { 1: { execution_provider: /^(cpu|cuda)$/ } });
});

/** How often the bytes of a request are copied in a replica, and what is read of them. The rules of the protocol are tried in test/e2e. */
import t from 'tap';
import type { IncomingCall } from '../../src/replica/engine.ts';
import { readInference } from '../../src/replica/engines/infer-request.ts';
import { inferJob } from '../../src/replica/engines/onnx-job-makers.ts';
import type { Signature } from '../../src/replica/engines/onnx-signature.ts';
import { binaryRequest, little } from '../support/inference.ts';

const SIGNATURE: Signature = {
  inputs: [{ name: 'x', dtype: 'float64', shape: ['n'] }],
  outputs: [{ name: 'y', dtype: 'float64', shape: ['n'] }],
};

/** JSON of each length modulo 8. */
const REQUESTS = Array.from({ length: 8 }, (_, index) =>
  binaryRequest([{ name: 'x', datatype: 'FP64', shape: [3], bytes: little(Float64Array.of(1, 2, index)) }], {
    id: 'i'.repeat(index),
  }),
);

t.test('a binary tensor is copied once, to where the model reads it in place', async (t) => {
  const calls = REQUESTS.map(({ headers, body }) => ({
    call: { value: { skeleton: '', segments: [{ dtype: 'bytes', shape: null, bytes: body }] } } as unknown as IncomingCall,
    model: 'm',
    headerLength: headers['inference-header-content-length'],
  }));
  const { job, transfer } = inferJob(7, '1', calls, 64, true);
  if (job.kind !== 'infer') throw new Error('expected an inference');
  t.equal(job.id, 7);
  t.equal(transfer[0], job.bytes.buffer, 'handed over, not copied');
  for (const [index, { from, length, headerLength }] of job.requests.entries()) {
    const { feeds, id } = readInference(job.bytes.subarray(from, from + length), headerLength, SIGNATURE);
    const data = feeds['x']?.data as Float64Array;
    t.equal(id, 'i'.repeat(index));
    t.same(data, [1, 2, index]);
    t.equal(data.buffer, job.bytes.buffer, 'a view');
  }
});

t.test('a header length that is none is for the reader to refuse, and moves nothing', async (t) => {
  for (const headerLength of ['-1', 'x', '1e9', '999999999999999999999']) {
    const call = { value: { skeleton: '', segments: [{ dtype: 'bytes', shape: null, bytes: Buffer.of(1) }] } };
    const { job } = inferJob(1, '1', [{ call: call as unknown as IncomingCall, model: 'm', headerLength }], 64, true);
    t.ok(job.kind === 'infer' && job.bytes.length < 16);
  }
});

t.test('a tensor that does not stand right is copied once more', async (t) => {
  const { headers, body } = REQUESTS[0] as (typeof REQUESTS)[number];
  const length = headers['inference-header-content-length'];
  for (let offset = 0; offset < 8; offset++) {
    const moved = new Uint8Array(body.length + 8);
    moved.set(body, offset);
    const { feeds } = readInference(moved.subarray(offset, offset + body.length), length, SIGNATURE);
    t.same(feeds['x']?.data, [1, 2, 0]);
  }
});

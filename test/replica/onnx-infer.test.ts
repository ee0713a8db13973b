/** Requests of the Open Inference Protocol that run together: bounds, and who gets what where outputs have no row for each row. */
import t from 'tap';
import { Tensor } from '../../src/protocol/tensor.ts';
import type { IncomingCall } from '../../src/replica/engine.ts';
import { runInference } from '../../src/replica/engines/onnx-infer.ts';
import { inferJob } from '../../src/replica/engines/onnx-job-makers.ts';
import type { Feeds, Signature } from '../../src/replica/engines/onnx-signature.ts';
import { binaryRequest, little } from '../support/inference.ts';

/** `a` has a row for each row of x; `odd` has one row more. */
const SIGNATURE: Signature = {
  inputs: [{ name: 'x', dtype: 'float32', shape: ['n'] }],
  outputs: [
    { name: 'a', dtype: 'float32', shape: ['n'] },
    { name: 'odd', dtype: 'float32', shape: ['n'] },
  ],
};

/** @param asked values of x, and the output that is wanted */
const infer = async (asked: readonly { readonly x: readonly number[]; readonly output: string }[], maxRows: number) => {
  const runs: number[] = [];
  const run = async ({ x }: Feeds, names: readonly string[] | undefined) => {
    const data = [...((x as Tensor).data as Float32Array)];
    runs.push(data.length);
    if (data.includes(13)) throw new Error('poison');
    const all = { a: data, odd: [...data, 99] };
    return Object.fromEntries(
      (names ?? []).map((name) => {
        const values = all[name as 'a'];
        return [name, new Tensor('float32', [values.length], Float32Array.from(values))];
      }),
    );
  };
  const calls = asked.map(({ x, output }) => {
    const tensor = { name: 'x', datatype: 'FP32', shape: [x.length], bytes: little(Float32Array.from(x)) };
    const { headers, body } = binaryRequest([tensor], { outputs: [{ name: output }] });
    const call = { value: { skeleton: '', segments: [{ dtype: 'bytes', shape: null, bytes: body }] } } as unknown as IncomingCall;
    return { call, model: 'm', headerLength: headers['inference-header-content-length'] };
  });
  const { job } = inferJob(1, '1', calls, maxRows, true);
  if (job.kind !== 'infer') throw new Error('expected an inference');
  const { answers, bytes } = await runInference({ signature: SIGNATURE, maxRows }, run, job);
  let at = 0;
  const told = answers.map((each) => {
    if (!('length' in each)) return each.message;
    const text = Buffer.from(bytes.subarray(at, at + each.length)).toString();
    at += each.length;
    return (JSON.parse(text) as { outputs: { data: number[] }[] }).outputs[0]?.data;
  });
  return { runs, told };
};

t.test('no run has more rows than allowed: more requests run one after the other, a larger one in pieces', async (t) => {
  const { runs, told } = await infer(
    [
      { x: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], output: 'a' },
      { x: [11, 12], output: 'a' },
      { x: [14, 15], output: 'a' },
    ],
    4,
  );
  t.same(runs, [4, 4, 2, 4]);
  t.same(told, [
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    [11, 12],
    [14, 15],
  ]);
});

t.test('an output that cannot be divided costs nobody his answer: each runs alone then', async (t) => {
  const { told } = await infer(
    [
      { x: [1, 2], output: 'a' },
      { x: [3], output: 'odd' },
    ],
    64,
  );
  t.same(told, [
    [1, 2],
    [3, 99],
  ]);
});

t.test('a poison fails alone', async (t) => {
  const { told } = await infer(
    [1, 2, 13, 4].map((x) => ({ x: [x], output: 'a' })),
    64,
  );
  t.same(told, [[1], [2], 'poison', [4]]);
});

import t from 'tap';
import type { StateSpecs } from '../../src/domain/desired.ts';
import { MAX_ROUTING_JSON_BYTES } from '../../src/protocol/routing-headers.ts';
import { Tensor } from '../../src/protocol/tensor.ts';
import { readInference } from '../../src/replica/engines/infer-request.ts';
import { hasError, type JobResult } from '../../src/replica/engines/onnx-jobs.ts';
import { describe, type Feeds, type Port, type Signature } from '../../src/replica/engines/onnx-signature.ts';
import { States, withStates } from '../../src/replica/engines/onnx-states.ts';

const port = (name: string, shape: Port['shape'], dtype: Port['dtype'] = 'float32'): Port => ({ name, dtype, shape });
const SIGNATURE: Signature = {
  inputs: [port('x', ['batch', 'length']), port('s', [2, 'batch', 3]), port('p', ['past', 2], 'int64')],
  outputs: [port('y', ['batch']), port('next', [2, 'batch', 3]), port('seen', ['all', 2], 'int64')],
};
const SPECS: StateSpecs = { s: { output: 'next', shape: null }, p: { output: 'seen', shape: [0, 2] } };
const valuesOf = (feeds: Feeds | undefined): Float32Array => feeds?.['s']?.data as Float32Array;
const x = (rows: number) => new Tensor('float32', [rows, 4], new Float32Array(rows * 4));

/** What each run was given; it answers with tensors that tell the runs apart. */
const modelOf = (specs = SPECS) => {
  const runs: { feeds: Feeds; wanted: readonly string[] }[] = [];
  const fails = { next: false };
  const signature = withStates(SIGNATURE, specs);
  const run = async (feeds: Feeds, wanted: readonly string[] = []) => {
    runs.push({ feeds, wanted });
    if (fails.next) throw new Error('no');
    return Object.fromEntries(wanted.map((name) => [name, new Tensor('float32', [1], Float32Array.of(runs.length))]));
  };
  return { runs, fails, model: { signature, run } };
};
type Model = ReturnType<typeof modelOf>['model'];

const ROOM = 10_000;
/** A request of a sequence that is answered well. */
const stepOf = async (
  states: States,
  number: number,
  isStart: boolean,
  model: Model,
  feeds: Feeds,
  wanted?: readonly string[],
) => {
  const { run, keep } = states.modelOf({ number, isStart, isEnd: false }, model);
  const outputs = await run(feeds, wanted);
  keep();
  return outputs;
};

t.test('a sequence begins with zeros, of the shape that is said, that the request has by the same name, or of 1', async (t) => {
  const { runs, model } = modelOf();
  const states = new States(SPECS, ROOM);
  await stepOf(states, 1, true, model, { x: x(5) });
  t.same(
    [runs[0]?.feeds['s']?.shape, runs[0]?.feeds['p']?.shape],
    [
      [2, 5, 3],
      [0, 2],
    ],
  );
  t.ok(valuesOf(runs[0]?.feeds).every((value) => value === 0));
  t.ok(runs[0]?.feeds['p']?.data instanceof BigInt64Array);
  const free = modelOf({ s: { output: 'next', shape: null } });
  await stepOf(new States({ s: { output: 'next', shape: null } }, ROOM), 1, true, free.model, {});
  t.same(free.runs[0]?.feeds['s']?.shape, [2, 1, 3], 'nobody says how many');
});

t.test('each run goes on from the one before it in its own sequence, and answers what was asked for', async (t) => {
  const { runs, model } = modelOf();
  const states = new States(SPECS, ROOM);
  const step = (number: number, isStart = false, wanted?: readonly string[]) =>
    stepOf(states, number, isStart, model, { x: x(1) }, wanted);
  t.same(Object.keys(await step(1, true)), ['y'], 'no state by default');
  await step(2, true);
  t.same(Object.keys(await step(1, false, ['seen', 'y'])), ['seen', 'y'], 'and one that is asked for');
  await step(2);
  const fed = runs.map(({ feeds }) => valuesOf(feeds)[0]);
  t.same(fed, [0, 0, 1, 2]);
  t.same(runs[0]?.wanted, ['y', 'next', 'seen']);
  t.same(runs[2]?.wanted, ['seen', 'y', 'next'], 'nothing twice');
});

t.test('what fails leaves the state as it was, and a start that fails leaves none', async (t) => {
  const { runs, fails, model } = modelOf();
  const states = new States(SPECS, ROOM);
  const step = (number: number, isStart = false) => stepOf(states, number, isStart, model, { x: x(1) });
  await step(1, true);
  fails.next = true;
  await t.rejects(step(1));
  await t.rejects(step(2, true));
  fails.next = false;
  await step(1);
  t.equal(valuesOf(runs.at(-1)?.feeds)[0], 1);
  t.throws(() => states.modelOf({ number: 2, isStart: false, isEnd: false }, model), { code: 'SEQUENCE_NOT_FOUND' });
  states.forget([1, 2, 99]);
  t.throws(
    () => states.modelOf({ number: 1, isStart: false, isEnd: false }, model),
    { code: 'SEQUENCE_NOT_FOUND' },
    'never silently from zeros',
  );
});

t.test('a run whose answer cannot be given leaves the state as it was: its client sends it again', async (t) => {
  const { runs, model } = modelOf();
  const states = new States(SPECS, ROOM);
  await stepOf(states, 1, true, model, { x: x(1) });
  const { run } = states.modelOf({ number: 1, isStart: false, isEnd: false }, model);
  await run({ x: x(1) });
  await stepOf(states, 1, false, model, { x: x(1) });
  t.same(
    runs.map(({ feeds }) => valuesOf(feeds)[0]),
    [0, 1, 1],
  );
  const error = { code: 'INVALID_INPUT' as const, message: '' };
  const bytes = new Uint8Array(0);
  const results: readonly (readonly [JobResult, boolean])[] = [
    [{ id: 1, kind: 'json', bytes, answers: [3] }, false],
    [{ id: 1, kind: 'json', bytes, answers: [error] }, true],
    [{ id: 1, kind: 'http', bytes, answers: [{ length: 3, headers: [] }] }, false],
    [{ id: 1, kind: 'http', bytes, answers: [error] }, true],
    [{ id: 1, kind: 'each', answers: [{ skeleton: '', segments: [] }] }, false],
    [{ id: 1, kind: 'each', answers: [error] }, true],
    [{ id: 1, kind: 'tensors', value: { skeleton: '', segments: [] } }, false],
    [{ id: 1, kind: 'error', error }, true],
  ];
  for (const [result, expected] of results) t.equal(hasError(result), expected, JSON.stringify(result));
});

t.test('a start begins with zeros, whatever is kept by its number', async (t) => {
  const { runs, model } = modelOf();
  const states = new States(SPECS, ROOM);
  for (let time = 0; time < 2; time++) await stepOf(states, 1, true, model, { x: x(1) });
  t.same(
    runs.map(({ feeds }) => valuesOf(feeds)[0]),
    [0, 0],
  );
});

t.test('states have no more bytes than is allowed, and are looked at before they are made', async (t) => {
  const { runs, model } = modelOf();
  // The states that the model gives have 4 bytes each, the zeros of one row 24.
  const states = new States(SPECS, 100);
  const step = (number: number, isStart: boolean, rows = 1) => stepOf(states, number, isStart, model, { x: x(rows) });
  await t.rejects(step(1, true, 5), {
    code: 'INVALID_INPUT',
    message: /as many bytes as `model.sequence.max_state_bytes` allows \(100\), got 120/,
  });
  for (let number = 1; number <= 10; number++) await step(number, true);
  await t.rejects(step(11, true), {
    code: 'QUEUE_FULL',
    message: /with a state of 24 bytes .* allows \(100\)/,
    details: { retryAfterS: 1 },
  });
  t.equal(runs.length, 10, 'nothing was run for them');
  await step(1, false);
  await step(10, true);
  states.forget([2]);
  await step(11, true);
  await t.rejects(step(12, true), { code: 'QUEUE_FULL' }, 'what is forgotten counts no more, and all else does');
  const grows = { ...model, run: async () => ({ ...(await model.run({}, ['y', 'seen'])), next: x(10) }) };
  await t.rejects(stepOf(states, 1, false, grows, { x: x(1) }), { code: 'INVALID_INPUT', message: /got 164/ });
  await step(1, false);
});

t.test('an empty input makes no state: its extents cost nothing to say', async (t) => {
  const { runs, model } = modelOf();
  const huge = new Tensor('float32', [2 ** 40, 0], new Float32Array(0));
  await t.rejects(stepOf(new States(SPECS, Number.POSITIVE_INFINITY), 1, true, model, { x: huge }), {
    code: 'INVALID_INPUT',
    message: 'expected elements in the input `x`, of whose extents the state `s` is made, got none',
  });
  t.same(runs, []);
});

t.test('flags that the daemon did not read are not passed over, where a header does not say otherwise', async (t) => {
  const { model } = modelOf();
  const read = (parameters: string, call: object, pad = 0) => {
    const { signature } = new States(SPECS, ROOM).modelOf({ number: 1, isStart: true, isEnd: false, ...call }, model);
    const json = `{"parameters":${parameters},"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[1]}]}`;
    return readInference(Buffer.from(json.padEnd(pad)), undefined, signature);
  };
  const reasons =
    /in JSON of at most 65536 bytes \(got \d+\), and without escapes in its name or its number.*send the header x-sequence-/;
  t.ok(read('{"sequence_id":7,"sequence_start":true,"sequence_end":false}', {}));
  t.ok(read('{"sequence\\u005fid":"0","sequence_start":true,"sequence_end":true}', { isEnd: true }));
  t.throws(() => read('{"sequence\\u005fend":true}', {}), { code: 'INVALID_INPUT', message: reasons });
  t.throws(() => read('{"sequence\\u005fend":true}', { overruled: ['sequence_start'] }), { message: reasons });
  t.ok(read('{"sequence_end":true}', { overruled: ['sequence_end'] }));
  t.throws(() => read('{"sequence_start":true}', {}, MAX_ROUTING_JSON_BYTES + 1), { message: reasons });
  const bare = (id: string) =>
    readInference(Buffer.from(`{"parameters":{"sequence_id":${id}},"inputs":[]}`), undefined, model.signature);
  for (const nothing of ['0', '"0"', '""']) t.throws(() => bare(nothing), { message: /expected the input `x`/ }, nothing);
  t.throws(() => bare('7'), { message: reasons });
  for (const negative of ['-1', '-12345678901234567']) t.throws(() => bare(negative), { message: /or a text, got -1/ }, negative);
});

t.test('clients are told of inputs and outputs without the states, and of these by themselves', async (t) => {
  const { inputs, outputs, states } = describe(withStates(SIGNATURE, SPECS));
  t.same([inputs.map(({ name }) => name), outputs.map(({ name }) => name)], [['x'], ['y']]);
  t.same(states, [
    { name: 's', dtype: 'float32', shape: [2, -1, 3], output: 'next' },
    { name: 'p', dtype: 'int64', shape: [-1, 2], output: 'seen' },
  ]);
  t.equal(withStates(SIGNATURE, {}), SIGNATURE);
  t.equal(describe(SIGNATURE).states, undefined);
});

const MISTAKES: readonly (readonly [StateSpecs, string])[] = [
  [{ z: { output: 'next', shape: null } }, 'expected inputs of the model (`x`, `s`, `p`) in `sequence.state`, got `z`'],
  [{ s: { output: 'z', shape: null } }, 'expected outputs of the model (`y`, `next`, `seen`) in `sequence.state`, got `z`'],
  [
    { s: { output: 'seen', shape: null } },
    'expected `s` (float32 [2, ?, 3]) of `sequence.state` to take what `seen` (int64 [?, 2]) gives',
  ],
  [
    { s: { output: 'y', shape: null } },
    'expected `s` (float32 [2, ?, 3]) of `sequence.state` to take what `y` (float32 [?]) gives',
  ],
  [{ s: { output: 'next', shape: [3, 1, 3] } }, 'expected a shape of [2, ?, 3] for `s` in `sequence.state`, got [3, 1, 3]'],
];
for (const [specs, message] of MISTAKES)
  t.test(`refused before it serves: ${message}`, async (t) => {
    t.throws(() => withStates(SIGNATURE, specs), { code: 'INVALID_INPUT', message });
  });

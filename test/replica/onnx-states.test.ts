import t from 'tap';
import type { StateSpecs } from '../../src/domain/desired.ts';
import { Tensor } from '../../src/protocol/tensor.ts';
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

t.test('a sequence begins with zeros, of the shape that is said, that the request has by the same name, or of 1', async (t) => {
  const { runs, model } = modelOf();
  const states = new States(SPECS);
  await states.modelOf({ number: 1, isStart: true }, model).run({ x: x(5) });
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
  await new States({ s: { output: 'next', shape: null } }).modelOf({ number: 1, isStart: true }, free.model).run({});
  t.same(free.runs[0]?.feeds['s']?.shape, [2, 1, 3], 'nobody says how many');
});

t.test('each run goes on from the one before it in its own sequence, and answers what was asked for', async (t) => {
  const { runs, model } = modelOf();
  const states = new States(SPECS);
  const step = (number: number, isStart = false, wanted?: readonly string[]) =>
    states.modelOf({ number, isStart }, model).run({ x: x(1) }, wanted);
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
  const states = new States(SPECS);
  const step = (number: number, isStart = false) => states.modelOf({ number, isStart }, model).run({ x: x(1) });
  await step(1, true);
  fails.next = true;
  await t.rejects(step(1));
  await t.rejects(step(2, true));
  fails.next = false;
  await step(1);
  t.equal(valuesOf(runs.at(-1)?.feeds)[0], 1);
  t.throws(() => states.modelOf({ number: 2, isStart: false }, model), { code: 'SEQUENCE_NOT_FOUND' });
  states.forget([1, 2, 99]);
  t.throws(
    () => states.modelOf({ number: 1, isStart: false }, model),
    { code: 'SEQUENCE_NOT_FOUND' },
    'never silently from zeros',
  );
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

/** What goes to a replica together, and what each of it gets back. */
import t from 'tap';
import { type Answer, type DaemonRig, startDaemon } from '../support/daemon-rig.ts';
import { addModel } from '../support/onnx-writer.ts';
import { configOf, ECHO, NEIGHBOUR, single } from './configs.ts';

t.setTimeout(120_000);

const CODE = `import { existsSync } from 'node:fs';
import { Tensor } from 'serve-daemon';
const opened = async (file) => { while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 5)); };
let batches = 0;
export class Many {
  async call(inputs) {
    const batch = batches++;
    const gate = inputs.find((input) => input.gate !== undefined);
    if (gate) await opened(gate.gate);
    return inputs.map((input, place) => ({ n: input.n, batch, place, size: inputs.length }));
  }
}
export class Strict {
  async call(inputs) {
    if (inputs.includes('throw')) throw new Error('the whole batch is bad');
    if (inputs.includes('short')) return inputs.slice(1);
    if (inputs.includes('text')) return 'no array';
    return inputs.map((input) => (input === 'error' ? new TypeError('only this item') : input === 'odd' ? { deep: [() => {}] } : input));
  }
}
/** Tensors of so many columns each. */
export async function tensors({ widths }) { return widths.map((width, at) => new Tensor('float32', [1, width], new Float32Array(width).fill(at))); }
export async function whole() { return new Tensor('int32', [1, 2], Int32Array.of(1, 2)); }
`;
const files = {
  'code.ts': CODE,
  'echo.ts': ECHO,
  'add.onnx': addModel([1, 2]),
  'wide.onnx': addModel([1], ['rows', 'columns']),
  'fixed.onnx': addModel([1, 2], [1, 2]),
};
const together = (size: number, waitS: number, options: object = {}) => ({
  batching: { max_batch_size: size, batch_wait_timeout_s: waitS },
  ...options,
});
const stepOf = (name: string, model: string, maker: string, step: object, more: object = {}) => ({
  name,
  route_prefix: `/${name}`,
  deployments: [
    { name: 'Maker', import_path: `./code.ts:${maker}` },
    { name: 'Model', model, batching: { max_batch_size: 8, batch_wait_timeout_s: 0.2, ...more } },
  ],
  graph: { steps: { made: { call: 'Maker', input: '$request.json' }, ran: { call: 'Model', ...step } }, output: '$ran' },
});
const CONFIG = configOf([
  NEIGHBOUR,
  single('many', '/many', { import_path: './code.ts:Many', max_ongoing_requests: 8, ...together(4, 0) }),
  single('eager', '/eager', { import_path: './code.ts:Many', ...together(32, 0.1) }),
  single('strict', '/strict', { import_path: './code.ts:Strict', ...together(4, 5) }),
  single('model', '/model', { model: 'add.onnx', ...together(8, 0.2) }),
  single('wide', '/wide', { model: 'wide.onnx', ...together(8, 0.2) }),
  single('ragged', '/ragged', { model: 'wide.onnx', batching: { max_batch_size: 8, batch_wait_timeout_s: 0.2, pad: { x: 0 } } }),
  single('few', '/few', { model: 'add.onnx', batching: { max_batch_size: 2 } }),
  single('fixed', '/fixed', { model: 'fixed.onnx', ...together(8, 0.05) }),
  stepOf('shapes', 'wide.onnx', 'tensors', { for_each: '$made', input: { x: '$item' } }),
  stepOf('together', 'wide.onnx', 'tensors', { for_each: '$made', input: { x: '$item' } }, { pad: { x: 0 } }),
  stepOf('dtype', 'add.onnx', 'whole', { input: { x: '$made' } }),
]);

const jsonsOf = (answers: readonly Answer[]) => answers.map(({ text }) => JSON.parse(text) as unknown);

/** The sizes of the batches that so many requests were in, by the access log. */
const sizesOf = async (daemon: DaemonRig, ids: readonly string[]): Promise<number[]> => {
  const sizes: number[] = [];
  for (const id of ids) {
    const { deployments } = (await daemon.access(id)) as unknown as { deployments: { batch: number }[] };
    sizes.push(deployments.at(-1)?.batch ?? 0);
  }
  return sizes;
};

const idsOf = (name: string, count: number): string[] => Array.from({ length: count }, (_, n) => `${name}-${n}`);

t.test('requests that come together', async (t) => {
  await using daemon = await startDaemon(CONFIG, { files });
  const postRaw = (path: string, body: Uint8Array, id: string) =>
    daemon.ask(path, { method: 'POST', headers: { 'content-type': 'application/octet-stream', 'x-request-id': id }, body });

  await t.test('32 parallel posts are batched, each gets its own answer, and the access log tells the sizes', async (t) => {
    const ids = idsOf('parallel', 32);
    const answers = await Promise.all(ids.map((id, n) => daemon.post('/eager', { n }, { 'x-request-id': id })));
    const results = jsonsOf(answers) as { n: number; batch: number; size: number }[];
    t.same(
      results.map(({ n }) => n),
      ids.map((_, n) => n),
    );
    const logged = await sizesOf(daemon, ids);
    t.same(
      logged,
      results.map(({ size }) => size),
      'the log tells what the code saw',
    );
    t.ok(Math.max(...logged) > 1, `batches of ${logged}`);
    t.ok(new Set(results.map(({ batch }) => batch)).size < 32);
  });

  await t.test('the order of arrival is kept, and no batch is larger than max_batch_size', async (t) => {
    const first = daemon.post('/many', { n: -1, gate: 'go' });
    const inQueue = (ongoing: number, queued: number) =>
      daemon.when(`${queued} wait`, ({ applications }) => {
        const seen = applications['many']?.deployments['Only'];
        return seen?.ongoing === ongoing && seen.queued === queued;
      });
    await inQueue(1, 0);
    const waiting: Promise<Answer>[] = [];
    for (let n = 0; n < 12; n++) {
      waiting.push(daemon.post('/many', { n }));
      // One batch at a time is in work: each of these is behind the one before it.
      await inQueue(1, n + 1);
    }
    await daemon.write('go', '');
    await first;
    const results = jsonsOf(await Promise.all(waiting)) as { n: number; batch: number; place: number; size: number }[];
    t.same(
      results.map(({ size }) => size),
      new Array(12).fill(4),
    );
    t.same(
      [...results].sort((a, b) => a.batch - b.batch || a.place - b.place).map(({ n }) => n),
      results.map((_, n) => n),
    );
  });

  await t.test('a wrong number of results is 500 for that batch alone, and the log tells expected and got', async (t) => {
    for (const [input, got] of [
      ['short', 'an array of 3'],
      ['text', 'string'],
    ] as const) {
      const answers = await Promise.all(
        [1, 2, 3, input].map((each, n) => daemon.post('/strict', each, { 'x-request-id': `${input}-${n}` })),
      );
      t.same(
        answers.map(({ status, text }) => [status, text]),
        new Array(4).fill([500, 'Internal Server Error']),
      );
      const line = await daemon.waitForLog((line) => line.msg === 'request failed' && line['requestId'] === `${input}-0`);
      t.match(line['error'], { message: `expected \`call\` to return an array of 4 (one result for each input), got ${got}` });
      const next = await Promise.all([1, 2, 3, 4].map((each) => daemon.post('/strict', each)));
      t.same(
        next.map(({ text }) => text),
        ['1', '2', '3', '4'],
      );
    }
  });

  await t.test('a method that throws fails its batch, and no other', async (t) => {
    const answers = await Promise.all(['a', 'b', 'throw', 'c'].map((each) => daemon.post('/strict', each)));
    t.same(
      answers.map(({ status }) => status),
      [500, 500, 500, 500],
    );
    const next = await Promise.all(['a', 'b', 'c', 'd'].map((each) => daemon.post('/strict', each)));
    t.same(
      next.map(({ text }) => text),
      ['a', 'b', 'c', 'd'],
    );
  });

  await t.test('an item that is an Error, or that cannot be encoded, fails alone', async (t) => {
    const ids = idsOf('alone', 4);
    const answers = await Promise.all(
      ['a', 'error', 'odd', 'd'].map((each, n) => daemon.post('/strict', each, { 'x-request-id': ids[n] as string })),
    );
    t.same(
      answers.map(({ status }) => status),
      [200, 500, 500, 200],
    );
    t.same(await sizesOf(daemon, ids), [4, 4, 4, 4]);
    const thrown = await daemon.waitForLog((line) => line.msg === 'request failed' && line['requestId'] === 'alone-1');
    t.match(thrown['error'], { name: 'TypeError', message: 'only this item' });
    const odd = await daemon.waitForLog((line) => line.msg === 'request failed' && line['requestId'] === 'alone-2');
    t.match(odd['error'], { message: /`deep\[0\]` cannot be encoded: it is a function/ });
  });

  await t.test('a model takes JSON and raw bytes in one batch, each with as many rows as it brings', async (t) => {
    const ids = idsOf('model', 16);
    const answers = await Promise.all(
      ids.map((id, n) => {
        const rows = 1 + (n % 3);
        const numbers = Array.from({ length: 2 * rows }, (_, at) => n * 10 + at);
        if (n % 2 === 1) return postRaw('/model', new Uint8Array(Float32Array.from(numbers).buffer), id);
        const x = Array.from({ length: rows }, (_, row) => numbers.slice(2 * row, 2 * row + 2));
        return daemon.post('/model', n % 4 === 0 ? { x } : x, { 'x-request-id': id });
      }),
    );
    t.same(
      jsonsOf(answers),
      ids.map((_, n) => ({ y: Array.from({ length: 1 + (n % 3) }, (_, row) => [n * 10 + 2 * row + 1, n * 10 + 2 * row + 3]) })),
    );
    const sizes = await sizesOf(daemon, ids);
    t.ok(Math.max(...sizes) > 1, `batches of ${sizes}`);
  });

  await t.test('bad bodies in a batch fail alone', async (t) => {
    const ids = idsOf('mixed', 8);
    const bodies = [[[1, 1]], [[1, 2, 3]], [[2, 2]], { z: 1 }, [[3, 3]], 'text', [[4, 4]], null];
    const answers = await Promise.all(bodies.map((body, n) => daemon.post('/model', body, { 'x-request-id': ids[n] as string })));
    t.same(
      answers.map(({ status, text }) => (status === 200 ? JSON.parse(text) : status)),
      [{ y: [[2, 3]] }, 400, { y: [[3, 4]] }, 400, { y: [[4, 5]] }, 400, { y: [[5, 6]] }, 400],
    );
    t.ok(Math.max(...(await sizesOf(daemon, ids))) > 1);
  });

  await t.test('bodies of different shapes are never mixed', async (t) => {
    const ids = idsOf('wide', 12);
    const answers = await Promise.all(
      ids.map((id, n) => daemon.post('/wide', { x: [new Array(1 + (n % 3)).fill(n)] }, { 'x-request-id': id })),
    );
    t.same(
      jsonsOf(answers),
      ids.map((_, n) => ({ y: [new Array(1 + (n % 3)).fill(n + 1)] })),
    );
    t.ok(Math.max(...(await sizesOf(daemon, ids))) > 1);
  });

  await t.test('tensors from code are stacked by shape only, and their order is kept', async (t) => {
    const widths = [3, 3, 2, 3, 2, 1, 3, 2, 1, 1];
    const answer = await daemon.post('/shapes', { widths }, { 'x-request-id': 'shapes' });
    t.same(
      JSON.parse(answer.text),
      widths.map((width, at) => ({ y: [new Array(width).fill(at + 1)] })),
    );
    const { deployments } = await daemon.access('shapes');
    t.match(deployments, [
      { deployment: 'shapes/Maker', calls: 1 },
      { deployment: 'shapes/Model', calls: 10, batch: 4 },
    ]);
  });

  await t.test(
    'ragged inputs that are padded share batches, and their outputs have the lengths that they came with',
    async (t) => {
      const ids = idsOf('ragged', 12);
      const answers = await Promise.all(
        ids.map((id, n) => daemon.post('/ragged', { x: [new Array(4 + (n % 3)).fill(n)] }, { 'x-request-id': id })),
      );
      t.same(
        jsonsOf(answers),
        ids.map((_, n) => ({ y: [new Array(4 + (n % 3)).fill(n + 1)] })),
      );
      const widths = [3, 3, 2, 3, 2, 1, 3, 2, 1, 1];
      const answer = await daemon.post('/together', { widths }, { 'x-request-id': 'together' });
      t.same(
        JSON.parse(answer.text),
        widths.map((width, at) => ({ y: [new Array(width).fill(at + 1)] })),
      );
      const { deployments } = await daemon.access('together');
      t.match(deployments, [{}, { deployment: 'together/Model', calls: 10, batch: 8 }], 'lengths do not part them');
    },
  );

  await t.test('a request of more rows than a batch may have is run in pieces and answered whole', async (t) => {
    const x = Array.from({ length: 7 }, (_, n) => [n, n]);
    t.same(JSON.parse((await daemon.post('/few', { x })).text), { y: x.map(([n = 0]) => [n + 1, n + 2]) });
  });

  await t.test('a model with a fixed first axis runs each alone, also when they come together', async (t) => {
    const answers = await Promise.all(Array.from({ length: 6 }, (_, n) => daemon.post('/fixed', { x: [[n, n]] })));
    t.same(
      jsonsOf(answers),
      answers.map((_, n) => ({ y: [[n + 1, n + 2]] })),
    );
    t.match(
      await daemon.post('/fixed', {
        x: [
          [1, 1],
          [2, 2],
        ],
      }),
      { status: 400, text: /expected float32 \[1, 2\].*got float32 \[2, 2\]/ },
    );
  });

  await t.test('a wrong name, shape or type is 400, and says what was expected and what came', async (t) => {
    const wrong: [unknown, RegExp][] = [
      [{ z: [[1, 2]] }, /^expected the input `x`, got `z`$/],
      [{ x: [[1, 2]], z: 1 }, /^expected the input `x`, got `z`$/],
      [{}, /^expected the input `x` \(float32 \[\?, 2\]\), got none$/],
      [{ x: [[1, 2, 3]] }, /^expected float32 \[\?, 2\] for input `x`, got float32 \[1, 3\]$/],
      [{ x: [1, 2] }, /^expected float32 \[\?, 2\] for input `x`, got float32 \[2\]$/],
      [{ x: [['a', 'b']] }, /^expected numbers in input `x` \(float32\), got "a"$/],
      [{ x: [[1, 2], [3]] }, /^input `x` is ragged: expected lists of 2 on axis 1$/],
      ['text', /^expected an object with the input `x`, got a string$/],
      [null, /^expected an object with the input `x`, got nothing$/],
    ];
    const answers = await Promise.all(wrong.map(([body]) => daemon.post('/model', body)));
    for (const [index, [body, text]] of wrong.entries())
      t.match(answers[index], { status: 400, text, headers: { 'x-serve-error': 'INVALID_INPUT' } }, JSON.stringify(body));
    t.match(await postRaw('/model', new Uint8Array(9), 'nine'), {
      status: 400,
      text: 'expected a multiple of 8 bytes (float32 [?, 2]), got 9',
    });
    t.match(await postRaw('/wide', new Uint8Array(8), 'wide-raw'), { status: 400, text: /\[\?, \?\]: send JSON$/ });
    t.match(await daemon.post('/dtype', null), {
      status: 400,
      text: 'expected float32 [?, 2] for input `x`, got int32 [1, 2]',
    });
    t.equal((await daemon.post('/neighbour', 'well')).text, 'well');
  });

  await t.test('GET describes the model, any method but POST is 405', async (t) => {
    const description = {
      inputs: [{ name: 'x', dtype: 'float32', shape: [-1, 2] }],
      outputs: [{ name: 'y', dtype: 'float32', shape: [-1, 2] }],
    };
    const got = await daemon.ask('/model');
    t.match(got, { status: 200, headers: { 'content-type': 'application/json' } });
    t.same(JSON.parse(got.text), description);
    t.match(await daemon.ask('/model', { method: 'HEAD' }), { status: 200, text: '' });
    for (const method of ['PUT', 'DELETE', 'PATCH'])
      t.match(await daemon.ask('/model', { method, body: '[[1, 2]]' }), {
        status: 405,
        text: `expected POST with inputs, or GET for a description, got ${method}`,
        headers: { 'x-serve-error': 'METHOD_NOT_ALLOWED' },
      });
  });

  await t.test('padding an input that the model does not have is told at once, and what served goes on', async (t) => {
    const wrong = { model: 'wide.onnx', batching: { pad: { ids: 0 } } };
    await daemon.write('config.yaml', configOf([NEIGHBOUR, single('ragged', '/ragged', wrong)]));
    const line = await daemon.waitForLog((line) => /names the input `ids`/.test(JSON.stringify(line)));
    t.match(JSON.stringify(line), /which the model does not have; it has `x`/);
    t.equal((await daemon.post('/ragged', { x: [[1, 2, 3, 4]] })).status, 200);
  });

  t.same(await daemon.stop(), { code: 0, signal: null });
});

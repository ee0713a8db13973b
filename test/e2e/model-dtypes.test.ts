/** What onnxruntime can carry goes through a model and back, from clients and from code. */
import t from 'tap';
import { startDaemon } from '../support/daemon-rig.ts';
import { type Element, identityModel, onnxModel, type WrittenPort } from '../support/onnx-writer.ts';
import { configOf } from './configs.ts';

t.setTimeout(120_000);

/** Two elements as JSON says them, and what code sees of them in a tensor. */
const DTYPES: readonly (readonly [Element, readonly unknown[], readonly string[]])[] = [
  ['bool', [true, false], ['1', '0']],
  ['int8', [-128, 127], ['-128', '127']],
  ['int16', [-32_768, 32_767], ['-32768', '32767']],
  ['int32', [-(2 ** 31), 2 ** 31 - 1], ['-2147483648', '2147483647']],
  ['int64', [2 ** 53 - 1, '-9223372036854775808'], ['9007199254740991', '-9223372036854775808']],
  ['uint8', [0, 255], ['0', '255']],
  ['uint16', [0, 65_535], ['0', '65535']],
  ['uint32', [0, 2 ** 32 - 1], ['0', '4294967295']],
  ['uint64', [0, '18446744073709551615'], ['0', '18446744073709551615']],
  ['float16', [-0.5, 65_504], ['47104', '31743']],
  ['float32', [-1.5, 2 ** 100], ['-1.5', String(2 ** 100)]],
  ['float64', [0.1, -1e300], ['0.1', '-1e+300']],
  ['string', ['', 'é€😀'], ['', 'é€😀']],
];

/** Hands tensors on to a model, and tells what it was given and what came back. */
const CALLER = `
import { Tensor } from 'serve-daemon';
const told = ({ dtype, shape, data }) => ({ dtype, shape, data: Array.from(data, String) });
export class Caller {
  constructor(handles) { this.handles = handles; }
  async call({ model, dtype, shape, data }) {
    const Type = { bool: Uint8Array, float16: Uint16Array, int64: BigInt64Array, uint64: BigUint64Array, string: Array }[dtype]
      ?? globalThis[dtype.replace(/^u?int|^float/, (kind) => ({ int: 'Int', uint: 'Uint', float: 'Float' })[kind]) + 'Array'];
    const made = Type.from(data, Type.name.startsWith('Big') ? BigInt : dtype === 'string' ? String : Number);
    return told((await this.handles[model].call(new Tensor(dtype, shape, made))).y);
  }
}
`;

const model = (name: string, more: object = {}) => ({ name, model: `./${name}.onnx`, ...more });
const names = DTYPES.map(([dtype]) => dtype);

t.test('every dtype, scalars and empty tensors', async (t) => {
  const files: Record<string, string | Uint8Array> = { 'caller.ts': CALLER };
  for (const dtype of names) files[`${dtype}.onnx`] = identityModel(dtype, ['n', 'm']);
  files['any.onnx'] = identityModel('float32', null);
  files['scalar.onnx'] = identityModel('int64', []);
  const deployments = [
    { name: 'Caller', import_path: './caller.ts:Caller' },
    ...names.map((name) => model(name)),
    ...['any', 'scalar'].map((name) => model(name)),
  ];
  const calls = { Caller: Object.fromEntries([...names, 'any', 'scalar'].map((name) => [name, name])) };
  const own = (name: string) => ({ name: `own_${name}`, route_prefix: `/${name}`, deployments: [model(name)] });
  await using daemon = await startDaemon(
    configOf([
      { name: 'app', route_prefix: '/call', deployments, graph: { ingress: 'Caller', calls } },
      ...['bool', 'int64', 'float16', 'string', 'any', 'scalar', 'float32'].map(own),
    ]),
    { files },
  );
  const call = async (body: object) => {
    const { status, text } = await daemon.post('/call', body);
    return status === 200 ? (JSON.parse(text) as unknown) : `${status} ${text} ${JSON.stringify(daemon.log.at(-1))}`;
  };

  for (const [dtype, , data] of DTYPES) {
    t.same(await call({ model: dtype, dtype, shape: [1, 2], data }), { dtype, shape: [1, 2], data }, `${dtype} through a handle`);
    t.same(await call({ model: dtype, dtype, shape: [0, 3], data: [] }), { dtype, shape: [0, 3], data: [] }, `${dtype}, empty`);
  }
  t.same(await call({ model: 'scalar', dtype: 'int64', shape: [], data: ['7'] }), { dtype: 'int64', shape: [], data: ['7'] });
  for (const shape of [[], [2], [1, 2, 1]]) {
    const data = ['1', '2'].slice(0, shape.length === 0 ? 1 : 2);
    t.same(await call({ model: 'any', dtype: 'float32', shape, data }), { dtype: 'float32', shape, data }, 'of any rank');
  }

  for (const [dtype, json] of DTYPES) {
    if (!['bool', 'int64', 'float16', 'string', 'float32'].includes(dtype)) continue;
    const answer = await daemon.post(`/${dtype}`, [json]);
    t.same(JSON.parse(answer.text), { y: [json] }, `${dtype} as JSON`);
  }
  const raw = await daemon.ask('/int64', { method: 'POST', body: '{"x": [[9007199254740993]]}' });
  t.same(JSON.parse(raw.text), { y: [['9007199254740993']] }, 'digits that JavaScript would round');
  t.same(JSON.parse((await daemon.post('/scalar', 5)).text), { y: 5 });
  t.same(JSON.parse((await daemon.post('/any', [[[1]]])).text), { y: [[[1]]] });
  t.same(JSON.parse((await daemon.post('/float32', [])).text), { y: [] });
  t.same(JSON.parse((await daemon.post('/float32', { x: [[], []] })).text), { y: [[], []] });
  t.same(JSON.parse((await daemon.ask('/any')).text), {
    inputs: [{ name: 'x', dtype: 'float32', shape: null }],
    outputs: [{ name: 'y', dtype: 'float32', shape: null }],
  });
  t.equal((await daemon.post('/string', [['a\0b']])).status, 400, 'what would come back cut off');
});

t.test('several inputs and outputs of different dtypes, batched', async (t) => {
  const port = (name: string, element: Element, shape: readonly (number | string)[]): WrittenPort => ({ name, element, shape });
  const written = onnxModel({
    inputs: [port('a', 'int64', ['n']), port('b', 'string', ['n', 'm']), port('c', 'float16', ['n', 2])],
    outputs: [port('c2', 'float32', ['n', 2]), port('b2', 'string', ['n', 'm']), port('a2', 'bool', ['n'])],
    nodes: [
      { op: 'Cast', inputs: ['c'], outputs: ['c2'], attributes: { to: 1 } },
      { op: 'Identity', inputs: ['b'], outputs: ['b2'] },
      { op: 'Cast', inputs: ['a'], outputs: ['a2'], attributes: { to: 9 } },
    ],
  });
  await using daemon = await startDaemon(
    configOf([
      {
        name: 'app',
        route_prefix: '/',
        deployments: [model('mixed', { batching: { max_batch_size: 8, batch_wait_timeout_s: 0.2 } })],
      },
    ]),
    { files: { 'mixed.onnx': written } },
  );
  const one = (n: number) => ({
    a: [n, 0],
    b: [[`t${n}`], ['']],
    c: [
      [n, 0.5],
      [0, -n],
    ],
  });
  const answers = await Promise.all([0, 1, 2].map((n) => daemon.post('/', one(n))));
  for (const [n, answer] of answers.entries()) {
    t.same(JSON.parse(answer.text), {
      c2: [
        [n, 0.5],
        [0, -n],
      ],
      b2: [[`t${n}`], ['']],
      a2: [n !== 0, false],
    });
  }
});

t.test('a dtype that onnxruntime-node has no form for says so', async (t) => {
  await using daemon = await startDaemon(
    configOf([{ name: 'app', route_prefix: '/', deployments: [model('brain', { max_constructor_retry_count: 1 })] }]),
    { files: { 'brain.onnx': identityModel('bfloat16', ['n']) } },
  );
  const status = await daemon.status();
  t.match(status.applications['app']?.message, /an input or output has the dtype bfloat16/);
});

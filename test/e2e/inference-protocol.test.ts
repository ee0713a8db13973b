/** The Open Inference Protocol over REST, on both HTTP drivers, as its clients use it. */

import { connect } from 'node:net';
import { deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { binaryRequest, bytesOf, infer, little, read, withHeader } from '../support/inference.ts';
import { ECHO } from './configs.ts';
import { FILES, MODELS, modelsConfig } from './inference-models.ts';

t.setTimeout(180_000);

const files = { ...FILES, 'echo.ts': ECHO };
const json = (value: unknown) => JSON.stringify(value);
const x = (data: unknown, more: object = {}) => json({ inputs: [{ name: 'x', shape: [1, 2], datatype: 'FP32', data }], ...more });
const rows = (values: readonly number[]) => ({
  name: 'x',
  datatype: 'FP32',
  shape: [values.length / 2, 2],
  bytes: little(Float32Array.from(values)),
});
const floats = (bytes: Buffer | undefined) => Array.from(new Float32Array(Uint8Array.from(bytes ?? []).buffer));

for (const server of ['uws', 'node'] as const) {
  t.test(`on ${server}`, async (t) => {
    await using daemon = await startDaemon(modelsConfig(server, { pair: { batching: { max_batch_size: 8 } } }), { files });
    await t.test('health and metadata', (t) => health(t, daemon));
    await t.test('inferences in JSON', (t) => inJson(t, daemon));
    await t.test('inferences with binary data', (t) => inBinary(t, daemon));
    await t.test('large bodies of many at once', (t) => largeBodies(t, daemon));
    await t.test('every datatype', (t) => datatypes(t, daemon));
    await t.test('compressed bodies', (t) => compressed(t, daemon));
    await t.test('statistics', (t) => statistics(t, daemon));
    await t.test('the repository', (t) => repository(t, daemon));
    await t.test('what is not there', (t) => missing(t, daemon));
  });
}

const health = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const get = async (path: string) => {
    const { status, text } = await daemon.ask(path);
    return { status, body: JSON.parse(text) as unknown };
  };
  t.same(await get('/v2/health/live'), { status: 200, body: { live: true } });
  t.same(await get('/v2/health/ready'), { status: 200, body: { ready: true } });
  t.match(await get('/v2'), { status: 200, body: { name: 'serve-daemon', extensions: ['binary_tensor_data'] } });
  t.equal((await get('/v2/')).status, 200);
  const metadata = {
    name: 'pair',
    versions: ['1'],
    platform: 'onnxruntime_onnx',
    inputs: [
      { name: 'a', datatype: 'INT64', shape: [-1, 2] },
      { name: 'b', datatype: 'BYTES', shape: [-1] },
    ],
    outputs: [
      { name: 'b2', datatype: 'BYTES', shape: [-1] },
      { name: 'a2', datatype: 'FP32', shape: [-1, 2] },
      { name: 'a3', datatype: 'BOOL', shape: [-1, 2] },
    ],
  };
  for (const path of ['pair', 'pair/versions/1', 'models%2Fpair', 'models/pair', '%70air'])
    t.same(await get(`/v2/models/${path}`), { status: 200, body: metadata }, path);
  t.same(await get('/v2/models/pair/ready'), { status: 200, body: { name: 'pair', ready: true } });
  t.same(await get('/v2/models/pair/versions/1/ready'), { status: 200, body: { name: 'pair', ready: true } });
  t.match(await get('/v2/models/pair/config'), {
    body: {
      name: 'pair',
      backend: 'onnxruntime',
      max_batch_size: 8,
      input: [
        { name: 'a', data_type: 'TYPE_INT64', dims: [2] },
        { name: 'b', data_type: 'TYPE_STRING', dims: [] },
      ],
      dynamic_batching: { max_queue_delay_microseconds: 0 },
      instance_group: [{ count: 1 }],
    },
  });
  t.match(await get('/v2/models/add/config'), { body: { max_batch_size: 0, input: [{ dims: [-1, 2] }] } });
  t.equal((await daemon.ask('/v2/models/add', { method: 'HEAD' })).status, 200);
};

const inJson = async (t: Test, daemon: DaemonRig): Promise<void> => {
  for (const data of [[1, 2], [[1, 2]]]) {
    const { status, json: answer, answer: http } = await infer(daemon, 'add/infer', x(data, { id: 'é"1' }));
    t.equal(status, 200);
    t.same(answer, {
      model_name: 'add',
      model_version: '1',
      id: 'é"1',
      outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 2], data: [11, 22] }],
    });
    t.equal(http.headers['content-type'], 'application/json');
    t.equal(http.headers['x-serve-run'], undefined, 'what the replica tells the daemon stays inside');
    t.ok(http.headers['x-request-id']);
  }
  t.same((await infer(daemon, 'models%2Fadd/versions/1/infer', x([0, 0]))).json, {
    model_name: 'models/add',
    model_version: '1',
    outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 2], data: [10, 20] }],
  });
  const custom = {
    parameters: { mine: 'a', also: 5, flag: true, sequence_id: 3, priority: 1, timeout: 60_000_000 },
    outputs: [],
    id: null,
  };
  t.same(
    (await infer(daemon, 'add/infer', x([0, 0], custom))).json.outputs[0]?.data,
    [10, 20],
    'parameters that change no answer',
  );
  for (const body of [x([0, 0], { parameters: { timeout: 1 } }), gzipSync(x([0, 0], { parameters: { timeout: 1 } }))]) {
    const late = await infer(daemon, 'add/infer', body, typeof body === 'string' ? {} : { 'content-encoding': 'gzip' });
    t.equal(late.status, 408, 'a microsecond is over');
    t.equal(late.answer.headers['x-serve-error'], 'DEADLINE_EXCEEDED');
  }
  const pair = {
    inputs: [
      { name: 'b', shape: [2], datatype: 'BYTES', data: ['p', 'é😀'] },
      { name: 'a', shape: [2, 2], datatype: 'INT64', data: [1, 0, 3, -4] },
    ],
    outputs: [{ name: 'a3' }, { name: 'b2', parameters: { binary_data: false } }],
  };
  t.same(
    (await infer(daemon, 'pair/infer', json(pair))).json.outputs,
    [
      { name: 'a3', datatype: 'BOOL', shape: [2, 2], data: [true, false, true, true] },
      { name: 'b2', datatype: 'BYTES', shape: [2], data: ['p', 'é😀'] },
    ],
    'outputs that were asked for, in that order',
  );
  const together = await Promise.all(
    Array.from({ length: 12 }, (_, n) => {
      const inputs = [
        { name: 'a', shape: [1, 2], datatype: 'INT64', data: [n, -n] },
        { name: 'b', shape: [1], datatype: 'BYTES', data: [`t${n}`] },
      ];
      return infer(daemon, 'pair/infer', json({ id: String(n), inputs: n % 2 === 0 ? inputs : inputs.reverse() }));
    }),
  );
  for (const [n, { json: answer }] of together.entries()) {
    t.equal(answer.id, String(n));
    t.same(
      answer.outputs.map(({ data }) => data),
      [[`t${n}`], [n, n === 0 ? 0 : -n], [n !== 0, n !== 0]],
      'batched, each gets its own',
    );
  }
};

const inBinary = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const send = async (path: string, { headers, body }: ReturnType<typeof binaryRequest>) => infer(daemon, path, body, headers);
  const all = await send('add/infer', binaryRequest([rows([1, 2, 3, 4])], { parameters: { binary_data_output: true } }));
  t.equal(all.answer.headers['content-type'], 'application/octet-stream');
  t.equal((all.headerLength ?? 1) % 8, 0, 'the first tensor stands at a multiple of 8');
  t.same(all.json.outputs, [{ name: 'y', datatype: 'FP32', shape: [2, 2], parameters: { binary_data_size: 16 } }]);
  t.same(floats(all.raw['y']), [11, 22, 13, 24]);
  const text = await send('add/infer', binaryRequest([rows([1, 2])]));
  t.same(text.json.outputs[0]?.data, [11, 22], 'binary in, JSON out');
  const flag = x([1, 2], { outputs: [{ name: 'y', parameters: { binary_data: true } }] });
  t.same(floats((await infer(daemon, 'add/infer', flag)).raw['y']), [11, 22], 'JSON in, binary out');
  const own = x([1, 2], {
    parameters: { binary_data_output: true },
    outputs: [{ name: 'y', parameters: { binary_data: false } }],
  });
  t.same((await infer(daemon, 'add/infer', own)).json.outputs[0]?.data, [11, 22], 'what an output says wins');
  const mixed = withHeader(
    {
      inputs: [
        { name: 'b', shape: [2], datatype: 'BYTES', parameters: { binary_data_size: 9 } },
        { name: 'a', shape: [2, 2], datatype: 'INT64', data: [1, 2, 3, 4] },
      ],
      outputs: [
        { name: 'b2', parameters: { binary_data: true } },
        { name: 'a2' },
        { name: 'a3', parameters: { binary_data: true } },
      ],
    },
    [bytesOf(['p', ''])],
  );
  const answer = await send('pair/infer', mixed);
  t.same(answer.raw['b2'], bytesOf(['p', '']));
  t.same(answer.json.outputs[1]?.data, [1, 2, 3, 4]);
  t.same(answer.raw['a3'], Buffer.of(1, 1, 1, 1));
  const big = Array.from({ length: 20_000 }, (_, n) => n);
  for (const id of ['', 'a', 'ab', 'abc', 'abcdefg']) {
    const { raw } = await send('add/infer', binaryRequest([rows(big)], { id, parameters: { binary_data_output: true } }));
    t.equal(floats(raw['y'])[19_999], 20_019, 'wherever the tensor stands');
  }
  const raw = await infer(daemon, 'add/infer', little(Float32Array.of(1, 2)), { 'inference-header-content-length': '0' });
  t.same(floats(raw.raw['y']), [11, 22], 'a body that is the tensor');
  t.same(raw.json.outputs[0]?.shape, [1, 2]);
  const word = await infer(daemon, 'texts/infer', 'as it is', { 'inference-header-content-length': '0' });
  t.same(word.raw['x'] ?? word.raw['y'], bytesOf(['as it is']));
  const half = await send(
    'half/infer',
    binaryRequest([{ name: 'x', datatype: 'FP16', shape: [1, 2], bytes: little(Uint16Array.of(0x3c00, 0x7e00)) }], {
      parameters: { binary_data_output: true },
    }),
  );
  t.same(half.raw['y'], Buffer.from([0, 0x3c, 0, 0x7e]));
  const nan = await send(
    'add/infer',
    binaryRequest([{ ...rows([0, 0]), bytes: little(Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY)) }]),
  );
  t.equal(nan.status, 400, 'JSON has no NaN');
  t.match(nan.json.error, /output `y` has NaN or infinite numbers.*binary/);
};

/** Memory of bodies is used again: what one client sent must not be seen by another, nor be changed by one that has gone. */
const largeBodies = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const ask = async (client: number, signal?: AbortSignal): Promise<boolean> => {
    // Of different lengths, around the size from which on memory is used again; some so long that the session thread runs them.
    const count = [20_000, 40_000, 120_000, 7][client % 4] as number;
    const values = Float32Array.from({ length: count - (count % 2) }, (_, index) => client * 1000 + (index % 997));
    const { headers, body } = binaryRequest([{ ...rows([]), shape: [values.length / 2, 2], bytes: little(values) }], {
      parameters: { binary_data_output: true },
    });
    const answer = await fetch(`${daemon.url}/v2/models/add/infer`, {
      method: 'POST',
      headers,
      body: new Uint8Array(body),
      ...(signal === undefined ? {} : { signal }),
    });
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const got = floats(Buffer.from(bytes.subarray(Number(answer.headers.get('inference-header-content-length')))));
    return (
      got.length === values.length && got.every((each, index) => each === (values[index] as number) + (index % 2 === 0 ? 10 : 20))
    );
  };
  for (let round = 0; round < 6; round++) {
    const gone = Array.from({ length: 4 }, (_, client) => {
      const controller = new AbortController();
      const asked = ask(client + 100, controller.signal).catch(() => true);
      setImmediate(() => controller.abort());
      return asked;
    });
    const right = await Promise.all(Array.from({ length: 16 }, (_, client) => ask(round * 16 + client)));
    t.same(right, Array(16).fill(true));
    await Promise.all(gone);
  }
};

const datatypes = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const cases: readonly (readonly [string, string, string, Uint8Array])[] = [
    ['texts', 'BYTES', '["","é😀"]', bytesOf(['', 'é😀'])],
    ['truth', 'BOOL', '[true,false]', Uint8Array.of(1, 0)],
    ['doubles', 'FP64', '[0.1,-1e+300]', little(Float64Array.of(0.1, -1e300))],
    ['longs', 'INT64', '[9223372036854775807,-9223372036854775808]', little(BigInt64Array.of(2n ** 63n - 1n, -(2n ** 63n)))],
    ['ulongs', 'UINT64', '[18446744073709551615,0]', little(BigUint64Array.of(2n ** 64n - 1n, 0n))],
    ['bytes', 'UINT8', '[255,0]', Uint8Array.of(255, 0)],
  ];
  for (const [model, datatype, data, bytes] of cases) {
    const head = `"name":"x","shape":[2],"datatype":"${datatype}"`;
    const asText = await daemon.ask(`/v2/models/${model}/infer`, {
      method: 'POST',
      body: `{"inputs":[{${head},"data":${data}}]}`,
    });
    t.equal(/"data":(.*)\}\]\}$/.exec(asText.text)?.[1], data, `${datatype} in JSON, to the last digit`);
    const { headers, body } = binaryRequest([{ name: 'x', shape: [2], datatype, bytes }], {
      parameters: { binary_data_output: true },
    });
    t.same((await infer(daemon, `${model}/infer`, body, headers)).raw['y'], Buffer.from(bytes), `${datatype} in binary`);
    const empty = binaryRequest([{ name: 'x', shape: [0], datatype, bytes: new Uint8Array(0) }]);
    const none = await infer(daemon, `${model}/infer`, empty.body, empty.headers);
    t.same([none.json.outputs[0]?.shape, none.json.outputs[0]?.data], [[0], []], `${datatype} without elements`);
  }
  const one = (shape: readonly number[], datatype: string, data: unknown) =>
    json({ inputs: [{ name: 'x', shape, datatype, data }] });
  for (const data of [[7], 7])
    t.same((await infer(daemon, 'scalar/infer', one([], 'INT32', data))).json.outputs[0], {
      name: 'y',
      datatype: 'INT32',
      shape: [],
      data: [7],
    });
  for (const shape of [[], [1], [1, 1, 1]])
    t.same((await infer(daemon, 'open/infer', one(shape, 'FP32', [5]))).json.outputs[0]?.shape, shape, 'of any rank');
  t.same((await infer(daemon, 'free/infer', one([0, 2, 3], 'FP32', []))).json.outputs[0]?.shape, [0, 2, 3]);
};

const compressed = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const { headers, body } = binaryRequest([rows(new Array<number>(4096).fill(1))], { parameters: { binary_data_output: true } });
  for (const [coding, pack, unpack] of [
    ['gzip', gzipSync, gunzipSync],
    ['deflate', deflateSync, inflateSync],
  ] as const) {
    const all = { ...headers, 'content-encoding': coding, 'accept-encoding': coding };
    const answer = await daemon.ask('/v2/models/add/infer', { method: 'POST', body: pack(body), headers: all });
    t.equal(answer.headers['content-encoding'], coding);
    t.ok(answer.body.length < 4096, 'it came small');
    const { raw, json: read_ } = read(answer, unpack(answer.body));
    t.same(read_.outputs[0]?.shape, [2048, 2]);
    t.same(floats(raw['y']).slice(0, 2), [11, 21], 'the header length is that of what is inside');
    const small = await daemon.ask('/v2/models/add/infer', {
      method: 'POST',
      body: x([1, 2]),
      headers: { 'accept-encoding': coding },
    });
    t.equal(small.headers['content-encoding'], undefined, 'a small answer goes as it is');
  }
  const bomb = gzipSync(Buffer.alloc(2_000_000, ' '));
  const refused = await daemon.ask('/v2/models/add/infer', {
    method: 'POST',
    body: bomb,
    headers: { 'content-encoding': 'gzip' },
  });
  t.equal(refused.status, 413, 'what comes out is bounded as what comes in');
  t.match(JSON.parse(refused.text), { error: /at most 1048576 bytes/ });
};

interface Stats {
  readonly model_stats: readonly {
    readonly name: string;
    readonly inference_count: number;
    readonly execution_count: number;
    readonly last_inference: number;
    readonly inference_stats: Readonly<Record<string, { readonly count: number; readonly ns: number }>>;
    readonly batch_stats: readonly { readonly batch_size: number; readonly compute_infer: { readonly count: number } }[];
  }[];
}

const statistics = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const stats = async (path: string) => JSON.parse((await daemon.ask(path)).text) as Stats;
  const [before] = (await stats('/v2/models/fixed/stats')).model_stats;
  t.match(before, { name: 'fixed', version: '1', inference_count: 0, execution_count: 0, last_inference: 0 });
  const good = json({ inputs: [{ name: 'x', shape: [2, 3], datatype: 'FP32', data: [1, 2, 3, 4, 5, 6] }] });
  await infer(daemon, 'fixed/infer', good);
  await infer(daemon, 'fixed/versions/1/infer', good);
  t.equal((await infer(daemon, 'fixed/infer', '{}')).status, 400);
  const [after] = (await stats('/v2/models/fixed/versions/1/stats')).model_stats;
  t.match(after, {
    inference_count: 2,
    execution_count: 2,
    inference_stats: { success: { count: 2 }, fail: { count: 1 }, queue: { count: 2 }, compute_infer: { count: 2 } },
    batch_stats: [{ batch_size: 1, compute_infer: { count: 2 } }],
  });
  const { success, compute_infer } = after?.inference_stats ?? {};
  t.ok((compute_infer?.ns ?? 0) > 0 && (success?.ns ?? 0) >= (compute_infer?.ns ?? 0));
  const [rows_] = (await stats('/v2/models/add/stats')).model_stats;
  t.ok((rows_?.inference_count ?? 0) > (rows_?.execution_count ?? 0), 'rows count as inferences');
  const every = await stats('/v2/models/stats');
  t.same(every.model_stats.map(({ name }) => name).sort(), Object.keys(MODELS).sort());
};

const repository = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const post = async (path: string, body = '') => {
    const { status, text } = await daemon.ask(`/v2/repository/${path}`, { method: 'POST', body });
    return { status, body: JSON.parse(text) as unknown };
  };
  for (const body of ['', '{"ready": true}', '{}']) {
    const index = (await post('index', body)).body as readonly { name: string }[];
    t.same(index.map(({ name }) => name).sort(), Object.keys(MODELS).sort());
    t.same(index[0], { name: 'add', version: '1', state: 'READY', reason: '' });
  }
  t.equal((await post('models/add/load')).status, 200, 'it is loaded');
  t.equal((await post('any/models/add/load', '{"parameters": {}}')).status, 200);
  t.match(await post('models/add/unload'), { status: 400, body: { error: /as the config file says/ } });
  t.match(await post('models/add/load', '{"parameters": {"config": "{}"}}'), { status: 400, body: { error: /config/ } });
  t.match(await post('models/none/load'), { status: 404, body: { error: /Model 'none' not found/ } });
  t.equal((await post('index', '[')).status, 400);
  t.equal((await post('index', '{"ready": 1}')).status, 400);
};

/** @returns all that comes until the daemon closes */
const headOnly = async ({ url }: DaemonRig, head: string): Promise<string> => {
  const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1' });
  socket.write(head);
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
};

const missing = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const rows: readonly (readonly [string, string, number, RegExp])[] = [
    ['GET', '/v2/models/none', 404, /Model 'none' not found. There is add, half/],
    ['GET', '/v2/models/add/versions/2', 404, /has no version '2'. There is 1/],
    ['GET', '/v2/models/add/versions/2/ready', 404, /no version/],
    ['POST', '/v2/models/add/versions/2/infer', 404, /no version/],
    ['POST', '/v2/models/none/infer', 404, /not found/],
    ['GET', '/v2/models/add/infer', 405, /expected POST .*, got GET/],
    ['POST', '/v2/models/add', 405, /expected GET/],
    ['POST', '/v2/health/live', 405, /expected GET/],
    ['GET', '/v2/repository/index', 405, /expected POST/],
    ['GET', '/v2/nothing', 404, /none of the Open Inference Protocol/],
    ['GET', '/v2/models/', 404, /none of/],
    ['GET', '/v2/models/add/versions/', 404, /./],
    ['POST', '/v2/models/add/generate', 404, /./],
    ['GET', '/v2/models/%zz', 400, /percent-encoding/],
    ['GET', '/v2/models/%ff', 400, /percent-encoding/],
  ];
  for (const [method, path, status, error] of rows) {
    const answer = await daemon.ask(path, { method, ...(method === 'POST' ? { body: x([1, 2]) } : {}) });
    t.equal(answer.status, status, `${method} ${path}`);
    t.match(JSON.parse(answer.text), { error }, `${method} ${path}: ${answer.text}`);
    t.equal(answer.headers['content-type'], 'application/json');
  }
  // The head alone: whoever still sends when the connection is closed may lose the answer.
  const long = await headOnly(daemon, `POST /v2/models/add/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 1100000\r\n\r\n`);
  t.match(long, /^HTTP\/1\.1 413 /);
  t.match(JSON.parse(long.slice(long.indexOf('\r\n\r\n'))), { error: /at most 1048576 bytes/ });
  t.equal((await daemon.ask('/v2x')).status, 200, 'other paths are those of the applications');
};

t.test('an application that has the path for itself keeps it', async (t) => {
  const config = modelsConfig('node', {}, ['add']).replace('"route_prefix":"/"', '"route_prefix":"/v2"');
  await using daemon = await startDaemon(config, { files });
  t.equal((await daemon.post('/v2/health/live', 'hello')).text, 'hello');
});

t.test('a model that is scaled to zero is ready and described, and comes when it is asked', async (t) => {
  const autoscaling_config = {
    min_replicas: 0,
    max_replicas: 1,
    look_back_period_s: 1,
    downscale_delay_s: 0.2,
    downscale_to_zero_delay_s: 0.2,
  };
  await using daemon = await startDaemon(modelsConfig('uws', { add: { autoscaling_config } }, ['add']), { files });
  t.equal((await daemon.ask('/v2/health/ready')).status, 200, 'before there ever was a replica');
  t.equal((await daemon.ask('/v2/models/add/ready')).status, 200);
  t.equal((await daemon.ask('/v2/models/add')).status, 503, 'nobody has told yet');
  t.same((await infer(daemon, 'add/infer', x([1, 2]))).json.outputs[0]?.data, [11, 22]);
  await until('no replica is left', async () => (await daemon.pids('models', 'add')).length === 0);
  t.equal((await daemon.ask('/v2/health/ready')).status, 200);
  t.match(JSON.parse((await daemon.ask('/v2/models/add')).text), { inputs: [{ name: 'x' }] }, 'what it told stays');
  t.same((await infer(daemon, 'add/infer', x([3, 4]))).json.outputs[0]?.data, [13, 24]);
});

t.test('a request that makes a run fail fails alone, in each form', async (t) => {
  const batching = { max_batch_size: 8, batch_wait_timeout_s: 0.5 };
  await using daemon = await startDaemon(modelsConfig('uws', { pick: { batching } }, ['pick']), { files });
  const indices = [0, 1, 9, 3, 2, 9];
  const expected = [10, 20, 500, 40, 30, 500];
  const body = (index: number) => json({ inputs: [{ name: 'x', shape: [1], datatype: 'INT64', data: [index] }] });
  const asked = await Promise.all(indices.map((index) => infer(daemon, 'pick/infer', body(index))));
  t.same(
    asked.map(({ status, json: told }) => (status === 200 ? told.outputs[0]?.data?.[0] : status)),
    expected,
  );
  t.same(asked[2]?.json, { error: 'Internal Server Error' });
  const octets = { 'content-type': 'application/octet-stream' };
  for (const send of [
    (index: number) => daemon.post('/models', [index]),
    (index: number) => daemon.ask('/models', { method: 'POST', body: little(BigInt64Array.of(BigInt(index))), headers: octets }),
  ]) {
    const plain = await Promise.all(indices.map(send));
    t.same(
      plain.map(({ status, text }) => (status === 200 ? (JSON.parse(text) as { y: number[] }).y[0] : status)),
      expected,
    );
  }
});

t.test('a model that does not load is told of, and the others serve', async (t) => {
  const config = modelsConfig('node', {}, ['add']).replace(
    '- {"name":"echo"',
    '- {"name":"bad","route_prefix":"/bad","deployments":[{"name":"add","model":"./bad.onnx","max_constructor_retry_count":1}]}\n- {"name":"echo"',
  );
  await using daemon = await startDaemon(config, {
    files: { ...files, 'bad.onnx': Buffer.from(MODELS['add'] ?? []).subarray(0, 60) },
  });
  const get = async (path: string) => {
    const { status, text } = await daemon.ask(path);
    return { status, body: JSON.parse(text) as unknown };
  };
  t.match(await get('/v2/health/ready'), { status: 503, body: { error: /Not ready: bad\/add/ } });
  t.match(await get('/v2/models/bad%2Fadd/ready'), { status: 503, body: { error: /Application bad could not be deployed/ } });
  t.match(await get('/v2/models/add'), { status: 404, body: { error: /models\/add/ } }, 'a name that two have is none');
  t.equal((await infer(daemon, 'models%2Fadd/infer', x([1, 2]))).status, 200);
  t.match(await infer(daemon, 'bad%2Fadd/infer', x([1, 2])), { status: 503 });
  const { text } = await daemon.ask('/v2/repository/index', { method: 'POST' });
  t.match(JSON.parse(text).at(-1), { name: 'bad/add', state: 'UNAVAILABLE', reason: /could not be deployed/ });
});

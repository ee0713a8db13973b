/** Sequences of a stateful model, over real replicas: in every form that a request has, and through what may happen to the replica that holds them. */
import t, { type Test } from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { binaryRequest, infer, little, withHeader } from '../support/inference.ts';
import { onnxModel } from '../support/onnx-writer.ts';
import { configOf, HEAD } from './configs.ts';

t.setTimeout(240_000);

/** `sum` is all `x` of a sequence so far, `last` the `x` before this one. The states have outputs of their own. */
const summing = (factor: number): Uint8Array =>
  onnxModel({
    inputs: [
      { name: 'x', element: 'float32', shape: ['n'] },
      { name: 'total', element: 'float32', shape: ['n'] },
      { name: 'before', element: 'float32', shape: ['n'] },
    ],
    outputs: [
      { name: 'sum', element: 'float32', shape: ['n'] },
      { name: 'last', element: 'float32', shape: ['n'] },
      { name: 'totalN', element: 'float32', shape: ['n'] },
      { name: 'beforeN', element: 'float32', shape: ['n'] },
    ],
    nodes: [
      { op: 'Mul', inputs: ['x', 'factor'], outputs: ['scaled'] },
      { op: 'Add', inputs: ['scaled', 'total'], outputs: ['totalN'] },
      { op: 'Identity', inputs: ['totalN'], outputs: ['sum'] },
      { op: 'Identity', inputs: ['before'], outputs: ['last'] },
      { op: 'Identity', inputs: ['x'], outputs: ['beforeN'] },
    ],
    constants: [{ name: 'factor', shape: [1], values: [factor] }],
  });

const FILES = { 'sum.onnx': summing(1), 'tens.onnx': summing(10) };
const STATE = { total: 'totalN', before: { output: 'beforeN' } };
const config = (model: object = {}, more: object = {}, server = 'auto') =>
  configOf(
    [
      {
        name: 'sums',
        route_prefix: '/sum',
        deployments: [
          { name: 'Sum', model: { path: './sum.onnx', sequence: { state: STATE, ...model } }, num_replicas: 3, ...more },
        ],
      },
    ],
    HEAD.replace('port: 0}', `port: 0, server: ${server}, max_request_body: 8MiB}`),
  );

interface Said {
  readonly id?: string | number;
  readonly start?: boolean;
  readonly end?: boolean;
}
const parametersOf = ({ id, start, end }: Said) => ({ sequence_id: id, sequence_start: start, sequence_end: end });
const headersOf = ({ id, start, end }: Said): Record<string, string> => ({
  ...(id === undefined ? {} : { 'x-sequence-id': String(id) }),
  ...(start === undefined ? {} : { 'x-sequence-start': String(start) }),
  ...(end === undefined ? {} : { 'x-sequence-end': String(end) }),
});

/** In JSON of the protocol. */
const add = async (daemon: DaemonRig, x: number, said: Said, more: object = {}) => {
  const input = { name: 'x', datatype: 'FP32', shape: [1], data: [x] };
  const body = JSON.stringify({ inputs: [input], parameters: parametersOf(said), ...more });
  const { status, json, answer } = await infer(daemon, 'Sum/infer', body);
  const outputs = Object.fromEntries((json.outputs ?? []).map(({ name, data }) => [name, data?.[0]]));
  return { status, error: json.error, code: answer.headers['x-serve-error'], outputs, sum: outputs['sum'] };
};
const plain = async (daemon: DaemonRig, x: number, said: Said) => {
  const { status, text } = await daemon.post('/sum', { x: [x] }, headersOf(said));
  return { status, text, sum: status === 200 ? (JSON.parse(text) as { sum: number[] }).sum[0] : undefined };
};

for (const server of ['uws', 'node']) {
  t.test(`on ${server}`, async (t) => {
    await using daemon = await startDaemon(config({}, {}, server), { files: FILES });
    await daemon.running();
    await t.test('in each form that a request has', (t) => forms(t, daemon));
    await t.test('what is not known, and what cannot be', (t) => refusals(t, daemon));
    await t.test('what is told of the model', (t) => told(t, daemon));
    await t.test('many at once, each in its order', (t) => interleaved(t, daemon));
  });
}

const forms = async (t: Test, daemon: DaemonRig): Promise<void> => {
  t.same((await add(daemon, 1, { id: 1, start: true })).outputs, { sum: 1, last: 0 }, 'the states stay where they are');
  t.same((await add(daemon, 2, { id: 1 })).outputs, { sum: 3, last: 1 });
  t.equal((await plain(daemon, 4, { id: 1 })).sum, 7, 'plain JSON, by headers: a number and its digits are one id');
  const inputs = [{ name: 'x', datatype: 'FP32', shape: [1], bytes: little(Float32Array.of(8)) }];
  const binary = binaryRequest(inputs, { parameters: { ...parametersOf({ id: 1 }), binary_data_output: true } });
  const { raw } = await infer(daemon, 'Sum/infer', binary.body, binary.headers);
  t.same(Object.keys(raw), ['sum', 'last']);
  t.equal(raw['sum']?.readFloatLE(), 15);
  const tensor = await infer(daemon, 'Sum/infer', little(Float32Array.of(16)), {
    'inference-header-content-length': '0',
    ...headersOf({ id: 1 }),
  });
  t.equal(tensor.raw['sum']?.readFloatLE(), 31, 'a body that is the tensor, by headers');
  const asked = await add(daemon, 32, { id: '1', end: true }, { outputs: [{ name: 'totalN' }, { name: 'last' }] });
  t.same(asked.outputs, { totalN: 63, last: 16 }, 'a state that is asked for');
  t.equal((await add(daemon, 1, { id: 1 })).status, 400, 'it has ended');
  const long = (await add(daemon, 5, { id: 'é-1', start: true, end: true })).outputs;
  t.same(long, { sum: 5, last: 0 }, 'of one request');
  const exact = (digits: string, x: number, start: boolean) =>
    infer(
      daemon,
      'Sum/infer',
      `{"parameters":{"sequence_id":${digits},"sequence_start":${start}},"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[${x}]}]}`,
    );
  await exact('18446744073709551615', 1, true);
  await exact('18446744073709551614', 10, true);
  t.same((await exact('18446744073709551615', 1, false)).json.outputs[0]?.data, [2], 'ids of 64 bits keep their digits');
  const rows = { inputs: [{ name: 'x', datatype: 'FP32', shape: [3], data: [1, 2, 3] }] };
  await add(daemon, 0, { id: 'rows', start: true }, rows);
  const { json } = await infer(daemon, 'Sum/infer', JSON.stringify({ ...rows, parameters: { sequence_id: 'rows' } }));
  t.same(json.outputs[0]?.data, [2, 4, 6], 'the zeros are as many as the first request has');
  const alone = { x: [1], total: [5], before: [6] };
  const stateless = JSON.parse((await daemon.post('/sum', alone)).text) as unknown;
  t.same(stateless, { sum: [6], last: [6], totalN: [6], beforeN: [1] }, 'without a sequence it is the bare model');
};

const refusals = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const unknown = await add(daemon, 1, { id: 'nobody' });
  t.match(unknown, { status: 400, code: 'SEQUENCE_NOT_FOUND', error: /"nobody" is not known to sums\/Sum.*Start it again/ });
  t.match(await plain(daemon, 1, { id: 'nobody' }), { status: 400, text: /Start it again/ });
  t.match(await add(daemon, 1, {}), {
    status: 400,
    error: /expected the input `total`, got none, nor a sequence \(`sequence_id`/,
  });
  t.match(await plain(daemon, 1, {}), { status: 400, text: /`total` \(float32 \[\?\]\), got none, nor a sequence/ });
  t.match(await add(daemon, 1, { start: true }), { status: 400, error: /expected the id of the sequence/ });
  t.match(await plain(daemon, 1, { id: 'x'.repeat(129), start: true }), { status: 400, text: /at most 128 characters/ });
  const wrong = await daemon.post('/sum', { x: [1] }, { 'x-sequence-id': 'a', 'x-sequence-start': 'yes' });
  t.match(wrong, { status: 400, text: /x-sequence-start to be true or false, got "yes"/ });
  await add(daemon, 1, { id: 'w', start: true });
  const body = { inputs: [{ name: 'x', datatype: 'INT32', shape: [1], data: [1] }], parameters: { sequence_id: 'w' } };
  t.equal((await infer(daemon, 'Sum/infer', JSON.stringify(body))).status, 400);
  t.equal((await add(daemon, 1, { id: 'w' })).sum, 2, 'a request that is wrong changes nothing');
  const state = { inputs: [{ name: 'total', datatype: 'FP32', shape: [1], data: [1] }] };
  t.match(await add(daemon, 1, { id: 'w' }, state), { status: 400, error: /to be an input of the model \(`x`\), got "total"/ });
  const many = 20_000;
  const big = (said: Said, headers: Said) =>
    infer(
      daemon,
      'Sum/infer',
      JSON.stringify({
        inputs: [{ name: 'x', datatype: 'FP32', shape: [many], data: new Array(many).fill(0.5) }],
        parameters: parametersOf(said),
      }),
      headersOf(headers),
    );
  const inBody = await big({ id: 'big', start: true }, {});
  t.match(inBody, { status: 400, json: { error: /`parameters.sequence_id` in JSON of at most 65536 bytes.*x-sequence-id/ } });
  t.equal((await big({}, { id: 'big', start: true })).status, 200, 'by headers');
  t.match(await big({ start: true }, { id: 'big' }), {
    status: 400,
    json: { error: /`parameters.sequence_start`.*x-sequence-start/ },
  });
  const { json } = await big({}, { id: 'big' });
  t.same(json.outputs[0]?.data?.slice(0, 2), [1, 1], 'it went on once');
  const escaped = '{"parameters":{"sequence\\u005fid":"w"},"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}';
  t.match(
    await infer(daemon, 'Sum/infer', escaped),
    { status: 400 },
    'no name that is hidden from the search runs on other states',
  );
  const step = (parameters: string, mark = '') =>
    infer(
      daemon,
      'Sum/infer',
      `${mark}{"parameters":${parameters},"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`,
      { 'x-sequence-id': 'w' },
    );
  for (const flag of ['start', 'end'])
    t.match(
      await step(`{"sequence\\u005f${flag}":true}`),
      { status: 400, json: { error: new RegExp(`without escapes in its name.*x-sequence-${flag}`) } },
      'nor on this one',
    );
  t.equal((await step('{}')).json.outputs[0]?.data?.[0], 3, 'it was neither started nor ended');
  t.equal((await step('{"sequence_start":true}', '\ufeff')).json.outputs[0]?.data?.[0], 1, 'a mark of UTF-8 hides nothing');
  await add(daemon, 3e38, { id: 'inf', start: true });
  t.match(await add(daemon, 2e38, { id: 'inf' }), { status: 400, error: /binary data/ });
  const { outputs } = await add(daemon, 1, { id: 'inf' }, { outputs: [{ name: 'last' }] });
  t.equal(Math.fround(outputs['last'] as number), Math.fround(3e38), 'what could not be answered has moved nothing on');
  const odd = withHeader({ inputs: [], parameters: { sequence_id: -1 } }, []);
  t.match(await infer(daemon, 'Sum/infer', odd.body, odd.headers), { status: 400, json: { error: /or a text, got -1/ } });
};

const told = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const get = async (path: string) => JSON.parse((await daemon.ask(path)).text) as unknown;
  t.match(await get('/v2'), { extensions: /sequence,sequence\(string_id\)/ });
  t.match(await get('/v2/models/Sum'), { inputs: [{ name: 'x' }], outputs: [{ name: 'sum' }, { name: 'last' }] });
  t.match(await get('/v2/models/Sum/config'), {
    max_batch_size: 0,
    input: [{ name: 'x' }],
    sequence_batching: {
      max_sequence_idle_microseconds: 60_000_000,
      oldest: { max_candidate_sequences: 1000 },
      state: [
        { input_name: 'total', output_name: 'totalN', data_type: 'TYPE_FP32', dims: [-1] },
        { input_name: 'before', output_name: 'beforeN' },
      ],
    },
  });
  t.match(await get('/sum'), { inputs: [{ name: 'x' }], states: [{ name: 'total', output: 'totalN' }, { name: 'before' }] });
  await add(daemon, 1, { id: 'counted', start: true });
  const { text } = await daemon.ask('/metrics', {}, daemon.adminUrl);
  t.match(text, /serve_sequences_started_total\{[^}]*deployment="Sum"[^}]*\} \d/);
  t.match(text, /serve_sequences_ended_total\{[^}]*reason="end"[^}]*\} [1-9]/);
  const open = Number(/serve_sequences_open\{[^}]*\} (\d+)/.exec(text)?.[1]);
  const held = (await daemon.replicas('sums', 'Sum')).map(({ sequences }) => sequences);
  t.equal(
    held.reduce((sum: number, each) => sum + (each ?? 0), 0),
    open,
    `${held} of ${open}`,
  );
};

const interleaved = async (t: Test, daemon: DaemonRig): Promise<void> => {
  const ids = Array.from({ length: 12 }, (_, index) => `many-${index}`);
  await Promise.all(ids.map((id) => add(daemon, 0, { id, start: true })));
  // All at once over one connection each: the daemon keeps the order of each sequence.
  const sums = await Promise.all(
    ids.map(async (id, index) => {
      const answers: unknown[] = [];
      for (let step = 1; step <= 8; step++) answers.push((await add(daemon, index, { id, end: step === 8 })).sum);
      return answers;
    }),
  );
  for (const [index, answers] of sums.entries())
    t.same(
      answers,
      Array.from({ length: 8 }, (_, step) => (step + 1) * index),
    );
};

const holderOf = async (daemon: DaemonRig): Promise<{ pid: number; id: string }> => {
  const { pid, replica_id: id } = await until('a replica that holds the one sequence', async () =>
    (await daemon.replicas('sums', 'Sum')).find(({ sequences }) => sequences === 1),
  );
  return { pid: pid ?? -1, id };
};

t.test('when the replica that holds it dies, a sequence is told to start again', async (t) => {
  await using daemon = await startDaemon(config(), { files: FILES });
  await daemon.running();
  await add(daemon, 1, { id: 'a', start: true });
  const { pid } = await holderOf(daemon);
  process.kill(pid, 'SIGKILL');
  await daemon.waitForLog('replica died');
  t.match(await add(daemon, 1, { id: 'a' }), { status: 400, code: 'SEQUENCE_NOT_FOUND' });
  t.equal((await add(daemon, 5, { id: 'a', start: true })).sum, 5);
  t.equal((await add(daemon, 5, { id: 'a' })).sum, 10);
});

t.test('through deaths each answer comes of the right state, or there is none', async (t) => {
  await using daemon = await startDaemon(config(), { files: FILES });
  await daemon.running();
  const wrong: string[] = [];
  const seen = { answers: 0, lost: 0 };
  const [first, second] = await daemon.pids('sums', 'Sum');
  const deaths = new Map([
    [100, first],
    [200, second],
  ]);
  const run = async (id: string) => {
    let sum: number | undefined;
    for (let step = 0; step < 20; step++) {
      const { status, code, sum: got } = await add(daemon, 1, { id, start: sum === undefined });
      if (status === 200) {
        sum = (sum ?? 0) + 1;
        if (got !== sum) wrong.push(`${id}: ${sum} expected, ${got} got`);
      } else if (code === 'SEQUENCE_NOT_FOUND' || code === 'REPLICA_DIED') {
        seen.lost += 1;
        sum = undefined;
      } else wrong.push(`${id}: ${status} ${code}`);
      seen.answers += 1;
      const victim = deaths.get(seen.answers);
      if (victim !== undefined) process.kill(victim, 'SIGKILL');
    }
  };
  await Promise.all(Array.from({ length: 18 }, (_, index) => run(`s${index}`)));
  t.same(wrong, []);
  t.ok(seen.lost >= 6, `${seen.lost} of ${seen.answers} were told that their state had gone`);
});

t.test('a model that changes takes the new sequences, and the old one goes on with those that are open', async (t) => {
  await using daemon = await startDaemon(config({}, { num_replicas: 1 }), { files: FILES });
  await daemon.running();
  await add(daemon, 1, { id: 'open', start: true });
  const { id: old } = await holderOf(daemon);
  const at = daemon.log.length;
  await daemon.save(config({}, { num_replicas: 1 }).replace('./sum.onnx', './tens.onnx'));
  await daemon.waitForLog('config applied', at);
  await until('the new one serves', async () => (await add(daemon, 1, { id: 'probe', start: true, end: true })).sum === 10);
  t.equal((await add(daemon, 1, { id: 'open' })).sum, 2, 'the old model, on the old state');
  t.equal((await add(daemon, 1, { id: 'open', end: true })).sum, 3);
  await until('the old replica goes when its last sequence has ended', async () =>
    (await daemon.replicas('sums', 'Sum')).every(({ replica_id }) => replica_id !== old),
  );
  t.equal((await add(daemon, 1, { id: 'open', start: true })).sum, 10);
});

t.test('what is open when the drain time is over is told to start again', async (t) => {
  const quick = { num_replicas: 1, graceful_shutdown_timeout_s: 0.5 };
  await using daemon = await startDaemon(config({}, quick), { files: FILES });
  await daemon.running();
  await add(daemon, 1, { id: 'open', start: true });
  await daemon.apply(config({}, quick).replace('./sum.onnx', './tens.onnx'));
  const answer = await until('it is refused', async () => {
    const told = await add(daemon, 1, { id: 'open' });
    return told.status === 400 && told;
  });
  t.equal(answer.code, 'SEQUENCE_NOT_FOUND');
});

t.test('the bounds of the file hold, and change while it serves', async (t) => {
  const one = { num_replicas: 1 };
  await using daemon = await startDaemon(config({ max_sequences: 2 }, one), { files: FILES });
  await daemon.running();
  const pids = await daemon.pids('sums', 'Sum');
  for (const id of ['a', 'b']) await add(daemon, 1, { id, start: true });
  const refused = await add(daemon, 1, { id: 'c', start: true });
  t.match(refused, { status: 503, code: 'QUEUE_FULL', error: /model.sequence.max_sequences allows \(2\)/ });
  t.equal((await add(daemon, 1, { id: 'a' })).sum, 2, 'the open ones go on');
  await daemon.apply(config({ max_sequences: 3 }, one));
  t.equal((await add(daemon, 1, { id: 'c', start: true })).sum, 1);
  await daemon.apply(config({ max_sequences: 3, idle_timeout_s: 0.05 }, one));
  await until('they are forgotten', async () => (await daemon.replicas('sums', 'Sum'))[0]?.sequences === 0);
  t.match(await add(daemon, 1, { id: 'a' }), { status: 400, error: /was not used for 0.05 s/ });
  t.same(await daemon.pids('sums', 'Sum'), pids, 'and no process was touched for it');
});

t.test('the memory of states is bounded, whatever shapes a client sends', async (t) => {
  await using daemon = await startDaemon(config({ max_state_bytes: 16 }, { num_replicas: 1 }), { files: FILES });
  await daemon.running();
  for (const id of ['a', 'b']) t.equal((await add(daemon, 1, { id, start: true })).status, 200);
  const refused = await add(daemon, 1, { id: 'c', start: true });
  t.match(refused, { status: 503, code: 'QUEUE_FULL', error: /`model.sequence.max_state_bytes` allows \(16\)/ });
  await add(daemon, 1, { id: 'a', end: true });
  t.equal((await add(daemon, 1, { id: 'c', start: true })).sum, 1, 'another has ended');
  const rows = (shape: readonly number[], data: readonly number[]) =>
    add(daemon, 1, { id: 'b', start: true }, { inputs: [{ name: 'x', datatype: 'FP32', shape, data }] });
  t.match(await rows([3], [1, 2, 3]), { status: 400, error: /allows \(16\), got 24/ });
  t.match(await rows([0], []), { status: 400, error: /expected elements in the input `x`/ });
});

t.test('a state that the model does not have keeps it from starting, and says what there is', async (t) => {
  await using daemon = await startDaemon(config({ state: { total: 'sums' } }), { files: FILES });
  const { applications } = await daemon.status();
  t.match(
    applications['sums']?.message ?? JSON.stringify(applications),
    /expected outputs of the model .*`totalN`.* in `sequence.state`, got `sums`/,
  );
});

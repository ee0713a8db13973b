import t from 'tap';
import { readTritonConfig } from '../../src/config/triton-config.ts';
import type { Json } from '../../src/domain/json.ts';

const read = (text: string) => readTritonConfig(text, 'resnet');
/** Without prototypes missing, which tap would tell apart. */
const fieldsOf = (text: string): Json => JSON.parse(JSON.stringify(read(text).fields));
const told = (text: string) => read(text).findings.map(({ severity, code, path }) => `${severity} ${code} ${path.join('.')}`);

t.test('what has a meaning here is taken over', async (t) => {
  const text = `
    name: "resnet"
    platform: "onnxruntime_onnx"
    backend: "onnxruntime"
    max_batch_size: 16
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
    output { name: "y" data_type: TYPE_FP32 dims: 10 }
    dynamic_batching { max_queue_delay_microseconds: 1500 default_queue_policy { max_queue_size: 64 } }
    instance_group [ { count: 2 kind: KIND_CPU }, { name: "more" } ]
    version_policy: { specific: { versions: [ 1, 3 ] } }
    model_warmup [ {
      name: "w" batch_size: 4 count: 2
      inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3 ] random_data: true } }
      inputs { key: "__proto__" value { dims: 1 zero_data: true } }
    } ]
    parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
    parameters { key: "inter_op_thread_count" value: { string_value: "0" } }
    parameters { key: "execution_mode" value: { string_value: "1" } }
    parameters { key: "enable_mem_arena" value: { string_value: "0" } }
    response_cache { enable: true }
  `;
  t.same(fieldsOf(text), {
    batching: { max_batch_size: 16, batch_wait_timeout_s: 0.0015 },
    response_cache: {},
    max_queued_requests: 64,
    num_replicas: 3,
    model: {
      version_policy: { specific: [1, 3] },
      session: { intra_op_num_threads: 2, execution_mode: 'parallel', enable_cpu_mem_arena: false },
      warmup: [
        {
          inputs: JSON.parse('{"x": {"shape": [4, 3], "fill": "random"}, "__proto__": {"shape": [4, 1], "fill": "zero"}}'),
          count: 2,
        },
      ],
    },
  });
  t.same(told(text), []);
});

t.test('sizes of batches: none, 0, and a block without a size', async (t) => {
  t.same(fieldsOf(''), {});
  t.same(fieldsOf('max_batch_size: 0'), { batching: null });
  t.same(fieldsOf('max_batch_size: 4'), { batching: { max_batch_size: 4 } });
  t.same(fieldsOf('dynamic_batching {}'), { batching: {} });
  t.same(told('max_batch_size: 0 dynamic_batching {}'), ['warning NO_EFFECT dynamic_batching']);
  const warmup = (size: string) => `model_warmup { batch_size: 2 inputs { key: "x" value { dims: 5 } } } ${size}`;
  t.match(fieldsOf(warmup('max_batch_size: 0')), { model: { warmup: [{ inputs: { x: { shape: [5] } } }] } });
  t.match(fieldsOf(warmup('max_batch_size: 8')), { model: { warmup: [{ inputs: { x: { shape: [2, 5] } } }] } });
});

t.test('policies of versions', async (t) => {
  const policy = (text: string) =>
    (fieldsOf(`version_policy { ${text} }`) as { model?: { version_policy: unknown } }).model?.version_policy;
  t.equal(policy('all {}'), 'all');
  t.same(policy('latest { num_versions: 3 }'), { latest: 3 });
  t.same(policy('latest {}'), { latest: 1 });
  t.same(told('version_policy { all {} latest {} }'), ['error EXCLUSIVE_KEYS version_policy']);
  t.same(told('version_policy { specific {} }'), ['error BAD_VALUE version_policy.specific']);
});

t.test('what is not taken over is told, and what says nothing is not', async (t) => {
  const rows: readonly (readonly [string, readonly string[]])[] = [
    ['sequence_batching { direct {} }', ['warning NOT_TAKEN_OVER sequence_batching']],
    ['dynamic_batching { preferred_batch_size: [4, 8] }', ['warning NOT_TAKEN_OVER dynamic_batching.preferred_batch_size']],
    ['dynamic_batching { preserve_ordering: true }', ['warning NOT_TAKEN_OVER dynamic_batching.preserve_ordering']],
    ['dynamic_batching { preserve_ordering: false }', []],
    [
      'instance_group { kind: KIND_GPU gpus: 0 }',
      ['warning NOT_TAKEN_OVER instance_group.kind', 'warning NOT_TAKEN_OVER instance_group.gpus'],
    ],
    ['response_cache { enable: false }', []],
    ['model_transaction_policy { decoupled: true }', ['warning NOT_TAKEN_OVER model_transaction_policy.decoupled']],
    ['default_model_filename: "model.onnx"', []],
    ['default_model_filename: "net.onnx"', ['warning NOT_TAKEN_OVER default_model_filename']],
    ['parameters { key: "x" value { string_value: "1" } }', ['warning NOT_TAKEN_OVER parameters.x']],
    ['input { reshape { shape: [] } }', ['warning NOT_TAKEN_OVER input.reshape']],
    [
      'model_warmup { inputs { key: "x" value { input_data_file: "d" } } }',
      ['warning NOT_TAKEN_OVER model_warmup.inputs.value.input_data_file'],
    ],
    ['max_bach_size: 4', ['warning UNKNOWN_KEY max_bach_size']],
  ];
  for (const [text, expected] of rows) t.same(told(text), expected, text);
  t.match(read('max_bach_size: 4').findings, [{ message: /did you mean `max_batch_size`\?/, offset: 0 }]);
});

t.test('what cannot be is an error at its place', async (t) => {
  const rows: readonly (readonly [string, string, number])[] = [
    ['name: "other"', 'BAD_VALUE name', 6],
    ['platform: "tensorrt_plan"', 'NOT_SERVED platform', 10],
    ['backend: "python"', 'NOT_SERVED backend', 9],
    ['platform: "ensemble"', 'NOT_SERVED platform', 10],
    ['max_batch_size: "4"', 'WRONG_TYPE max_batch_size', 16],
    ['max_batch_size: 4.5', 'WRONG_TYPE max_batch_size', 16],
    ['max_batch_size: -1', 'OUT_OF_RANGE max_batch_size', 16],
    ['max_batch_size: 99999999999999999999', 'OUT_OF_RANGE max_batch_size', 16],
    ['max_batch_size: 1000001', 'OUT_OF_RANGE max_batch_size', 16],
    ['max_batch_size {}', 'WRONG_TYPE max_batch_size', 15],
    ['max_batch_size: 1 max_batch_size: 2', 'DUPLICATE_KEY max_batch_size', 18],
    ['dynamic_batching: true', 'WRONG_TYPE dynamic_batching', 18],
    ['instance_group { kind: KIND_TPU }', 'BAD_VALUE instance_group.kind', 23],
    ['instance_group { count: 600 } instance_group { count: 600 }', 'OUT_OF_RANGE instance_group', 45],
    ['version_policy { latest { num_versions: 0 } }', 'OUT_OF_RANGE version_policy.latest.num_versions', 40],
    ['parameters { key: "execution_mode" value { string_value: "2" } }', 'BAD_VALUE parameters.execution_mode', 11],
    ['max_batch_size: ', 'PBTXT_SYNTAX ', 16],
  ];
  for (const [text, expected, offset] of rows) {
    const errors = read(text).findings.filter(({ severity }) => severity === 'error');
    t.same(
      errors.map(({ code, path }) => `${code} ${path.join('.')}`),
      [expected],
      text,
    );
    t.equal(errors[0]?.offset, offset, text);
  }
});

t.test('of many findings some are told, and an error among them always is', async (t) => {
  const { findings } = read(`${'unknown: 1 '.repeat(5000)} max_batch_size: -1`);
  t.equal(findings.length, 51);
  t.equal(findings.at(-1)?.severity, 'error');
});

t.test('booleans and integers are read as protobuf writes them', async (t) => {
  for (const yes of ['true', 'True', 't', '1'])
    t.same(fieldsOf(`response_cache { enable: ${yes} }`), { response_cache: {} }, yes);
  for (const no of ['false', 'False', 'f', '0']) {
    t.same(read(`response_cache { enable: ${no} } model_transaction_policy { decoupled: ${no} }`).findings, [], no);
    t.same(fieldsOf(`response_cache { enable: ${no} }`), {}, no);
  }
  t.same(told('response_cache { enable: yes }'), ['error WRONG_TYPE response_cache.enable']);
  t.match(fieldsOf('max_batch_size: 010'), { batching: { max_batch_size: 8 } });
  t.match(fieldsOf('max_batch_size: 0x10'), { batching: { max_batch_size: 16 } });
  t.same(told('max_batch_size: 09'), ['error WRONG_TYPE max_batch_size']);
});

t.test('what a file may ask for has bounds', async (t) => {
  t.same(told('dynamic_batching { default_queue_policy { max_queue_size: 4294967295 } }'), [
    'error OUT_OF_RANGE dynamic_batching.default_queue_policy.max_queue_size',
  ]);
  t.same(told('model_warmup {} '.repeat(100)), []);
  t.same(told('model_warmup {} '.repeat(300)), ['error OUT_OF_RANGE model_warmup']);
});

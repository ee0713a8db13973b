/** Requests that break one rule of the Open Inference Protocol, or of its binary tensor extension, each. */
import { bytesOf, little, withHeader } from '../support/inference.ts';

export interface Malformed {
  readonly name: string;
  /** What stands behind `/v2/models/`. */
  readonly path: string;
  readonly body: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

type Fields = Readonly<Record<string, unknown>>;

const INPUT: Fields = { name: 'x', shape: [1, 2], datatype: 'FP32', data: [1, 2] };
const BYTES = little(Float32Array.of(1, 2));

const text = (name: string, body: string): Malformed => ({ name: `a body that is ${name}`, path: 'add/infer', body });
const request = (name: string, body: unknown, path = 'add/infer'): Malformed => ({ name, path, body: JSON.stringify(body) });
const top = (name: string, fields: Fields): Malformed => request(name, { inputs: [INPUT], ...fields });
const input = (name: string, fields: Fields): Malformed => request(name, { inputs: [{ ...INPUT, ...fields }] });
const without = (key: string): Malformed => {
  const { [key]: _, ...rest } = INPUT;
  return request(`an input without ${key}`, { inputs: [rest] });
};
const output = (name: string, fields: Fields): Malformed => top(name, { outputs: [{ name: 'y', ...fields }] });
/** A model of one input `x` of one axis. */
const of = (model: string, name: string, datatype: string, data: unknown, shape: unknown = [1]): Malformed =>
  request(`${model}: ${name}`, { inputs: [{ name: 'x', shape, datatype, data }] }, `${model}/infer`);

const binary = (name: string, given: Fields, parts: readonly Uint8Array[] = [BYTES], path = 'add/infer'): Malformed => {
  const { data: _, ...rest } = INPUT;
  return { name, path, ...withHeader({ inputs: [{ ...rest, parameters: { binary_data_size: 8 }, ...given }] }, parts) };
};
const whole = (name: string, json: unknown, parts: readonly Uint8Array[], path = 'add/infer'): Malformed => ({
  name,
  path,
  ...withHeader(json, parts),
});
const sized = (size: unknown, parts: readonly Uint8Array[] = [BYTES]): Malformed =>
  binary(
    `binary_data_size ${JSON.stringify(size)} for ${Buffer.concat(parts).length} bytes`,
    { parameters: { binary_data_size: size } },
    parts,
  );
const headed = (value: string): Malformed => ({
  ...binary(`a header length of ${JSON.stringify(value)}`, {}),
  headers: { 'inference-header-content-length': value },
});
const words = (name: string, shape: readonly number[], bytes: Uint8Array): Malformed =>
  whole(
    `BYTES: ${name}`,
    { inputs: [{ name: 'x', shape, datatype: 'BYTES', parameters: { binary_data_size: bytes.length } }] },
    [bytes],
    'texts/infer',
  );
const raw = (name: string, path: string, body: Uint8Array | string): Malformed => ({
  name: `a raw body: ${name}`,
  path: `${path}/infer`,
  body,
  headers: { 'inference-header-content-length': '0' },
});
const coded = (name: string, coding: string, body: string): Malformed => ({
  name: `content-encoding: ${name}`,
  path: 'add/infer',
  body,
  headers: { 'content-encoding': coding },
});

const NO_OBJECTS: readonly unknown[] = [null, true, 1, 'x', [], [INPUT]];
const NO_LISTS: readonly unknown[] = [null, true, 1, 'x', {}, { 0: INPUT }];
const NO_SHAPES: readonly unknown[] = [
  null,
  '1,2',
  2,
  {},
  [1, -2],
  [1, 2.5],
  [1, '2'],
  [1, null],
  [[1, 2]],
  [1, true],
  [1, 2 ** 53],
  new Array(33).fill(1),
  [2 ** 40, 2 ** 40],
];
const shown = (value: unknown): string => JSON.stringify(value).slice(0, 40);
const A = { name: 'a', shape: [1, 2], datatype: 'INT64', data: [1, 2] };
const B = { name: 'b', shape: [1], datatype: 'BYTES', data: ['p'] };
const pair = (name: string, ...inputs: readonly unknown[]): Malformed => request(`two inputs: ${name}`, { inputs }, 'pair/infer');

export const MALFORMED: readonly Malformed[] = [
  // The JSON.
  ...[
    '',
    ' ',
    '{',
    '[',
    '{"inputs": [}',
    '{"inputs": [],}',
    "{'inputs': []}",
    'inputs',
    '{} {}',
    '\ufeff{}',
    '{"inputs": [1e]}',
    '{"a": 01}',
  ].map((body) => text(JSON.stringify(body), body)),
  text('NaN', '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [NaN, 1]}]}'),
  text('Infinity', '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [Infinity, 1]}]}'),
  text('too deep', `{"inputs": ${'['.repeat(100)}${']'.repeat(100)}}`),
  { name: 'a body that is not UTF-8', path: 'add/infer', body: Buffer.from('{"id": "\xff", "inputs": []}', 'latin1') },
  { name: 'a body of zeros', path: 'add/infer', body: Buffer.alloc(100) },
  ...NO_OBJECTS.map((body) => request(`a body that is ${shown(body)}`, body)),

  // Top level.
  request('no inputs at all', {}),
  request('an empty list of inputs', { inputs: [] }),
  ...NO_LISTS.map((inputs) => top(`inputs that are ${shown(inputs)}`, { inputs })),
  ...NO_OBJECTS.map((each) => top(`an input that is ${shown(each)}`, { inputs: [each] })),
  ...NO_LISTS.slice(1).map((outputs) => top(`outputs that are ${shown(outputs)}`, { outputs })),
  ...NO_OBJECTS.map((each) => top(`an output that is ${shown(each)}`, { outputs: [each] })),
  ...[1, true, {}, [], 'a\0b', 12345678901234567890n].map((id) => ({
    ...top('', {}),
    name: `an id that is ${typeof id === 'bigint' ? id : shown(id)}`,
    body: JSON.stringify({ inputs: [INPUT], id: 'ID' }).replace('"ID"', typeof id === 'bigint' ? String(id) : JSON.stringify(id)),
  })),
  ...NO_OBJECTS.slice(1).map((parameters) => top(`parameters that are ${shown(parameters)}`, { parameters })),
  ...[null, [], {}, [1]].map((value) => top(`a parameter that is ${shown(value)}`, { parameters: { mine: value } })),
  ...[1, 'true', 0].map((value) => top(`binary_data_output ${shown(value)}`, { parameters: { binary_data_output: value } })),
  ...[-1, 1.5, 'high', true].map((priority) => top(`priority ${shown(priority)}`, { parameters: { priority } })),
  ...[-1, 0.5, '1s', false].map((timeout) => top(`timeout ${shown(timeout)}`, { parameters: { timeout } })),
  top('sequence_id −1', { parameters: { sequence_id: -1 } }),
  top('sequence_start 1', { parameters: { sequence_start: 1 } }),
  top('sequence_end "true"', { parameters: { sequence_end: 'true' } }),

  // Inputs.
  ...['name', 'shape', 'datatype', 'data'].map(without),
  ...['y', '', 'X', 5, null, ['x'], '__proto__'].map((name) => input(`an input named ${shown(name)}`, { name })),
  ...NO_SHAPES.map((shape) => input(`a shape of ${shown(shape)}`, { shape })),
  ...[[], [2], [2, 1], [1, 3], [1, 1, 2], [1, 0]].map((shape) => input(`a shape that does not fit: ${shown(shape)}`, { shape })),
  ...['FP64', 'fp32', 'FLOAT', 'BF16', 'TYPE_FP32', 'INT32', 'BYTES', '', 5, null, ['FP32']].map((datatype) =>
    input(`a datatype of ${shown(datatype)}`, { datatype }),
  ),
  ...[[], [1], [1, 2, 3], [[1], [2]], [[1, 2], [3]], [[1, 2, 3]], [[[1, 2]]], [1, [2]], [[1], 2]].map((data) =>
    input(`data of another shape: ${shown(data)}`, { data }),
  ),
  ...[null, 1, '1,2', {}, true].map((data) => input(`data that is ${shown(data)}`, { data })),
  ...[
    ['1', 2],
    [null, 2],
    [true, 2],
    [{}, 2],
    [1e39, 2],
  ].map((data) => input(`data with ${shown(data[0])}`, { data })),
  ...NO_OBJECTS.slice(1).map((parameters) => input(`parameters of an input that are ${shown(parameters)}`, { parameters })),
  ...['region', 'byte_size', 'offset'].map((key) =>
    input(`shared_memory_${key}`, { data: undefined, parameters: { [`shared_memory_${key}`]: 'r' } }),
  ),
  pair('one is missing', A),
  pair('the other is missing', B),
  pair('one of them twice', A, B, A),
  pair('one too many', A, B, { ...B, name: 'c' }),
  request('one input given twice', { inputs: [INPUT, INPUT] }),

  // Datatypes.
  of('bytes', '256', 'UINT8', [256]),
  of('bytes', '-1', 'UINT8', [-1]),
  of('bytes', 'a fraction', 'UINT8', [1.5]),
  of('bytes', 'a boolean', 'UINT8', [true]),
  of('longs', 'a fraction', 'INT64', [0.5]),
  of('longs', '1e300', 'INT64', [1e300]),
  of('longs', 'a word', 'INT64', ['one']),
  of('ulongs', '-1', 'UINT64', [-1]),
  {
    ...of('longs', '2^63', 'INT64', [1]),
    body: '{"inputs":[{"name":"x","shape":[1],"datatype":"INT64","data":[9223372036854775808]}]}',
  },
  {
    ...of('ulongs', '2^64', 'UINT64', [1]),
    body: '{"inputs":[{"name":"x","shape":[1],"datatype":"UINT64","data":[18446744073709551616]}]}',
  },
  of('truth', '2', 'BOOL', [2]),
  of('truth', '"true"', 'BOOL', ['true']),
  of('truth', 'null', 'BOOL', [null]),
  of('texts', 'a number', 'BYTES', [1]),
  of('texts', 'null', 'BYTES', [null]),
  of('texts', 'NUL', 'BYTES', ['a\0b']),
  of('half', 'FP16 in JSON', 'FP16', [1, 2], [1, 2]),
  of('scalar', 'two for a scalar', 'INT32', [1, 2], []),
  of('scalar', 'an axis for a scalar', 'INT32', [1], [1]),
  of('fixed', 'another extent', 'FP32', [1, 2, 3], [1, 3]),

  // Outputs.
  ...['x', '', 5, null].map((name) => output(`an output named ${shown(name)}`, { name })),
  top('an output without a name', { outputs: [{}] }),
  top('an output twice', { outputs: [{ name: 'y' }, { name: 'y' }] }),
  ...NO_OBJECTS.slice(1).map((parameters) => output(`parameters of an output that are ${shown(parameters)}`, { parameters })),
  ...[1, 'true', null].map((flag) => output(`binary_data ${shown(flag)}`, { parameters: { binary_data: flag } })),
  output('shared memory with binary data', {
    parameters: { binary_data: true, shared_memory_region: 'r', shared_memory_byte_size: 8 },
  }),
  output('classification', { parameters: { classification: 1 } }),
  whole(
    'an output of FP16 in JSON',
    { inputs: [{ name: 'x', shape: [1, 2], datatype: 'FP16', parameters: { binary_data_size: 4 } }], outputs: [{ name: 'y' }] },
    [new Uint8Array(4)],
    'half/infer',
  ),

  // Binary data.
  ...['-1', 'abc', '1.5', '1e2', '0x10', '+5', '5 5', '99999999', '99999999999999999999', '10', '1', 'NaN'].map(headed),
  ...[7, 9, 0, 16, 4, -8, 8.5, '8', true].map((size) => sized(size)),
  sized(8, []),
  sized(8, [BYTES.subarray(0, 7)]),
  sized(8, [BYTES, Buffer.of(0)]),
  binary('data and binary_data_size', { data: [1, 2] }),
  binary('binary data of another shape', { shape: [2, 2] }),
  binary('binary data of another datatype', { datatype: 'FP64' }),
  binary('binary data and shared memory', { parameters: { binary_data_size: 8, shared_memory_region: 'r' } }),
  input('binary_data_size without the header', { data: undefined, parameters: { binary_data_size: 8 } }),
  whole('bytes behind JSON that asks for none', { inputs: [INPUT] }, [BYTES]),
  {
    name: 'a header length inside the JSON',
    path: 'add/infer',
    body: JSON.stringify({ inputs: [INPUT] }),
    headers: { 'inference-header-content-length': '20' },
  },
  whole(
    'two binary inputs, one too short',
    {
      inputs: [
        { name: 'a', shape: [1, 2], datatype: 'INT64', parameters: { binary_data_size: 16 } },
        { name: 'b', shape: [1], datatype: 'BYTES', parameters: { binary_data_size: 5 } },
      ],
    },
    [new Uint8Array(16), bytesOf([''])],
    'pair/infer',
  ),
  whole(
    'bytes of 2 for BOOL',
    { inputs: [{ name: 'x', shape: [2], datatype: 'BOOL', parameters: { binary_data_size: 2 } }] },
    [Buffer.of(1, 2)],
    'truth/infer',
  ),
  words('an element that ends early', [1], Buffer.of(5, 0, 0, 0, 97)),
  words('a length that ends early', [1], Buffer.of(1, 0, 0)),
  words('a length of 2^32 - 1', [1], Buffer.of(255, 255, 255, 255, 97)),
  words('too few elements', [2], bytesOf(['a'])),
  words('too many elements', [1], bytesOf(['a', 'b'])),
  words('bytes behind the last', [1], Buffer.concat([bytesOf(['a']), Buffer.of(0)])),
  words('no UTF-8', [1], bytesOf([Buffer.of(0xc3, 0x28)])),
  words('NUL', [1], bytesOf(['a\0'])),

  // A body that is the tensor.
  raw('7 bytes', 'add', BYTES.subarray(0, 7)),
  raw('for two inputs', 'pair', BYTES),
  raw('for three free extents', 'free', BYTES),
  raw('of any rank', 'open', BYTES),
  raw('of another length', 'fixed', BYTES),
  raw('two for a scalar', 'scalar', BYTES),
  raw('no UTF-8', 'texts', Buffer.of(0xff)),

  // Compression.
  coded('gzip that is none', 'gzip', '{"inputs": []}'),
  coded('deflate that is none', 'deflate', '{"inputs": []}'),
  coded('an empty gzip', 'gzip', ''),
  coded('br', 'br', '{}'),
  coded('two of them', 'gzip, gzip', '{}'),
];

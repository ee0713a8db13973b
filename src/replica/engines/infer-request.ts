/** Reads an inference request of the Open Inference Protocol, with its binary tensor extension, against what the model takes. Pure. */
import { ServeError } from '../../domain/errors.ts';
import { DATATYPES } from '../../protocol/datatypes.ts';
import { exactDigits, parseExactly } from '../../protocol/exact-json.ts';
import { MAX_ROUTING_JSON_BYTES, SEQUENCE_HEADERS, sequenceIdOf } from '../../protocol/routing-headers.ts';
import { Tensor } from '../../protocol/tensor.ts';
import { DTYPES } from '../../protocol/value.ts';
import type { SequenceCall } from '../engine.ts';
import { sizeOf, tensorOfBytes, tensorOfJson, textOf } from './infer-tensor.ts';
import { type Feeds, missingHint, type Port, type Signature, shapeText, takesShape } from './onnx-signature.ts';

export interface Inference {
  readonly id: string | undefined;
  readonly feeds: Feeds;
  /** In the order in which they are answered. */
  readonly outputs: readonly WantedOutput[];
}

export interface WantedOutput {
  readonly name: string;
  readonly binary: boolean;
}

type Mapping = Readonly<Record<string, unknown>>;

const MAX_EXTENTS = 32;
const strict = new TextDecoder('utf-8', { fatal: true });
const invalid = (message: string): ServeError => new ServeError('INVALID_INPUT', message);

/**
 * @param headerLength of `Inference-Header-Content-Length` as it came; undefined: all of the body is JSON
 * @throws ServeError INVALID_INPUT with what was expected, and where
 */
export const readInference = (body: Uint8Array, headerLength: string | undefined, signature: Signature): Inference => {
  const jsonBytes = headerLength === undefined ? body.byteLength : lengthOf(headerLength, body.byteLength);
  if (headerLength !== undefined && jsonBytes === 0) return rawInference(body, signature);
  const request = mappingOf(parsed(body.subarray(0, jsonBytes)), 'the body');
  const raw = headerLength === undefined ? undefined : body.subarray(jsonBytes);
  const parameters = parametersOf(request['parameters'], 'parameters');
  checkSequence(parameters, jsonBytes, signature);
  const inputs = listOf(request['inputs'], 'inputs');
  return {
    id: idOf(request['id']),
    feeds: feedsOf(inputs, raw, signature),
    outputs: outputsOf(request['outputs'], flagOf(parameters, 'binary_data_output', 'parameters') ?? false, signature),
  };
};

const lengthOf = (header: string, bodyBytes: number): number => {
  const length = /^\d{1,15}$/.test(header) ? Number(header) : -1;
  if (length < 0 || length > bodyBytes)
    throw invalid(`expected inference-header-content-length to be a whole number from 0 to ${bodyBytes}, the length of the body`);
  return length;
};

const parsed = (bytes: Uint8Array): unknown => {
  let text: string;
  try {
    text = strict.decode(bytes);
  } catch {
    throw invalid('expected a JSON body in UTF-8');
  }
  return parseExactly(text);
};

/** A body that is the tensor of a model with one input; all outputs come back as binary data. */
const rawInference = (body: Uint8Array, signature: Signature): Inference => {
  const [port] = signature.inputs;
  if (port === undefined || signature.inputs.length !== 1)
    throw invalid(`a raw body is for models with one input, this one has ${signature.inputs.length}`);
  return {
    id: undefined,
    feeds: { [port.name]: rawTensor(body, port) },
    outputs: signature.outputs.map(({ name }) => ({ name, binary: true })),
  };
};

const rawTensor = (body: Uint8Array, port: Port): Tensor => {
  const { shape, dtype } = port;
  const shown = `${DATATYPES[dtype]} ${shapeText(shape)}`;
  if (shape === null) throw invalid(`a raw body is for inputs with a rank, not ${shown}`);
  if (dtype === 'string') {
    const ones = shape.map(() => 1);
    if (!takesShape(port, ones)) throw invalid(`a raw body is for BYTES of one element, not ${shown}`);
    return new Tensor('string', ones, [textOf(body, port.name)]);
  }
  const free = shape.flatMap((extent, axis) => (typeof extent === 'number' ? [] : [axis]));
  // One request is a batch of one, where the body alone does not tell.
  const open = free.length === 2 && free[0] === 0 ? free[1] : free[0];
  if (free.length > 2 || (free.length === 2 && free[0] !== 0))
    throw invalid(`a raw body is for inputs with at most one free extent behind the batch, not ${shown}`);
  const known = shape.reduce<number>((product, extent) => product * (typeof extent === 'number' ? extent : 1), DTYPES[dtype]);
  const extent = known === 0 ? 0 : body.byteLength / known;
  if (!Number.isInteger(extent)) throw invalid(`expected a multiple of ${known} bytes (${shown}), got ${body.byteLength}`);
  const given = shape.map((each, axis) => (typeof each === 'number' ? each : axis === open ? extent : 1));
  return tensorOfBytes(body, given, port);
};

const idOf = (id: unknown): string | undefined => {
  if (id === undefined || id === null) return undefined;
  if (typeof id !== 'string' || id.includes('\0')) throw invalid(`expected \`id\` to be a text, got ${shownOf(id)}`);
  return id;
};

const feedsOf = (inputs: readonly unknown[], raw: Uint8Array | undefined, signature: Signature): Feeds => {
  const feeds: Record<string, Tensor> = {};
  let at = 0;
  const take = (bytes: number, path: string): Uint8Array => {
    if (raw === undefined)
      throw invalid(`\`${path}.parameters.binary_data_size\` needs the header inference-header-content-length`);
    if (bytes > raw.byteLength - at)
      throw invalid(`expected ${bytes} bytes behind the JSON for \`${path}\`, got ${raw.byteLength - at}`);
    at += bytes;
    return raw.subarray(at - bytes, at);
  };
  for (const [index, each] of inputs.entries()) {
    const path = `inputs[${index}]`;
    const input = mappingOf(each, path);
    const port = portOf(input['name'], signature.inputs, path, 'input');
    if (Object.hasOwn(feeds, port.name)) throw invalid(`expected each input once, got \`${port.name}\` twice`);
    feeds[port.name] = inputOf(input, port, path, take);
  }
  if (raw !== undefined && at !== raw.byteLength)
    throw invalid(`expected ${at} bytes behind the JSON, as many as the binary_data_size of all inputs, got ${raw.byteLength}`);
  for (const { name } of signature.inputs) {
    if (!Object.hasOwn(feeds, name)) throw invalid(`expected the input \`${name}\`, got none${missingHint(signature, name)}`);
  }
  return feeds;
};

type Take = (bytes: number, path: string) => Uint8Array;

const inputOf = (input: Mapping, port: Port, path: string, take: Take): Tensor => {
  const { datatype, data } = input;
  const shape = shapeOf(input['shape'], `${path}.shape`);
  const wanted = DATATYPES[port.dtype];
  if (datatype !== wanted || !takesShape(port, shape)) {
    throw invalid(
      `expected ${wanted} ${shapeText(port.shape)} for input \`${port.name}\`, got ${typeof datatype === 'string' ? datatype : `datatype ${shownOf(datatype)}`} [${shape.join(', ')}]`,
    );
  }
  const parameters = parametersOf(input['parameters'], `${path}.parameters`);
  refuseSharedMemory(parameters, path);
  const size = parameters['binary_data_size'];
  if (size === undefined) {
    if (data === undefined) throw invalid(`expected \`${path}.data\` or \`${path}.parameters.binary_data_size\`, got neither`);
    return tensorOfJson(data, shape, port);
  }
  if (data !== undefined) throw invalid(`expected \`${path}.data\` or \`${path}.parameters.binary_data_size\`, got both`);
  if (!isCount(size))
    throw invalid(`expected \`${path}.parameters.binary_data_size\` to be a whole number of at least 0, got ${shownOf(size)}`);
  return tensorOfBytes(take(size, path), shape, port);
};

const outputsOf = (value: unknown, byDefault: boolean, signature: Signature): readonly WantedOutput[] => {
  const asked = value === undefined || value === null ? [] : listOf(value, 'outputs');
  if (asked.length === 0) return signature.outputs.map((port) => checkJson({ name: port.name, binary: byDefault }, port));
  const seen = new Set<string>();
  return asked.map((each, index) => {
    const path = `outputs[${index}]`;
    const output = mappingOf(each, path);
    const port = portOf(output['name'], [...signature.outputs, ...(signature.onAsking ?? [])], path, 'output');
    if (seen.has(port.name)) throw invalid(`expected each output once, got \`${port.name}\` twice`);
    seen.add(port.name);
    const parameters = parametersOf(output['parameters'], `${path}.parameters`);
    refuseSharedMemory(parameters, path);
    if (parameters['classification'] !== undefined)
      throw invalid(`\`${path}.parameters.classification\` is not served: ask for the output itself`);
    return checkJson({ name: port.name, binary: flagOf(parameters, 'binary_data', `${path}.parameters`) ?? byDefault }, port);
  });
};

/** Told before the model runs. */
const checkJson = (output: WantedOutput, { dtype }: Port): WantedOutput => {
  if (dtype === 'float16' && !output.binary)
    throw invalid(`output \`${output.name}\` is FP16, which the protocol has no JSON form for: ask for binary data`);
  return output;
};

const portOf = (name: unknown, ports: readonly Port[], path: string, what: string): Port => {
  const port = ports.find((each) => each.name === name);
  if (port !== undefined) return port;
  const names = ports.map((each) => `\`${each.name}\``).join(', ');
  throw invalid(`expected \`${path}.name\` to be an ${what} of the model (${names}), got ${shownOf(name)}`);
};

const shapeOf = (value: unknown, path: string): readonly number[] => {
  const isShape =
    Array.isArray(value) && value.length <= MAX_EXTENTS && value.every(isCount) && Number.isSafeInteger(sizeOf(value));
  if (!isShape) throw invalid(`expected \`${path}\` to be a list of whole numbers of at least 0, got ${shownOf(value)}`);
  return value;
};

/** Names that clients may use as they like, and those that mean something. */
const parametersOf = (value: unknown, path: string): Mapping => {
  if (value === undefined || value === null) return {};
  const parameters = mappingOf(value, path);
  for (const [name, each] of Object.entries(parameters)) {
    if (!['string', 'number', 'boolean'].includes(typeof each))
      throw invalid(`expected \`${path}.${name.slice(0, 60)}\` to be a text, a number or a boolean, got ${shownOf(each)}`);
    const isWrong =
      (COUNTS.has(name) && !isCount(each)) ||
      (FLAGS.has(name) && typeof each !== 'boolean') ||
      (name === 'sequence_id' && sequenceIdOf(each) === undefined);
    if (isWrong)
      throw invalid(
        `expected \`${path}.${name}\` to be ${FLAGS.has(name) ? 'true or false' : 'a whole number of at least 0'}${name === 'sequence_id' ? ', or a text' : ''}, got ${shownOf(each)}`,
      );
  }
  return parameters;
};

const COUNTS = new Set(['priority', 'timeout']);
const FLAGS = new Set(['binary_data_output', 'binary_data', 'sequence_start', 'sequence_end']);

/** What the daemon has not read of a sequence must not be passed over: the request would run on another state than its client thinks. */
const checkSequence = (parameters: Mapping, jsonBytes: number, { states, sequence }: Signature): void => {
  if (states === undefined && sequence === undefined) return;
  for (const [name, header] of Object.entries(SEQUENCE_HEADERS)) {
    const value = parameters[name];
    if (value === undefined || SAYS_NOTHING.has(value)) continue;
    if (sequence !== undefined && jsonBytes <= MAX_ROUTING_JSON_BYTES && wasRead(name, sequence)) continue;
    throw invalid(
      `expected \`parameters.${name}\` in JSON of at most ${MAX_ROUTING_JSON_BYTES} bytes (got ${jsonBytes}), and without escapes in its name or its number, else the daemon has not read it: send the header ${header}`,
    );
  }
};

const SAYS_NOTHING: ReadonlySet<unknown> = new Set([false, 0, '', '0']);

const wasRead = (name: string, { isStart, isEnd, overruled = [] }: SequenceCall): boolean =>
  name === 'sequence_id' || (name === 'sequence_start' ? isStart : isEnd) || overruled.includes(name);

const refuseSharedMemory = (parameters: Mapping, path: string): void => {
  for (const name of Object.keys(parameters))
    if (name.startsWith('shared_memory_')) throw invalid(`\`${path}.parameters.${name}\`: shared memory is not served`);
};

const flagOf = (parameters: Mapping, name: string, path: string): boolean | undefined => {
  const value = parameters[name];
  if (value === undefined || typeof value === 'boolean') return value;
  throw invalid(`expected \`${path}.${name}\` to be true or false, got ${shownOf(value)}`);
};

const isCount = (value: unknown): value is number => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

const mappingOf = (value: unknown, path: string): Mapping => {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Mapping;
  throw invalid(`expected ${path === 'the body' ? path : `\`${path}\``} to be an object, got ${shownOf(value)}`);
};

const listOf = (value: unknown, path: string): readonly unknown[] => {
  if (Array.isArray(value)) return value;
  throw invalid(`expected \`${path}\` to be a list, got ${shownOf(value)}`);
};

/** A short text of what came. */
const shownOf = (value: unknown): string => {
  if (value === undefined) return 'none';
  if (Array.isArray(value)) return value.length > 8 ? `a list of ${value.length}` : JSON.stringify(value).slice(0, 60);
  if (typeof value === 'object' && value !== null) return 'an object';
  return exactDigits(value) ?? JSON.stringify(value).slice(0, 60);
};

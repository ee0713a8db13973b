/** Writes an inference response of the Open Inference Protocol: JSON, and behind it the outputs that were asked for as binary data. Pure. */
import { DATATYPES } from '../../protocol/datatypes.ts';
import type { Tensor } from '../../protocol/tensor.ts';
import type { WantedOutput } from './infer-request.ts';
import { bytesOfTensor, jsonOfTensor } from './infer-tensor.ts';
import type { Outputs } from './onnx-stack.ts';

export interface InferenceAnswer {
  readonly headers: readonly string[];
  /** The body, in pieces. */
  readonly parts: readonly Uint8Array[];
}

export interface AnswerHead {
  /** As the client named it. */
  readonly model: string;
  readonly version: string;
  readonly id: string | undefined;
}

/** The first tensor stands at a multiple of 8, so that a client may look at it where it is. */
const ALIGNMENT = 8;

/** @throws ServeError INVALID_INPUT: an output cannot be said in JSON */
export const writeInference = (
  { model, version, id }: AnswerHead,
  wanted: readonly WantedOutput[],
  outputs: Outputs,
): InferenceAnswer => {
  const binary: Uint8Array[] = [];
  const texts = wanted.map((each) => {
    const tensor = outputs[each.name] as Tensor;
    const head = `{"name":${JSON.stringify(each.name)},"datatype":"${DATATYPES[tensor.dtype]}","shape":[${tensor.shape.join()}]`;
    if (!each.binary) return `${head},"data":${jsonOfTensor(each.name, tensor)}}`;
    const bytes = bytesOfTensor(tensor);
    binary.push(bytes);
    return `${head},"parameters":{"binary_data_size":${bytes.byteLength}}}`;
  });
  const named = `{"model_name":${JSON.stringify(model)},"model_version":${JSON.stringify(version)}`;
  let json = Buffer.from(`${named}${id === undefined ? '' : `,"id":${JSON.stringify(id)}`},"outputs":[${texts.join()}]}`, 'utf8');
  if (binary.length === 0) return { headers: JSON_HEADERS, parts: [json] };
  const padding = (ALIGNMENT - (json.byteLength % ALIGNMENT)) % ALIGNMENT;
  // Spaces behind a JSON text are part of it.
  if (padding > 0) json = Buffer.concat([json, Buffer.alloc(padding, ' ')]);
  const length = String(json.byteLength);
  return { headers: [...BINARY_HEADERS, 'inference-header-content-length', length], parts: [json, ...binary] };
};

const JSON_HEADERS = ['content-type', 'application/json'];
const BINARY_HEADERS = ['content-type', 'application/octet-stream'];

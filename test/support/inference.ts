/** Requests and answers of the Open Inference Protocol, as a client that was written from its text has them. */
import type { Answer, DaemonRig } from './daemon-rig.ts';

export interface RawTensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** Elements of BYTES, each behind its length. */
export const bytesOf = (elements: readonly (string | Uint8Array)[]): Uint8Array =>
  Buffer.concat(
    elements.flatMap((element) => {
      const bytes = Buffer.from(element as string);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(bytes.length);
      return [length, bytes];
    }),
  );

export const little = (data: ArrayBufferView): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** A body with binary tensors behind its JSON, and the header that parts them. */
export const binaryRequest = (
  tensors: readonly RawTensor[],
  more: object = {},
): { readonly headers: Record<string, string>; readonly body: Uint8Array } => {
  const inputs = tensors.map(({ bytes, ...tensor }) => ({ ...tensor, parameters: { binary_data_size: bytes.byteLength } }));
  return withHeader(
    { inputs, ...more },
    tensors.map(({ bytes }) => bytes),
  );
};

export const withHeader = (json: unknown, parts: readonly Uint8Array[]) => {
  const head = Buffer.from(JSON.stringify(json));
  return {
    headers: { 'content-type': 'application/octet-stream', 'inference-header-content-length': String(head.length) },
    body: Buffer.concat([head, ...parts]),
  };
};

export interface InferenceAnswer {
  readonly status: number;
  readonly answer: Answer;
  readonly json: {
    readonly error?: string;
    readonly model_name: string;
    readonly model_version: string;
    readonly id?: string;
    readonly outputs: readonly {
      readonly name: string;
      readonly datatype: string;
      readonly shape: readonly number[];
      readonly data?: readonly unknown[];
      readonly parameters?: { readonly binary_data_size: number };
    }[];
  };
  /** Binary outputs by name. */
  readonly raw: Readonly<Record<string, Buffer>>;
  readonly headerLength: number | undefined;
}

export const infer = async (
  daemon: DaemonRig,
  path: string,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): Promise<InferenceAnswer> => read(await daemon.ask(`/v2/models/${path}`, { method: 'POST', body, headers }));

export const read = (answer: Answer, body: Buffer = answer.body): InferenceAnswer => {
  const given = answer.headers['inference-header-content-length'];
  const headerLength = given === undefined ? undefined : Number(given);
  const json = JSON.parse(body.subarray(0, headerLength ?? body.length).toString()) as InferenceAnswer['json'];
  const raw: Record<string, Buffer> = {};
  let at = headerLength ?? body.length;
  for (const { name, parameters } of json.outputs ?? []) {
    if (parameters === undefined) continue;
    raw[name] = body.subarray(at, at + parameters.binary_data_size);
    at += parameters.binary_data_size;
  }
  if (at !== body.length) throw new Error(`${body.length - at} bytes too many in an answer`);
  return { status: answer.status, answer, json, raw, headerLength };
};

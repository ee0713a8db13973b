/** Three small models as ONNX files over random weights, written as protobuf by hand: a perceptron, an encoder and convolutions. */

const varint = (value: number): Buffer => {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return Buffer.from([...bytes, rest]);
};
const number = (field: number, value: number): Buffer => Buffer.concat([varint(field * 8), varint(value)]);
const bytes = (field: number, ...parts: readonly Buffer[]): Buffer => {
  const content = Buffer.concat(parts);
  return Buffer.concat([varint(field * 8 + 2), varint(content.length), content]);
};
const text = (field: number, content: string): Buffer => bytes(field, Buffer.from(content));

const FLOAT = 1;

/** @param extents behind the axis of rows, which is free */
const valueInfo = (field: number, name: string, ...extents: readonly number[]): Buffer => {
  const shape = bytes(2, bytes(1, text(2, 'rows')), ...extents.map((extent) => bytes(1, number(1, extent))));
  return bytes(field, text(1, name), bytes(2, bytes(1, number(1, FLOAT), shape)));
};

const tensor = (name: string, shape: readonly number[], scale: number, random: () => number): Buffer => {
  const data = Float32Array.from({ length: shape.reduce((product, each) => product * each, 1) }, () => (random() - 0.5) * scale);
  return bytes(
    5,
    ...shape.map((extent) => number(1, extent)),
    number(2, FLOAT),
    text(8, name),
    bytes(9, Buffer.from(data.buffer)),
  );
};

type Attributes = Readonly<Record<string, number | readonly number[]>>;

const attribute = ([name, value]: readonly [string, number | readonly number[]]): Buffer =>
  typeof value === 'number'
    ? bytes(5, text(1, name), number(3, value), number(20, 2))
    : bytes(5, text(1, name), ...value.map((each) => number(8, each)), number(20, 7));

const node = (op: string, inputs: readonly string[], output: string, attributes: Attributes = {}): Buffer =>
  bytes(1, ...inputs.map((input) => text(1, input)), text(2, output), text(4, op), ...Object.entries(attributes).map(attribute));

const model = (parts: readonly Buffer[], input: Buffer, output: Buffer): Uint8Array =>
  Buffer.concat([number(1, 8), bytes(7, ...parts, text(2, 'bench'), input, output), bytes(8, text(1, ''), number(2, 13))]);

/** The same numbers every time. */
const randomFrom = (seed: number) => {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
};

/** @param widths of input, hidden layers and output, for instance [784, 1024, 1024, 10] */
export const mlpModel = (widths: readonly number[]): Uint8Array => {
  const random = randomFrom(1);
  const parts: Buffer[] = [];
  let from = 'x';
  for (let layer = 1; layer < widths.length; layer++) {
    const [rows, columns] = [widths[layer - 1] as number, widths[layer] as number];
    const last = layer === widths.length - 1;
    parts.push(tensor(`w${layer}`, [rows, columns], 2 / Math.sqrt(rows), random), tensor(`b${layer}`, [columns], 0.1, random));
    parts.push(
      node('MatMul', [from, `w${layer}`], `m${layer}`),
      node('Add', [`m${layer}`, `b${layer}`], last ? 'y' : `a${layer}`),
    );
    if (!last) parts.push(node('Relu', [`a${layer}`], `r${layer}`));
    from = `r${layer}`;
  }
  return model(parts, valueInfo(11, 'x', widths[0] as number), valueInfo(12, 'y', widths.at(-1) as number));
};

export const ENCODER = { layers: 4, width: 256, inner: 1024, length: 64 } as const;

/** Attention over one head and two dense layers each, with residuals, and a mean: x is [rows, 64, 256], y [rows, 256]. */
export const encoderModel = (): Uint8Array => {
  const { layers, width, inner, length } = ENCODER;
  const random = randomFrom(2);
  const parts: Buffer[] = [];
  const dense = (name: string, input: string, from: number, to: number): string => {
    parts.push(tensor(`w_${name}`, [from, to], 2 / Math.sqrt(from), random), node('MatMul', [input, `w_${name}`], name));
    return name;
  };
  let x = 'x';
  for (let layer = 0; layer < layers; layer++) {
    const [q, k, v] = ['q', 'k', 'v'].map((each) => dense(`${each}${layer}`, x, width, width)) as [string, string, string];
    parts.push(
      node('Transpose', [k], `kt${layer}`, { perm: [0, 2, 1] }),
      node('MatMul', [q, `kt${layer}`], `s${layer}`),
      node('Softmax', [`s${layer}`], `p${layer}`, { axis: 2 }),
      node('MatMul', [`p${layer}`, v], `c${layer}`),
      node('Add', [x, `c${layer}`], `r${layer}`),
    );
    parts.push(node('Relu', [dense(`f${layer}`, `r${layer}`, width, inner)], `a${layer}`));
    const out = dense(`g${layer}`, `a${layer}`, inner, width);
    x = `x${layer}`;
    parts.push(node('Add', [`r${layer}`, out], x));
  }
  // Few numbers come out: what is measured is the model, not JSON.
  parts.push(node('ReduceMean', [x], 'y', { axes: [1], keepdims: 0 }));
  return model(parts, valueInfo(11, 'x', length, width), valueInfo(12, 'y', width));
};

export const IMAGE = [3, 224, 224] as const;

/** Four 3×3 convolutions of stride 2 over images: and a mean: x is [rows, 3, 224, 224], y [rows, 128, 1, 1]. */
export const convolutionModel = (): Uint8Array => {
  const random = randomFrom(3);
  const channels = [3, 32, 64, 128, 128] as const;
  const parts: Buffer[] = [];
  let x = 'x';
  for (let layer = 1; layer < channels.length; layer++) {
    const [from, to] = [channels[layer - 1] as number, channels[layer] as number];
    const last = layer === channels.length - 1;
    parts.push(tensor(`w${layer}`, [to, from, 3, 3], 2 / Math.sqrt(9 * from), random));
    parts.push(node('Conv', [x, `w${layer}`], `c${layer}`, { strides: [2, 2], pads: [1, 1, 1, 1] }));
    x = last ? 'm' : `a${layer}`;
    parts.push(node('Relu', [`c${layer}`], x));
  }
  parts.push(node('GlobalAveragePool', ['m'], 'y'));
  return model(parts, valueInfo(11, 'x', ...IMAGE), valueInfo(12, 'y', 128, 1, 1));
};

/** A small multi-layer perceptron as an ONNX file: MatMul, Add and Relu over random weights, written as protobuf by hand. */

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

const valueInfo = (field: number, name: string, width: number): Buffer => {
  const shape = bytes(2, bytes(1, text(2, 'rows')), bytes(1, number(1, width)));
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

const node = (op: string, inputs: readonly string[], output: string): Buffer =>
  bytes(1, ...inputs.map((input) => text(1, input)), text(2, output), text(4, op));

/** @param widths of input, hidden layers and output, for instance [784, 1024, 1024, 10] */
export const mlpModel = (widths: readonly number[]): Uint8Array => {
  let state = 1;
  const random = () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
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
  const graph = [...parts, text(2, 'mlp'), valueInfo(11, 'x', widths[0] as number), valueInfo(12, 'y', widths.at(-1) as number)];
  return Buffer.concat([number(1, 8), bytes(7, ...graph), bytes(8, text(1, ''), number(2, 13))]);
};

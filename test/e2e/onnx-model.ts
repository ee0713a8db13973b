/** Writes small ONNX models by hand, so that a test says itself what the model computes: protobuf, IR version 8, opset 13. */

const varint = (value: number): number[] => {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return [...bytes, rest];
};

const number = (field: number, value: number): number[] => [...varint(field * 8), ...varint(value)];
const bytes = (field: number, content: readonly number[]): number[] => [
  ...varint(field * 8 + 2),
  ...varint(content.length),
  ...content,
];
const text = (field: number, content: string): number[] => bytes(field, [...Buffer.from(content)]);

const FLOAT = 1;

/** A name is an extent that may be anything. */
type Extent = number | string;

const valueInfo = (name: string, shape: readonly Extent[]): number[] => {
  const dims = shape.flatMap((extent) => bytes(1, typeof extent === 'number' ? number(1, extent) : text(2, extent)));
  return [...text(1, name), ...bytes(2, bytes(1, [...number(1, FLOAT), ...bytes(2, dims)]))];
};

const constant = (name: string, shape: readonly number[], values: readonly number[]): number[] => {
  const raw = new Uint8Array(Float32Array.from(values).buffer);
  return [...shape.flatMap((extent) => number(1, extent)), ...number(2, FLOAT), ...text(8, name), ...bytes(9, [...raw])];
};

/** `y = x + addend`, on `x` of the given shape; the addend has the shape of x without its first axis. */
export const addModel = (addend: readonly number[], shape: readonly Extent[] = ['rows', addend.length]): Uint8Array => {
  const node = [...text(1, 'x'), ...text(1, 'b'), ...text(2, 'y'), ...text(4, 'Add')];
  const graph = [
    ...bytes(1, node),
    ...text(2, 'add'),
    ...bytes(5, constant('b', [addend.length], addend)),
    ...bytes(11, valueInfo('x', shape)),
    ...bytes(12, valueInfo('y', shape)),
  ];
  return Uint8Array.from([...number(1, 8), ...bytes(7, graph), ...bytes(8, [...text(1, ''), ...number(2, 13)])]);
};

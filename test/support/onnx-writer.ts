/** Writes small ONNX models by hand, so that a test says itself what the model computes: protobuf, IR version 8, opset 16. */

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

/** Numbers of TensorProto.DataType. */
const ELEMENTS = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
} as const;

export type Element = keyof typeof ELEMENTS;

/** A name is an extent that may be anything. */
export type Extent = number | string;

export interface WrittenPort {
  readonly name: string;
  readonly element: Element;
  /** null: of any rank. */
  readonly shape: readonly Extent[] | null;
}

export interface WrittenNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Whole numbers. */
  readonly attributes?: Readonly<Record<string, number>>;
}

export interface WrittenModel {
  readonly inputs: readonly WrittenPort[];
  readonly outputs: readonly WrittenPort[];
  readonly nodes: readonly WrittenNode[];
  /** Of float32. */
  readonly constants?: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly values: readonly number[];
  }[];
}

const valueInfo = ({ name, element, shape }: WrittenPort): number[] => {
  const dims = (shape ?? []).flatMap((extent) => bytes(1, typeof extent === 'number' ? number(1, extent) : text(2, extent)));
  const shapeField = shape === null ? [] : bytes(2, dims);
  return [...text(1, name), ...bytes(2, bytes(1, [...number(1, ELEMENTS[element]), ...shapeField]))];
};

const constant = (name: string, shape: readonly number[], values: readonly number[]): number[] => {
  const raw = new Uint8Array(Float32Array.from(values).buffer);
  return [
    ...shape.flatMap((extent) => number(1, extent)),
    ...number(2, ELEMENTS.float32),
    ...text(8, name),
    ...bytes(9, [...raw]),
  ];
};

const ATTRIBUTE_INT = 2;

const node = ({ op, inputs, outputs, attributes = {} }: WrittenNode): number[] => [
  ...inputs.flatMap((name) => text(1, name)),
  ...outputs.flatMap((name) => text(2, name)),
  ...text(4, op),
  ...Object.entries(attributes).flatMap(([name, value]) =>
    bytes(5, [...text(1, name), ...number(3, value), ...number(20, ATTRIBUTE_INT)]),
  ),
];

export const onnxModel = ({ inputs, outputs, nodes, constants = [] }: WrittenModel): Uint8Array => {
  const graph = [
    ...nodes.flatMap((each) => bytes(1, node(each))),
    ...text(2, 'graph'),
    ...constants.flatMap(({ name, shape, values }) => bytes(5, constant(name, shape, values))),
    ...inputs.flatMap((port) => bytes(11, valueInfo(port))),
    ...outputs.flatMap((port) => bytes(12, valueInfo(port))),
  ];
  return Uint8Array.from([...number(1, 8), ...bytes(7, graph), ...bytes(8, [...text(1, ''), ...number(2, 16)])]);
};

/** `y = x + addend`, on `x` of the given shape; the addend has the shape of x without its first axis. */
export const addModel = (addend: readonly number[], shape: readonly Extent[] = ['rows', addend.length]): Uint8Array =>
  onnxModel({
    inputs: [{ name: 'x', element: 'float32', shape }],
    outputs: [{ name: 'y', element: 'float32', shape }],
    nodes: [{ op: 'Add', inputs: ['x', 'b'], outputs: ['y'] }],
    constants: [{ name: 'b', shape: [addend.length], values: addend }],
  });

/** `y = x`, of any element and shape. */
export const identityModel = (element: Element, shape: readonly Extent[] | null): Uint8Array =>
  onnxModel({
    inputs: [{ name: 'x', element, shape }],
    outputs: [{ name: 'y', element, shape }],
    nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
  });

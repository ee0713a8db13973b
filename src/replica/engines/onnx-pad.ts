/** Padding of ragged inputs to the longest of their batch, and cutting back what comes of it. Pure. */
import { ServeError } from '../../domain/errors.ts';
import { Tensor, TYPED_ARRAYS } from '../../protocol/tensor.ts';
import type { Feeds, Port, Signature } from './onnx-signature.ts';
import type { Outputs } from './onnx-stack.ts';

/** Name of an input → what it is filled up with. */
export type Pad = Readonly<Record<string, number>>;

/** Of a batch, at most this much may be more than what came, in proportion: beyond it the short ones run apart. */
const MOST_PADDED = 1.25;

const invalid = (message: string): ServeError => new ServeError('INVALID_INPUT', message);

/** @throws ServeError INVALID_INPUT for what the model has no such input for, or what its dtype cannot hold */
export const checkPad = (pad: Pad, { inputs }: Signature): void => {
  for (const [name, value] of Object.entries(pad)) {
    const port = inputs.find((each) => each.name === name);
    if (port === undefined) {
      const names = inputs.map((each) => `\`${each.name}\``).join(', ');
      throw invalid(`\`batching.pad\` names the input \`${name}\`, which the model does not have; it has ${names}`);
    }
    if (!port.shape?.some((extent, axis) => axis > 0 && typeof extent !== 'number'))
      throw invalid(
        `\`batching.pad\` names the input \`${name}\`, whose shape is fixed behind axis 0, or not known: there is nothing to pad`,
      );
    if (!holds(port, value))
      throw invalid(`\`batching.pad\` fills the input \`${name}\` with ${value}, which ${port.dtype} cannot hold`);
  }
};

const holds = ({ dtype }: Port, value: number): boolean => {
  if (dtype === 'string') return false;
  // Raw bits: only zero is the same in both.
  if (dtype === 'float16') return value === 0;
  if (dtype === 'float32' || dtype === 'float64') return true;
  if (dtype === 'bool') return value === 0 || value === 1;
  if (!Number.isSafeInteger(value)) return false;
  if (dtype === 'int64') return true;
  if (dtype === 'uint64') return value >= 0;
  return new TYPED_ARRAYS[dtype]([value])[0] === value;
};

/** What requests must have in common to be stacked: all extents behind axis 0 but those that are padded. */
export const keyOf = (feeds: Feeds, { inputs }: Signature, pad: Pad): string =>
  inputs
    .map(({ name, shape }) => {
      const own = (feeds[name] as Tensor).shape.slice(1);
      return own.map((extent, index) => (isPadded(name, shape?.[index + 1], pad) ? '*' : extent)).join();
    })
    .join('|');

const isPadded = (name: string, extent: number | string | undefined, pad: Pad): boolean =>
  Object.hasOwn(pad, name) && typeof extent !== 'number';

/** Elements of one row of the inputs that are padded. */
const volumeOf = (feeds: Feeds, pad: Pad): number =>
  Object.keys(pad).reduce((sum, name) => sum + sizeOf((feeds[name] as Tensor).shape.slice(1)), 0);

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

/** Requests of one key, in groups of about one length each: padding is at most a quarter of what came. */
export const groupsOf = <T extends { readonly feeds: Feeds; readonly rows: number }>(members: readonly T[], pad: Pad): T[][] => {
  if (Object.keys(pad).length === 0) return [[...members]];
  const sorted = members.map((member) => ({ member, volume: volumeOf(member.feeds, pad) })).sort((a, b) => a.volume - b.volume);
  const groups: T[][] = [];
  let group: T[] = [];
  let [came, rows] = [0, 0];
  for (const { member, volume } of sorted) {
    if (group.length > 0 && volume * (rows + member.rows) > MOST_PADDED * (came + volume * member.rows)) {
      groups.push(group);
      group = [];
      [came, rows] = [0, 0];
    }
    group.push(member);
    came += volume * member.rows;
    rows += member.rows;
  }
  return [...groups, group];
};

/** The inputs of one group, all as long as the longest. */
export const padded = (group: readonly Feeds[], { inputs }: Signature, pad: Pad): readonly Feeds[] => {
  const wanted = inputs.flatMap(({ name, shape }) => {
    if (!Object.hasOwn(pad, name)) return [];
    const extents = (shape ?? []).map((extent, axis) =>
      axis > 0 && typeof extent !== 'number'
        ? Math.max(...group.map((feeds) => (feeds[name] as Tensor).shape[axis] as number))
        : -1,
    );
    return [{ name, extents }];
  });
  if (wanted.length === 0) return group;
  return group.map((feeds) => {
    const own: Record<string, Tensor> = { ...feeds };
    for (const { name, extents } of wanted) {
      const tensor = feeds[name] as Tensor;
      const shape = tensor.shape.map((extent, axis) => ((extents[axis] as number) < 0 ? extent : (extents[axis] as number)));
      own[name] = resized(tensor, shape, pad[name] as number);
    }
    return own;
  });
};

/**
 * Cuts the outputs of one request back to the extents that it came with: axes that have the name of a padded axis; where the model names
 * none, the same axis with the padded extent.
 * @param full the same inputs, padded
 */
export const cutBack = (outputs: Outputs, feeds: Feeds, full: Feeds, signature: Signature, pad: Pad): Outputs => {
  const cuts = signature.inputs.flatMap(({ name, shape }) =>
    Object.hasOwn(pad, name)
      ? (shape ?? []).flatMap((axisName, axis) =>
          axis > 0 && typeof axisName !== 'number'
            ? [{ axisName, axis, from: (full[name] as Tensor).shape[axis], to: (feeds[name] as Tensor).shape[axis] as number }]
            : [],
        )
      : [],
  );
  const cut: Record<string, Tensor> = {};
  for (const [name, tensor] of Object.entries(outputs)) {
    const port = signature.outputs.find((each) => each.name === name);
    const shape = tensor.shape.map((extent, axis) => {
      if (axis === 0) return extent;
      const axisName = port?.shape?.[axis];
      const found = cuts.find((each) => each.from === extent && (axisName ? each.axisName === axisName : each.axis === axis));
      return typeof axisName === 'number' || found === undefined ? extent : found.to;
    });
    cut[name] = resized(tensor, shape, 0);
  }
  return cut;
};

/** The same tensor with other extents: what is left out is gone, what is new is filled. The tensor itself where nothing changes. */
export const resized = (tensor: Tensor, shape: readonly number[], fill: number): Tensor => {
  if (shape.every((extent, axis) => extent === tensor.shape[axis])) return tensor;
  const size = sizeOf(shape);
  const source = tensor.data as Float32Array;
  const isText = tensor.dtype === 'string';
  const data = (isText ? new Array<string>(size).fill('') : new TYPED_ARRAYS[tensor.dtype as 'float32'](size)) as Float32Array;
  if (fill !== 0 && !isText) {
    const isBig = tensor.dtype === 'int64' || tensor.dtype === 'uint64';
    data.fill((isBig ? BigInt(fill) : fill) as number);
  }
  const copy = (axis: number, from: number, to: number): void => {
    const extent = Math.min(tensor.shape[axis] as number, shape[axis] as number);
    if (axis === shape.length - 1) {
      if (!isText) data.set(source.subarray(from, from + extent), to);
      else for (let index = 0; index < extent; index++) data[to + index] = source[from + index] as number;
      return;
    }
    const [step, ownStep] = [sizeOf(tensor.shape.slice(axis + 1)), sizeOf(shape.slice(axis + 1))];
    for (let index = 0; index < extent; index++) copy(axis + 1, from + index * step, to + index * ownStep);
  };
  copy(0, 0, 0);
  return new Tensor(tensor.dtype, shape, data);
};

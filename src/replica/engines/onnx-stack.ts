/** Tensors of several requests as one, and back. Pure. */
import { ServeError } from '../../domain/errors.ts';
import { Tensor, TYPED_ARRAYS } from '../../protocol/tensor.ts';

export type Outputs = Readonly<Record<string, Tensor>>;

/** Rows `from` to `to` of axis 0; a view where the data is a typed array. */
export const rowsOf = (tensor: Tensor, from: number, to: number): Tensor => {
  const perRow = tensor.shape.slice(1).reduce((product, extent) => product * extent, 1);
  const { data: all } = tensor;
  const data =
    tensor.dtype === 'string'
      ? (all as readonly string[]).slice(from * perRow, to * perRow)
      : (all as Float32Array).subarray(from * perRow, to * perRow);
  return new Tensor(tensor.dtype, [to - from, ...tensor.shape.slice(1)], data);
};

/** Joins tensors of equal shapes behind axis 0. */
export const concat = (parts: readonly Outputs[]): Outputs => {
  const joined: Record<string, Tensor> = {};
  for (const name of Object.keys(parts[0] as Outputs)) {
    const tensors = parts.map((part) => part[name] as Tensor);
    const [first] = tensors as [Tensor];
    if (tensors.some(({ shape }) => shape.slice(1).join() !== first.shape.slice(1).join())) {
      throw new ServeError(
        'USER_ERROR',
        `the output \`${name}\` has another shape for each request of the batch: it cannot be batched`,
      );
    }
    const shape = [tensors.reduce((sum, tensor) => sum + (tensor.shape[0] ?? 0), 0), ...first.shape.slice(1)];
    if (first.dtype === 'string') {
      joined[name] = new Tensor(
        'string',
        shape,
        tensors.flatMap((tensor) => tensor.data as readonly string[]),
      );
      continue;
    }
    const data = new TYPED_ARRAYS[first.dtype](shape.reduce((product, extent) => product * extent, 1));
    let at = 0;
    for (const tensor of tensors) {
      (data as Float32Array).set(tensor.data as Float32Array, at);
      at += tensor.data.length;
    }
    joined[name] = new Tensor(first.dtype, shape, data);
  }
  return joined;
};

/** An output that does not have a row for each row of the inputs. */
export class WrongRows extends ServeError {
  constructor(message: string) {
    super('USER_ERROR', message);
  }
}

/** @throws WrongRows when the output does not have a row for each row of the batch */
const rowsChecked = (name: string, tensor: Tensor, total: number, from: number, to: number): Tensor => {
  if (tensor.shape[0] !== total) {
    throw new WrongRows(`expected ${total} rows in the output \`${name}\` of a batch, got shape [${tensor.shape.join(', ')}]`);
  }
  return rowsOf(tensor, from, to);
};

/** Rows of every output of a stacked run. @throws WrongRows */
export const sliceOf = (outputs: Outputs, total: number, from: number, to: number): Outputs =>
  Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, rowsChecked(name, tensor, total, from, to)]));

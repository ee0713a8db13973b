/** Asks a model's file what onnxruntime does not tell: which inputs and outputs have no rank of their own. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { portsOfFile } from '../../protocol/onnx-file.ts';

/**
 * Names of the inputs and outputs whose shape the model leaves open altogether. onnxruntime-node reports them as scalars.
 * @throws nothing for what is no model: whoever loads it says what is wrong
 */
export const portsWithoutRank = (path: string): ReadonlySet<string> => {
  const file = openSync(path, 'r');
  try {
    const read = (at: number, length: number): Buffer => {
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, readSync(file, bytes, 0, length, at));
    };
    const { inputs = [], outputs = [] } = portsOfFile(read, fstatSync(file).size) ?? {};
    return new Set([...inputs, ...outputs].filter(({ shape }) => shape === null).map(({ name }) => name));
  } finally {
    closeSync(file);
  }
};

/** Tries whether a model has a row in each output for each row of its inputs, where the names of its axes do not say so. */
import type { Feeds, Port, Signature } from './onnx-signature.ts';
import type { Outputs } from './onnx-stack.ts';
import { warmupFeeds } from './onnx-warmup.ts';

/** What no batch axis has by chance. */
const ROWS = [2, 3, 5];
/** For the other free axes: what the first of them runs with is taken. Vision models want multiples of 32. */
const EXTENTS = [32, 8, 64, 1];

/** @returns the signature with what the trial said; a model that runs with none of them is not stacked */
export const tried = async (
  signature: Signature,
  run: (feeds: Feeds) => Promise<Outputs>,
  random: () => number,
): Promise<Signature> => {
  for (const extent of EXTENTS) {
    try {
      const agree: boolean[] = [];
      for (const rows of ROWS) agree.push(hasRows(await run(feedsOf(signature, rows, extent, random)), rows));
      return { ...signature, rowsAgree: agree.every(Boolean) };
    } catch {
      // Not of this extent.
    }
  }
  return { ...signature, rowsAgree: false };
};

const hasRows = (outputs: Outputs, rows: number): boolean => Object.values(outputs).every(({ shape }) => shape[0] === rows);

const feedsOf = (signature: Signature, rows: number, extent: number, random: () => number): Feeds => {
  const shapeOf = ({ shape }: Port) =>
    (shape ?? []).map((each, axis) => (typeof each === 'number' ? each : axis === 0 ? rows : extent));
  const inputs = Object.fromEntries(
    signature.inputs.map((port) => [port.name, { shape: shapeOf(port), fill: 'random' as const }]),
  );
  return warmupFeeds({ inputs, count: 1 }, signature, random);
};

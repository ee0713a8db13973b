/**
 * Runs the requests of one batch: those of one shape together and no more rows at once than allowed, a larger one in pieces; what fails
 * together is run in halves, so that what is to blame fails alone.
 */
import { cutBack, groupsOf, keyOf, type Pad, padded } from './onnx-pad.ts';
import { type Feeds, isStackable, type Signature } from './onnx-signature.ts';
import { concat, type Outputs, rowsOf, sliceOf, WrongRows } from './onnx-stack.ts';

export interface BatchRules {
  readonly signature: Signature;
  readonly run: (feeds: Feeds) => Promise<Outputs>;
  /** Rows of one run, at most. */
  readonly maxRows: number;
  readonly pad: Pad;
}

interface Member {
  readonly index: number;
  readonly feeds: Feeds;
  readonly rows: number;
}

/** @returns for each request its outputs, or what it failed with; never rejects */
export const runBatch = async (requests: readonly Feeds[], rules: BatchRules): Promise<readonly (Outputs | Error)[]> => {
  const { signature, pad } = rules;
  const answers: (Outputs | Error)[] = new Array(requests.length);
  const groups = new Map<string, Member[]>();
  for (const [index, feeds] of requests.entries()) {
    const rows = rowsIn(feeds, signature);
    const key = rows === undefined ? `alone ${index}` : keyOf(feeds, signature, pad);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [{ index, feeds, rows: rows ?? 1 }]);
    else group.push({ index, feeds, rows: rows ?? 1 });
  }
  for (const [key, members] of groups) {
    if (key.startsWith('alone')) await runHalves(members, rules, answers);
    else
      for (const group of groupsOf(members, pad))
        for (const part of partsOf(group, rules.maxRows)) await runHalves(part, rules, answers);
  }
  return answers;
};

/** The rows of a request that may be stacked; undefined: it runs alone. */
const rowsIn = (feeds: Feeds, signature: Signature): number | undefined => {
  if (!isStackable(signature)) return undefined;
  const tensors = Object.values(feeds);
  const rows = tensors[0]?.shape[0];
  return tensors.every(({ shape }) => shape[0] === rows) ? rows : undefined;
};

/** In parts of so many rows at most, or of one member. */
export const partsOf = <T extends { readonly rows: number }>(group: readonly T[], maxRows: number): T[][] => {
  const parts: T[][] = [];
  let part: T[] = [];
  let rows = 0;
  for (const member of group) {
    if (part.length > 0 && rows + member.rows > maxRows) {
      parts.push(part);
      part = [];
      rows = 0;
    }
    part.push(member);
    rows += member.rows;
  }
  return [...parts, part];
};

const runHalves = async (members: readonly Member[], rules: BatchRules, answers: (Outputs | Error)[]): Promise<void> => {
  try {
    const outputs = await runTogether(members, rules);
    for (const [at, { index }] of members.entries()) answers[index] = outputs[at] as Outputs;
  } catch (error) {
    // A model that gives another number of rows than it got does so in any company: nobody's rows can be told from the others'.
    if (members.length === 1 || error instanceof WrongRows) {
      for (const { index } of members) answers[index] = error as Error;
      return;
    }
    const half = members.length >> 1;
    await runHalves(members.slice(0, half), rules, answers);
    await runHalves(members.slice(half), rules, answers);
  }
};

const runTogether = async (members: readonly Member[], rules: BatchRules): Promise<readonly Outputs[]> => {
  const { signature, pad } = rules;
  const own = members.map(({ feeds }) => feeds);
  if (members.length === 1) return [await runWhole(members[0] as Member, rules)];
  const full = padded(own, signature, pad);
  const outputs = await rules.run(concat(full));
  const total = members.reduce((sum, { rows }) => sum + rows, 0);
  let from = 0;
  return members.map(({ rows }, at) => {
    const start = from;
    from += rows;
    const mine = sliceOf(outputs, total, start, from);
    return full[at] === own[at] ? mine : cutBack(mine, own[at] as Feeds, full[at] as Feeds, signature, pad);
  });
};

/** One request: in pieces where it has more rows than a run may. */
const runWhole = ({ feeds, rows }: Member, { run, maxRows, signature }: BatchRules): Promise<Outputs> =>
  rowsIn(feeds, signature) === undefined ? run(feeds) : runPieces(feeds, rows, maxRows, run);

/** Runs what has so many rows, no more of them at once than allowed. @throws WrongRows where it is in pieces */
export const runPieces = async (
  feeds: Feeds,
  rows: number,
  maxRows: number,
  run: (feeds: Feeds) => Promise<Outputs>,
): Promise<Outputs> => {
  if (rows <= maxRows) return run(feeds);
  const pieces: Outputs[] = [];
  for (let from = 0; from < rows; from += maxRows) {
    const to = Math.min(rows, from + maxRows);
    const piece = Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, rowsOf(tensor, from, to)]));
    const outputs = await run(piece);
    pieces.push(sliceOf(outputs, to - from, 0, to - from));
  }
  return concat(pieces);
};

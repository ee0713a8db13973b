/** What the soak is made of: promises that run at two sizes, figures, and sabotage under which a promise must be seen broken. */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export interface Verdict {
  readonly figures: Readonly<Record<string, number | string>>;
  /** What of the promise was not kept; empty: all of it was. */
  readonly broken: readonly string[];
}

/** A text of a built file and what stands in its place in a copy of the program. */
export interface Patch {
  /** Below `dist`. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export interface Sabotage {
  readonly what: string;
  readonly patches?: readonly Patch[];
  /** What the test does to itself instead; the promise knows these by name. */
  readonly harm?: string;
  /** What the verdict must say. */
  readonly shows: RegExp;
}

export interface World {
  /** The size of this run: the first of the two in the long form, cut by the scale that was asked for, else the second. */
  readonly size: (full: number, short: number) => number;
  /** A rate or a period: that of the form, whatever the scale. */
  readonly pace: (long: number, short: number) => number;
  /** Figures of time are part of the verdict: nothing else should run on the machine. */
  readonly strict: boolean;
  /** A copy, sabotaged or not; undefined: the program as it is. */
  readonly program: string | undefined;
  readonly harm: string | undefined;
}

export interface Promised {
  /** R1 … */
  readonly id: string;
  readonly title: string;
  readonly sabotages: readonly Sabotage[];
  run(world: World): Promise<Verdict>;
}

export interface RunOptions {
  /** Undefined: the short form. */
  readonly scale?: number;
  readonly sabotage?: Sabotage;
}

export const runPromise = async (promise: Promised, { scale, sabotage }: RunOptions = {}): Promise<Verdict> => {
  // A long run is not to see the next build.
  const copy = scale === undefined && sabotage?.patches === undefined ? undefined : patched(sabotage?.patches ?? []);
  try {
    return await promise.run({
      size: (full, short) => (scale === undefined ? short : Math.max(short, Math.round(full * scale))),
      pace: (long, short) => (scale === undefined ? short : long),
      strict: scale !== undefined && sabotage === undefined,
      program: copy?.program,
      harm: sabotage?.harm,
    });
  } finally {
    copy?.remove();
  }
};

/** The file as the patch leaves it. @throws when its text is not there exactly once */
export const applied = ({ file, from, to }: Patch, root = ROOT): string => {
  const parts = readFileSync(join(root, 'dist', file), 'utf8').split(from);
  if (parts.length !== 2)
    throw new Error(`${file} has ${parts.length - 1} × \`${from}\`, expected one: the sabotage is out of date`);
  return parts.join(to);
};

/** A copy of the program in which some lines say something else. @throws when a text is not there exactly once */
const patched = (patches: readonly Patch[]): { program: string; remove: () => void } => {
  const folder = mkdtempSync(join(tmpdir(), 'sd-soak-'));
  for (const name of ['bin', 'dist', 'schemas', 'package.json'])
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  for (const patch of patches) writeFileSync(join(folder, 'dist', patch.file), applied(patch, folder));
  return {
    program: join(folder, 'bin', 'serve-daemon'),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
};

/** Collects what is not as it should be. */
export class Findings {
  readonly broken: string[] = [];

  expect(holds: boolean, otherwise: string): void {
    if (!holds) this.broken.push(otherwise);
  }
}

/** Numbers in [0, 1) that are the same for the same seed. */
export const seeded = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
};

export const percentile = (values: readonly number[], share: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
};

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

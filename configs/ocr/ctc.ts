/** Reads characters out of what the recognizer says for each step of eight columns (connectionist temporal classification). */
import type { Tensor } from 'serve-daemon';

/** What the recognizer gives for one strip; each [1, steps]. */
export interface Steps {
  /** int32: the likeliest class; 0 is "no new character". */
  readonly index: Tensor;
  /** float32: of that class. */
  readonly probability: Tensor;
  /** float32: of the space. */
  readonly space: Tensor;
}

export interface Letter {
  readonly text: string;
  readonly probability: number;
  /** Column of the strip where it was recognized, near its middle. */
  readonly column: number;
}

export const COLUMNS_PER_STEP = 8;

/** @param characters of class 1 and up; a class said in several steps on end is one character */
export const decodeSteps = ({ index, probability }: Steps, characters: readonly string[]): Letter[] => {
  const letters: Letter[] = [];
  const classes = index.data as Int32Array;
  const certainty = probability.data as Float32Array;
  for (let from = 0, to = 1; from < classes.length; from = to, to++) {
    const cls = classes[from] as number;
    while (to < classes.length && classes[to] === cls) to++;
    if (cls === 0) continue;
    let best = 0;
    for (let step = from; step < to; step++) best = Math.max(best, certainty[step] as number);
    letters.push({ text: characters[cls - 1] ?? '', probability: best, column: ((from + to) / 2) * COLUMNS_PER_STEP });
  }
  return letters;
};

/** Probability of a space in the steps between two columns, its greatest. */
export const spaceBetween = ({ space }: Steps, from: number, to: number): number => {
  const values = space.data as Float32Array;
  let best = 0;
  for (let step = Math.ceil(from / COLUMNS_PER_STEP); step < to / COLUMNS_PER_STEP && step < values.length; step++)
    best = Math.max(best, values[step] as number);
  return best;
};

/** Mean probability of the steps that say a character, 0 if none does: how sure the recognizer is that this is text. */
export const certaintyOf = ({ index, probability }: Steps): number => {
  const said = (probability.data as Float32Array).filter((_, step) => index.data[step] !== 0);
  return said.length === 0 ? 0 : said.reduce((sum, value) => sum + value, 0) / said.length;
};

/** Decides where words end. The recognizer often swallows spaces; the paper between two letters shows them. */
import { type Letter, type Steps, spaceBetween } from './ctc.ts';
import { PAPER, widestGap } from './ink.ts';

/** Between words there are at least so many columns of paper, and so many times as many as at the median between letters. */
const WORD_GAP = 8;
const WORD_TO_LETTER = 2;
/** A probability of this for a space counts neither for it nor against it: by far the most letters have less between them. */
const NEUTRAL = 0.01;
/** So many columns does a gap gain with every tenfold of that. */
const COLUMNS_PER_DECADE = 2;
/** Marks that no space precedes; where letters are set in cells of equal width, they have much paper before them all the same. */
const CLOSING = /[.,;:!?)\]}%’”]/;
const CLOSING_GAP = 8;

/** One place between two visible letters of a line. */
interface Joint {
  /** Columns of paper. */
  readonly gap: number;
  /** The recognizer's own probability of a space here. */
  readonly space: number;
  /** A space was its first choice. */
  readonly said: boolean;
  /** What follows belongs to the word before it. */
  readonly closes: boolean;
}

/** The visible letters of a line, word by word. @param ink of each column of the strip, see `columnInk` */
export const splitWords = (letters: readonly Letter[], steps: Steps, ink: Uint8Array): Letter[][] => {
  const joints = jointsOf(letters, steps, ink);
  const gaps = joints.map(({ gap }) => gap).sort((a, b) => a - b);
  const median = gaps[(gaps.length - 1) >> 1] ?? 0;
  const words: Letter[][] = [];
  letters
    .filter(({ text }) => text !== ' ')
    .forEach((letter, i) => {
      if (i === 0 || isSpace(joints[i - 1] as Joint, median)) words.push([]);
      words.at(-1)?.push(letter);
    });
  return words;
};

const jointsOf = (letters: readonly Letter[], steps: Steps, ink: Uint8Array): Joint[] => {
  const joints: Joint[] = [];
  let last: Letter | undefined;
  let said = false;
  for (const letter of letters) {
    if (letter.text === ' ') said = true;
    else {
      if (last) {
        const [from, to] = [last.column, letter.column];
        const closes = CLOSING.test(letter.text);
        joints.push({ gap: widestGap(ink, from, to, PAPER), space: spaceBetween(steps, from, to), said, closes });
      }
      last = letter;
      said = false;
    }
  }
  return joints;
};

const isSpace = (joint: Joint, medianGap: number): boolean => {
  if (joint.said) return true;
  const surplus = joint.gap - Math.max(WORD_GAP, WORD_TO_LETTER * medianGap) - (joint.closes ? CLOSING_GAP : 0);
  return surplus + COLUMNS_PER_DECADE * Math.log10(Math.max(joint.space, 1e-6) / NEUTRAL) >= 0;
};

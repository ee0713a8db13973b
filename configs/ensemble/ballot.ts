/** The code around three models that read a digit: an image for them all, and one answer out of their opinions. */
import { HttpError, Tensor } from 'serve-daemon';

/** Of the images that the models know: rows and columns, and ink from 0 (none) to 16. */
const SIDE = 8;
const PIXELS = SIDE * SIDE;
const MOST_INK = 16;

/** What one model says, as a step gives it; null where it failed. */
export type Opinion = { readonly probability: Tensor } | null;

export interface Answer {
  readonly digit: number;
  /** Of the digit, from 0 to 1: the mean of those who voted. */
  readonly probability: number;
  /** What each would have said alone; null where it did not vote. */
  readonly votes: Readonly<Record<string, number | null>>;
}

export class Ballot {
  /**
   * @param body `{"pixels": [64 numbers]}`, row by row
   * @returns    float32 [1, 64]
   * @throws     HttpError 400 that says where, what was expected, and what came
   */
  read(body: unknown): Tensor {
    const pixels: unknown = (body as { pixels?: unknown } | null)?.pixels;
    if (!Array.isArray(pixels))
      throw new HttpError(400, `expected \`pixels\` to be a list of ${PIXELS} numbers, got ${said(pixels)}`);
    if (pixels.length !== PIXELS) throw new HttpError(400, `expected \`pixels\` to have ${PIXELS} numbers, got ${pixels.length}`);
    for (const [index, ink] of pixels.entries())
      if (typeof ink !== 'number' || ink < 0 || ink > MOST_INK)
        throw new HttpError(400, `expected \`pixels[${index}]\` to be a number from 0 to ${MOST_INK}, got ${said(ink)}`);
    return new Tensor('float32', [1, PIXELS], Float32Array.from(pixels as number[]));
  }

  /**
   * Adds up what the models think likely. So one that is sure outweighs one that is in doubt, and two that agree outweigh one that is not quite sure.
   * @throws HttpError 503 when nobody voted
   */
  count(opinions: Readonly<Record<string, Opinion>>): Answer {
    const votes = Object.entries(opinions).map(([name, opinion]) => ({
      name,
      likely: opinion?.probability.data as Float32Array | undefined,
    }));
    const voters = votes.flatMap(({ likely }) => (likely === undefined ? [] : [likely]));
    if (voters.length === 0) throw new HttpError(503, 'none of the models has answered', { 'retry-after': '1' });
    const mean = Array.from(
      { length: 10 },
      (_, digit) => voters.reduce((sum, likely) => sum + (likely[digit] ?? 0), 0) / voters.length,
    );
    const digit = largest(mean);
    return {
      digit,
      probability: mean[digit] ?? 0,
      votes: Object.fromEntries(votes.map(({ name, likely }) => [name, likely === undefined ? null : largest(likely)])),
    };
  }
}

/** Where the largest is; of equals the first. */
const largest = (values: ArrayLike<number>): number => {
  let best = 0;
  for (let index = 1; index < values.length; index++) if ((values[index] ?? 0) > (values[best] ?? 0)) best = index;
  return best;
};

/** A value as an error names it, short. */
const said = (value: unknown): string => {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' && value !== null ? 'an object' : JSON.stringify(value).slice(0, 40);
};

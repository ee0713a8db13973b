/** Splits a text into sentences by rules of its own: what has served for years. */
import { HttpError } from 'serve-daemon';

export interface Sentences {
  readonly sentences: readonly string[];
}

/** The end of a sentence: a mark, what closes behind it, a gap, and what a sentence begins with; no mark behind a single initial. */
const END = /(?<!\b\p{Lu}\.)(?<=[.!?…]["'»”’)\]]*)\s+(?=["'«“‘([]*[\p{Lu}\p{N}])/u;

export class Rules {
  async call(text: unknown): Promise<Sentences> {
    return { sentences: textOf(text).trim().split(END).filter(Boolean) };
  }
}

/** Of a text: while one is split, no other request of the replica has its turn. */
const MOST_CHARACTERS = 100_000;

/** @throws HttpError for what is no text, or too long a one: that is the client's mistake, and says nothing against who was to answer */
export const textOf = (value: unknown): string => {
  if (typeof value !== 'string') throw new HttpError(422, `expected a text, got ${value === null ? 'null' : typeof value}`);
  if (value.length > MOST_CHARACTERS)
    throw new HttpError(413, `expected a text of at most ${MOST_CHARACTERS} characters, got ${value.length}`);
  return value;
};

/** Words that come one by one, and are read by the network together. */
import { batch, type CallContext, HttpError } from 'serve-daemon';
import { LettersToSounds, LONGEST_WORD, lettersOf } from '../chain/letters-to-sounds.ts';

export interface Answer {
  readonly word: string;
  readonly sounds: string;
  /** How many words the network read in the same run, this one counted. */
  readonly together: number;
}

export class Words {
  readonly #network = new LettersToSounds();
  /** Written for many words, called with one. */
  readonly #say = batch({ name: 'say', maxBatchSize: 10 }, async (words: string[]) => {
    const sounds = await this.#network.say(words);
    return sounds.map((each) => ({ sounds: each, together: words.length }));
  });

  async checkHealth(): Promise<void> {
    await this.#network.ready();
  }

  /**
   * Prepares one word and waits for its part of a run.
   * @throws HttpError 400 for what is no word; those that run meanwhile are not touched by it
   */
  async call(word: unknown, context: CallContext): Promise<Answer> {
    const letters = typeof word === 'string' && word.length <= LONGEST_WORD ? lettersOf(word) : undefined;
    if (letters === undefined)
      throw new HttpError(400, `expected an English word of at most ${LONGEST_WORD} letters as a JSON string, got ${said(word)}`);
    return { word: word as string, ...(await this.#say(letters, context)) };
  }

  async close(): Promise<void> {
    await this.#network.close();
  }
}

/** A value in few words, which cost the same whatever comes: bytes do where the content type is not JSON's. */
const said = (value: unknown): string => {
  if (value === undefined) return 'nothing';
  if (value instanceof Uint8Array) return `${value.length} bytes that are not said to be JSON`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'string' && value.length > 80) return `${JSON.stringify(value.slice(0, 80))} …`;
  return typeof value === 'object' && value !== null ? 'an object' : JSON.stringify(value);
};

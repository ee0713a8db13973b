/** How a text sounds, word by word. */
import { HttpError } from 'serve-daemon';
import { LettersToSounds, LONGEST_WORD, lettersOf } from './letters-to-sounds.ts';

/** Words that run together. */
const ROWS = 64;
const WORDS = /\p{L}[\p{L}\p{M}'’]*/gu;

export class Pronouncer {
  readonly #network = new LettersToSounds();

  async checkHealth(): Promise<void> {
    await this.#network.ready();
  }

  /**
   * The sounds in ARPAbet, a bar between words: `HH EH1 L OW0 | W ER1 L D`. A word with other letters than those of English stands as it is.
   * @throws HttpError 422 when no word can be pronounced, or one is too long
   */
  async call(text: string): Promise<string> {
    const words = Array.from(text.matchAll(WORDS), ([word]) => word);
    const tooLong = words.find((word) => word.length > LONGEST_WORD);
    if (tooLong !== undefined)
      throw new HttpError(422, `expected words of at most ${LONGEST_WORD} letters, got one of ${tooLong.length}`);
    const spelled = new Map(words.map((word) => [word, lettersOf(word)]));
    const english = [...new Set([...spelled.values()].filter((letters) => letters !== undefined))];
    if (english.length === 0) throw new HttpError(422, 'expected a text in English, got one without a word in its letters');
    const sounds = new Map<string, string>();
    for (let from = 0; from < english.length; from += ROWS) {
      const rows = english.slice(from, from + ROWS);
      for (const [index, said] of (await this.#network.say(rows)).entries()) sounds.set(rows[index] as string, said);
    }
    return words.map((word) => sounds.get(spelled.get(word) ?? '') ?? word).join(' | ');
  }

  async close(): Promise<void> {
    await this.#network.close();
  }
}

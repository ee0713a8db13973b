/** Texts to the tokens of BERT's uncased vocabulary: words, and pieces of words that are not in it as a whole. */

/** Longer words are unknown, as in the original. In characters. */
const LONGEST_WORD = 100;
const UNKNOWN = '[UNK]';
/** Before a piece that is not the first of its word. */
const CONTINUED = '##';

/** Runs of what is neither space nor punctuation; each sign of punctuation, and each ideograph, by itself. */
const WORDS = /\p{Script=Han}|[\p{P}$+<=>^`|~]|(?:(?![\p{P}$+<=>^`|~]|\p{Script=Han})\S)+/gu;
const CONTROL = /(?![\t\n\r])\p{C}/gu;
const ACCENTS = /\p{Mn}/gu;

export class WordPiece {
  readonly #ids: ReadonlyMap<string, number>;
  /** Of the tokens, in UTF-16 units: nothing longer is looked up. */
  readonly #longest: number;

  /** @param vocabulary a token each line; its number is that of its line, from 0 */
  constructor(vocabulary: string) {
    const tokens = vocabulary.replace(/\n$/, '').split('\n');
    this.#ids = new Map(tokens.map((token, index) => [token, index]));
    if (!this.#ids.has(UNKNOWN)) throw new Error(`expected a vocabulary with ${UNKNOWN}, got ${tokens.length} lines without it`);
    this.#longest = tokens.reduce((longest, { length }) => Math.max(longest, length), 0);
  }

  /**
   * Takes time in proportion to the text, whatever is in it.
   * @returns none for a word that cannot be put together of known pieces; an embedding takes nothing from it
   */
  tokensOf(text: string): Int32Array {
    const plain = text.replace(CONTROL, '').toLowerCase().normalize('NFD').replace(ACCENTS, '');
    return Int32Array.from((plain.match(WORDS) ?? []).flatMap((word) => this.#piecesOf(word)));
  }

  /** The longest piece that fits, from the front, until the word is used up. No token begins or ends within a surrogate pair. */
  #piecesOf(word: string): readonly number[] {
    if (word.length > 2 * LONGEST_WORD || [...word].length > LONGEST_WORD) return [];
    const pieces: number[] = [];
    for (let from = 0; from < word.length; ) {
      const before = from === 0 ? '' : CONTINUED;
      let to = Math.min(word.length, from + this.#longest - before.length);
      let id: number | undefined;
      for (; to > from; to--) {
        id = this.#ids.get(before + word.slice(from, to));
        if (id !== undefined) break;
      }
      if (id === undefined) return [];
      pieces.push(id);
      from = to;
    }
    return pieces;
  }
}

/** Texts to the tokens of BERT's uncased vocabulary: words, and pieces of words that are not in it as a whole. */

/** Longer words are unknown, as in the original. */
const LONGEST_WORD = 100;
const UNKNOWN = '[UNK]';
/** Behind the first piece of a word. */
const CONTINUED = '##';

/** Runs of what is neither space nor punctuation; each sign of punctuation, and each ideograph, by itself. */
const WORDS = /\p{Script=Han}|[\p{P}$+<=>^`|~]|(?:(?![\p{P}$+<=>^`|~]|\p{Script=Han})\S)+/gu;
const CONTROL = /(?![\t\n\r])\p{C}/gu;
const ACCENTS = /\p{Mn}/gu;

export class WordPiece {
  readonly #ids: ReadonlyMap<string, number>;

  /** @param vocabulary a token each line; its number is that of its line, from 0 */
  constructor(vocabulary: string) {
    const tokens = vocabulary.replace(/\n$/, '').split('\n');
    this.#ids = new Map(tokens.map((token, index) => [token, index]));
    if (!this.#ids.has(UNKNOWN)) throw new Error(`expected a vocabulary with ${UNKNOWN}, got ${tokens.length} lines without it`);
  }

  /** @returns none for a word that cannot be put together of known pieces; an embedding takes nothing from it */
  tokensOf(text: string): Int32Array {
    const plain = text.replace(CONTROL, '').toLowerCase().normalize('NFD').replace(ACCENTS, '');
    return Int32Array.from((plain.match(WORDS) ?? []).flatMap((word) => this.#piecesOf(word)));
  }

  /** The longest piece that fits, from the front, until the word is used up. */
  #piecesOf(word: string): readonly number[] {
    const characters = [...word];
    const pieces: number[] = [];
    if (characters.length > LONGEST_WORD) return [];
    for (let from = 0; from < characters.length; ) {
      let to = characters.length;
      let id: number | undefined;
      for (; to > from; to--) {
        id = this.#ids.get((from === 0 ? '' : CONTINUED) + characters.slice(from, to).join(''));
        if (id !== undefined) break;
      }
      if (id === undefined) return [];
      pieces.push(id);
      from = to;
    }
    return pieces;
  }
}

/** Tokens of the recognizer to words, each as soon as the next one begins. */

/** Stands for a space, at the beginning of a word. */
const SPACE = '\u2581';
const BYTE = /^<0x([0-9A-F]{2})>$/;
/** Unknown, beginning and end: they are no text. */
const SPECIAL = 3;

export class WordReader {
  readonly #vocabulary: readonly string[];
  /** Of the word that has begun. Bytes, since a letter beyond the vocabulary comes as several tokens of one byte each. */
  #bytes: number[] = [];

  /** @param vocabulary piece of each token, as SentencePiece writes them */
  constructor(vocabulary: readonly string[]) {
    this.#vocabulary = vocabulary;
  }

  /** @returns the word that is complete now, if one is */
  push(token: number): string | undefined {
    const piece = token < SPECIAL ? undefined : this.#vocabulary[token];
    if (piece === undefined) return undefined;
    const [, hex] = BYTE.exec(piece) ?? [];
    if (hex !== undefined) {
      this.#bytes.push(Number.parseInt(hex, 16));
      return undefined;
    }
    const word = piece.startsWith(SPACE) ? this.end() : undefined;
    this.#bytes.push(...Buffer.from(piece.replaceAll(SPACE, ' ')));
    return word;
  }

  /** The last word. */
  end(): string | undefined {
    const word = Buffer.from(this.#bytes).toString().trim();
    this.#bytes = [];
    return word === '' ? undefined : word;
  }
}

/** The network that reads the letters of English words and says their sounds, many words at once. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { InferenceSession } from 'onnxruntime-node';

const MODEL = fileURLToPath(new URL('../../models/pronunciation/', import.meta.url));

/** As the model numbers letters: 0 fills up, 2 ends a word, `a` is 3. */
const [END, A] = [2, 3];

export class LettersToSounds {
  readonly #names: readonly string[];
  readonly #session: Promise<InferenceSession>;
  readonly #runtime = import('onnxruntime-node').catch((cause: unknown) => {
    throw new Error('expected the package onnxruntime-node, which runs the model: npm i onnxruntime-node', { cause });
  });

  constructor() {
    this.#names = readFileSync(`${MODEL}sounds.txt`, 'utf8').split('\n');
    const options: InferenceSession.SessionOptions = { intraOpNumThreads: 1, logSeverityLevel: 3 };
    this.#session = this.#runtime.then((onnx) => onnx.InferenceSession.create(`${MODEL}pronunciation.onnx`, options));
    this.#session.catch(() => {}); // `ready` tells it
  }

  /** @throws when the model, or what runs it, is not there */
  async ready(): Promise<void> {
    await this.#session;
  }

  /**
   * One run for all of them: memory and time grow with the longest.
   * @param words at least one, each of a to z, at least one letter
   * @returns     of each word its sounds in ARPAbet, with a space between: `HH EH1 L OW0`
   */
  async say(words: readonly string[]): Promise<readonly string[]> {
    const width = Math.max(...words.map(({ length }) => length)) + 1;
    const letters = new Int32Array(words.length * width);
    for (const [row, word] of words.entries()) {
      for (let at = 0; at < word.length; at++) letters[row * width + at] = word.charCodeAt(at) - 'a'.charCodeAt(0) + A;
      letters[row * width + word.length] = END;
    }
    const { Tensor } = await this.#runtime;
    const { sounds } = await (await this.#session).run({ letters: new Tensor('int32', letters, [words.length, width]) });
    const { data, dims } = sounds as { data: Int32Array; dims: readonly number[] };
    const most = dims[1] ?? 0;
    return words.map((_, row) =>
      Array.from(data.subarray(row * most, (row + 1) * most))
        .filter((sound) => sound !== 0)
        .map((sound) => this.#names[sound])
        .join(' '),
    );
  }

  async close(): Promise<void> {
    await (await this.#session).release();
  }
}

export const LONGEST_WORD = 64;

/** A word in the letters that the network knows, without accents and apostrophes; undefined where it has others. */
export const lettersOf = (word: string): string | undefined => {
  const letters = word
    .normalize('NFD')
    .replace(/[\p{M}'’]/gu, '')
    .toLowerCase();
  return /^[a-z]+$/.test(letters) ? letters : undefined;
};

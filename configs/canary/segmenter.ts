/** The same with the rules of Unicode, which the platform has: what is to take the place of `rules.ts`. */
import { type Sentences, textOf } from './rules.ts';

export class Segmenter {
  readonly #segmenter = new Intl.Segmenter('en', { granularity: 'sentence' });

  async call(text: unknown): Promise<Sentences> {
    const sentences = [...split(textOf(text).trim(), this.#segmenter)];
    return { sentences: sentences.map((sentence) => sentence.trim()).filter(Boolean) };
  }
}

/** Characters. */
const WINDOW = 1000;

/** Through a window, as V8 copies the whole input for every sentence that it finds; a window grows until two are in it. */
function* split(text: string, segmenter: Intl.Segmenter): Generator<string> {
  let size = WINDOW;
  for (let from = 0; from < text.length; ) {
    const found = Array.from(segmenter.segment(text.slice(from, from + size)), ({ segment }) => segment);
    const isLast = from + size >= text.length;
    if (!isLast) found.pop(); // the window may have cut it off
    size = found.length === 0 ? size * 2 : WINDOW;
    for (const sentence of found) from += sentence.length;
    yield* found;
  }
}

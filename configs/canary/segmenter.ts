/** The same with the rules of Unicode, which the platform has: what is to take the place of `rules.ts`. */
import { type Sentences, textOf } from './rules.ts';

export class Segmenter {
  readonly #segmenter = new Intl.Segmenter('en', { granularity: 'sentence' });

  async call(text: unknown): Promise<Sentences> {
    const segments = [...this.#segmenter.segment(textOf(text).trim())];
    return { sentences: segments.map(({ segment }) => segment.trim()).filter(Boolean) };
  }
}

/** What matters most in a text, and how that sounds: the first of two deployments, and the one that calls the other. */
import { type Handle, HttpError } from 'serve-daemon';
import { type Lengths, summarize } from '../quickstart/summarize.ts';
import type { Pronouncer } from './pronouncer.ts';

export interface Spoken {
  readonly summary: string;
  readonly sounds: string;
}

export class Summarizer {
  readonly #lengths: Lengths;
  readonly #pronouncer: Handle<Pronouncer> | undefined;

  /** @param args without `pronouncer` there is `summarize` only: `steps` calls the other itself */
  constructor({ pronouncer, minLength = 12, maxLength = 30 }: { pronouncer?: Handle<Pronouncer> } & Partial<Lengths> = {}) {
    this.#pronouncer = pronouncer;
    this.#lengths = { minLength, maxLength };
  }

  /** @throws HttpError 400 when it is no text */
  summarize(text: unknown): string {
    if (typeof text !== 'string' || text.trim() === '') throw new HttpError(400, 'expected a text in English as a JSON string');
    return summarize(text, 'en', this.#lengths);
  }

  /** @throws what the other throws, its status kept */
  async call(text: unknown): Promise<Spoken> {
    if (this.#pronouncer === undefined) throw new Error('expected a handle `pronouncer`, got none: wire one under `calls`');
    const summary = this.summarize(text);
    return { summary, sounds: await this.#pronouncer.call(summary) };
  }
}

/** Two deployments: one tells the language of a text, the other asks it and makes a summary. Neither needs a model file. */
import type { CallContext, Handle } from 'serve-daemon';
import { type Lengths, summarize } from './summarize.ts';

/** Tells the language of a text as a BCP-47 tag, `und` where it cannot. */
export class Language {
  /** Loaded here, so that a replica of `Summarizer`, which is in the same file, does without it. */
  readonly #detector = import('eld/extrasmall');

  async call(text: string): Promise<string> {
    const found = (await this.#detector).eld.detect(text);
    return found.isReliable() ? found.language : 'und';
  }

  /** A replica gets no request before this has come back once. */
  async checkHealth(): Promise<void> {
    await this.#detector;
  }
}

/** A JSON string in; out come the sentences that matter most, as they stand in the text and in their order. */
export class Summarizer {
  readonly #language: Handle<Language>;
  #lengths: Lengths;

  /** `init_args` from the config, and a handle for the deployment that `calls` names `language`. */
  constructor({ language, ...lengths }: { language: Handle<Language> } & Lengths) {
    this.#language = language;
    this.#lengths = checked(lengths);
  }

  /** Gets `user_config` at start and at each change of it, while requests go on. If it throws, the old lengths stay. */
  reconfigure(userConfig: Partial<Lengths>): void {
    this.#lengths = checked({ ...this.#lengths, ...userConfig });
  }

  async fetch(request: Request, context: CallContext): Promise<Response> {
    const text: unknown = await request.json().catch(() => undefined);
    if (typeof text !== 'string' || text.trim() === '') {
      return new Response('expected a text as a JSON string: "It was the best of times. …"\n', { status: 400 });
    }
    const language = await this.#language.call(text);
    const summary = summarize(text, language, this.#lengths);
    context.log.debug({ language, characters: summary.length }, 'summarized');
    return new Response(summary, { headers: { 'content-type': 'text/plain; charset=utf-8', 'content-language': language } });
  }
}

const checked = (lengths: Lengths): Lengths => {
  const { minLength, maxLength } = lengths;
  if (minLength >= 0 && maxLength >= 1 && minLength <= maxLength) return lengths;
  throw new RangeError(`expected 0 ≤ minLength ≤ maxLength, in words, got ${minLength} and ${maxLength}`);
};

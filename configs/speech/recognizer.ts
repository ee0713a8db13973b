/** A segment of sound to words, through encoder and decoder. */
import { type CallOptions, type Handle, Tensor } from 'serve-daemon';
import type { Decoder } from './decoder.ts';
import { RATE, type Segment } from './segmenter.ts';

interface EncoderModel {
  /** `input_values` [1, samples]. */
  call(samples: Tensor): Promise<{ readonly last_hidden_state: Tensor }>;
}

export interface RecognizerArgs {
  readonly encoder: Handle<EncoderModel>;
  readonly decoder: Handle<Decoder>;
}

/** Nobody says more than this; the model does where it hears what is no speech, and repeats itself. */
const TOKENS_PER_SECOND = 6.5;
/** Short segments have a beginning and an end, too. */
const TOKENS_AT_LEAST = 8;

export class Recognizer {
  readonly #args: RecognizerArgs;

  constructor(args: RecognizerArgs) {
    this.#args = args;
  }

  /** @param options of all that it calls */
  async *words({ samples }: Segment, options: CallOptions = {}): AsyncGenerator<string> {
    const { encoder, decoder } = this.#args;
    const sound = new Tensor('float32', [1, samples.length], samples);
    const { last_hidden_state: states } = await encoder.options(options).call(sound);
    const maxTokens = Math.max(TOKENS_AT_LEAST, Math.ceil((samples.length / RATE) * TOKENS_PER_SECOND));
    yield* decoder.options(options).words({ states, maxTokens });
  }
}

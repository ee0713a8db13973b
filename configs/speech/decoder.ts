/** Writes down what the encoder has heard, a token at a time. What it has to remember from one token to the next stays in this process. */
import { resolve } from 'node:path';
import llama from 'llama-tokenizer-js';
import * as ort from 'onnxruntime-node';
import type { CallContext, Tensor } from 'serve-daemon';
import { WordReader } from './words.ts';

export interface Hearing {
  /** The encoder's `last_hidden_state`: float32 [1, steps, width]. */
  readonly states: Tensor;
  /** Where the model has not ended by itself, it repeats itself: nobody says more. */
  readonly maxTokens: number;
}

const [BEGIN, END] = [1n, 2];
const PAST = 'past_key_values.';
const PRESENT = 'present.';

type Feeds = Record<string, ort.Tensor>;

export class Decoder {
  readonly #opening: Promise<ort.InferenceSession>;

  /** @param args `model`: merged decoder, as Optimum exports it: with and without a past, chosen by `use_cache_branch`; relative to the config */
  constructor({ model }: { readonly model: string }) {
    this.#opening = ort.InferenceSession.create(resolve(model), { intraOpNumThreads: 1, interOpNumThreads: 1 });
    // Told by checkHealth.
    this.#opening.catch(() => {});
  }

  async checkHealth(): Promise<void> {
    await this.#opening;
  }

  /** Each word as soon as the next has begun. Ends within a token of its caller's leaving. */
  async *words({ states, maxTokens }: Hearing, { signal }: CallContext): AsyncGenerator<string> {
    const session = await this.#opening;
    const reader = new WordReader(llama.vocabById);
    const hidden = new ort.Tensor('float32', states.data as Float32Array, states.shape);
    let past = nothing(session);
    let token = BEGIN;
    for (let at = 0; at < maxTokens && !signal.aborted; at++) {
      const ran = await session.run(
        {
          ...past,
          input_ids: new ort.Tensor('int64', BigInt64Array.of(token), [1, 1]),
          encoder_hidden_states: hidden,
          use_cache_branch: new ort.Tensor('bool', [at > 0], [1]),
        },
        at === 0 ? session.outputNames : session.outputNames.filter(changes),
      );
      const next = largest((ran['logits'] as ort.TypedTensor<'float32'>).data);
      if (next === END) break;
      const word = reader.push(next);
      if (word !== undefined) yield word;
      // What it knows of the sound is made by the first run, and stays.
      past = Object.fromEntries(Object.keys(past).map((name) => [name, ran[name.replace(PAST, PRESENT)] ?? past[name]])) as Feeds;
      token = BigInt(next);
    }
    const last = reader.end();
    if (last !== undefined) yield last;
  }

  async close(): Promise<void> {
    await (await this.#opening).release();
  }
}

/** Outputs that each token changes. */
const changes = (name: string): boolean => !name.includes('.encoder.');

/** The past before the first token: none, of the model's own number of heads and width. */
const nothing = (session: ort.InferenceSession): Feeds =>
  Object.fromEntries(
    session.inputMetadata.flatMap((input) => {
      if (!input.isTensor || !input.name.startsWith(PAST)) return [];
      const [, heads, , width] = input.shape as number[];
      return [[input.name, new ort.Tensor('float32', new Float32Array(0), [1, heads, 0, width] as number[])]];
    }),
  );

const largest = (values: Float32Array): number => {
  let best = 0;
  for (let index = 1; index < values.length; index++) if ((values[index] as number) > (values[best] as number)) best = index;
  return best;
};

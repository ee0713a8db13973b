/** Hears speech: windows of sound through the model, one after the other, and what they are cut into. */
import { type Handle, Tensor } from 'serve-daemon';
import { resampled } from './resample.ts';
import { RATE, type Segment, Segmenter, WINDOW } from './segmenter.ts';

interface VadModel {
  /** `audio` [1, 512]; the others are what the call before gave, zeros at first. */
  call(
    inputs: Readonly<Record<'audio' | 'context' | 'state', Tensor>>,
  ): Promise<Readonly<Record<'output' | 'contextN' | 'stateN', Tensor>>>;
}
export type Vad = Handle<VadModel>;

/** What the model remembers of one stream of sound. */
export class Ear {
  readonly segmenter = new Segmenter();
  readonly #vad: Vad;
  #context = new Tensor('float32', [1, 64], new Float32Array(64));
  #state = new Tensor('float32', [2, 1, 128], new Float32Array(256));

  constructor(vad: Vad) {
    this.#vad = vad;
  }

  /** @returns the segment that ends with this window, if one does */
  async hear(window: Float32Array): Promise<Segment | undefined> {
    const audio = new Tensor('float32', [1, WINDOW], window);
    const { output, contextN, stateN } = await this.#vad.call({ audio, context: this.#context, state: this.#state });
    this.#context = contextN;
    this.#state = stateN;
    return this.segmenter.push(window, Number(output.data[0]));
  }
}

/** @param rate of the samples, in Hz @returns windows at `RATE`, the last one filled with silence */
export async function* windowsOf(samples: AsyncIterable<Float32Array>, rate: number): AsyncGenerator<Float32Array> {
  let window = new Float32Array(WINDOW);
  let filled = 0;
  for await (const piece of resampled(samples, rate, RATE)) {
    for (let at = 0; at < piece.length; ) {
      const part = piece.subarray(at, at + WINDOW - filled);
      window.set(part, filled);
      at += part.length;
      filled += part.length;
      if (filled < WINDOW) continue;
      yield window;
      window = new Float32Array(WINDOW);
      filled = 0;
    }
  }
  if (filled > 0) yield window;
}

export async function* segmentsOf(samples: AsyncIterable<Float32Array>, rate: number, vad: Vad): AsyncGenerator<Segment> {
  const ear = new Ear(vad);
  for await (const window of windowsOf(samples, rate)) {
    const segment = await ear.hear(window);
    if (segment !== undefined) yield segment;
  }
  const last = ear.segmenter.end();
  if (last !== undefined) yield last;
}

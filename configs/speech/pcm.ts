/** Bytes of sound to samples: what a width and a number of channels mean. */

/** Whole numbers of 8 (unsigned) to 32 bits, and floating point; little-endian, as in WAV files. */
export const ENCODINGS = {
  u8: { bytes: 1, read: (view, at) => (view.getUint8(at) - 128) / 128 },
  s16: { bytes: 2, read: (view, at) => view.getInt16(at, true) / 32_768 },
  s24: { bytes: 3, read: (view, at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 65_536) / 8_388_608 },
  s32: { bytes: 4, read: (view, at) => view.getInt32(at, true) / 2_147_483_648 },
  f32: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  f64: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
} as const satisfies Readonly<Record<string, { bytes: number; read: (view: DataView, at: number) => number }>>;

export type Encoding = keyof typeof ENCODINGS;

export interface SoundFormat {
  readonly encoding: Encoding;
  /** In Hz. */
  readonly rate: number;
  readonly channels: number;
}

/** In Hz: telephones to studios. */
export const RATES = { least: 8000, most: 192_000 } as const;
export const MOST_CHANNELS = 8;

/** Makes samples of bytes that come in pieces of any length. A file that ends within a sample loses that sample. */
export class PcmReader {
  readonly #format: SoundFormat;
  /** The beginning of a frame whose rest has not come: less than 64 bytes. */
  #rest: Uint8Array = new Uint8Array(0);

  constructor(format: SoundFormat) {
    this.#format = format;
  }

  /** @returns one channel, the mean of all, from -1 to 1; what is no number is silence */
  push(bytes: Uint8Array): Float32Array {
    const { encoding, channels } = this.#format;
    const { bytes: width, read } = ENCODINGS[encoding];
    const frame = width * channels;
    const whole = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const frames = Math.floor(whole.length / frame);
    this.#rest = new Uint8Array(whole.subarray(frames * frame));
    const view = new DataView(whole.buffer, whole.byteOffset, whole.byteLength);
    const samples = new Float32Array(frames);
    for (let index = 0; index < frames; index++) {
      let sum = 0;
      for (let channel = 0; channel < channels; channel++) sum += read(view, index * frame + channel * width);
      samples[index] = Math.max(-1, Math.min(1, sum / channels || 0));
    }
    return samples;
  }
}

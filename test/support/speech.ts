/** Recordings of speech for tests: the samples of `configs/speech`, as WAV files of any form, and how much of them was understood. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Resampler } from '../../configs/speech/resample.ts';

/** In Hz, of the samples. */
export const RATE = 16_000;

/** What is said in each: Jane Austen, Sense and Sensibility, read for LibriVox; John F. Kennedy, 1961. */
export const SAID = {
  'austen-0870':
    'And Mr. John Dashwood had then leisure to consider how much there might be prudently in his power to do for them.',
  'austen-0880': 'He was not an ill-disposed young man,',
  'austen-0890': 'unless to be rather cold hearted and rather selfish is to be ill-disposed.',
  'austen-0920': 'Had he married a more amiable woman, he might have been made still more respectable than he was.',
  'austen-0930': 'He might even have been made amiable himself.',
  jfk: 'And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country.',
} as const;
export type Recording = keyof typeof SAID;

/** The bytes of a sample's file. */
export const fileOf = (name: Recording): Buffer => readFileSync(resolve(`configs/speech/samples/${name}.wav`));

/** 16 bit, one channel. */
export const soundOf = (name: Recording): Float32Array => {
  const file = fileOf(name);
  const at = file.indexOf('data') + 8;
  return Float32Array.from({ length: (file.length - at) >> 1 }, (_, index) => file.readInt16LE(at + 2 * index) / 32_768);
};

export const silence = (seconds: number): Float32Array => new Float32Array(seconds * RATE);

export const joined = (sounds: readonly Float32Array[]): Float32Array => {
  const all = new Float32Array(sounds.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const sound of sounds) {
    all.set(sound, at);
    at += sound.length;
  }
  return all;
};

export const atRate = (sound: Float32Array, rate: number): Float32Array => {
  const resampler = new Resampler(RATE, rate);
  return joined([resampler.push(sound), resampler.end()]);
};

const WRITERS = {
  u8: { bytes: 1, tag: 1, write: (view: DataView, at: number, x: number) => view.setUint8(at, Math.round(x * 127) + 128) },
  s16: { bytes: 2, tag: 1, write: (view: DataView, at: number, x: number) => view.setInt16(at, Math.round(x * 32_767), true) },
  s24: {
    bytes: 3,
    tag: 1,
    write: (view: DataView, at: number, x: number) => {
      const whole = Math.round(x * 8_388_607);
      view.setUint16(at, whole & 0xffff, true);
      view.setInt8(at + 2, whole >> 16);
    },
  },
  s32: {
    bytes: 4,
    tag: 1,
    write: (view: DataView, at: number, x: number) => view.setInt32(at, Math.round(x * 2_147_483_647), true),
  },
  f32: { bytes: 4, tag: 3, write: (view: DataView, at: number, x: number) => view.setFloat32(at, x, true) },
  f64: { bytes: 8, tag: 3, write: (view: DataView, at: number, x: number) => view.setFloat64(at, x, true) },
};
export type Width = keyof typeof WRITERS;

/** @param channels all of them with the same sound */
export const pcmOf = (sound: Float32Array, width: Width, channels = 1): Buffer => {
  const { bytes, write } = WRITERS[width];
  const pcm = Buffer.alloc(sound.length * bytes * channels);
  const view = new DataView(pcm.buffer, pcm.byteOffset, pcm.byteLength);
  for (let index = 0; index < sound.length * channels; index++)
    write(view, index * bytes, sound[Math.floor(index / channels)] as number);
  return pcm;
};

export interface WavForm {
  readonly width?: Width;
  readonly rate?: number;
  readonly channels?: number;
  /** In the head, in place of what it is. */
  readonly tag?: number;
  readonly size?: number;
  /** Before the samples. */
  readonly chunks?: readonly Buffer[];
}

export const wavOf = (sound: Float32Array, { width = 's16', rate = RATE, channels = 1, ...head }: WavForm = {}): Buffer => {
  const { bytes, tag } = WRITERS[width];
  const pcm = pcmOf(sound, width, channels);
  const fmt = Buffer.alloc(16);
  fmt.writeUInt16LE(head.tag ?? tag, 0);
  fmt.writeUInt16LE(channels, 2);
  fmt.writeUInt32LE(rate, 4);
  fmt.writeUInt32LE(rate * channels * bytes, 8);
  fmt.writeUInt16LE(channels * bytes, 12);
  fmt.writeUInt16LE(bytes * 8, 14);
  const data = chunkOf('data', pcm, head.size);
  const all = Buffer.concat([chunkOf('fmt ', fmt), ...(head.chunks ?? []), data]);
  return Buffer.concat([chunkOf('RIFF', Buffer.from('WAVE'), 4 + all.length), all]);
};

export const chunkOf = (name: string, content: Buffer, size = content.length): Buffer => {
  const chunk = Buffer.alloc(8 + content.length + (content.length & 1));
  chunk.write(name, 'latin1');
  chunk.writeUInt32LE(size, 4);
  content.copy(chunk, 8);
  return chunk;
};

const wordsOf = (text: string): readonly string[] => text.toLowerCase().match(/[a-z']+/g) ?? [];

/** Words that were left out, put in or taken for others, and how many there were. */
export const wordErrors = (said: string, heard: string): { readonly errors: number; readonly words: number } => {
  const [expected, got] = [wordsOf(said), wordsOf(heard)];
  let row = Array.from({ length: got.length + 1 }, (_, index) => index);
  for (const [index, word] of expected.entries()) {
    const next = [index + 1];
    for (const [at, other] of got.entries())
      next.push(Math.min((row[at] as number) + (word === other ? 0 : 1), (row[at + 1] as number) + 1, (next[at] as number) + 1));
    row = next;
  }
  return { errors: row.at(-1) as number, words: expected.length };
};

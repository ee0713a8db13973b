/** Reads a WAV file as it comes, so that a recording of any length is never in memory as a whole. */
import { HttpError } from 'serve-daemon';
import { type Encoding, MOST_CHANNELS, PcmReader, RATES, type SoundFormat } from './pcm.ts';

export interface Wav {
  readonly format: SoundFormat;
  /** One channel, at `format.rate`. */
  readonly samples: AsyncIterable<Float32Array>;
}

const [INTEGER, FLOAT, EXTENSIBLE] = [1, 3, 0xfffe];
const NAMES: Readonly<Record<number, string>> = { 2: 'ADPCM', 6: 'A-law', 7: 'µ-law', 49: 'GSM', 85: 'MP3' };
/** A description of the format that is longer is none. */
const MOST_FORMAT_BYTES = 1024;
/** Bytes that may stand before the samples: pictures, names of pieces, room that programs leave. */
const MOST_BYTES_BEFORE = 1024 * 1024;

/** @throws HttpError 400 that says what was expected, and what came */
export const openWav = async (body: AsyncIterable<Uint8Array>): Promise<Wav> => {
  const bytes = new Bytes(body);
  const head = await bytes.take(12);
  if (ascii(head, 0) !== 'RIFF' || ascii(head, 8) !== 'WAVE') throw refused(`expected a WAV file, got ${describe(head)}`);
  let format: SoundFormat | undefined;
  for (let passed = 0; passed <= MOST_BYTES_BEFORE; ) {
    const chunk = await bytes.take(8);
    if (chunk.length < 8) throw refused(`expected a WAV file with ${format ? 'samples' : 'a format'}, got one that ends before`);
    const [name, size] = [ascii(chunk, 0), chunk.readUInt32LE(4)];
    if (name === 'data') {
      if (format === undefined) throw refused('expected the format before the samples, got `data` before `fmt `');
      return { format, samples: samplesOf(bytes, format, size) };
    }
    // A chunk of odd length has a byte behind it that belongs to none.
    const padded = size + (size & 1);
    passed += padded;
    if (name !== 'fmt ') await bytes.skip(Math.min(padded, MOST_BYTES_BEFORE + 1));
    else if (size > MOST_FORMAT_BYTES) throw refused(`expected a format of at most ${MOST_FORMAT_BYTES} bytes, got ${size}`);
    else format = formatOf(await bytes.take(padded));
  }
  throw refused(`expected samples within ${MOST_BYTES_BEFORE} bytes, got none`);
};

const formatOf = (fmt: Buffer): SoundFormat => {
  if (fmt.length < 16) throw refused(`expected a format of at least 16 bytes, got ${fmt.length}`);
  const bits = fmt.readUInt16LE(14);
  const tag = fmt.readUInt16LE(0) === EXTENSIBLE && fmt.length >= 26 ? fmt.readUInt16LE(24) : fmt.readUInt16LE(0);
  const encoding = encodingOf(tag, bits);
  if (encoding === undefined) {
    const got = NAMES[tag] ?? (tag === INTEGER || tag === FLOAT ? `${bits} bits` : `format ${tag}`);
    throw refused(`expected PCM of 8, 16, 24 or 32 bits or floating point of 32 or 64, got ${got}`);
  }
  return checkedFormat({ encoding, rate: fmt.readUInt32LE(4), channels: fmt.readUInt16LE(2) });
};

const encodingOf = (tag: number, bits: number): Encoding | undefined => {
  if (tag === INTEGER) return ({ 8: 'u8', 16: 's16', 24: 's24', 32: 's32' } as const)[bits];
  return tag === FLOAT ? ({ 32: 'f32', 64: 'f64' } as const)[bits] : undefined;
};

/** @throws HttpError 400 */
export const checkedFormat = (format: SoundFormat): SoundFormat => {
  const { rate, channels } = format;
  if (!Number.isInteger(rate) || rate < RATES.least || rate > RATES.most)
    throw refused(`expected a rate from ${RATES.least} to ${RATES.most} Hz, got ${rate}`);
  if (!Number.isInteger(channels) || channels < 1 || channels > MOST_CHANNELS)
    throw refused(`expected 1 to ${MOST_CHANNELS} channels, got ${channels}`);
  return format;
};

/** @param size as the head says; a program that writes into a pipe does not know it, and says 0 or the most that there is */
async function* samplesOf(bytes: Bytes, format: SoundFormat, size: number): AsyncGenerator<Float32Array> {
  const reader = new PcmReader(format);
  let left = size === 0 || size >= 0x7fff_f000 ? Number.POSITIVE_INFINITY : size;
  for await (const piece of bytes.rest()) {
    yield reader.push(piece.subarray(0, left));
    left -= piece.length;
    if (left <= 0) return;
  }
}

const refused = (message: string): HttpError => new HttpError(400, message);

const ascii = (bytes: Buffer, at: number): string => bytes.toString('latin1', at, at + 4);

const describe = (head: Buffer): string =>
  head.length === 0 ? 'an empty body' : `bytes that begin with ${head.subarray(0, 4).toString('hex')}`;

/** The beginning of a stream in pieces that one asks for, the rest as it comes. */
class Bytes {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #left: Buffer = Buffer.alloc(0);

  constructor(body: AsyncIterable<Uint8Array>) {
    this.#pieces = body[Symbol.asyncIterator]();
  }

  /** Fewer where the stream ends before. */
  async take(count: number): Promise<Buffer> {
    while (this.#left.length < count && (await this.#more()));
    const taken = this.#left.subarray(0, count);
    this.#left = this.#left.subarray(count);
    return taken;
  }

  async skip(count: number): Promise<void> {
    let left = count;
    do {
      const here = Math.min(left, this.#left.length);
      this.#left = this.#left.subarray(here);
      left -= here;
    } while (left > 0 && (await this.#more()));
  }

  async *rest(): AsyncGenerator<Uint8Array> {
    do {
      if (this.#left.length > 0) yield this.#left;
      this.#left = Buffer.alloc(0);
    } while (await this.#more());
  }

  async #more(): Promise<boolean> {
    const { done, value } = await this.#pieces.next();
    if (done === true) return false;
    this.#left =
      this.#left.length === 0
        ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
        : Buffer.concat([this.#left, value]);
    return true;
  }
}

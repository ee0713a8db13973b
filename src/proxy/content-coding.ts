/** Bodies that are compressed with gzip or deflate: both ways on Node's own threads, so that no other request waits for it. */
import { constants } from 'node:buffer';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { ServeError } from '../domain/errors.ts';
import { tooLarge } from './http-framing.ts';

const gzip = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.gzip);
const deflate = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.deflate);

type Coding = 'gzip' | 'deflate';

/** Smaller answers fit into one packet as they are. */
const MIN_BYTES = 1024;
/** Tensors shrink little: the fastest level. */
const LEVEL = 1;
/** As many as Node has threads for it. */
const MAX_RUNNING = 4;
/** Each piece is a turn of a thread: larger ones than zlib's 16 KiB make fewer. */
const PIECE_BYTES = 65_536;

/** @returns undefined: the body is as it is. @throws ServeError INVALID_INPUT: another coding, or several */
export const codingOf = (contentEncoding: string | undefined): Coding | undefined => {
  const coding = contentEncoding?.trim().toLowerCase();
  if (coding === undefined || coding === '' || coding === 'identity') return undefined;
  if (coding === 'gzip' || coding === 'deflate') return coding;
  throw new ServeError('INVALID_INPUT', 'expected content-encoding to be gzip, deflate or none');
};

/** What comes out of a body, piece by piece; then `ended` or `failed`, once. */
export interface UnpackSink {
  piece(bytes: Uint8Array): void;
  ended(): void;
  failed(): void;
}
/** Never calls the sink before it returns. @returns ends it early and lets its memory go */
export type Unpack = (body: Uint8Array, coding: Coding, sink: UnpackSink) => () => void;

interface Decoding {
  readonly body: Uint8Array;
  readonly coding: Coding;
  readonly maxBytes: number;
  readonly done: (result: Uint8Array | ServeError) => void;
  readonly pieces: Uint8Array[];
  outBytes: number;
  /** undefined: it waits for its turn. */
  stop: (() => void) | undefined;
}

const unpackWithZlib: Unpack = (body, coding, sink) => {
  const stream = (coding === 'gzip' ? zlib.createGunzip : zlib.createInflate)({ chunkSize: PIECE_BYTES });
  stream.on('data', (piece: Buffer) => sink.piece(piece));
  stream.on('end', () => sink.ended());
  stream.on('error', () => sink.failed());
  stream.end(body);
  return () => void stream.destroy();
};

/**
 * The bodies that are being decoded. A small body may hold a very large one, so few are worked on at once, the others wait in the order
 * in which they came, and what all of them hold, as they came and as far as they are out, is bounded.
 */
export class Decodes {
  /** Bound on what all hold together. */
  maxHeldBytes = Number.POSITIVE_INFINITY;
  readonly #unpack: Unpack;
  /** In the order in which they came. */
  readonly #waiting = new Set<Decoding>();
  readonly #running = new Set<Decoding>();
  #heldBytes = 0;

  constructor(unpack: Unpack = unpackWithZlib) {
    this.#unpack = unpack;
  }

  /** Of bodies that wait or are worked on, and of what has come out of them. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * @param maxBytes of what comes out
   * @param done gets what came out, or INVALID_INPUT, PAYLOAD_TOO_LARGE or QUEUE_FULL: once, and for what is refused at the door at once
   * @returns gives it up: `done` is not called any more. Does nothing where it is over.
   */
  decode(body: Uint8Array, coding: Coding, maxBytes: number, done: Decoding['done']): () => void {
    const decoding: Decoding = {
      body,
      coding,
      maxBytes: Math.min(maxBytes, constants.MAX_LENGTH),
      done,
      pieces: [],
      outBytes: 0,
      stop: undefined,
    };
    this.#waiting.add(decoding);
    this.#heldBytes += body.byteLength;
    const refusal = this.#refusal(decoding);
    if (refusal === undefined) this.#pump();
    else this.#finish(decoding, refusal);
    return () => this.#drop(decoding);
  }

  #pump(): void {
    for (const decoding of this.#waiting) {
      if (this.#running.size >= MAX_RUNNING) return;
      this.#waiting.delete(decoding);
      this.#running.add(decoding);
      const { body, coding } = decoding;
      decoding.stop = this.#unpack(body, coding, {
        piece: (bytes) => this.#piece(decoding, bytes),
        ended: () => this.#finish(decoding, wholeOf(decoding)),
        failed: () =>
          this.#finish(decoding, new ServeError('INVALID_INPUT', `expected a body that is ${coding}, as content-encoding says`)),
      });
    }
  }

  #piece(decoding: Decoding, bytes: Uint8Array): void {
    if (!this.#running.has(decoding)) return;
    decoding.pieces.push(bytes);
    decoding.outBytes += bytes.byteLength;
    this.#heldBytes += bytes.byteLength;
    const refusal = this.#refusal(decoding);
    if (refusal !== undefined) this.#finish(decoding, refusal);
  }

  /** Why it cannot go on. */
  #refusal({ body, outBytes, maxBytes }: Decoding): ServeError | undefined {
    if (outBytes > maxBytes) return payloadTooLarge(maxBytes);
    if (this.#heldBytes <= this.maxHeldBytes) return undefined;
    // To come again would not help one that is too much without any other.
    if (body.byteLength + outBytes > this.maxHeldBytes) return payloadTooLarge(this.maxHeldBytes);
    const message =
      'Request dropped: the requests that are decompressed hold as many bytes as http_options.max_buffered_bytes allows.';
    return new ServeError('QUEUE_FULL', message, { retryAfterS: 1 });
  }

  #finish(decoding: Decoding, result: Uint8Array | ServeError): void {
    if (this.#drop(decoding)) decoding.done(result);
  }

  /** @returns false: it was over already */
  #drop(decoding: Decoding): boolean {
    if (!this.#waiting.delete(decoding) && !this.#running.delete(decoding)) return false;
    decoding.stop?.();
    this.#heldBytes -= decoding.body.byteLength + decoding.outBytes;
    decoding.pieces.length = 0;
    this.#pump();
    return true;
  }
}

const payloadTooLarge = (limitBytes: number): ServeError => {
  const { code, message } = tooLarge(limitBytes);
  return new ServeError(code, message);
};

const wholeOf = ({ pieces, outBytes }: Decoding): Uint8Array => {
  const [only] = pieces;
  return only !== undefined && pieces.length === 1 ? only : Buffer.concat(pieces, outBytes);
};

/** The coding that the client takes and that is worth it; gzip where it takes both alike. */
export const codingFor = (acceptEncoding: string | undefined, bytes: number): Coding | undefined => {
  if (acceptEncoding === undefined || bytes < MIN_BYTES) return undefined;
  const weights = new Map<string, number>();
  for (const part of acceptEncoding.split(',', 16)) {
    const [name = '', ...parameters] = part.split(';').map((each) => each.trim().toLowerCase());
    const weight = parameters.find((each) => each.startsWith('q='));
    weights.set(name, weight === undefined ? 1 : Number(weight.slice(2)));
  }
  const [gzipWeight, deflateWeight] = [weights.get('gzip') ?? 0, weights.get('deflate') ?? 0];
  if (gzipWeight > 0 && gzipWeight >= deflateWeight) return 'gzip';
  return deflateWeight > 0 ? 'deflate' : undefined;
};

/** Answers that are being compressed. One that goes to many at once, as those of a response cache do, is compressed once. */
export class Encodes {
  readonly #encode: typeof encode;
  readonly #running: Readonly<Record<Coding, Map<Uint8Array, Promise<Uint8Array>>>> = { gzip: new Map(), deflate: new Map() };

  constructor(encodeOne: typeof encode = encode) {
    this.#encode = encodeOne;
  }

  /** @param body whoever gives the same object while it is under way gets the same bytes */
  encode(body: Uint8Array, coding: Coding): Promise<Uint8Array> {
    const running = this.#running[coding];
    let coded = running.get(body);
    if (coded === undefined) {
      coded = this.#encode(body, coding).finally(() => running.delete(body));
      running.set(body, coded);
    }
    return coded;
  }
}

export const encode = (body: Uint8Array, coding: Coding): Promise<Uint8Array> =>
  (coding === 'gzip' ? gzip : deflate)(body, { level: LEVEL });

/** Bodies that are compressed with gzip or deflate: both ways on Node's own threads, so that no other request waits for it. */
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { ServeError } from '../domain/errors.ts';
import { tooLarge } from './http-framing.ts';

const gunzip = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.gunzip);
const inflate = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.inflate);
const gzip = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.gzip);
const deflate = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.deflate);

type Coding = 'gzip' | 'deflate';

/** Smaller answers fit into one packet as they are. */
const MIN_BYTES = 1024;
/** Tensors shrink little: the fastest level. */
const LEVEL = 1;

/** @returns undefined: the body is as it is. @throws ServeError INVALID_INPUT: another coding, or several */
export const codingOf = (contentEncoding: string | undefined): Coding | undefined => {
  const coding = contentEncoding?.trim().toLowerCase();
  if (coding === undefined || coding === '' || coding === 'identity') return undefined;
  if (coding === 'gzip' || coding === 'deflate') return coding;
  throw new ServeError('INVALID_INPUT', 'expected content-encoding to be gzip, deflate or none');
};

/**
 * @param maxBytes of what comes out: a small body may hold a very large one
 * @throws ServeError INVALID_INPUT or PAYLOAD_TOO_LARGE
 */
export const decode = async (body: Uint8Array, coding: Coding, maxBytes: number): Promise<Uint8Array> => {
  try {
    return await (coding === 'gzip' ? gunzip : inflate)(body, { maxOutputLength: Math.max(1, maxBytes) });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
      const { code, message } = tooLarge(maxBytes);
      throw new ServeError(code, message);
    }
    throw new ServeError('INVALID_INPUT', `expected a body that is ${coding}, as content-encoding says`);
  }
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

export const encode = (body: Uint8Array, coding: Coding): Promise<Uint8Array> =>
  (coding === 'gzip' ? gzip : deflate)(body, { level: LEVEL });

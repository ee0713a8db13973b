/** The bytes of a config file: no more of them than say that it is too large, whatever it is. */
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MAX_CONFIG_BYTES } from '../domain/limits.ts';

/** Where the config comes from that a daemon serves until it is told another. */
export interface ConfigOrigin {
  /** Absolute. What messages and the status call it: the file, or the code that is run without one. */
  readonly path: string;
  /** Absolute: where relative paths begin, and replicas run. */
  readonly folder: string;
  /** What it says, where no file does. */
  readonly text?: string;
}

export const originOf = (file: string): ConfigOrigin => ({ path: file, folder: dirname(file) });

/** @returns at most one byte more than a config may have @throws what the system says */
export const readConfigFile = async (path: string): Promise<Uint8Array> => {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    // What is larger is refused unread; what has no size (a pipe) or grows meanwhile is read up to the bound.
    if (size > MAX_CONFIG_BYTES) return new Uint8Array(MAX_CONFIG_BYTES + 1);
    const chunks: Buffer[] = [];
    for (let left = MAX_CONFIG_BYTES + 1; left > 0; ) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(left, Math.max(size + 1, PIECE_BYTES))));
      if (bytesRead === 0) break;
      chunks.push(buffer.subarray(0, bytesRead));
      left -= bytesRead;
    }
    return Buffer.concat(chunks);
  } finally {
    await file.close();
  }
};

const PIECE_BYTES = 65_536;

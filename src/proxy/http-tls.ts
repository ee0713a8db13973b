/** Reads the certificate that a listener is told to serve, and sees that it is the one that was checked. */
import { readFile } from 'node:fs/promises';
import type { TlsSpec } from '../domain/desired.ts';
import { fingerprintOf } from '../domain/fingerprint.ts';

export interface TlsFiles {
  readonly key: Buffer;
  readonly cert: Buffer;
  readonly ca: Buffer | undefined;
}

/** @throws Error when a file cannot be read, or holds something else than when it was checked: its change is about to be told */
export const readTls = async ({ keyFile, certFile, caFile, fingerprint }: TlsSpec): Promise<TlsFiles> => {
  const [key, cert, ca] = await Promise.all([
    readFile(keyFile),
    readFile(certFile),
    caFile === null ? undefined : readFile(caFile),
  ]);
  if (fingerprint !== '' && fingerprintOf([key, cert, ca]) !== fingerprint)
    throw new Error('the certificate files have changed since they were checked');
  return { key, cert, ca };
};

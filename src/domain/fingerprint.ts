/** One number for what the files of a certificate hold, so that the control plane and the data plane speak of the same. */
import { createHash } from 'node:crypto';

export const fingerprintOf = (contents: readonly (Uint8Array | undefined)[]): string => {
  const hash = createHash('sha256');
  for (const content of contents) hash.update(`${content?.length ?? -1} `).update(content ?? '');
  return hash.digest('hex').slice(0, 32);
};

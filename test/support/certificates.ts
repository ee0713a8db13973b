/** Certificates and keys made for one test run, by openssl. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TlsSpec } from '../../src/domain/desired.ts';

const openssl = (...args: string[]): void => {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
};

const CURVE = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];

/** Made of files in a folder of their own; `remove` takes them away. */
export class Certificates {
  readonly folder = mkdtempSync(join(tmpdir(), 'sd-tls-'));

  path(file: string): string {
    return join(this.folder, file);
  }

  /** `<name>.key` and `<name>.crt`, signed by itself, for localhost and 127.0.0.1. */
  self(name: string): this {
    const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1';
    const out = ['-keyout', this.path(`${name}.key`), '-out', this.path(`${name}.crt`)];
    openssl('req', '-x509', ...CURVE, '-nodes', '-days', '30', '-subj', `/CN=${name}`, '-addext', names, ...out);
    return this;
  }

  /** `<name>.key` and `<name>.crt`, signed by another. */
  signed(name: string, by: string): this {
    openssl(
      'req',
      ...CURVE,
      '-nodes',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      this.path(`${name}.key`),
      '-out',
      this.path(`${name}.csr`),
    );
    const authority = ['-CA', this.path(`${by}.crt`), '-CAkey', this.path(`${by}.key`), '-CAcreateserial'];
    openssl('x509', '-req', '-in', this.path(`${name}.csr`), ...authority, '-days', '30', '-out', this.path(`${name}.crt`));
    return this;
  }

  /** `<name>.locked.key`: the same key, encrypted. */
  locked(name: string, password: string): this {
    openssl(
      'pkcs8',
      '-topk8',
      '-in',
      this.path(`${name}.key`),
      '-passout',
      `pass:${password}`,
      '-out',
      this.path(`${name}.locked.key`),
    );
    return this;
  }

  spec(name: string, given: Partial<TlsSpec> = {}): TlsSpec {
    const [keyFile, certFile] = [this.path(`${name}.key`), this.path(`${name}.crt`)];
    return { keyFile, certFile, password: null, caFile: null, fingerprint: '', ...given };
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

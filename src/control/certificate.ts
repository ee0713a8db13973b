/** Looks at the certificate of the HTTP listener before it is served: the files are there, are what they should be, and fit each other. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { TlsSpec } from '../domain/desired.ts';
import type { FileProblem } from '../domain/diagnostic.ts';
import { fingerprintOf } from '../domain/fingerprint.ts';

export interface Certificate {
  /** With its fingerprint. */
  readonly tls: TlsSpec;
  /** Errors: it cannot be served. Warnings: clients will not like it. */
  readonly problems: readonly FileProblem[];
  /** Files to watch, also those that are missing. */
  readonly files: readonly string[];
}

type Field = 'ssl_keyfile' | 'ssl_certfile' | 'ssl_keyfile_password' | 'ssl_ca_certs';

/** @param now milliseconds since the epoch */
export const readCertificate = async (tls: TlsSpec, now: number): Promise<Certificate> => {
  const named: [Field, string][] = [
    ['ssl_keyfile', tls.keyFile],
    ['ssl_certfile', tls.certFile],
    ...(tls.caFile === null ? [] : [['ssl_ca_certs', tls.caFile] as [Field, string]]),
  ];
  const read = await Promise.all(named.map(([field, file]) => contentOf(field, file)));
  const files = named.map(([, file]) => file);
  const missing = read.flatMap((each) => ('path' in each ? [each] : []));
  if (missing.length > 0) return { tls, problems: missing, files };
  const [key, cert, ca] = read as Buffer[];
  const problems = problemsOf(key as Buffer, cert as Buffer, ca, tls, now);
  return { tls: { ...tls, fingerprint: fingerprintOf([key, cert, ca]) }, problems, files };
};

const problem = (field: Field, code: string, message: string, severity: FileProblem['severity'] = 'error'): FileProblem => ({
  path: ['http_options', field],
  severity,
  code,
  message,
});

const contentOf = async (field: Field, file: string): Promise<Buffer | FileProblem> => {
  try {
    return await readFile(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return problem(field, 'TLS_FILE_MISSING', `there is no ${file}`);
    if (code === 'EISDIR') return problem(field, 'TLS_FILE_MISSING', `expected a file, ${file} is a folder`);
    if (code === 'EACCES') return problem(field, 'TLS_FILE_MISSING', `this user may not read ${file}`);
    return problem(field, 'TLS_FILE_MISSING', `${file} cannot be read: ${message}`);
  }
};

const problemsOf = (key: Buffer, cert: Buffer, ca: Buffer | undefined, tls: TlsSpec, now: number): readonly FileProblem[] => {
  const own = chainOf(cert);
  const authorities = ca === undefined ? [] : chainOf(ca);
  const opened = openKey(key, tls);
  const problems: FileProblem[] = [];
  if ('path' in opened) problems.push(opened);
  const [first, ...others] = typeof own === 'string' ? [] : own;
  if (first === undefined) {
    const hint = /PRIVATE KEY/.test(String(cert)) ? ': it holds a private key; are the two files exchanged?' : '';
    problems.push(problem('ssl_certfile', 'BAD_CERTIFICATE', `expected a certificate in PEM in ${tls.certFile}${hint}`));
  }
  if (typeof authorities === 'string' || (ca !== undefined && authorities.length === 0))
    problems.push(problem('ssl_ca_certs', 'BAD_CERTIFICATE', `expected certificates in PEM in ${tls.caFile}`));
  if (problems.length > 0 || first === undefined || 'path' in opened) return problems;
  if (!first.checkPrivateKey(opened)) {
    const message = others.some((other) => other.checkPrivateKey(opened))
      ? `the certificate of the key must be the first in ${tls.certFile}`
      : `${tls.keyFile} is the key of another certificate than that in ${tls.certFile}`;
    return [problem('ssl_keyfile', 'KEY_MISMATCH', message)];
  }
  try {
    createSecureContext({ key, cert, ca, passphrase: tls.password ?? undefined, minVersion: 'TLSv1.2' });
  } catch (error) {
    return [problem('ssl_certfile', 'BAD_CERTIFICATE', `${tls.certFile} cannot be served: ${reasonOf(error)}`)];
  }
  return datesOf(first, tls.certFile, now);
};

/** Every certificate of a PEM file, in order. @returns a text where one of them cannot be read */
const chainOf = (pem: Buffer): readonly X509Certificate[] | string => {
  const blocks = String(pem).match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    return reasonOf(error);
  }
};

const openKey = (pem: Buffer, { keyFile, password }: TlsSpec): KeyObject | FileProblem => {
  try {
    return createPrivateKey({ key: pem, ...(password === null ? {} : { passphrase: password }) });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const isEncrypted = /ENCRYPTED/.test(String(pem));
    if (code === 'ERR_MISSING_PASSPHRASE' || (isEncrypted && password === null))
      return problem('ssl_keyfile', 'KEY_LOCKED', `${keyFile} is encrypted: give \`ssl_keyfile_password\``);
    if (isEncrypted) return problem('ssl_keyfile_password', 'WRONG_PASSWORD', `it is not the password of ${keyFile}`);
    const hint = /BEGIN CERTIFICATE/.test(String(pem)) ? ': it holds a certificate; are the two files exchanged?' : '';
    return problem('ssl_keyfile', 'BAD_KEY_FILE', `expected a private key in PEM in ${keyFile}${hint}`);
  }
};

/** What is served in spite of it: clients decide, and a daemon that does not start serves nobody. */
const datesOf = ({ validFrom, validTo }: X509Certificate, file: string, now: number): readonly FileProblem[] => {
  if (Date.parse(validTo) < now)
    return [
      problem('ssl_certfile', 'CERTIFICATE_EXPIRED', `${file} has expired (${validTo}): clients will refuse it`, 'warning'),
    ];
  if (Date.parse(validFrom) > now)
    return [problem('ssl_certfile', 'CERTIFICATE_NOT_YET_VALID', `${file} is valid from ${validFrom} on only`, 'warning')];
  return [];
};

/** The library's own word for it, without its codes: `ee key too small`. */
const reasonOf = (error: unknown): string => (error as Error).message.split(':').at(-1)?.trim() ?? '';

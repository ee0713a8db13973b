/** Checks what a schema cannot say of the HTTP listener. What the files of its certificate hold is looked at where the disk is read. */
import type { Checking } from './checking.ts';
import { type Mapping, mappingOf } from './finding.ts';
import { pathMistake } from './locate.ts';

const PAIR = ['ssl_keyfile', 'ssl_certfile'] as const;

export const checkTls = (data: Mapping, { error, sound }: Checking): void => {
  const http = mappingOf(data.http_options);
  if (http === undefined || !sound(['http_options'])) return;
  const isGiven = (key: string): boolean => http[key] !== undefined && http[key] !== null;
  for (const [key, other] of [PAIR, [...PAIR].reverse() as [string, string]]) {
    if (isGiven(key) && !isGiven(other))
      error(
        'TLS_PAIR',
        ['http_options', key],
        `\`${key}\` needs \`${other}\` beside it: HTTPS takes a certificate and its key`,
        'key',
      );
  }
  for (const key of ['ssl_keyfile_password', 'ssl_ca_certs']) {
    if (isGiven(key) && !PAIR.some(isGiven))
      error('TLS_PAIR', ['http_options', key], `\`${key}\` does nothing without \`ssl_keyfile\` and \`ssl_certfile\``, 'key');
  }
  for (const key of [...PAIR, 'ssl_ca_certs']) {
    const path = http[key];
    const mistake = typeof path === 'string' ? pathMistake(path) : undefined;
    if (mistake !== undefined) error('BAD_PATH', ['http_options', key], mistake);
  }
};

/** Ray Serve's files often set it, so it is said where it does nothing. */
export const checkKeepAlive = (data: Mapping, { warning, sound }: Checking): void => {
  const http = mappingOf(data.http_options);
  const path = ['http_options', 'keep_alive_timeout_s'];
  if (typeof http?.keep_alive_timeout_s !== 'number' || http.server === 'node' || !sound(path)) return;
  warning(
    'KEEP_ALIVE_FIXED',
    path,
    'uWebSockets.js closes an idle connection after 10 s, whatever this says; `server: node` keeps to it',
  );
};

import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { readCertificate } from '../../src/control/certificate.ts';
import { Certificates } from '../support/certificates.ts';

const made = new Certificates().self('a').self('b').signed('leaf', 'a').locked('a', 'hunter2');
t.teardown(() => made.remove());
writeFileSync(made.path('text'), 'hello\n');
writeFileSync(made.path('chain'), readFileSync(made.path('b.crt'), 'utf8') + readFileSync(made.path('a.crt'), 'utf8'));
writeFileSync(made.path('cut'), readFileSync(made.path('a.crt'), 'utf8').replace(/.{30}\n-----END/s, '\n-----END'));

const problems = async (given: object, now = Date.now()) => {
  const read = await readCertificate(made.spec('a', given), now);
  return read.problems.map(
    ({ severity, code, path, message }) => `${severity} ${code} ${path.join('.')}: ${message.replaceAll(made.folder, '')}`,
  );
};

const TABLE: readonly (readonly [what: string, given: object, told: readonly RegExp[]])[] = [
  ['a pair', {}, []],
  ['an encrypted key with its password', { keyFile: made.path('a.locked.key'), password: 'hunter2' }, []],
  ['authorities', { caFile: made.path('chain') }, []],
  ['no key', { keyFile: made.path('none') }, [/^error TLS_FILE_MISSING http_options.ssl_keyfile: there is no \/none$/]],
  [
    'nothing at all',
    { keyFile: made.path('x'), certFile: made.path('y'), caFile: made.path('z') },
    [/ssl_keyfile: there is no \/x/, /ssl_certfile: there is no \/y/, /ssl_ca_certs: there is no \/z/],
  ],
  ['a folder', { certFile: made.folder }, [/ssl_certfile: expected a file, .*is a folder/]],
  [
    'a text for a key',
    { keyFile: made.path('text') },
    [/BAD_KEY_FILE http_options.ssl_keyfile: expected a private key in PEM in \/text$/],
  ],
  [
    'a text for a certificate',
    { certFile: made.path('text') },
    [/BAD_CERTIFICATE http_options.ssl_certfile: expected a certificate/],
  ],
  ['a certificate that is cut', { certFile: made.path('cut') }, [/BAD_CERTIFICATE http_options.ssl_certfile/]],
  [
    'the two exchanged',
    { keyFile: made.path('a.crt'), certFile: made.path('a.key') },
    [/ssl_keyfile: .*are the two files exchanged/, /ssl_certfile: .*are the two files exchanged/],
  ],
  [
    'another key',
    { keyFile: made.path('b.key') },
    [/KEY_MISMATCH http_options.ssl_keyfile: \/b.key is the key of another certificate/],
  ],
  ['the wrong order', { certFile: made.path('chain') }, [/KEY_MISMATCH .*must be the first in \/chain/]],
  ['no password', { keyFile: made.path('a.locked.key') }, [/KEY_LOCKED http_options.ssl_keyfile: .*give `ssl_keyfile_password`/]],
  [
    'a wrong password',
    { keyFile: made.path('a.locked.key'), password: 'swordfish' },
    [/^error WRONG_PASSWORD http_options.ssl_keyfile_password: it is not the password of \/a.locked.key$/],
  ],
  ['authorities that are none', { caFile: made.path('text') }, [/BAD_CERTIFICATE http_options.ssl_ca_certs/]],
];
for (const [what, given, told] of TABLE) {
  t.test(what, async (t) => {
    const seen = await problems(given);
    t.equal(seen.length, told.length, seen.join('\n'));
    for (const [at, each] of told.entries()) t.match(seen[at], each);
    t.notMatch(seen.join(), /swordfish|hunter2/, 'no password is printed');
  });
}

t.test('an expired certificate, and one of tomorrow, are served with a warning', async (t) => {
  const DAY = 86_400_000;
  t.match(await problems({}, Date.now() + 31 * DAY), [/^warning CERTIFICATE_EXPIRED http_options.ssl_certfile: .*has expired/]);
  t.match(await problems({}, Date.now() - DAY), [/^warning CERTIFICATE_NOT_YET_VALID/]);
});

t.test('the fingerprint is that of what the files hold', async (t) => {
  const of = async (name: string, given: object = {}) =>
    (await readCertificate(made.spec(name, given), Date.now())).tls.fingerprint;
  t.equal(await of('a'), await of('a'));
  t.not(await of('a'), await of('b'));
  t.not(await of('a'), await of('a', { caFile: made.path('b.crt') }));
});

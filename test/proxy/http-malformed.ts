/** Messages that no server should take for anything else than one request or an error, and what each driver makes of them. */

import { FAMILIES } from './http-malformed-families.ts';
import { get, HOST } from './http-rig.ts';

/**
 * `refused`: an error answer, then closed; `one`: read as exactly one request; `cut`: closed without an answer; `waits`: neither,
 * until the client or the idle time-out closes. Nothing that follows is executed in any of them.
 */
export type Outcome = 'refused' | 'one' | 'cut' | 'waits';

export interface Malformed {
  name: string;
  message: string;
  uws: Outcome;
  node: Outcome;
}

export const CANARY = get('/canary');

const refused = (name: string, message: string, uws: Outcome = 'refused', node: Outcome = 'refused'): Malformed => ({
  name,
  message,
  uws,
  node,
});
const line = (name: string, text: string, uws?: Outcome, node?: Outcome) => refused(name, `${text}\r\n${HOST}\r\n`, uws, node);
const header = (name: string, text: string, uws?: Outcome, node?: Outcome) =>
  refused(name, `GET / HTTP/1.1\r\n${HOST}${text}\r\n\r\n`, uws, node);
const host = (name: string, text: string) => refused(name, `GET / HTTP/1.1\r\n${text}\r\n`);
const body = (name: string, headers: string, uws?: Outcome, node?: Outcome) =>
  refused(name, `POST / HTTP/1.1\r\n${HOST}${headers}\r\n\r\nhello`, uws, node);
const chunks = (name: string, text: string, uws?: Outcome, node?: Outcome) =>
  refused(name, `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${text}`, uws, node);

/** Members of families that a driver does not refuse; `docs/http-drivers.md` has them. */
const OTHERWISE: Readonly<Record<string, Partial<Record<'uws' | 'node', Outcome>>>> = {
  'a header value with \\u007f': { uws: 'one' },
  'the version RTSP/1.0': { node: 'one' },
  'the chunk size 5\\u0000': { uws: 'cut' },
  'the chunk size 5\\u000b': { uws: 'cut' },
  'the chunk size \\u00005': { uws: 'one' },
  'what ends chunk data is \\n': { uws: 'cut' },
  'what ends chunk data is ': { uws: 'cut' },
  'what ends chunk data is \\u0000\\u0000': { uws: 'cut' },
  'a trailer : y': { uws: 'one' },
  'another protocol: SSH-2.0-OpenSSH_9.2\\r\\n': { uws: 'waits' },
  'another protocol: {\\"a\\":1}\\r\\n\\r\\n': { uws: 'waits' },
  'another protocol: *1\\r\\n$4\\r\\nPING\\r\\n': { uws: 'waits' },
};

export const MALFORMED: readonly Malformed[] = [
  line('no method', ' / HTTP/1.1'),
  line('a method in lower case', 'get / HTTP/1.1'),
  line('an unknown method', 'FOO / HTTP/1.1'),
  line('a method with an odd character', 'G@T / HTTP/1.1'),
  line('CONNECT', 'CONNECT x:80 HTTP/1.1'),
  line('CONNECT with a path', 'CONNECT / HTTP/1.1'),
  line('two spaces before the target', 'GET  / HTTP/1.1', 'refused', 'one'),
  line('two spaces before the version', 'GET /  HTTP/1.1', 'refused', 'one'),
  line('tabs in the request line', 'GET\t/\tHTTP/1.1'),
  line('no version', 'GET /', 'waits'),
  line('HTTP/2.0', 'GET / HTTP/2.0'),
  line('HTTP/1.2', 'GET / HTTP/1.2'),
  line('HTTP/0.9', 'GET / HTTP/0.9'),
  line('HTTP/1.10', 'GET / HTTP/1.10'),
  line('a version in lower case', 'GET / http/1.1'),
  line('a space after the version', 'GET / HTTP/1.1 '),
  line('NUL in the target', 'GET /a\0b HTTP/1.1'),
  line('DEL in the target', 'GET /a\x7fb HTTP/1.1'),
  line('UTF-8 in the target', 'GET /\xc3\xa9 HTTP/1.1'),
  line('UTF-8 in the query', 'GET /a?\xc3\xa9 HTTP/1.1'),
  line('a fragment', 'GET /a#b HTTP/1.1'),
  line('a space in the target', 'GET /a b HTTP/1.1'),
  line('a target without a slash', 'GET a HTTP/1.1'),
  line('an asterisk for GET', 'GET * HTTP/1.1'),
  line('an absolute target with a user', 'GET http://u@x/ HTTP/1.1'),
  line('an absolute target of another scheme', 'GET ftp://x/ HTTP/1.1'),
  refused('line ends without CR', 'GET / HTTP/1.1\nHost: x\n\n'),
  refused('the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  host('no host', 'X: y\r\n'),
  host('no header at all', ''),
  host('the same host twice', HOST + HOST),
  host('two hosts', `${HOST}Host: y\r\n`),
  host('an empty host', 'Host:\r\n'),
  host('a host with a space', 'Host: a b\r\n'),
  host('a host with a slash', 'Host: a/b\r\n'),
  host('a host with a comma', 'Host: a,b\r\n'),
  host('a host with a user', 'Host: u@a\r\n'),
  host('a host with a port of letters', 'Host: a:b\r\n'),
  host('a host with two ports', 'Host: a:1:2\r\n'),
  header('a space before the colon', 'X : y'),
  header('a line folded', 'X: y\r\n z'),
  header('a header without a colon', 'X'),
  header('a name with a space', 'X Y: z'),
  header('a name with a parenthesis', 'X(: y'),
  header('a name in Latin-1', '\xe9: y'),
  header('NUL in a value', 'X: a\0b'),
  header('a control character in a value', 'X: a\x01b'),
  header('a bare LF in a value', 'X: a\nY: b'),
  header('a bare CR in a value', 'X: a\rb', 'waits'),
  header('a header line that ends with CR CR LF', 'X: a\r', 'waits'),
  refused('a first header line that begins with a space', `GET / HTTP/1.1\r\n X: y\r\n${HOST}\r\n`),
  refused('a header with an empty name', `GET / HTTP/1.1\r\n${HOST}: y\r\n\r\n`, 'one'),
  refused('200 headers', `GET / HTTP/1.1\r\n${HOST}${'X: y\r\n'.repeat(200)}\r\n`),
  header('a header of 17 KiB', `X: ${'y'.repeat(17 * 1024)}`),
  line('a target of 17 KiB', `GET /${'y'.repeat(17 * 1024)} HTTP/1.1`),
  body('the same length twice', 'Content-Length: 5\r\nContent-Length: 5'),
  body('two lengths', 'Content-Length: 5\r\nContent-Length: 50'),
  body('two lengths, the longer first', 'Content-Length: 50\r\nContent-Length: 5'),
  body('a list of lengths', 'Content-Length: 5, 5'),
  body('a length with a plus', 'Content-Length: +5'),
  body('a negative length', 'Content-Length: -5'),
  body('a length in hex', 'Content-Length: 0x5'),
  body('a length with letters behind', 'Content-Length: 5a'),
  body('a length with a space in it', 'Content-Length: 5 5'),
  body('a length with a fraction', 'Content-Length: 5.0'),
  body('a length with an exponent', 'Content-Length: 5e0'),
  body('an empty length', 'Content-Length:'),
  body('a length of 30 digits', `Content-Length: ${'9'.repeat(30)}`),
  body('a length beyond the limit', 'Content-Length: 8388609'),
  body('a length in full-width digits', 'Content-Length: \xef\xbc\x95'),
  body('a length and chunked', 'Content-Length: 5\r\nTransfer-Encoding: chunked'),
  body('chunked and a length', 'Transfer-Encoding: chunked\r\nContent-Length: 5'),
  body('an empty length and chunked', 'Content-Length:\r\nTransfer-Encoding: chunked'),
  body('chunked twice', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked'),
  body('chunked in a list twice', 'Transfer-Encoding: chunked, chunked'),
  body('chunked, then identity', 'Transfer-Encoding: chunked, identity'),
  body('gzip, then chunked', 'Transfer-Encoding: gzip, chunked'),
  body('identity', 'Transfer-Encoding: identity'),
  body('xchunked', 'Transfer-Encoding: xchunked'),
  body('chunked in quotes', 'Transfer-Encoding: "chunked"'),
  body('chunked with a parameter', 'Transfer-Encoding: chunked;q=1'),
  body('chunked behind a vertical tab', 'Transfer-Encoding: \x0bchunked'),
  body('an empty coding', 'Transfer-Encoding:'),
  refused('chunked in HTTP/1.0', `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`),
  chunks('a chunk size of letters', 'zz\r\nhello\r\n0\r\n\r\n'),
  chunks('a negative chunk size', '-5\r\nhello\r\n0\r\n\r\n'),
  chunks('a chunk size with 0x', '0x5\r\nhello\r\n0\r\n\r\n'),
  chunks('a chunk size of 20 digits', 'fffffffffffffffffff\r\nhello\r\n0\r\n\r\n'),
  chunks('an empty chunk size', '\r\nhello\r\n0\r\n\r\n', 'one'),
  chunks('a chunk longer than its size', '5\r\nhelloXX0\r\n\r\n', 'one'),
  chunks('a space before a chunk size', ' 5\r\nhello\r\n0\r\n\r\n', 'one'),
  chunks('a chunk line that ends with LF', '5\nhello\r\n0\r\n\r\n', 'one'),
  chunks('a bare LF in a chunk extension', '5;a\nb\r\nhello\r\n0\r\n\r\n', 'waits'),
  chunks('a trailer without a colon', '5\r\nhello\r\n0\r\nX\r\n\r\n'),
  chunks('a request line for a trailer', `5\r\nhello\r\n0\r\n${get('/canary')}`, 'cut'),
  ...FAMILIES.map(([name, message]) => refused(name, message, OTHERWISE[name]?.uws, OTHERWISE[name]?.node)),
];

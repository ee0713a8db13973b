/** Whole families of malformed messages: one odd byte or word in each place where a server could read on instead of refusing. */

import { HOST } from './http-rig.ts';

/** What a message is, and its bytes in Latin-1. */
type Case = readonly [name: string, message: string];

const shown = (text: string): string => JSON.stringify(text).slice(1, -1).replace('\x7f', '\\u007f');
const family = (name: string, odd: readonly string[], message: (text: string) => string): Case[] =>
  odd.map((text) => [`${name} ${shown(text)}`, message(text)]);

const line = (text: string): string => `${text}\r\n${HOST}\r\n`;
const withHeader = (text: string): string => `GET / HTTP/1.1\r\n${HOST}${text}\r\n\r\n`;
const withHost = (text: string): string => `GET / HTTP/1.1\r\nHost: ${text}\r\n\r\n`;
const withBody = (headers: string): string => `POST / HTTP/1.1\r\n${HOST}${headers}\r\n\r\nhello`;
const withChunks = (text: string): string => `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${text}`;

/** No token of RFC 9110 holds one of these. */
const DELIMITERS = ['(', ')', '<', '>', '@', ',', ';', '\\', '"', '/', '[', ']', '?', '=', '{', '}'];
const CONTROLS = ['\x01', '\x02', '\x07', '\b', '\v', '\f', '\x0e', '\x1b', '\x1f', '\x7f'];

export const FAMILIES: readonly Case[] = [
  ...family('a method with', [...DELIMITERS, '\x80', '\xff'], (odd) => line(`G${odd}T / HTTP/1.1`)),
  ...family('a target with', [...CONTROLS, '\x80', '\xff'], (odd) => line(`GET /a${odd}b HTTP/1.1`)),
  ...family('a query with', [...CONTROLS, '\x80', '\xff'], (odd) => line(`GET /a?b${odd}c HTTP/1.1`)),
  ...family(
    'the version',
    [
      'HTTP/1.1x',
      'HTTP/11',
      'HTTP/1',
      'HTTP/1.',
      'HTTP/.1',
      'HTTP/1,1',
      'HTTP/-1.1',
      'HTTP/01.1',
      'HTTP/1.01',
      'HTTP/3.0',
      'HTTPS/1.1',
      'XTTP/1.1',
      'HTTP 1.1',
      'RTSP/1.0',
      'ICE/1.0',
    ],
    (version) => line(`GET / ${version}`),
  ),
  ...family('a header name with', [...DELIMITERS, ...CONTROLS, '\x80', '\xff'], (odd) => withHeader(`X${odd}Y: z`)),
  ...family('a header value with', CONTROLS, (odd) => withHeader(`X: a${odd}b`)),
  ...family(
    'the host',
    ['[::1', 'a]', 'a?b', 'a#b', 'a\\b', 'a\tb', 'a"b', 'a<b', '[zz]', 'x:-1', 'x:123456', 'a\x80b'],
    withHost,
  ),
  ...family(
    'the length',
    [
      '+0',
      '-0',
      '5;',
      '5,',
      ',5',
      '1_0',
      '0b101',
      '0o5',
      '5\0',
      '\x005',
      '5\v',
      '\v5',
      '"5"',
      '5 0',
      'five',
      '٥',
      'Infinity',
      'NaN',
      '5..',
      '5\f',
    ],
    (length) => withBody(`Content-Length: ${length}`),
  ),
  ...family(
    'the coding',
    [
      'chunke',
      'chunkedd',
      'x-chunked',
      'chunked,',
      ', chunked',
      'identity, chunked',
      'deflate',
      'br',
      'trailers',
      'chunked;',
      "'chunked'",
      'chunked\v',
      '\fchunked',
      'chunked\0',
      '\0chunked',
      'chunked chunked',
      'chun ked',
      '"chunked',
      'chunked"',
      'ｃhunked',
    ],
    (coding) => withBody(`Transfer-Encoding: ${coding}`),
  ),
  ...family(
    'the name of the coding as',
    [
      'Transfer-Encoding :',
      'Transfer-Encoding\t:',
      'Transfer-Encoding\0:',
      'Transfer-\0Encoding:',
      'Transfer Encoding:',
      'Transfer-Encoding\v:',
      'Transfer-Encoding\x80:',
    ],
    (name) => withBody(`Content-Length: 5\r\n${name} chunked`),
  ),
  ...family(
    'the name of the length as',
    ['Content-Length :', 'Content-Length\t:', 'Content-Length\0:', 'Content\0-Length:', 'Content Length:', 'Content-Length\v:'],
    (name) => withBody(`${name} 5\r\nTransfer-Encoding: chunked`),
  ),
  ...family(
    'the chunk size',
    ['+5', '-0', '5h', '0x', 'G', '5_', '_5', '5\0', '\x005', '5\v', '10000000000000000', '5.0', '5,', '٥'],
    (size) => withChunks(`${size}\r\nhello\r\n0\r\n\r\n`),
  ),
  ...family('what ends chunk data is', ['\n', '', 'X\r\n', '\r\r\n', '\0\0'], (end) => withChunks(`5\r\nhello${end}0\r\n\r\n`)),
  ...family('a trailer', ['Content-Length: 5', 'Transfer-Encoding: chunked', 'X : y', ': y', 'X\0: y'], (trailer) =>
    withChunks(`5\r\nhello\r\n0\r\n${trailer}\r\n\r\n`),
  ),
  ...family(
    'another protocol:',
    [
      '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03',
      '\x05\x01\0',
      'SSH-2.0-OpenSSH_9.2\r\n',
      'EHLO x\r\n',
      '\0\0\0\0\r\n\r\n',
      '\xff\xfe\xfd\r\n\r\n',
      '{"a":1}\r\n\r\n',
      'USER root\r\n',
      '*1\r\n$4\r\nPING\r\n',
      '\x04\x01\0\x50',
    ],
    (text) => text,
  ),
];

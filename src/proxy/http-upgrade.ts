/** Which requests ask for a WebSocket, and whether their handshake is sound (RFC 6455, 4.2.1). Pure. */
import type { Framing, Refusal } from './http-framing.ts';

const VERSION = '13';

const invalid = (message: string): Refusal => ({ code: 'INVALID_INPUT', message });
const KEY_ODD = invalid('expected one sec-websocket-key of 16 bytes in base64');
const VERSION_ODD: Refusal = {
  ...invalid('expected sec-websocket-version to be 13'),
  headers: ['sec-websocket-version', VERSION],
};
const BODY_ODD = invalid('expected no body in a request for a WebSocket');
const PROTOCOL_ODD = invalid('expected sec-websocket-protocol to be a list of names, each once');
const CLIENT_HTTP_10 = invalid('expected HTTP/1.1 in a request for a WebSocket');

const KEY = /^[+/0-9A-Za-z]{22}==$/;
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;

/** Other upgrades, and those of other methods, are ignored, as HTTP allows: such a request is answered as it stands. */
export const asksForWebSocket = (method: string, headers: readonly string[]): boolean =>
  method === 'GET' && hasToken(headers, 'upgrade', 'websocket') && hasToken(headers, 'connection', 'upgrade');

/** @returns what is wrong with a request for which `asksForWebSocket` holds */
export const checkHandshake = (headers: readonly string[], framing: Framing, isHttp10 = false): Refusal | undefined => {
  if (isHttp10) return CLIENT_HTTP_10;
  if (framing.bodyBytes !== 0) return BODY_ODD;
  const versions = valuesOf(headers, 'sec-websocket-version');
  if (versions.length !== 1 || versions[0] !== VERSION) return VERSION_ODD;
  const keys = valuesOf(headers, 'sec-websocket-key');
  if (keys.length !== 1 || !KEY.test(keys[0] as string)) return KEY_ODD;
  const protocols = valuesOf(headers, 'sec-websocket-protocol').flatMap((value) => value.split(',').map((each) => each.trim()));
  if (!protocols.every((each) => TOKEN.test(each)) || new Set(protocols).size < protocols.length) return PROTOCOL_ODD;
  return undefined;
};

const valuesOf = (headers: readonly string[], name: string): string[] =>
  headers.filter((_, index) => index % 2 === 1 && headers[index - 1] === name);

const hasToken = (headers: readonly string[], name: string, token: string): boolean =>
  valuesOf(headers, name).some((value) => value.split(',').some((each) => each.trim().toLowerCase() === token));

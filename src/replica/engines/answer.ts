/** What code returned, as the answer to an HTTP call: whole where it is whole, streamed where it comes in pieces. */
import { encodeValue } from '../../protocol/codec.ts';
import { answerOf, itemOf } from '../../protocol/http-value.ts';
import { copied, type WireValue } from '../../protocol/value.ts';
import type { IncomingCall, Reply } from '../engine.ts';

export const isAsyncIterable = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || isGenerator(value));

/** A generator that is not async is streamed too; a list is not. */
const isGenerator = (value: object): boolean =>
  Symbol.iterator in value && typeof (value as { next?: unknown }).next === 'function';

/** Asked by its tag first: the mere name `Response` loads a fetch client (15 ms and 5 MB), which most code never needs. */
export const isResponse = (value: unknown): value is Response =>
  typeof value === 'object' &&
  value !== null &&
  (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag] === 'Response' &&
  value instanceof Response;

const bytesValue = (bytes: Uint8Array): WireValue => ({
  skeleton: '{"$seg":0}',
  segments: [{ dtype: 'bytes', shape: null, bytes }],
});

/** Bytes that code gave: it may fill its buffer anew as soon as it goes on. */
const theirs = (bytes: Uint8Array): WireValue => copied(bytesValue(bytes));

/**
 * Any value but a `Response` of its own making: see `answerOf`; an async iterable is streamed.
 * @returns undefined when all is sent
 */
export const sendHttp = (reply: Reply, call: IncomingCall, result: unknown): Promise<void> | undefined => {
  if (isResponse(result)) return sendResponse(reply, call, result);
  if (isAsyncIterable(result)) return sendItems(reply, call, result);
  const { contentType, body } = answerOf(result);
  const value = typeof body === 'string' ? bytesValue(Buffer.from(body, 'utf8')) : theirs(body);
  reply.result([call], value, { status: 200, headers: contentType === null ? [] : ['content-type', contentType] });
  return undefined;
};

/** The first item decides the content type; a stream of nothing is an empty text. */
const sendItems = async (reply: Reply, call: IncomingCall, items: AsyncIterable<unknown>): Promise<void> => {
  let opened = false;
  const open = (contentType: string) => {
    opened = true;
    reply.open(call, { status: 200, headers: ['content-type', contentType] });
  };
  for await (const item of items) {
    const { contentType, bytes } = itemOf(item);
    if (!opened) open(contentType);
    await reply.chunk(call, theirs(bytes));
  }
  if (!opened) open(itemOf('').contentType);
  reply.end(call);
};

/** A stream may be fed with anything; only bytes are a body. */
const chunkOf = (chunk: unknown): Uint8Array => {
  if (chunk instanceof Uint8Array) return chunk;
  throw new TypeError(
    `expected the stream of a Response to give Uint8Array, got ${typeof chunk}: encode texts with new TextEncoder()`,
  );
};

/** A body that is there in one piece goes as a whole answer; one that comes in pieces is streamed. */
export const sendResponse = async (reply: Reply, call: IncomingCall, response: Response): Promise<void> => {
  if (response.status < 200 || response.status > 599)
    throw new TypeError(`expected a Response with a status from 200 to 599, got ${response.status}`);
  const headers: string[] = [];
  response.headers.forEach((value, name) => {
    if (name !== 'set-cookie') headers.push(name, value);
  });
  for (const cookie of response.headers.getSetCookie()) headers.push('set-cookie', cookie);
  const head = { status: response.status, headers };
  if (response.body === null) return reply.result([call], encodeValue(null), head);
  const reader = response.body.getReader();
  try {
    const first = await reader.read();
    if (first.done) return reply.result([call], encodeValue(null), head);
    // Asking for the second lets the producer fill the buffer of the first anew.
    const begin = bytesValue(Buffer.from(chunkOf(first.value)));
    const second = reader.read();
    const settled = await Promise.race([second, new Promise<undefined>((resolve) => setImmediate(resolve, undefined))]);
    if (settled?.done) return reply.result([call], begin, head);
    reply.open(call, head);
    await reply.chunk(call, begin);
    for (let next = await second; !next.done; next = await reader.read()) await reply.chunk(call, theirs(chunkOf(next.value)));
    reply.end(call);
  } catch (error) {
    await reader.cancel(error).catch(() => {});
    throw error;
  }
};

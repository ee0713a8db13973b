/** An HTTP request as references of a graph see it; nothing is read or parsed before a reference names it. */

import type { Json } from '../domain/json.ts';
import type { RequestScope } from '../graph/evaluate.ts';
import { jsonNode } from '../graph/evaluate.ts';
import { headerOf, parseJson } from '../protocol/http-value.ts';
import type { HttpHead } from '../protocol/messages.ts';
import type { ValueNode } from '../protocol/value.ts';

const decoder = new TextDecoder('utf-8');

export const requestScope = (head: HttpHead, body: Uint8Array): RequestScope => {
  let json: ValueNode | undefined;
  let query: URLSearchParams | undefined;
  return {
    get json() {
      json ??= jsonNode(parseJson(decoder.decode(body)) as Json);
      return json;
    },
    get body() {
      return { json: { $seg: 0 }, segments: [{ dtype: 'bytes' as const, shape: null, bytes: body }] };
    },
    get path() {
      return { json: head.path, segments: [] };
    },
    query: (name) => {
      query ??= new URLSearchParams(head.query);
      return { json: query.get(name), segments: [] };
    },
    header: (name) => ({ json: headerOf(head.headers, name) ?? null, segments: [] }),
  };
};

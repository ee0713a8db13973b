/** What a test gives to `fetch`, as it would come over the wire. */
export interface LocalRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** Flat, names in lower case. */
  readonly headers: readonly string[];
  readonly isSecure: boolean;
  /** A stream comes in pieces, and how long it is only its end tells. */
  readonly body: Uint8Array | ReadableStream<Uint8Array>;
  readonly signal: AbortSignal;
  /** As long as it is held, the signal follows that of the test. */
  readonly source: Request;
}

/** Where paths begin. */
const BASE = 'http://localhost';
/** Said by whoever frames the message, whatever the test says. */
const FRAMING = new Set(['connection', 'content-length', 'keep-alive', 'transfer-encoding']);
const WITH_BODY = new Set(['POST', 'PUT', 'PATCH']);

/** @throws TypeError as `fetch` does: no URL, a body that GET cannot have */
export const readRequest = async (input: string | URL | Request, init: RequestInit = {}): Promise<LocalRequest> => {
  const isStream = typeof init.body === 'object' && init.body !== null && Symbol.asyncIterator in init.body;
  const given = (isStream ? { duplex: 'half', ...init } : init) as RequestInit;
  const request = new Request(input instanceof Request ? input : new URL(input, BASE), given);
  const body = isStream && request.body !== null ? request.body : new Uint8Array(await request.arrayBuffer());
  const { protocol, host, pathname, search } = new URL(request.url);
  const headers: string[] = [];
  if (!request.headers.has('host')) headers.push('host', host);
  if (!request.headers.has('accept')) headers.push('accept', '*/*');
  request.headers.forEach((value, name) => {
    if (!FRAMING.has(name)) headers.push(name, value);
  });
  if (!(body instanceof Uint8Array)) headers.push('transfer-encoding', 'chunked');
  else if (body.byteLength > 0 || WITH_BODY.has(request.method)) headers.push('content-length', String(body.byteLength));
  return {
    method: request.method,
    path: pathname,
    query: search.slice(1),
    headers,
    isSecure: protocol === 'https:',
    body,
    signal: request.signal,
    source: request,
  };
};

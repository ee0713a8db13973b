/** An error as an HTTP answer: text, or problem+json (RFC 9457) where the client asks for JSON. Pure. */
import { ERROR_TABLE, type ServeError } from '../domain/errors.ts';

export interface ErrorAnswer {
  readonly status: number;
  readonly headers: string[];
  readonly body: string;
}

/** Errors whose message is about our own or user code, not about the request: clients learn nothing of it. */
const HIDDEN = new Set(['USER_ERROR', 'INTERNAL', 'CALL_REFUSED']);

/** @param accept the request's `accept` header */
export const errorAnswer = (error: ServeError, accept: string | undefined): ErrorAnswer => {
  const { status } = error;
  const detail = HIDDEN.has(error.code) ? 'Internal Server Error' : error.message;
  const headers: string[] = ['x-serve-error', error.code];
  const retryAfterS = error.details['retryAfterS'];
  if (typeof retryAfterS === 'number') headers.push('retry-after', String(Math.max(0, Math.ceil(retryAfterS))));
  const own = error.details['headers'];
  if (error.code === 'HTTP_ERROR' && typeof own === 'object' && own !== null) {
    for (const [name, value] of Object.entries(own)) {
      // The body is ours, and so is what is said of it.
      if (typeof value === 'string' && name.toLowerCase() !== 'content-type' && isHeader(name, value))
        headers.push(name.toLowerCase(), value);
    }
  }
  if (accept !== undefined && /\bapplication\/(?:problem\+)?json\b/i.test(accept)) {
    headers.push('content-type', 'application/problem+json');
    return {
      status,
      headers,
      body: JSON.stringify({ type: 'about:blank', title: titleOf(error), status, detail, code: error.code }),
    };
  }
  headers.push('content-type', 'text/plain; charset=utf-8');
  return { status, headers, body: detail };
};

/** The same as the Open Inference Protocol has it, whose clients read nothing else, whatever they accept. */
export const inferenceErrorAnswer = (error: ServeError): ErrorAnswer => {
  const { status, headers, body } = errorAnswer(error, undefined);
  const at = headers.lastIndexOf('content-type');
  headers.splice(at, 2, 'content-type', 'application/json');
  return { status, headers, body: JSON.stringify({ error: body }) };
};

/** What would end one header and begin another is left out: the answer keeps its status. */
const isHeader = (name: string, value: string): boolean =>
  /^[\w!#$%&'*+.^`|~-]+$/.test(name) && /^[\t\x20-\x7e\x80-\xff]*$/.test(value);

const titleOf = (error: ServeError): string => {
  const words = error.code.toLowerCase().replaceAll('_', ' ');
  return Object.hasOwn(ERROR_TABLE, error.code) ? words.charAt(0).toUpperCase() + words.slice(1) : 'Error';
};

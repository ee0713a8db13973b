/** JSON whose whole numbers keep all their digits: `JSON.parse` rounds those beyond 2^53, and an int64 may be an id. Pure. */
import { parseJson } from './http-value.ts';

/** So many digits may be beyond 2^53. A look that passes most texts by: digits of a fraction do not count. */
const LONG = /(?<![\d.])\d{16}/;
/** A text begins, or there is a number. Texts are no part of it: one with many escapes would overflow the stack of the expression. */
const QUOTE_OR_NUMBER = /"|-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?/g;
const LONG_WHOLE = /^-?\d{16,}$/;
/** Marks a text that is a number: no tensor takes a text with NUL, and no name has one. */
const MARK = '\0';

/**
 * Numbers of 16 digits and more come as texts that `exactDigits` reads; all else as `JSON.parse` gives it.
 * @throws ServeError INVALID_INPUT as `parseJson`
 */
export const parseExactly = (text: string): unknown => {
  if (!LONG.test(text)) return parseJson(text);
  // What is no JSON is told by its place in the text as it came.
  const parsed = parseJson(text);
  const marked: string[] = [];
  let taken = 0;
  QUOTE_OR_NUMBER.lastIndex = 0;
  for (let found = QUOTE_OR_NUMBER.exec(text); found !== null; found = QUOTE_OR_NUMBER.exec(text)) {
    const [token] = found;
    if (token === '"') QUOTE_OR_NUMBER.lastIndex = afterText(text, found.index);
    if (!LONG_WHOLE.test(token)) continue;
    marked.push(text.slice(taken, found.index), `"\\u0000${token}"`);
    taken = QUOTE_OR_NUMBER.lastIndex;
  }
  return taken === 0 ? parsed : JSON.parse(marked.join('') + text.slice(taken));
};

/** The digits of a marked number; undefined for anything else. */
export const exactDigits = (value: unknown): string | undefined =>
  typeof value === 'string' && value.startsWith(MARK) && LONG_WHOLE.test(value.slice(1)) ? value.slice(1) : undefined;

/** Where a text ends that begins with the quote at `start`, in what is known to be JSON: digits in texts are left alone. */
const afterText = (json: string, start: number): number => {
  let quote = json.indexOf('"', start + 1);
  while (isEscaped(json, quote)) quote = json.indexOf('"', quote + 1);
  return quote + 1;
};

/** An odd number of backslashes stands before it. */
const isEscaped = (json: string, at: number): boolean => {
  let first = at;
  while (json[first - 1] === '\\') first -= 1;
  return (at - first) % 2 === 1;
};

/** JSON whose whole numbers keep all their digits: `JSON.parse` rounds those beyond 2^53, and an int64 may be an id. Pure. */
import { parseJson } from '../../protocol/http-value.ts';

/** So many digits may be beyond 2^53. A look that passes most texts by: digits of a fraction do not count. */
const LONG = /(?<![\d.])\d{16}/;
/** Texts are matched so that digits in them are left alone. */
const TEXT_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?/g;
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
  const marked = text.replace(TEXT_OR_NUMBER, (token) => (LONG_WHOLE.test(token) ? `"\\u0000${token}"` : token));
  return marked.length === text.length ? parsed : JSON.parse(marked);
};

/** The digits of a marked number; undefined for anything else. */
export const exactDigits = (value: unknown): string | undefined =>
  typeof value === 'string' && value.startsWith(MARK) && LONG_WHOLE.test(value.slice(1)) ? value.slice(1) : undefined;

/** The door of a config file: text in an encoding that YAML knows, and not so large or deep that reading it would stall the daemon. */
import { Lexer } from 'yaml';
import { MAX_CONFIG_BYTES } from '../domain/limits.ts';
import type { Finding } from './finding.ts';

/** A text within these bounds, and that of its bytes, is parsed in well under a second. */
export const MAX_TOKENS = 100_000;
/** With blanks and line ends, which bring no work but that of passing over them. */
const MAX_LEXEMES = 3 * MAX_TOKENS;
export const MAX_DEPTH = 64;
export const MAX_ALIASES = 1_000;

export interface Decoded {
  readonly text: string;
  /** Why the text is not to be read; `text` is then as much of it as an excerpt needs. */
  readonly finding?: Finding;
}

const refuse = (code: string, message: string, offset: number): Finding => ({
  severity: 'error',
  code,
  path: [],
  message,
  offset,
});

/** UTF-8, with or without a byte order mark. */
export const decode = (content: string | Uint8Array): Decoded => {
  const size = typeof content === 'string' ? Buffer.byteLength(content) : content.byteLength;
  if (size > MAX_CONFIG_BYTES) {
    const message = `expected at most ${MAX_CONFIG_BYTES} bytes (4 MiB), got ${size === MAX_CONFIG_BYTES + 1 ? 'more' : size}; split what is served over several daemons`;
    return { text: '', finding: refuse('TOO_LARGE', message, 0) };
  }
  let text: string;
  if (typeof content === 'string') text = content.replace(/^\ufeff/, '');
  else {
    const [first, second] = content;
    const marked = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
    if (marked || (size >= 2 && (first === 0) !== (second === 0))) {
      return { text: '', finding: refuse('NOT_UTF8', 'expected UTF-8, got UTF-16 (or UTF-32); save the file as UTF-8', 0) };
    }
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(content);
    } catch {
      return notUtf8(content);
    }
  }
  // YAML's own list of what may stand in a text; a tab and line ends may.
  const control = /(?![\t\n\r\u0085])\p{Cc}|[\ufffe\uffff]/u.exec(text);
  if (control === null) return { text };
  const code = control[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
  const message = `expected text, got the control character U+${code}; remove it, or write \\u${code} in a "quoted" text`;
  return { text, finding: refuse('CONTROL_CHARACTER', message, control.index) };
};

const notUtf8 = (content: Uint8Array): Decoded => {
  const text = new TextDecoder().decode(content);
  // The first that stands for bytes that are none; one that the file itself has is left out by comparing what it is encoded to.
  let offset = text.indexOf('\ufffd');
  let bytes = Buffer.byteLength(text.slice(0, offset)) + bomOf(content);
  while (content[bytes] === 0xef && content[bytes + 1] === 0xbf && content[bytes + 2] === 0xbd) {
    const next = text.indexOf('\ufffd', offset + 1);
    bytes += Buffer.byteLength(text.slice(offset, next));
    offset = next;
  }
  const byte = content[bytes]?.toString(16).toUpperCase().padStart(2, '0') ?? '??';
  return { text, finding: refuse('NOT_UTF8', `expected UTF-8, got the byte 0x${byte}; save the file as UTF-8`, offset) };
};

const bomOf = ([a, b, c]: Uint8Array): number => (a === 0xef && b === 0xbb && c === 0xbf ? 3 : 0);

/** The lexer's own marks, which are no text: of a document, of the end of a flow, of a scalar. */
const isMark = (token: string): boolean => token === '\x02' || token === '\x18' || token === '\x1f';

/**
 * The tokens of a text in their order, until one of them is out of bounds: so the parser never sees what would take it seconds or
 * overflow its stack.
 */
export class BoundedTokens {
  /** Why the tokens ended before the text did. */
  finding: Finding | undefined;

  *of(text: string): Generator<string> {
    const depth = new DepthMeter();
    let lexemes = 0;
    let tokens = 0;
    let aliases = 0;
    let before = '';
    let offset = 0;
    for (const token of new Lexer().lex(text)) {
      if (!isMark(token) && token.trim() !== '') tokens++;
      if (++lexemes > MAX_LEXEMES || tokens > MAX_TOKENS) {
        const message = `expected at most ${MAX_TOKENS.toLocaleString('en')} tokens, got more from here on`;
        this.finding = refuse('TOO_LARGE', message, offset);
        return;
      }
      if (token.charCodeAt(0) === 0x2a && before !== '\x1f' && ++aliases > MAX_ALIASES) {
        const message = `expected at most ${MAX_ALIASES.toLocaleString('en')} uses of aliases, got more from here on`;
        this.finding = refuse('TOO_MANY_ALIASES', message, offset);
        return;
      }
      if (depth.after(token, before, offset) > MAX_DEPTH + 1) {
        this.finding = tooDeep(offset);
        return;
      }
      yield token;
      before = token;
      if (!isMark(token)) offset += token.length;
    }
  }
}

export const tooDeep = (offset: number): Finding =>
  refuse('TOO_DEEP', `expected lists and mappings nested at most ${MAX_DEPTH} deep, got one more here`, offset);

/** Estimates the nesting from brackets and from the columns at which lines and list items begin. */
class DepthMeter {
  #flow = 0;
  #columns: number[] = [];
  #lineStart = 0;
  /** Whether the next content opens a level: it is the first of its line, or stands behind `-`, `?` or `:` that were. */
  #opens = true;

  after(token: string, before: string, offset: number): number {
    if (before !== '\x1f' && (token === '[' || token === '{')) this.#flow++;
    else if (before !== '\x1f' && (token === ']' || token === '}')) this.#flow = Math.max(0, this.#flow - 1);
    const isContent = token !== '' && !' \t\r\n#\x02\x18'.includes(token.charAt(0));
    if (isContent && this.#opens && this.#flow === 0) {
      const column = offset - this.#lineStart;
      while ((this.#columns.at(-1) ?? -1) > column) this.#columns.pop();
      if ((this.#columns.at(-1) ?? -1) < column) this.#columns.push(column);
      this.#opens = token === '-' || token === '?' || token === ':' || token === '\x1f';
    }
    const newline = token.lastIndexOf('\n');
    if (newline !== -1) {
      this.#lineStart = offset + newline + 1;
      this.#opens = true;
    }
    return this.#flow + this.#columns.length;
  }
}

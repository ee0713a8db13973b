/** Reads protobuf's text format, as `config.pbtxt` of a model has it: fields with where they stand, of no schema. Pure. */

/** A file within these bounds is read in milliseconds; those of real models have some hundred bytes. */
export const MAX_PBTXT_BYTES = 256 * 1024;
export const TOO_LARGE = `expected at most ${MAX_PBTXT_BYTES} bytes (256 KiB), got more`;
const MAX_DEPTH = 32;

export interface PbMessage {
  readonly kind: 'message';
  readonly at: number;
  /** In the order of the text; an item of a list is a field of its own, as if its name were repeated. */
  readonly fields: readonly PbField[];
}

export type PbValue =
  | PbMessage
  /** In quotes. */
  | { readonly kind: 'text'; readonly at: number; readonly text: string }
  /** A number or a name, as it is written. */
  | { readonly kind: 'word'; readonly at: number; readonly text: string };

export interface PbField {
  readonly name: string;
  readonly at: number;
  readonly value: PbValue;
}

/** The text is none of the format, from `offset` on. */
export class PbtxtError extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** @throws PbtxtError and nothing else, in time linear in the text */
export const parsePbtxt = (text: string): PbMessage => {
  if (Buffer.byteLength(text) > MAX_PBTXT_BYTES) throw new PbtxtError(TOO_LARGE, 0);
  return new Parser(text).message(undefined, 0, 0);
};

const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const WORD = /-?[ \t]*(?:[A-Za-z_][A-Za-z0-9_]*|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[A-Za-z0-9_]*)/y;
const BLANK = /[ \t\r\n\f\v]/;
const CLOSING: Readonly<Record<string, string>> = { '{': '}', '<': '>' };

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Up to its closing bracket; undefined: to the end of the text. @param at where it begins */
  message(closing: string | undefined, at: number, depth: number): PbMessage {
    const fields: PbField[] = [];
    while (true) {
      const next = this.#peek();
      if (next === closing) {
        if (closing !== undefined) this.#at += 1;
        return { kind: 'message', at, fields };
      }
      this.#field(fields, closing, depth);
    }
  }

  #field(fields: PbField[], closing: string | undefined, depth: number): void {
    const at = this.#at;
    const name = this.#match(NAME);
    if (name === undefined) throw this.#wrong(`the name of a field${closing === undefined ? '' : ` or \`${closing}\``}`);
    const colon = this.#take(':');
    const add = (value: PbValue) => void fields.push({ name, at, value });
    if (this.#peek() === '[') this.#list(add, colon, depth);
    else add(this.#value(colon, depth));
    // What may stand between fields, and need not.
    if (!this.#take(',')) this.#take(';');
  }

  #list(add: (value: PbValue) => void, colon: boolean, depth: number): void {
    this.#take('[');
    if (this.#take(']')) return;
    do add(this.#value(colon, depth));
    while (this.#take(','));
    if (!this.#take(']')) throw this.#wrong('`,` or `]`');
  }

  /** @param colon it stands before the value, which only a message may do without */
  #value(colon: boolean, depth: number): PbValue {
    const next = this.#peek();
    const at = this.#at;
    const closing = next === undefined ? undefined : CLOSING[next];
    if (closing !== undefined) {
      if (depth >= MAX_DEPTH) throw new PbtxtError(`expected messages nested at most ${MAX_DEPTH} deep, got one more here`, at);
      this.#at += 1;
      return this.message(closing, at, depth + 1);
    }
    if (!colon) throw this.#wrong('`:` or `{`');
    if (next === '"' || next === "'") return { kind: 'text', at, text: this.#texts() };
    const word = this.#match(WORD);
    if (word === undefined) throw this.#wrong('a value');
    return { kind: 'word', at, text: word.replace(/[ \t]/g, '') };
  }

  /** Texts that stand behind each other are one. */
  #texts(): string {
    const parts: Buffer[] = [];
    for (let quote = this.#peek(); quote === '"' || quote === "'"; quote = this.#peek()) this.#quoted(quote, parts);
    return Buffer.concat(parts).toString('utf8');
  }

  #quoted(quote: string, parts: Buffer[]): void {
    const begin = this.#at;
    let from = ++this.#at;
    while (true) {
      const character = this.#text[this.#at];
      if (character === undefined || character === '\n')
        throw new PbtxtError(`expected a closing ${quote} on the same line, got none`, begin);
      if (character !== quote && character !== '\\') {
        this.#at += 1;
        continue;
      }
      parts.push(Buffer.from(this.#text.slice(from, this.#at)));
      if (character === quote) {
        this.#at += 1;
        return;
      }
      parts.push(this.#escape());
      from = this.#at;
    }
  }

  #escape(): Buffer {
    const matched = this.#match(ESCAPE);
    if (matched === undefined) throw new PbtxtError('expected an escape such as `\\n`, `\\x41` or `\\101`', this.#at);
    const code = matched.slice(1);
    if (code.startsWith('x') || code.startsWith('X')) return Buffer.from([Number.parseInt(code.slice(1), 16)]);
    if (/^[0-7]/.test(code)) return Buffer.from([Number.parseInt(code, 8) & 0xff]);
    if (/^u/i.test(code)) return Buffer.from(characterOf(Number.parseInt(code.slice(1), 16)));
    return Buffer.from(ESCAPES[code] ?? code);
  }

  /** The next character that means something; undefined: none is left. Passes over blanks and comments. */
  #peek(): string | undefined {
    while (true) {
      const character = this.#text[this.#at];
      if (character === '#') {
        const end = this.#text.indexOf('\n', this.#at);
        this.#at = end === -1 ? this.#text.length : end;
      } else if (character !== undefined && BLANK.test(character)) this.#at += 1;
      else return character;
    }
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at += 1;
    return true;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const [matched] = pattern.exec(this.#text) ?? [];
    if (matched !== undefined) this.#at += matched.length;
    return matched;
  }

  #wrong(expected: string): PbtxtError {
    const next = this.#peek();
    const [code = 0] = next === undefined ? [] : [this.#text.codePointAt(this.#at)];
    const got = next === undefined ? 'the end of the file' : `\`${String.fromCodePoint(code)}\``;
    return new PbtxtError(`expected ${expected}, got ${got}`, this.#at);
  }
}

const ESCAPE = /\\(?:[xX][0-9a-fA-F]{1,2}|[0-7]{1,3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[abfnrtv\\'"?])/y;
const ESCAPES: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

/** Half of a pair, and what is beyond Unicode, stands for no character. */
const characterOf = (code: number): string =>
  code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? '\ufffd' : String.fromCodePoint(code);

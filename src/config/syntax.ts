/** Says what is wrong with the syntax of a file in words for its author; the parser's own are for those who know the grammar. */
import type { YAMLError } from 'yaml';
import { quote } from './finding.ts';

interface Slip {
  /** What the parser says. */
  readonly when: RegExp;
  /**
   * @param seen what stands at the place, in words
   * @param line the rest of the line from there
   */
  readonly say: (seen: string, parts: RegExpExecArray, line: string) => string;
}

const bracketOf = (name: string | undefined): string => (name === 'map' || name === '}' ? '}' : ']');

/** The first that fits. */
const SLIPS: readonly Slip[] = [
  {
    when: /^Tabs are not allowed as indentation|cannot start with a tab/,
    say: () => 'expected spaces, got a tab; YAML is indented with spaces only',
  },
  {
    when: /^All mapping items must start at the same column/,
    say: (seen) =>
      `expected the indentation of the keys above, got another at ${seen}; all keys of a mapping begin in one column`,
  },
  {
    when: /^All sequence items must start at the same column|^Sequence item without - indicator/,
    say: (seen) =>
      `expected the indentation of the items above, got another at ${seen}; all items of a list begin with \`-\` in one column, and the keys of an item in the column of its first`,
  },
  {
    when: /^Block collections are not allowed within flow collections/,
    say: (seen) => `expected a \`,\` or the closing bracket, got ${seen}; items are separated by \`,\``,
  },
  {
    when: /^Implicit map keys need to be followed by map values/,
    say: (seen) => `expected \`key: value\`, got ${seen} without a value; put a \`:\` and a blank behind the key`,
  },
  {
    when: /^Implicit keys.* need to be on a single line/,
    say: () => 'expected `key: value` on one line, got a text over several; is a `:` missing behind the key above, or a quote?',
  },
  {
    when: /^Nested mappings are not allowed in compact mappings/,
    say: (seen, _, line) =>
      /:(\s|$)/.test(line)
        ? `expected one value, got a mapping at ${seen}; begin it on a line of its own, or put text with a \`: \` in it in quotes`
        : `expected one value, got ${seen} and a mapping below it; is the next line indented too far?`,
  },
  {
    when: /^A block sequence may not be used as an implicit map key|block-seq-ind on same line with key/,
    say: () => 'expected a value on this line, got a `-`; begin the list on the next line, or write it as `[…]`',
  },
  {
    when: /^Missing closing (["'])quote/,
    say: (_, [, mark]) => `expected a closing \`${mark}\`, got the end of the file; this quote is never closed`,
  },
  {
    when: /^Missing , (or : )?between (?:block|flow) ?(map|seq\w*|collection)/,
    say: (seen, [, colon, name]) =>
      `expected \`,\`${colon === undefined ? '' : ', `:`'} or \`${bracketOf(name)}\`, got ${seen}; a text with a \`,\`, a bracket or a brace in it needs quotes`,
  },
  {
    when: /must (?:be sufficiently indented and )?end with an? ([\]}])/,
    say: (seen, [, bracket]) =>
      `expected \`${bracket}\`, got ${seen}; close this \`${bracket === '}' ? '{' : '['}\`, and indent its lines`,
  },
  { when: /^Missing space after :/, say: (seen) => `expected a blank behind the \`:\`, got ${seen}` },
  {
    when: /^Plain value cannot start with (?:a |the )?(?:reserved |block |flow |directive )*(?:character |indicator |scalar )*(\S)/,
    say: (seen) => `expected a value, got ${seen}; a text that begins so needs quotes`,
  },
  {
    when: /^Unresolved tag: (.*)/,
    say: (_, [, tag = '']) => `expected a plain value, got the tag ${quote(tag)}; tags have no meaning here: remove it`,
  },
  {
    when: /^Invalid escape sequence (.*)/s,
    say: (_, [, sequence = '']) =>
      `expected an escape that YAML knows, got ${quote(sequence)}; write \`\\\\\` for a backslash, or put the text in 'single quotes'`,
  },
  { when: /^Comments must be separated/, say: () => 'expected a blank before the `#` of a comment, got none' },
  {
    when: /^(Alias|Anchor) (?:cannot be an empty string|ending in :)/,
    say: (seen, [, kind]) =>
      `expected a name behind the \`${kind === 'Alias' ? '*' : '&'}\`, got ${seen}; a text that begins so needs quotes`,
  },
  { when: /^An alias node must not/, say: (seen) => `expected an alias alone, got an anchor or a tag before it, at ${seen}` },
  { when: /^A node can have at most one (anchor|tag)/, say: (seen, [, kind]) => `expected one ${kind}, got a second: ${seen}` },
  { when: /^Missing directives-end/, say: () => 'expected `---` behind the `%` lines, got none' },
  {
    when: /^Unexpected (?:flow-(?:map|seq)-end|[\]}])/,
    say: (seen) => `expected nothing more to close, got ${seen}; is its opening bracket missing?`,
  },
  {
    when: /^Unexpected (scalar|double-quoted-scalar|single-quoted-scalar|alias|anchor|tag|block-map|flow-collection|flow-\w+-start) /,
    say: (seen) => `expected the end of the value, got ${seen}; put the whole value in quotes, or begin a new line`,
  },
  { when: /^Unexpected (, |empty item)/, say: (seen) => `expected a value, got ${seen}; a \`,\` stands between two values` },
  { when: /^The : indicator must be at most 1024/, say: () => 'expected a key of at most 1,024 characters, got a longer one' },
];

/** `expected …, got …`, and what to do. */
export const syntaxText = ({ message, pos }: YAMLError, text: string): string => {
  const seen = seenAt(text, pos[0]);
  for (const { when, say } of SLIPS) {
    const parts = when.exec(message);
    if (parts !== null) return say(seen, parts, lineFrom(text, pos[0])) + hintFor(text, pos[0]);
  }
  return `expected valid YAML, got ${seen}: ${quote(message).slice(1, -1)}${hintFor(text, pos[0])}`;
};

/** Where brackets and quotes are opened, so that one that is not closed is pointed at there and not at the end of the file. */
export class Openings {
  readonly #brackets: { bracket: string; offset: number }[] = [];
  #quoteAt: number | undefined;
  #before = '';

  /** @param token as the lexer gives it */
  see(token: string, offset: number): void {
    const isText = this.#before === '\x1f';
    this.#before = token;
    if (isText) return;
    const [first] = token;
    if (token === '[' || token === '{') this.#brackets.push({ bracket: token, offset });
    else if ((token === ']' || token === '}') && this.#brackets.at(-1)?.bracket === (token === ']' ? '[' : '{'))
      this.#brackets.pop();
    else if (first === '"' || first === "'") this.#quoteAt = offset;
  }

  /** Where a diagnostic about the problem points. */
  placeOf({ message, pos: [offset] }: YAMLError): number {
    if (message.startsWith('Missing closing')) return this.#quoteAt ?? offset;
    const [, bracket] = /must (?:be sufficiently indented and )?end with an? ([\]}])/.exec(message) ?? [];
    if (bracket === undefined) return offset;
    const opening = bracket === '}' ? '{' : '[';
    return this.#brackets.findLast((open) => open.bracket === opening && open.offset < offset)?.offset ?? offset;
  }
}

const MAX_SEEN = 20;

const lineFrom = (text: string, offset: number): string => /[^\r\n]*/.exec(text.slice(offset, offset + MAX_LINE))?.[0] ?? '';
const MAX_LINE = 1000;

const seenAt = (text: string, offset: number): string => {
  const rest = text.slice(offset, offset + MAX_SEEN * 2);
  if (text.slice(offset).trim() === '') return 'the end of the file';
  if (/^[\r\n\u0085]/.test(rest)) return 'the end of the line';
  if (rest.startsWith('\t')) return 'a tab';
  const [word = ''] = /^[ ]*(?:[[\]{},:#&*!|>'"%@`-]|[^\s,\]}]+)/.exec(rest) ?? [rest];
  return quote(word.trim().slice(0, MAX_SEEN));
};

/** `{port: ${PORT}}` is a syntax error that names neither the variable nor the way out. */
const hintFor = (text: string, offset: number): string => {
  const line = text.slice(Math.max(0, offset - 200), offset + 1).replace(/^[\s\S]*\n/, '');
  const inFlow = /[[{,:]\s*\$\{[^"'}]*[}\s]*$/.test(line) && /[[{].*\$\{/.test(line);
  return inFlow ? ` (inside \`[…]\` and \`{…}\` a \`\${NAME}\` needs quotes)` : '';
};

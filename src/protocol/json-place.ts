/** JSON texts: how deep they are nested, and where one that is no JSON goes wrong. Pure; nothing is built. */

/** Nesting of a JSON text, without parsing it: brackets outside strings. */
export const depthOf = (text: string): number => {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (inString) {
      if (code === 0x5c) index += 1;
      else if (code === 0x22) inString = false;
    } else if (code === 0x22) inString = true;
    else if (code === 0x5b || code === 0x7b) {
      depth += 1;
      if (depth > deepest) deepest = depth;
    } else if (code === 0x5d || code === 0x7d) depth -= 1;
  }
  return deepest;
};

/** What may stand where: sticky, so that each is tried at one place only. */
const SPACE = /[ \t\n\r]*/y;
const SCALAR = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters may not stand in a JSON string.
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;

/**
 * The offset of the first character that cannot be, in a text that `JSON.parse` refuses: not every version of V8 tells it.
 * The text's length when it ends too early.
 */
export const errorOffset = (text: string): number => {
  let at = 0;
  const eat = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    const found = pattern.test(text);
    if (found) at = pattern.lastIndex;
    return found;
  };
  /** Brackets that are open: `]` or `}` is what closes each. */
  const open: string[] = [];
  let expects: 'value' | 'key' | 'end' = 'value';
  for (;;) {
    eat(SPACE);
    const character = text[at];
    if (character === undefined) return at;
    if (expects === 'end') {
      const closing = open.at(-1);
      if (closing === undefined) return at;
      if (character === closing) open.pop();
      else if (character === ',') expects = closing === '}' ? 'key' : 'value';
      else return at;
      at += 1;
      continue;
    }
    if (expects === 'key') {
      if (!eat(STRING)) return at;
      eat(SPACE);
      if (text[at] !== ':') return at;
      at += 1;
      expects = 'value';
      continue;
    }
    if (character === '{' || character === '[') {
      open.push(character === '{' ? '}' : ']');
      at += 1;
      eat(SPACE);
      if (text[at] === open.at(-1)) expects = 'end';
      else expects = character === '{' ? 'key' : 'value';
    } else if (eat(STRING) || eat(SCALAR)) expects = 'end';
    else return at;
  }
};

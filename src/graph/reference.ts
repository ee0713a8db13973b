/** Reads and writes references: `$request.json.texts[0]`, `$step["any name"].x`, `$item`, `$index`. */
import type { Reference } from '../domain/graph.ts';

/** Where a reference may look besides a step. */
const REQUEST_PARTS = ['json', 'body', 'query', 'headers', 'path'] as const;

const HEAD = /\$([A-Za-z_][A-Za-z0-9_]*)/y;
/** `.name` (letters and digits of any script, `_`, `-`, `$`), `[0]`, `["any text, escaped as in JSON"]` or `['any text']`. */
const PART = /\.([\p{L}\p{M}\p{N}_$-]+)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]|\['([^']*)'\]/uy;
const PLAIN_NAME = /^[\p{L}\p{M}\p{N}_$-]+$/u;

export type ReadReference = { readonly reference: Reference } | { readonly mistake: string };

/**
 * @param text begins with one `$`
 * @returns the reference, or what is wrong with it as a part of a sentence. Whether the step exists is not looked at;
 *   names of headers come back in lower case, as they do not depend on it
 */
export const readReference = (text: string): ReadReference => {
  HEAD.lastIndex = 0;
  const root = HEAD.exec(text)?.[1];
  if (root === undefined)
    return { mistake: `\`${text}\` is not a reference; text that begins with a dollar is written \`$${text}\`` };
  const path: (string | number)[] = [];
  let at = HEAD.lastIndex;
  while (at < text.length) {
    PART.lastIndex = at;
    const part = PART.exec(text);
    const key = part === null ? undefined : keyOf(part);
    if (key === undefined) {
      const where = `expected \`.name\`, \`[0]\` or \`["any name"]\` at \`${text.slice(at)}\``;
      return { mistake: `\`${text}\` is not a reference: ${where}; text that begins with a dollar is written \`$${text}\`` };
    }
    path.push(key);
    at = PART.lastIndex;
  }
  if (root === 'request') return requestReference(text, path);
  if (root === 'item') return { reference: { kind: 'ref', root, path } };
  if (root === 'index') {
    if (path.length > 0) return { mistake: `\`${text}\`: \`$index\` is a number and has nothing inside` };
    return { reference: { kind: 'ref', root, path } };
  }
  return { reference: { kind: 'ref', root: 'step', step: root, path } };
};

const keyOf = (part: RegExpExecArray): string | number | undefined => {
  const [, name, index, quoted, single] = part;
  if (index !== undefined) return Number(index);
  if (quoted === undefined) return name ?? single;
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return undefined;
  }
};

const requestReference = (text: string, path: readonly (string | number)[]): ReadReference => {
  const [part, name, ...rest] = path;
  const parts = REQUEST_PARTS.map((known) => `\`$request.${known}\``).join(', ');
  switch (part) {
    case 'json':
      return { reference: { kind: 'ref', root: 'request', path } };
    case 'body':
    case 'path':
      if (name !== undefined) {
        const instead =
          part === 'body' ? 'is bytes; fields of a JSON body are at `$request.json`' : 'is a text and has nothing inside';
        return { mistake: `\`${text}\`: \`$request.${part}\` ${instead}` };
      }
      return { reference: { kind: 'ref', root: 'request', path } };
    case 'query':
    case 'headers':
      if (typeof name !== 'string' || rest.length > 0) {
        return { mistake: `\`${text}\`: expected one name, as in \`$request.${part}.${part === 'query' ? 'page' : 'x-user'}\`` };
      }
      return { reference: { kind: 'ref', root: 'request', path: [part, part === 'headers' ? name.toLowerCase() : name] } };
    default:
      return { mistake: `\`${text}\`: a request has ${parts}` };
  }
};

/** A reference as it stands in a config file; `length` cuts its path short, to name the part that was reached. */
export const textOf = (reference: Reference, length: number = reference.path.length): string => {
  const root = reference.root === 'step' ? reference.step : reference.root;
  const keys = reference.path.slice(0, length).map((key) => {
    if (typeof key === 'number') return `[${key}]`;
    return PLAIN_NAME.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
  });
  return `$${root}${keys.join('')}`;
};

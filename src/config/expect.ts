/** Says in words what the schema expects of a value, and what stands there instead. */
import { isMapping, quote } from './finding.ts';
import type { SchemaNode } from './schema.ts';

const NAME = 'a letter, then letters, digits, `_` or `-`, at most 63 in all';

/** Kinds whose pattern needs words. `noun` stands for the text alone, as numbers may be allowed beside it. */
const KINDS: Readonly<Record<string, { code: string; noun: string }>> = {
  name: { code: 'BAD_NAME', noun: `a name (${NAME})` },
  'step-name': {
    code: 'BAD_NAME',
    noun: 'a name for a step (letters, digits and `_`, no digit first, and none of `request`, `item`, `index`, `__proto__`, `constructor`, `prototype`)',
  },
  route: {
    code: 'BAD_ROUTE',
    noun: 'a route (`/` or `/segment…`, without a slash at the end, an empty segment, blanks or any of `? # { } %`, and not under `/-`)',
  },
  'root-path': { code: 'BAD_ROUTE', noun: 'nothing or a path such as `/prefix`, without a slash at the end' },
  size: { code: 'BAD_SIZE', noun: 'a size such as `64MiB` or `1 GB`' },
  method: { code: 'BAD_VALUE', noun: 'the name of a method' },
  'function-name': {
    code: 'BAD_NAME',
    noun: 'the name of a batched function (a letter or `_`, then letters, digits, `_`, `.` or `-`, at most 64 in all)',
  },
  'env-name': { code: 'BAD_VALUE', noun: 'the name of an environment variable, without `=`' },
  'env-value': { code: 'BAD_VALUE', noun: 'text without NUL' },
  'log-level': { code: 'BAD_VALUE', noun: 'one of `DEBUG`, `INFO`, `WARN`, `ERROR`, `FATAL`' },
};

export const patternCode = (node: SchemaNode): string => KINDS[node['x-kind'] ?? '']?.code ?? 'BAD_VALUE';

/** @param value where it is known: a bound that it is far from is left out */
export const expected = (node: SchemaNode, value?: unknown): string => {
  const kind = KINDS[node['x-kind'] ?? ''];
  if (node.enum !== undefined) {
    if (kind !== undefined) return kind.noun;
    const choices = node.enum.map((choice) => (choice === null ? 'null' : `\`${String(choice)}\``));
    return choices.length === 2 ? choices.join(' or ') : `one of ${choices.join(', ')}`;
  }
  const types = node.type === undefined ? [] : [node.type].flat();
  const nouns = types.flatMap((type) => {
    switch (type) {
      case 'integer':
      case 'number':
        return `${numberNoun(type, node['x-kind'])}${rangeOf(node, value)}`;
      case 'string':
        return kind?.noun ?? literalOf(node) ?? 'text';
      case 'boolean':
        return '`true` or `false`';
      case 'object':
        return 'a mapping';
      case 'array':
        return 'a list';
      default:
        return [];
    }
  });
  if (types.includes('null') && !types.includes('object') && !types.includes('array')) nouns.push('null');
  if (nouns.length < 2) return nouns[0] ?? 'a value';
  const long = nouns.some((noun) => noun.includes(' and '));
  return `${nouns.slice(0, -1).join(', ')}${long ? ',' : ''} or ${nouns.at(-1)}`;
};

const numberNoun = (type: string, kind: string | undefined): string => {
  if (kind === 'seconds') return 'a number of seconds';
  if (kind === 'size') return 'a number of bytes';
  return type === 'integer' ? 'an integer' : 'a number';
};

/** What nobody reaches by chance. */
const FAR = 1_000_000;

const rangeOf = ({ minimum, exclusiveMinimum, maximum: most }: SchemaNode, value: unknown): string => {
  const maximum = most !== undefined && most >= FAR && !(typeof value === 'number' && value > most) ? undefined : most;
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`;
  if (minimum !== undefined) return ` ≥ ${minimum}`;
  if (exclusiveMinimum !== undefined)
    return ` above ${exclusiveMinimum}${maximum === undefined ? '' : ` and at most ${maximum}`}`;
  return maximum === undefined ? '' : ` ≤ ${maximum}`;
};

/** `^auto$` allows one text only. */
const literalOf = (node: SchemaNode): string | undefined => {
  const [, literal] = /^\^(\w+)\$$/.exec(node.pattern ?? '') ?? [];
  if (literal !== undefined) return `\`${literal}\``;
  return node.pattern?.endsWith('%$') ? 'a percentage such as `50%`' : undefined;
};

/** What was got. @param written what to print for a value that came from the environment */
export const got = (value: unknown, written: string | undefined): string => {
  if (value === undefined || value === null) return written === undefined ? 'nothing' : `nothing, from ${written}`;
  if (Array.isArray(value)) return 'a list';
  if (isMapping(value)) return 'a mapping';
  if (written !== undefined) return `${typeof value === 'string' ? 'text' : `a ${typeof value}`} from ${written}`;
  return typeof value === 'string' ? `the text ${quote(value)}` : String(value);
};

const SECONDS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600 };

/** What to do about it, where that is known. */
export const advice = (node: SchemaNode, value: unknown): string => {
  const types = [node.type ?? []].flat();
  if (types.includes('boolean') && typeof value === 'string' && /^(yes|no|on|off|y|n)$/i.test(value)) {
    return `; in YAML 1.2 \`${value}\` is text: write \`${/^(yes|on|y)$/i.test(value)}\``;
  }
  const scalar = typeof value === 'number' || typeof value === 'boolean';
  if (scalar && types.includes('string') && !types.includes('number') && !types.includes('integer')) return '; put it in quotes';
  if (typeof value === 'string' && node['x-kind'] === 'seconds') {
    const [, amount, unit = ''] = /^(\d+(?:\.\d+)?) *(ms|s|m|h)$/.exec(value) ?? [];
    if (amount !== undefined) return `; write it in seconds, without a unit: \`${Number(amount) * (SECONDS[unit] ?? 1)}\``;
  }
  if (typeof value === 'string' && node['x-kind'] === 'size') {
    const [, amount] = /^(\d+(?:\.\d+)? *[kmgt]i?)$/i.exec(value) ?? [];
    if (amount !== undefined) return `; write \`${amount}B\``;
  }
  if (value === null && types.includes('array')) return '; write `[]` for none';
  if (typeof value === 'string' && /^[-+]?\d+(\.\d+)?$/.test(value) && (types.includes('number') || types.includes('integer'))) {
    return '; write it without quotes';
  }
  return '';
};

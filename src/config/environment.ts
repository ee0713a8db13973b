/** Replaces `${NAME}` and `${NAME:-default}` in the values of a config. */

export type Environment = Readonly<Record<string, string | undefined>>;

export type Substituted =
  | {
      readonly ok: true;
      readonly text: string;
      /** The text was one `${…}` and nothing else. */
      readonly whole: boolean;
      /** Something in the text came from the environment, so no message may print it. */
      readonly fromEnvironment: boolean;
    }
  | { readonly ok: false; readonly code: string; readonly message: string };

const OPEN = '`${`';
const LITERAL = 'a literal `${` is written `$${`';

const REFERENCE = /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/;

/**
 * A default also stands in for a variable that is set but empty. `$${` is a literal `${`. What is put in is not looked at again.
 * @returns undefined when there is nothing to replace
 */
export const substitute = (source: string, environment: Environment): Substituted | undefined => {
  if (!source.includes('${')) return undefined;
  let text = '';
  let from = 0;
  let whole = false;
  let fromEnvironment = false;
  for (let open = source.indexOf('${'); open !== -1; open = source.indexOf('${', from)) {
    if (open > from && source[open - 1] === '$') {
      text += `${source.slice(from, open - 1)}\${`;
      from = open + 2;
      continue;
    }
    const close = source.indexOf('}', open);
    if (close === -1) return mistake('UNTERMINATED_VARIABLE', `expected a \`}\` behind the ${OPEN}, got none; ${LITERAL}`);
    const [matched, name = '', byDefault] = REFERENCE.exec(source.slice(open + 2, close)) ?? [];
    if (matched === undefined || byDefault?.includes('${')) {
      return mistake(
        'BAD_VARIABLE',
        `expected \`\${NAME}\` or \`\${NAME:-default}\`, got something else in \`\${…}\`; ${LITERAL}`,
      );
    }
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
    if (value === undefined && byDefault === undefined) {
      const message = `expected \`${name}\` in the environment, got none; set it, or give a default: \`\${${name}:-default}\``;
      return mistake('UNSET_VARIABLE', message);
    }
    const replaced = byDefault !== undefined && (value === undefined || value === '') ? byDefault : (value ?? '');
    fromEnvironment ||= replaced !== byDefault;
    whole = open === 0 && close === source.length - 1;
    text += source.slice(from, open) + replaced;
    from = close + 1;
  }
  return { ok: true, text: text + source.slice(from), whole, fromEnvironment };
};

const mistake = (code: string, message: string): Substituted => ({ ok: false, code, message });

/** Reads text as YAML 1.2 reads a plain scalar: null, a boolean, a number, else the text itself; never a list or mapping. */
export const readScalar = (text: string): unknown => {
  const plain = text.trim();
  if (/^(null|Null|NULL|~|)$/.test(plain)) return null;
  if (/^(true|True|TRUE)$/.test(plain)) return true;
  if (/^(false|False|FALSE)$/.test(plain)) return false;
  if (/^0o[0-7]+$/.test(plain) || /^0x[0-9a-fA-F]+$/.test(plain)) return Number(plain);
  if (/^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$/.test(plain)) return Number(plain);
  if (/^[-+]?\.(inf|Inf|INF)$/.test(plain)) return plain.startsWith('-') ? -Infinity : Infinity;
  if (/^\.(nan|NaN|NAN)$/.test(plain)) return NaN;
  return text;
};

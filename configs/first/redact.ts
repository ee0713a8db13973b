/** Takes out of a text what identifies somebody, before it goes to a log, a model or another company. */
import { HttpError } from 'serve-daemon';

/** `user_config` of the config file. */
export interface Rules {
  /** What is looked for; at one place the first in this list wins. */
  readonly kinds: readonly Kind[];
  /** What stands there afterwards; `{kind}` becomes the kind. */
  readonly mask: string;
}

type Kind = keyof typeof KINDS;

const digitsOf = (text: string): string => text.replace(/\D/g, '');

/** Cards: every second digit from the right counts double, and the sum ends with 0. */
const luhn = (text: string): boolean =>
  [...digitsOf(text)].reverse().reduce((sum, digit, at) => {
    const value = Number(digit) * (at % 2 === 0 ? 1 : 2);
    return sum + (value > 9 ? value - 9 : value);
  }, 0) %
    10 ===
  0;

/** IBANs: the first four characters go to the end, letters become numbers, and 1 is left when it is divided by 97. */
const mod97 = (text: string): boolean => {
  const plain = text.replaceAll(' ', '');
  const number = `${plain.slice(4)}${plain.slice(0, 4)}`.replace(/[A-Z]/g, (letter) => String(letter.charCodeAt(0) - 55));
  return plain.length >= 15 && plain.length <= 34 && BigInt(number) % 97n === 1n;
};

/** What each kind looks like, and what must hold besides. Every repetition is bounded, so that no text takes long. */
const KINDS = {
  email: {
    pattern: /(?<![\p{L}\p{N}._%+-])[\p{L}\p{N}._%+-]{1,64}@(?:[\p{L}\p{N}-]{1,63}\.){1,8}\p{L}{2,24}/gu,
    holds: () => true,
  },
  iban: { pattern: /(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{1,4}){3,8}(?![A-Za-z0-9])/g, holds: mod97 },
  card: { pattern: /(?<![\d+])\d(?:[ -]?\d){12,18}(?!\d)/g, holds: luhn },
  phone: {
    pattern: /(?<![\d+])\+\d(?:[ ().-]{0,2}\d){7,14}(?!\d)/g,
    holds: () => true,
  },
  ip: {
    pattern: /(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)/g,
    holds: (text: string) => text.split('.').every((part) => Number(part) <= 255),
  },
} satisfies Record<string, { pattern: RegExp; holds: (text: string) => boolean }>;

interface Found {
  readonly kind: Kind;
  readonly start: number;
  readonly end: number;
}

const find = (text: string, kind: Kind): Found[] => {
  const { pattern, holds } = KINDS[kind];
  return [...text.matchAll(pattern)].flatMap((match) => {
    // Words that follow may look like part of it: taken off one by one until the rest is right.
    for (let piece = match[0]; piece !== ''; piece = piece.slice(0, Math.max(0, piece.lastIndexOf(' '))))
      if (holds(piece)) return [{ kind, start: match.index, end: match.index + piece.length }];
    return [];
  });
};

export class Redactor {
  #rules: Rules = { kinds: ['email', 'iban', 'card', 'phone', 'ip'], mask: '[{kind}]' };

  /** Called at the start and whenever `user_config` changes: the replica goes on, with the new rules. */
  reconfigure(rules: Partial<Rules> | null): void {
    const kinds = rules?.kinds ?? (Object.keys(KINDS) as Kind[]);
    const unknown = kinds.find((kind) => !Object.hasOwn(KINDS, kind));
    if (unknown !== undefined) throw new Error(`expected kinds out of ${Object.keys(KINDS).join(', ')}, got ${unknown}`);
    this.#rules = { kinds, mask: rules?.mask ?? '[{kind}]' };
  }

  /** The body of the request: a string where its content type says text or JSON, bytes otherwise. */
  async call(input: unknown): Promise<{ text: string; found: Found[] }> {
    const text = input instanceof Uint8Array ? new TextDecoder().decode(input) : input;
    if (typeof text !== 'string') throw new HttpError(400, 'expected a text, or a JSON string');
    const { kinds, mask } = this.#rules;
    const found: Found[] = [];
    let [safe, at] = ['', 0];
    // Sorting is stable: at one place the first of `kinds` comes first.
    for (const each of kinds.flatMap((kind) => find(text, kind)).sort((a, b) => a.start - b.start)) {
      if (each.start < at) continue;
      found.push(each);
      safe += text.slice(at, each.start) + mask.replaceAll('{kind}', () => each.kind);
      at = each.end;
    }
    return { text: safe + text.slice(at), found };
  }
}

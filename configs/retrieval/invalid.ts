/** What zod found wrong with a body, told as the rest of the daemon tells it: where, what was expected, what came. */
import type { z } from 'zod';

export interface Mistake {
  /** As in `documents[0].text`; `body` for the whole. */
  readonly where: string;
  readonly expected: string;
  readonly got: string;
}

/** @param issues of a parse with `reportInput` */
export const mistakesOf = (issues: readonly z.core.$ZodIssue[]): readonly Mistake[] =>
  issues.map((issue) => ({ where: whereOf(issue.path), expected: expectedBy(issue), got: gotIn(issue) }));

const whereOf = (path: readonly PropertyKey[]): string =>
  path.reduce<string>((where, key) => {
    if (typeof key === 'number') return `${where}[${key}]`;
    return where === '' ? String(key) : `${where}.${String(key)}`;
  }, '') || 'body';

const NOUNS: Readonly<Record<string, string>> = { string: 'character', array: 'item' };

const counted = (count: number | bigint, origin: string): string => {
  const noun = NOUNS[origin];
  return noun === undefined ? `${count}` : `${count} ${noun}${Number(count) === 1 ? '' : 's'}`;
};

const expectedBy = (issue: z.core.$ZodIssue): string => {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected === 'int' ? 'a whole number' : `${/^[aeio]/.test(issue.expected) ? 'an' : 'a'} ${issue.expected}`;
    case 'too_small':
      return `at least ${counted(issue.minimum, issue.origin)}`;
    case 'too_big':
      return `at most ${counted(issue.maximum, issue.origin)}`;
    case 'unrecognized_keys':
      return 'no other keys';
    default:
      return issue.message;
  }
};

const gotIn = (issue: z.core.$ZodIssue): string =>
  issue.code === 'unrecognized_keys' ? issue.keys.map((key) => `\`${key.slice(0, 40)}\``).join(', ') : said(issue.input);

/** A value in few words. */
const said = (value: unknown): string => {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'string' && value.length > 40) return `a text of ${value.length} characters`;
  return JSON.stringify(value);
};

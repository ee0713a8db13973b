/** What the passes over a config report to each other; `compile` turns findings into diagnostics with lines and columns. */
import { CONTROL } from '../domain/diagnostic.ts';

/** Where something stands: keys and indices from the root of the file. */
export type Path = readonly (string | number)[];

/** A mapping of the file. Without a prototype, so that a key such as `__proto__` is a key like any other. */
export type Mapping = { [key: string]: unknown };

export interface Finding {
  readonly severity: 'error' | 'warning';
  readonly code: string;
  readonly path: Path;
  readonly message: string;
  /** Which of the two a diagnostic points at; the value where not said. */
  readonly at?: 'key' | 'value';
  /** Offset in the text, where it is known better than by the path. */
  readonly offset?: number;
  /** The application whose files are concerned (`FILE_MISSING`). */
  readonly application?: string;
  /** The key that an unknown one was probably meant to be: what else is missing because of it is no second mistake. */
  readonly meant?: string;
}

/** The mistakes of one application's files: the others can serve in spite of them. */
export const FILE_MISSING = 'FILE_MISSING';

/** `['applications', 0, 'deployments', 1, 'name']` → `applications[0].deployments[1].name`. */
export const pathText = (path: Path): string => {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (/^[\w$-]+$/.test(part)) text += text === '' ? part : `.${part}`;
    else text += `[${shorten(JSON.stringify(part))}]`;
  }
  return text;
};

const MAX_SHOWN = 80;

/** Keeps messages readable whatever stands in the file. */
export const shorten = (text: string): string => (text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN - 1)}…` : text);

/** Text of the file for a message: on one line, without control characters, not too long. */
export const quote = (text: string): string => `\`${shorten(visible(text))}\``;

const visible = (text: string): string =>
  text.replace(CONTROL, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);

const MAX_MESSAGE = 1000;

/** A whole message: names of the file stand in it as they are. */
export const oneLine = (message: string): string => {
  const line = visible(message);
  return line.length > MAX_MESSAGE ? `${line.slice(0, MAX_MESSAGE - 1)}…` : line;
};

export const isMapping = (value: unknown): value is Mapping =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
export const mappingOf = (value: unknown): Mapping | undefined => (isMapping(value) ? value : undefined);
export const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
export const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

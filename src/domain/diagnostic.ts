/** What can be said about a config file, with where it stands. */

export interface Diagnostic {
  readonly severity: 'error' | 'warning';
  /** Stable, upper snake case: `UNKNOWN_KEY`, `WRONG_TYPE`, `DUPLICATE_NAME`, … */
  readonly code: string;
  /** `applications[0].deployments[1].batching.max_batch_size`; empty for the whole file. */
  readonly path: string;
  /** Says what was expected, what was got, and what to do. */
  readonly message: string;
  readonly file: string;
  /** 1-based; 0 when the diagnostic concerns no place in the text. */
  readonly line: number;
  readonly column: number;
  /** The line with a caret under the place; empty when there is none. */
  readonly excerpt: string;
  /** The application whose files are missing or broken (`FILE_MISSING`, `FILE_BROKEN`): it cannot start, the others can. */
  readonly application?: string;
  /** Places in other files that are the cause: lines of code that do not compile. */
  readonly related?: readonly RelatedPlace[];
}

/** A place in another file than the config. */
export interface RelatedPlace {
  /** Absolute. */
  readonly file: string;
  /** 1-based. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
  /** The line with a caret under the place; empty when there is none. */
  readonly excerpt: string;
}

/** What is wrong with a file that the config names, before it has its place in the config. */
export interface FileProblem {
  readonly severity: Diagnostic['severity'];
  readonly code: string;
  /** Of the field that names it: `['http_options', 'ssl_keyfile']`. */
  readonly path: readonly (string | number)[];
  readonly message: string;
  readonly application?: string | undefined;
  readonly related?: readonly RelatedPlace[];
}

/** What must not reach a terminal, or would break a line. */
export const CONTROL = /[\p{Cc}\u2028\u2029]/gu;

/** So much of a line is shown around the caret. */
const EXCERPT_WIDTH = 120;

/**
 * The part of a line around a column, one column a character so that the caret stands right, fit for a terminal.
 * @param column 0-based
 */
export const excerptOf = (line: string, column: number): string => {
  const from = Math.max(0, column - EXCERPT_WIDTH / 2);
  const shown = line.slice(from, from + EXCERPT_WIDTH).replace(CONTROL, ' ');
  return `${shown.trimEnd()}\n${' '.repeat(column - from)}^`;
};

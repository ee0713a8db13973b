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
  /** The application whose files are missing (`FILE_MISSING`): it cannot start, the others can. */
  readonly application?: string;
}

/** What is wrong with a file that the config names, before it has its place in the config. */
export interface FileProblem {
  readonly severity: Diagnostic['severity'];
  readonly code: string;
  /** Of the field that names it: `['http_options', 'ssl_keyfile']`. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** The text of a config file as lines: where an offset stands, and the line with a caret under it. */
import type { Diagnostic } from '../domain/diagnostic.ts';
import { CONTROL, type Finding, pathText } from './finding.ts';
import { maskSecrets } from './secrets.ts';

/** So much of a line is shown around the caret. */
const EXCERPT_WIDTH = 120;

export class Source {
  readonly #file: string;
  readonly #text: string;
  readonly #lineStarts: readonly number[];

  constructor(file: string, text: string) {
    this.#file = file;
    this.#text = text;
    const starts = [0];
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', end + 1)) starts.push(end + 1);
    this.#lineStarts = starts;
  }

  /** @param offset undefined: the finding concerns no place in the text */
  diagnostic(finding: Finding, offset: number | undefined): Diagnostic {
    const { severity, code, message, application } = finding;
    const about = { severity, code, path: pathText(finding.path), message, file: this.#file };
    const place = offset === undefined ? { line: 0, column: 0, excerpt: '' } : this.#place(offset);
    return application === undefined ? { ...about, ...place } : { ...about, ...place, application };
  }

  #place(offset: number): { line: number; column: number; excerpt: string } {
    const line = this.#lineOf(offset);
    const start = this.#lineStarts[line] ?? 0;
    const next = this.#lineStarts[line + 1];
    const text = this.#text.slice(start, next === undefined ? undefined : next - 1);
    const column = offset - start;
    return { line: line + 1, column: column + 1, excerpt: excerptOf(maskSecrets(text), column) };
  }

  /** The last line that starts at or before the offset. */
  #lineOf(offset: number): number {
    let low = 0;
    let high = this.#lineStarts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#lineStarts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** The part of the line around the column, one column a character so that the caret stands right, fit for a terminal. */
const excerptOf = (line: string, column: number): string => {
  const from = Math.max(0, column - EXCERPT_WIDTH / 2);
  const shown = line.slice(from, from + EXCERPT_WIDTH).replace(CONTROL, ' ');
  return `${shown.trimEnd()}\n${' '.repeat(column - from)}^`;
};

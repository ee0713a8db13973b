/** The text of a config file as lines: where an offset stands, and the line with a caret under it. */
import { type Diagnostic, excerptOf, type RelatedPlace } from '../domain/diagnostic.ts';
import { type Finding, oneLine, pathText } from './finding.ts';
import { maskSecrets } from './secrets.ts';

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
  diagnostic(finding: Finding, offset: number | undefined, related: readonly RelatedPlace[] = []): Diagnostic {
    const { severity, code, message, application } = finding;
    const about = { severity, code, path: pathText(finding.path), message: oneLine(message), file: this.#file };
    const place = offset === undefined ? { line: 0, column: 0, excerpt: '' } : this.#place(offset);
    return {
      ...about,
      ...place,
      ...(application === undefined ? {} : { application }),
      ...(related.length === 0 ? {} : { related }),
    };
  }

  #place(offset: number): { line: number; column: number; excerpt: string } {
    const line = this.#lineOf(offset);
    const start = this.#lineStarts[line] ?? 0;
    const next = this.#lineStarts[line + 1];
    const text = this.#text.slice(start, next === undefined ? undefined : next - 1);
    const column = offset - start;
    const excerpt = this.#text === '' ? '' : excerptOf(maskSecrets(text), column);
    return { line: line + 1, column: column + 1, excerpt };
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

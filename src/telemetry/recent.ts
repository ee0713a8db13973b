/** The last lines of the daemon's log, for who asks after they were written; and those that come, for who stays. */

const MAX_LINES = 2000;
/** Characters over all of them. */
const MAX_TEXT = 1024 * 1024;

export class RecentLines {
  readonly #lines: string[] = [];
  readonly #readers = new Set<(line: string) => void>();
  #size = 0;

  /** @param line JSON, newline at its end */
  add(line: string): void {
    this.#lines.push(line);
    this.#size += line.length;
    // One line alone may be longer than all may be.
    while (this.#lines.length > MAX_LINES || (this.#size > MAX_TEXT && this.#lines.length > 1))
      this.#size -= this.#lines.shift()?.length ?? 0;
    for (const read of this.#readers) read(line);
  }

  /** Oldest first. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  /** @returns ends it */
  follow(read: (line: string) => void): () => void {
    this.#readers.add(read);
    return () => this.#readers.delete(read);
  }
}

/** A terminal that obeys what the start-up display needs: it wraps, scrolls, goes up and erases down. */
export class FakeTerminal {
  columns: number;
  readonly rows: number;
  /** Everything it ever showed, those that scrolled away too; each as wide as it was drawn. */
  #lines: string[] = [''];
  #row = 0;
  #column = 0;
  /** What has scrolled off above it cannot be reached. */
  #top = 0;
  /** Escape sequences that it does not know. */
  readonly unknown: string[] = [];
  colours = 0;

  constructor(columns: number, rows: number) {
    this.columns = columns;
    this.rows = rows;
  }

  /** What stands there, without the empty line of the cursor. */
  get lines(): readonly string[] {
    const lines = this.#lines.map((line) => line.trimEnd());
    while (lines.at(-1) === '') lines.pop();
    return lines;
  }

  feed(text: string): void {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what a terminal reads
    for (const [part] of text.matchAll(/\x1b\[[\d;?]*[A-Za-z]|\x1b.|[\s\S]/gu)) {
      if (part === '\n') this.#down();
      else if (part === '\r') this.#column = 0;
      else if (part.startsWith('\x1b')) this.#obey(part);
      else this.#put(part);
    }
  }

  #put(character: string): void {
    if (this.#column === this.columns) {
      this.#down();
      this.#column = 0;
    }
    const line = [...(this.#lines[this.#row] ?? '')];
    while (line.length < this.#column) line.push(' ');
    line[this.#column] = character;
    this.#lines[this.#row] = line.join('');
    this.#column += 1;
  }

  #down(): void {
    this.#row += 1;
    this.#top = Math.max(this.#top, this.#row - this.rows + 1);
    this.#lines[this.#row] ??= '';
  }

  #obey(sequence: string): void {
    const count = Number(/\d+/.exec(sequence)?.[0] ?? 1);
    if (sequence.endsWith('m')) this.colours += 1;
    else if (sequence.endsWith('A')) this.#row = Math.max(this.#top, this.#row - count);
    else if (sequence === '\x1b[J') {
      this.#lines.length = this.#row + 1;
      this.#lines[this.#row] = [...(this.#lines[this.#row] ?? '')].slice(0, this.#column).join('');
    } else this.unknown.push(sequence);
  }
}

/** A terminal whose last lines are drawn over again while finished lines pass above them. */

export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

export class Screen {
  readonly #write: (text: string) => void;
  readonly #size: () => ScreenSize;
  #drawn: readonly string[] = [];

  /** @param write must keep the order of what it is given, also with everything else that is written to the terminal */
  constructor(write: (text: string) => void, size: () => ScreenSize) {
    this.#write = write;
    this.#size = size;
  }

  get size(): ScreenSize {
    return this.#size();
  }

  /** Finished lines, newline at each end. They stay; what is drawn moves below them. */
  print(lines: string): void {
    if (this.#drawn.length === 0) this.#write(lines);
    else this.#write(this.#erase() + lines + text(this.#drawn));
  }

  /** Draws these lines in place of those that were drawn before. No longer than the terminal is wide, and fewer than it has rows. */
  draw(lines: readonly string[]): void {
    if (lines.length === this.#drawn.length && lines.every((line, at) => line === this.#drawn[at])) return;
    this.#write(this.#erase() + text(lines));
    this.#drawn = lines;
  }

  /** What is drawn becomes finished lines. */
  leave(): void {
    this.#drawn = [];
  }

  /** The cursor stands at the beginning of the line below what is drawn. A terminal that has become narrower has wrapped it. */
  #erase(): string {
    const { columns } = this.#size();
    const rows = this.#drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(widthOf(line) / columns)), 0);
    return rows === 0 ? '' : `\r\x1b[${rows}A\x1b[J`;
  }
}

const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what makes colours
const COLOURS = /\x1b\[[\d;]*m/g;

/** Columns that a text takes. */
export const widthOf = (line: string): number => {
  let width = 0;
  for (const character of line.replace(COLOURS, '')) width += columnsOf(character);
  return width;
};

/** As much of a text without colours as fits; where something had to go, an ellipsis stands for it. */
export const fit = (line: string, columns: number): string => {
  if (widthOf(line) <= columns) return line;
  let [taken, width] = ['', 0];
  for (const character of line) {
    width += columnsOf(character);
    if (width > columns - 1) break;
    taken += character;
  }
  return columns < 1 ? '' : `${taken}…`;
};

/** Scripts of East Asia and pictures take two, marks that combine take none. */
const columnsOf = (character: string): number => {
  if (/^(?:\p{Mn}|\p{Me}|[\u200b-\u200f])$/u.test(character)) return 0;
  const code = character.codePointAt(0) ?? 0;
  const wide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0xffe0 && code <= 0xffe6) ||
    (code >= 0x1f300 && code <= 0x1faff) ||
    (code >= 0x20000 && code <= 0x3fffd);
  return wide ? 2 : 1;
};

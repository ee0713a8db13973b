/** A stream of bytes as lines: bounded in length, and in number a second; what is over the bound is counted, never kept waiting. */
import { StringDecoder } from 'node:string_decoder';

const MAX_LINE = 8192;
const MAX_LINES_PER_S = 1000;

export class LineSplitter {
  readonly #each: (line: string) => void;
  readonly #now: () => number;
  readonly #decoder = new StringDecoder('utf8');
  #rest = '';
  #windowFrom = 0;
  #inWindow = 0;
  #dropped = 0;

  constructor(each: (line: string) => void, now: () => number = () => performance.now()) {
    this.#each = each;
    this.#now = now;
  }

  push(chunk: Buffer): void {
    const parts = (this.#rest + this.#decoder.write(chunk)).split('\n');
    this.#rest = parts.pop() ?? '';
    for (const line of parts) this.#line(line);
    if (this.#rest.length > MAX_LINE) {
      this.#line(this.#rest);
      this.#rest = '';
    }
  }

  end(): void {
    this.#rest += this.#decoder.end();
    if (this.#rest !== '') this.#line(this.#rest);
    this.#rest = '';
    this.#tellDropped();
  }

  #line(line: string): void {
    const now = this.#now();
    if (now - this.#windowFrom >= 1000) {
      this.#tellDropped();
      this.#windowFrom = now;
      this.#inWindow = 0;
    }
    this.#inWindow += 1;
    if (this.#inWindow > MAX_LINES_PER_S) this.#dropped += 1;
    else this.#each(line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)}…` : line.replace(/\r$/, ''));
  }

  #tellDropped(): void {
    if (this.#dropped > 0) this.#each(`(${this.#dropped} more lines were not kept: at most ${MAX_LINES_PER_S} a second are)`);
    this.#dropped = 0;
  }
}

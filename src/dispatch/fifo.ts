/** First in, first out, with cheap removal from the middle: what has left is marked, and skipped. */

/** Below so many entries nothing is gained by closing holes. */
const FEW = 64;
const MANY_TAKEN = 1024;

export class Fifo<T> {
  readonly #holds: (entry: T) => boolean;
  #entries: (T | undefined)[] = [];
  #head = 0;

  /** @param holds whether an entry is still here */
  constructor(holds: (entry: T) => boolean) {
    this.#holds = holds;
  }

  push(entry: T): void {
    this.#entries.push(entry);
  }

  /** Before all others, in their order. */
  unshift(entries: readonly T[]): void {
    this.#entries.splice(0, this.#head, ...entries);
    this.#head = 0;
  }

  get first(): T | undefined {
    for (let index = this.#head; index < this.#entries.length; index++) {
      const entry = this.#entries[index];
      if (entry !== undefined && this.#holds(entry)) return entry;
    }
    return undefined;
  }

  *[Symbol.iterator](): Generator<T> {
    for (let index = this.#head; index < this.#entries.length; index++) {
      const entry = this.#entries[index];
      if (entry !== undefined && this.#holds(entry)) yield entry;
    }
  }

  /** Removes the first. Undefined when empty. */
  shift(): T | undefined {
    while (this.#head < this.#entries.length) {
      const entry = this.#entries[this.#head];
      // What has left must not be kept alive from here.
      this.#entries[this.#head] = undefined;
      this.#head += 1;
      if (this.#head === this.#entries.length) {
        this.#entries.length = 0;
        this.#head = 0;
      } else if (this.#head > MANY_TAKEN && this.#head * 2 > this.#entries.length) {
        this.#entries.splice(0, this.#head);
        this.#head = 0;
      }
      if (entry !== undefined && this.#holds(entry)) return entry;
    }
    return undefined;
  }

  /** Takes entries out, wherever they stand. */
  remove(entries: ReadonlySet<T>): void {
    let left = entries.size;
    for (let index = this.#head; index < this.#entries.length && left > 0; index++) {
      const entry = this.#entries[index];
      if (entry === undefined || !entries.has(entry)) continue;
      this.#entries[index] = undefined;
      left -= 1;
    }
  }

  /** @param size entries that are still here; where they are few among holes, these are closed */
  compactWhere(size: number): void {
    if (this.#entries.length > FEW && this.#entries.length > 4 * size) this.compact();
  }

  compact(): void {
    this.#entries = [...this];
    this.#head = 0;
  }
}

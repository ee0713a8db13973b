/** One file of the log: what is written waits in memory, within bounds, until it is on disk; a file that is full becomes `<name>.1`. */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface FileBounds {
  /** A file that would grow beyond it becomes `.1`, that one `.2`, and so on. */
  readonly maxBytes: number;
  /** How many of those are kept. */
  readonly kept: number;
}

/** Characters that wait for a disk that is slow or takes none; further lines are lost, and counted. */
const MAX_WAITING = 1024 * 1024;
/** After a failure nothing is tried for so long. */
const RETRY_MS = 10_000;
const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0);

export class LogFile {
  readonly path: string;
  readonly #bounds: FileBounds;
  readonly #failed: (error: Error) => void;
  #waiting = '';
  #lost = 0;
  #handle: FileHandle | undefined;
  #size = 0;
  #writing: Promise<void> | undefined;
  #notBefore = 0;
  #usedAt = performance.now();

  /** @param failed is told the first of failures that follow each other */
  constructor(path: string, bounds: FileBounds, failed: (error: Error) => void) {
    this.path = path;
    this.#bounds = bounds;
    this.#failed = failed;
  }

  /** @param lines finished, newline at each end */
  write(lines: string): void {
    this.#usedAt = performance.now();
    if (this.#waiting.length + lines.length > MAX_WAITING) this.#lost += linesIn(lines);
    else this.#waiting += lines;
    if (this.#usedAt >= this.#notBefore) this.#writing ??= this.#drain();
  }

  get idleMs(): number {
    return this.#writing === undefined ? performance.now() - this.#usedAt : 0;
  }

  /** What was written is on disk, or cannot be put there. */
  async written(): Promise<void> {
    await this.#writing;
  }

  /** A later `write` opens it again. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#shut();
  }

  async #drain(): Promise<void> {
    try {
      while (this.#waiting !== '' || this.#lost > 0) {
        const [waiting, lost] = [this.#waiting, this.#lost];
        this.#waiting = '';
        this.#lost = 0;
        const text = lost === 0 ? waiting : `${waiting}(${lost} lines were lost here: they could not be written in time)\n`;
        const bytes = Buffer.byteLength(text);
        try {
          const handle = await this.#ready(bytes);
          await handle.appendFile(text);
        } catch (error) {
          // A part of it may be there: nothing is written twice.
          this.#lost += lost + linesIn(waiting);
          throw error;
        }
        this.#size += bytes;
        this.#notBefore = 0;
      }
    } catch (error) {
      const first = this.#notBefore === 0;
      this.#notBefore = performance.now() + RETRY_MS;
      await this.#shut();
      if (first) this.#failed(error as Error);
    } finally {
      this.#writing = undefined;
    }
  }

  /** Open, with room for so many bytes. */
  async #ready(bytes: number): Promise<FileHandle> {
    if (this.#handle === undefined) await this.#open();
    if (this.#size > 0 && this.#size + bytes > this.#bounds.maxBytes) {
      await this.#shut();
      for (let age = this.#bounds.kept; age > 0; age--)
        await rename(age === 1 ? this.path : `${this.path}.${age - 1}`, `${this.path}.${age}`).catch(ifMissing);
      await this.#open();
    }
    return this.#handle as FileHandle;
  }

  async #open(): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
    // What it logs may be nobody else's business.
    this.#handle = await open(this.path, FLAGS, 0o600);
    this.#size = (await this.#handle.stat()).size;
  }

  async #shut(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close().catch(() => {});
  }
}

const linesIn = (text: string): number => text.split('\n').length - 1;

const ifMissing = (error: NodeJS.ErrnoException): void => {
  if (error.code !== 'ENOENT') throw error;
};

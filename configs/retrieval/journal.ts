/** A file of lines that is only added to, or written anew as a whole: whatever moment the process dies at, no line that was kept is lost. */
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

const NEWLINE = 0x0a;
/** Written at once when the file is written anew; bytes. */
const PIECE = 1024 * 1024;

export class Journal {
  readonly #file: string;
  #handle: FileHandle;
  /** Bytes of whole lines. What a write that failed has left behind them is cut off. */
  #length: number;
  #lines: number;
  /** Whether the folder that names the file has been written since the file was renamed. */
  #isNamed = true;

  private constructor(file: string, handle: FileHandle, length: number, lines: number) {
    this.#file = file;
    this.#handle = handle;
    this.#length = length;
    this.#lines = lines;
  }

  /**
   * Reads what is there, and makes the file where there is none. A last line without an end is one that a crash cut off: it is dropped.
   * @param take gets each line with its number, from 1; what it throws is thrown
   */
  static async open(file: string, take: (line: string, number: number) => void): Promise<Journal> {
    await (await open(file, 'a')).close();
    await keepNames(file);
    let [length, lines] = [0, 0];
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let from = 0;
      for (let to = bytes.indexOf(NEWLINE); to >= 0; to = bytes.indexOf(NEWLINE, from)) {
        lines += 1;
        take(bytes.toString('utf8', from, to), lines);
        length += to + 1 - from;
        from = to + 1;
      }
      rest = bytes.subarray(from);
    }
    const handle = await open(file, 'r+');
    await handle.truncate(length);
    return new Journal(file, handle, length, lines);
  }

  get lines(): number {
    return this.#lines;
  }

  /** Resolves when they are on the disk; none of them is there when it rejects. */
  async append(lines: readonly string[]): Promise<void> {
    const bytes = bytesOf(lines);
    await this.#keepName();
    try {
      await write(this.#handle, bytes, this.#length);
      await this.#handle.datasync();
    } catch (error) {
      await this.#handle.truncate(this.#length);
      throw error;
    }
    this.#length += bytes.length;
    this.#lines += lines.length;
  }

  /**
   * Has these lines and no others from now on: they are written beside it, then renamed over it.
   * @throws when they could not be written, and then it is as it was; or when only the folder could not, which the next `append` tries again
   */
  async replace(lines: Iterable<string>): Promise<void> {
    const beside = `${this.#file}.new`;
    const handle = await open(beside, 'w');
    let [length, count] = [0, 0];
    try {
      for (const piece of pieces(lines)) {
        const bytes = bytesOf(piece);
        await write(handle, bytes, length);
        length += bytes.length;
        count += piece.length;
      }
      await handle.datasync();
      await rename(beside, this.#file);
    } catch (error) {
      await handle.close();
      throw error;
    }
    const before = this.#handle;
    [this.#handle, this.#length, this.#lines, this.#isNamed] = [handle, length, count, false];
    await before.close();
    await this.#keepName();
  }

  /** Until that is done, a loss of power may bring the file back that had the name before. */
  async #keepName(): Promise<void> {
    if (this.#isNamed) return;
    await keepNames(this.#file);
    this.#isNamed = true;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** A file that was made or renamed is found again after a loss of power only when its folder has been written, too. */
const keepNames = async (file: string): Promise<void> => {
  const folder = await open(dirname(file));
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
};

const bytesOf = (lines: readonly string[]): Buffer => Buffer.from(lines.map((line) => `${line}\n`).join(''));

const write = async (handle: FileHandle, bytes: Buffer, at: number): Promise<void> => {
  for (let done = 0; done < bytes.length; )
    done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
};

function* pieces(lines: Iterable<string>): Generator<readonly string[]> {
  let piece: string[] = [];
  let size = 0;
  for (const line of lines) {
    piece.push(line);
    size += line.length;
    if (size < PIECE) continue;
    yield piece;
    [piece, size] = [[], 0];
  }
  yield piece;
}

/** Documents and their vectors: in memory to be searched, and in a file that outlives the replica. */
import { HttpError } from 'serve-daemon';
import { Journal } from './journal.ts';
import { Nearest } from './nearest.ts';

export interface Document {
  readonly id: string;
  readonly text: string;
}
export interface Embedded extends Document {
  /** Of length 1. */
  readonly vector: Float32Array;
}
export interface Hit extends Document {
  /** The cosine, from -1 to 1. */
  readonly score: number;
}
export interface Limits {
  /** Numbers of a vector. */
  readonly width: number;
  readonly maxDocuments: number;
}
/** Gets what went wrong where nobody waits for it. */
export type Tell = (error: unknown) => void;

/** What a line of the file says. */
type Line =
  | { readonly id: string; readonly text: string; readonly vector: string }
  | { readonly id: string; readonly gone: true };

/** The file is written anew when it has this many lines more than twice as many as there are documents. */
const SPARE_LINES = 1000;

export class DocumentStore {
  readonly #maxDocuments: number;
  readonly #journal: Journal;
  readonly #nearest: Nearest;
  readonly #texts: Map<string, string>;
  readonly #tell: Tell;
  /** Resolves when the last change that was asked for is over: in the file as in memory they are one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(maxDocuments: number, journal: Journal, nearest: Nearest, texts: Map<string, string>, tell: Tell) {
    this.#maxDocuments = maxDocuments;
    this.#journal = journal;
    this.#nearest = nearest;
    this.#texts = texts;
    this.#tell = tell;
  }

  /** @throws when a line of the file is none of ours, or has a vector of another width */
  static async open(file: string, { width, maxDocuments }: Limits, tell: Tell): Promise<DocumentStore> {
    const [nearest, texts] = [new Nearest(width), new Map<string, string>()];
    const journal = await Journal.open(file, (text, number) => {
      const line = lineOf(text, width, `${file}:${number}`);
      if ('gone' in line) {
        nearest.delete(line.id);
        texts.delete(line.id);
      } else {
        nearest.set(line.id, vectorOf(line.vector));
        texts.set(line.id, line.text);
      }
    });
    return new DocumentStore(maxDocuments, journal, nearest, texts, tell);
  }

  get size(): number {
    return this.#texts.size;
  }

  get(id: string): Document | undefined {
    const text = this.#texts.get(id);
    return text === undefined ? undefined : { id, text };
  }

  search(query: Float32Array, top: number): readonly Hit[] {
    return this.#nearest.search(query, top).map(({ id, score }) => ({ id, score, text: this.#texts.get(id) as string }));
  }

  /**
   * Resolves when they are on the disk. A document with an id that is there takes its place.
   * @param documents each with an id of its own
   * @throws HttpError 507 when there would be too many; then none is kept
   */
  put(documents: readonly Embedded[]): Promise<void> {
    return this.#next(async () => {
      const size = this.size + documents.filter(({ id }) => !this.#texts.has(id)).length;
      if (size > this.#maxDocuments)
        throw new HttpError(
          507,
          `expected at most ${this.#maxDocuments} documents, got ${size}: delete some, or raise \`maxDocuments\``,
        );
      await this.#journal.append(documents.map(textOf));
      for (const { id, text, vector } of documents) {
        this.#nearest.set(id, vector);
        this.#texts.set(id, text);
      }
      await this.#tidy();
    });
  }

  /** @returns false when there was none */
  delete(id: string): Promise<boolean> {
    return this.#next(async () => {
      if (!this.#texts.has(id)) return false;
      await this.#journal.append([JSON.stringify({ id, gone: true } satisfies Line)]);
      this.#nearest.delete(id);
      this.#texts.delete(id);
      await this.#tidy();
      return true;
    });
  }

  /** After the changes that were asked for. */
  close(): Promise<void> {
    return this.#next(() => this.#journal.close());
  }

  #next<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(change);
    this.#turn = done.catch(() => {});
    return done;
  }

  /** Keeps the file from growing where documents come and go. When it fails, the change before it is kept all the same, and the next one tries again. */
  async #tidy(): Promise<void> {
    if (this.#journal.lines > 2 * this.size + SPARE_LINES) await this.#journal.replace(this.#lines()).catch(this.#tell);
  }

  *#lines(): Generator<string> {
    for (const [id, text] of this.#texts) yield textOf({ id, text, vector: this.#nearest.get(id) as Float32Array });
  }
}

const textOf = ({ id, text, vector }: Embedded): string =>
  JSON.stringify({
    id,
    text,
    vector: Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64'),
  } satisfies Line);

/** A copy, as bytes in a `Buffer` need not begin where a number may. */
const vectorOf = (base64: string): Float32Array => new Float32Array(Uint8Array.from(Buffer.from(base64, 'base64')).buffer);

const lineOf = (text: string, width: number, where: string): Line => {
  let line: Partial<Line & { gone: unknown; text: unknown; vector: unknown }> | undefined;
  try {
    line = JSON.parse(text);
  } catch {}
  const isDocument = typeof line?.text === 'string' && typeof line.vector === 'string';
  if (typeof line?.id !== 'string' || (line.gone !== true && !isDocument))
    throw new Error(`${where}: expected a document with its vector in JSON, got ${text.slice(0, 60)}: mend or remove that line`);
  const bytes = isDocument ? Buffer.byteLength(line.vector as string, 'base64') : 4 * width;
  if (bytes !== 4 * width)
    throw new Error(
      `${where}: expected a vector of ${width} numbers, got one of ${bytes / 4}, from another model: name another file, and post the documents to it`,
    );
  return line as Line;
};

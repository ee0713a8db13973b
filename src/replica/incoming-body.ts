/** The body of a request that comes in pieces, as code reads it: what code has not read yet holds its sender back. */
import { ServeError } from '../domain/errors.ts';

/** Reading is told in portions, so that not each small piece costs a frame. */
const CREDIT_PORTION = 65_536;

export class IncomingBody {
  readonly #giveCredit: (bytes: number) => void;
  #pieces: Uint8Array[] = [];
  #owed = 0;
  #end: 'whole' | Error | undefined;
  /** Code has no more use for it: what comes is let go. */
  #unwanted = false;
  #wake: (() => void) | undefined;

  constructor(giveCredit: (bytes: number) => void) {
    this.#giveCredit = giveCredit;
  }

  // What the daemon says.

  push(bytes: Uint8Array): void {
    if (this.#end !== undefined) return;
    if (this.#unwanted) return this.#took(bytes.byteLength);
    this.#pieces.push(bytes);
    this.#wake?.();
  }

  end(how: 'whole' | 'broken'): void {
    this.#end ??= how === 'whole' ? how : new ServeError('CLIENT_CLOSED', 'the client left before its request was complete');
    this.#wake?.();
  }

  /** Nothing more can be read: the request was cancelled, or has been answered. */
  fail(error: Error): void {
    if (this.#end === 'whole') return;
    this.#end ??= error;
    this.#pieces = [];
    this.#wake?.();
  }

  // What code does.

  /** @returns undefined at its end. @throws where the rest will not come */
  async read(): Promise<Uint8Array | undefined> {
    while (true) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#took(piece.byteLength);
        return piece;
      }
      if (this.#end === 'whole') return undefined;
      if (this.#end !== undefined) throw this.#end;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Nothing is asked for before code reads. */
  stream(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const piece = await this.read();
          if (piece === undefined) controller.close();
          else controller.enqueue(piece);
        },
        cancel: () => this.#letGo(),
      },
      { highWaterMark: 0 },
    );
  }

  /** In one piece, for code that does not read streams. */
  async whole(): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for (let piece = await this.read(); piece !== undefined; piece = await this.read()) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  #letGo(): void {
    this.#unwanted = true;
    for (const piece of this.#pieces) this.#took(piece.byteLength);
    this.#pieces = [];
  }

  #took(bytes: number): void {
    this.#owed += bytes;
    if (this.#owed < CREDIT_PORTION || this.#end !== undefined) return;
    this.#giveCredit(this.#owed);
    this.#owed = 0;
  }
}

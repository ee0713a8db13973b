/** The body of one HTTP request on its way from the client's socket to a replica: held here no longer, and no more of it, than the replica allows. */
import { INITIAL_CREDIT_BYTES } from '../protocol/messages.ts';

/** So much is held of a body that no replica takes yet, or not so fast; then the client's socket is left unread. */
const HELD_BYTES = 65_536;

/** Where it goes once a replica has begun the call. */
export interface BodyTarget {
  piece(bytes: Uint8Array): void;
  end(): void;
  /** The rest will not come. */
  broken(): void;
}

/**
 *     the exchange ── push, end, fail ──▶ RequestBody ── BodyTarget ──▶ the link       (from `open` on)
 *                  ◀── onRoom ───────────             ◀── taken ──────
 */
export class RequestBody {
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  /** Bytes that the replica has been sent and has not told to be read. */
  #unread = 0;
  #state: 'coming' | 'whole' | 'broken' | 'dropped' = 'coming';
  #target: BodyTarget | undefined;
  #told = false;
  #waits = false;
  #onRoom: () => void;
  #onHeld: (bytes: number) => void = nothing;

  /** @param onRoom the socket may be read again, after `push` gave false */
  constructor(onRoom: () => void) {
    this.#onRoom = onRoom;
  }

  /** Some of it has left: the request cannot be given to another replica. */
  consumed = false;

  /** @param onHeld told of bytes that come to be held here (positive) and that no longer are (negative) */
  account(onHeld: (bytes: number) => void): void {
    this.#onHeld = onHeld;
    onHeld(this.#heldBytes);
  }

  // The client's side.

  /** @returns false: no more before `onRoom` */
  push(bytes: Uint8Array): boolean {
    if (this.#state !== 'coming') return true;
    this.#held.push(bytes);
    this.#heldBytes += bytes.byteLength;
    this.#onHeld(bytes.byteLength);
    this.#pump();
    this.#waits ||= this.#heldBytes >= HELD_BYTES;
    return !this.#waits;
  }

  end(): void {
    if (this.#state === 'coming') this.#state = 'whole';
    this.#pump();
  }

  /** The client has gone in the middle of it. */
  fail(): void {
    if (this.#state === 'coming') this.#state = 'broken';
    this.#pump();
  }

  /** What has come so far, in one piece, for a body that was whole before anybody was called. */
  takeWhole(): Uint8Array {
    const [first] = this.#held;
    const whole = this.#held.length === 1 ? (first as Uint8Array) : Buffer.concat(this.#held, this.#heldBytes);
    this.drop();
    return whole;
  }

  // The replica's side.

  /** A replica has begun the call. */
  open(target: BodyTarget): void {
    this.#target = target;
    this.#pump();
  }

  /** The replica that had it is gone. */
  detach(): void {
    this.#target = undefined;
  }

  /** Its code has read so many bytes. A replica that says more than it was sent gains nothing by it. */
  taken(bytes: number): void {
    this.#unread = Math.max(0, this.#unread - bytes);
    this.#pump();
  }

  /** Nobody wants it any more: what comes is let go. */
  drop(): void {
    if (this.#state === 'dropped') return;
    this.#state = 'dropped';
    this.#target = undefined;
    this.#held = [];
    this.#letGo(this.#heldBytes);
    this.#makeRoom();
  }

  #pump(): void {
    const target = this.#target;
    if (target === undefined) return;
    while (this.#held.length > 0 && this.#unread < INITIAL_CREDIT_BYTES) {
      const piece = this.#held.shift() as Uint8Array;
      this.#unread += piece.byteLength;
      this.consumed = true;
      target.piece(piece);
      this.#letGo(piece.byteLength);
    }
    if (this.#held.length === 0 && !this.#told && this.#state !== 'coming') {
      this.#told = true;
      this.consumed = true;
      if (this.#state === 'whole') target.end();
      else target.broken();
    }
    this.#makeRoom();
  }

  #letGo(bytes: number): void {
    this.#heldBytes -= bytes;
    if (bytes > 0) this.#onHeld(-bytes);
  }

  #makeRoom(): void {
    if (!this.#waits || this.#heldBytes >= HELD_BYTES) return;
    this.#waits = false;
    this.#onRoom();
  }
}

const nothing = (): void => {};

/** Answers that are kept in memory, bounded in bytes: the least recently used goes first. Pure: time is an argument. */
import type { HttpAnswerHead } from '../protocol/messages.ts';
import type { WireValue } from '../protocol/value.ts';

export interface StoredAnswer {
  readonly value: WireValue;
  /** undefined: it is no answer to an HTTP request. */
  readonly http: HttpAnswerHead | undefined;
}

interface Entry {
  readonly answer: StoredAnswer;
  readonly bytes: number;
  /** Monotonic milliseconds. */
  readonly storedAt: number;
  /** Of its own, beside that of the store; Infinity: none. */
  readonly ttlMs: number;
}

/**
 * What an entry takes beside what is in it: its key, its place in the table, the objects around its bytes. Of 40,000 entries of 8 bytes each
 * took 720 bytes of heap on Node 20; the rest is for what the allocator adds.
 */
export const ENTRY_BYTES = 1024;
/** One answer may take so much of the whole: else a few would throw out all others. */
const LARGEST_SHARE = 4;
/** For how long it is remembered that the answer to a question is not one to be kept. */
export const PASS_MS = 10_000;
/** Of so many questions. */
export const MAX_PASSES = 1000;

export class AnswerStore {
  /** The least recently used first. */
  readonly #entries = new Map<string, Entry>();
  /** By key, until when nobody waits for another's answer, which would be in vain; beside the bound, so that they throw out no answers. */
  readonly #passes = new Map<string, number>();
  #maxBytes: number;
  #ttlMs: number;
  #bytes = 0;
  #evicted = 0;
  #expired = 0;

  /** @param ttlMs Infinity: none */
  constructor(maxBytes: number, ttlMs: number) {
    this.#maxBytes = maxBytes;
    this.#ttlMs = ttlMs;
  }

  get entries(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Entries that made room for others. */
  get evicted(): number {
    return this.#evicted;
  }

  /** Entries whose time was over. */
  get expired(): number {
    return this.#expired;
  }

  /** In force at once: what is too much goes now, and what is too old is found to be so. */
  limit(maxBytes: number, ttlMs: number): void {
    this.#maxBytes = maxBytes;
    this.#ttlMs = ttlMs;
    this.#makeRoom(0);
  }

  /** @returns `pass`: the answer is known to be one that is not kept */
  get(key: string, now: number): StoredAnswer | 'pass' | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return this.#isPassed(key, now) ? 'pass' : undefined;
    if (this.#isOver(entry, now)) {
      this.#drop(key, entry);
      this.#expired += 1;
      return undefined;
    }
    // The one that was used last is the last to go.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.answer;
  }

  /**
   * @param bytes what the answer holds in memory
   * @param ttlMs how long the answer itself says that it is good; Infinity: it does not say
   */
  keep(key: string, answer: StoredAnswer, bytes: number, ttlMs: number, now: number): void {
    this.#forget(key);
    const entry = { answer, bytes: bytes + ENTRY_BYTES, storedAt: now, ttlMs };
    if (entry.bytes > this.#maxBytes / LARGEST_SHARE) return;
    this.#dropOver(now);
    this.#makeRoom(entry.bytes);
    this.#entries.set(key, entry);
    this.#bytes += entry.bytes;
  }

  /** Whether an answer that holds so many bytes would be kept. */
  takes(bytes: number): boolean {
    return bytes + ENTRY_BYTES <= this.#maxBytes / LARGEST_SHARE;
  }

  /** For a while it is not looked for, and nobody waits for another's answer to it. */
  pass(key: string, now: number): void {
    this.#forget(key);
    const [oldest] = this.#passes.keys();
    if (oldest !== undefined && this.#passes.size >= MAX_PASSES) this.#passes.delete(oldest);
    this.#passes.set(key, now + PASS_MS);
  }

  clear(): void {
    this.#entries.clear();
    this.#passes.clear();
    this.#bytes = 0;
  }

  #isPassed(key: string, now: number): boolean {
    const until = this.#passes.get(key);
    if (until === undefined) return false;
    if (now < until) return true;
    this.#passes.delete(key);
    return false;
  }

  /** What was known of the question before. */
  #forget(key: string): void {
    this.#passes.delete(key);
    const before = this.#entries.get(key);
    if (before !== undefined) this.#drop(key, before);
  }

  /** Those at the cold end whose time is over, so that what nobody asks for any more does not stay until there is no room. */
  #dropOver(now: number): void {
    for (const [key, entry] of this.#entries) {
      if (!this.#isOver(entry, now)) return;
      this.#drop(key, entry);
      this.#expired += 1;
    }
  }

  #makeRoom(bytes: number): void {
    if (this.#bytes + bytes <= this.#maxBytes) return;
    for (const [key, entry] of this.#entries) {
      this.#drop(key, entry);
      this.#evicted += 1;
      if (this.#bytes + bytes <= this.#maxBytes) return;
    }
  }

  #isOver({ storedAt, ttlMs }: Entry, now: number): boolean {
    return now - storedAt >= Math.min(ttlMs, this.#ttlMs);
  }

  #drop(key: string, { bytes }: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= bytes;
  }
}

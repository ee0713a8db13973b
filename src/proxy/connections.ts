/**
 * How many connections clients may have, so that descriptors are left for what the daemon itself needs: replicas, logs, the config file.
 * Without it a full table takes the last one, and an acceptor that is out of descriptors is asked again and again by its event loop.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { ConnectionCounts } from '../domain/metrics.ts';

/** What a driver asks for each connection. */
export interface Door {
  /** @returns false: no more of them, close it; `closed` is called for it all the same */
  opened(): boolean;
  closed(): void;
}

export interface Descriptors {
  /** How many this process may have. */
  readonly limit: number;
  /** How many it has. */
  inUse(): number;
}

/** Kept free, of what there may be: room to start replicas, to rotate a log, to read a config. */
const KEPT_SHARE = 1 / 8;
const KEPT_LEAST = 16;
const KEPT_MOST = 256;
/** What else has descriptors is counted anew after so long, while there are few left. */
const RECOUNT_MS = 1000;
const TELL_AGAIN_MS = 10_000;

export class Connections implements Door {
  readonly #descriptors: Descriptors | undefined;
  readonly #now: () => number;
  readonly #refuses: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  #open = 0;
  #refused = 0;
  /** Descriptors that are none of clients. */
  #others = 0;
  #countedAt = Number.NEGATIVE_INFINITY;
  #toldAt = Number.NEGATIVE_INFINITY;

  /**
   * @param descriptors undefined where the system does not tell: every connection is taken
   * @param refuses is told now and then while connections are closed
   */
  constructor(
    descriptors: Descriptors | undefined,
    now: () => number,
    refuses: (message: string, fields: Readonly<Record<string, unknown>>) => void,
  ) {
    this.#descriptors = descriptors;
    this.#now = now;
    this.#refuses = refuses;
  }

  get counts(): ConnectionCounts {
    return { open: this.#open, refused: this.#refused };
  }

  opened(): boolean {
    this.#open += 1;
    if (this.#descriptors === undefined) return true;
    const { limit } = this.#descriptors;
    const kept = Math.min(KEPT_MOST, Math.max(KEPT_LEAST, Math.floor(limit * KEPT_SHARE)));
    // Far from the limit nothing is counted: to list ten thousand descriptors takes milliseconds.
    if (2 * (this.#open + this.#others) < limit - kept && this.#countedAt >= 0) return true;
    const now = this.#now();
    if (now - this.#countedAt >= RECOUNT_MS) {
      this.#countedAt = now;
      this.#others = Math.max(0, this.#descriptors.inUse() - this.#open);
    }
    if (this.#open + this.#others + kept <= limit) return true;
    this.#refused += 1;
    if (now - this.#toldAt >= TELL_AGAIN_MS) {
      this.#toldAt = now;
      this.#refuses('new connections are closed at once: this process may have no more descriptors (ulimit -n)', {
        connections: this.#open - 1,
        otherDescriptors: this.#others,
        limit,
      });
    }
    return false;
  }

  closed(): void {
    this.#open -= 1;
  }
}

/** Of this process, where `/proc` tells. */
export const ownDescriptors = (): Descriptors | undefined => {
  try {
    const limit = Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]);
    return Number.isFinite(limit) ? { limit, inUse: () => readdirSync('/proc/self/fd').length } : undefined;
  } catch {
    return undefined;
  }
};

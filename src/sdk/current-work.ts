/**
 * In whose work code runs: what it calls of other deployments belongs there. There is one of it in a process, however many copies of this
 * package are loaded.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

/** A call that this replica works on. */
export interface CallWork {
  readonly id: number;
  readonly requestId: string;
  /** Milliseconds since the epoch. */
  readonly deadline?: number | undefined;
}

/** What is done for several calls at once. */
export interface SharedWork {
  /** Aborted when nobody waits for it any more. */
  readonly signal: AbortSignal;
  /** The latest of theirs. */
  readonly deadline: number | undefined;
}

const KEY = Symbol.for('serve-daemon.current-work');
const shared = globalThis as unknown as Record<symbol, AsyncLocalStorage<CallWork | SharedWork> | undefined>;
shared[KEY] ??= new AsyncLocalStorage();
export const currentWork = shared[KEY];

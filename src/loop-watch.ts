/** How late the event loop of this thread is. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { LoopDelay } from './domain/metrics.ts';

const RESOLUTION_MS = 20;
/** A look after less than this long sees the same while as the one before. */
const WHILE_MS = 5000;
const NS = 1e9;

export class LoopWatch {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #since = performance.now();
  #last: LoopDelay | undefined;

  constructor() {
    this.#delay.enable();
  }

  get delay(): LoopDelay {
    const now = performance.now();
    if (this.#last !== undefined && now - this.#since < WHILE_MS) return this.#last;
    // The monitor's own period is part of what it measures.
    const late = (ns: number): number => Math.max(0, ns / NS - RESOLUTION_MS / 1000) || 0;
    this.#last = { p50: late(this.#delay.percentile(50)), p99: late(this.#delay.percentile(99)), max: late(this.#delay.max) };
    this.#since = now;
    this.#delay.reset();
    return this.#last;
  }

  close(): void {
    this.#delay.disable();
  }
}

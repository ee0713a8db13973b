/** Time that the test owns: `now()` and the timers of the code under test move only when `advance` is called. Sockets go on by themselves. */

interface Owner {
  teardown(done: () => unknown): void;
}

interface Timer {
  at: number;
  readonly work: () => void;
  readonly everyMs: number | undefined;
  unref(): Timer;
  ref(): Timer;
}

export class FakeClock {
  #time = 1000;
  readonly #timers = new Set<Timer>();

  /** Replaces the timers of this process until the test ends. */
  constructor(t: Owner) {
    const real = { setTimeout, clearTimeout, setInterval, clearInterval };
    const add = (work: () => void, ms = 0, everyMs?: number): Timer => {
      const timer: Timer = { at: this.#time + ms, work, everyMs, unref: () => timer, ref: () => timer };
      this.#timers.add(timer);
      return timer;
    };
    const clear = (timer: unknown) => {
      this.#timers.delete(timer as Timer);
    };
    Object.assign(globalThis, {
      setTimeout: (work: () => void, ms?: number) => add(work, ms),
      setInterval: (work: () => void, ms: number) => add(work, ms, ms),
      clearTimeout: clear,
      clearInterval: clear,
    });
    t.teardown(() => Object.assign(globalThis, real));
  }

  readonly now = (): number => this.#time;

  /** Timers that wait, those that repeat not counted. */
  get pending(): number {
    return [...this.#timers].filter(({ everyMs }) => everyMs === undefined).length;
  }

  /** Moves time on, and runs what falls due on the way, in its order. */
  advance(ms: number): void {
    const until = this.#time + ms;
    while (true) {
      const due = [...this.#timers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#time = Math.max(this.#time, due.at);
      if (due.everyMs === undefined) this.#timers.delete(due);
      else due.at += due.everyMs;
      due.work();
    }
    this.#time = until;
  }
}

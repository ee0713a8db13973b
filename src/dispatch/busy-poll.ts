/**
 * Keeps the thread from sleeping while something is about to come. To fall asleep and be woken costs more than a small call takes in its
 * replica; to look on for a moment costs a CPU that others may want. So it is done for a moment only, where few calls are under way, and as
 * long as it mostly pays. What is looked for: the answer of a replica; and behind an answer, the next request.
 */

/** A small call, or a small model, is answered within that; what takes longer would gain little. */
const LOOK_MS = 0.25;
/** With more calls under way on a link there is something to do without waiting, and the CPUs have better to do than to look. */
const MOST_CALLS = 8;
/** Between two looks is one turn of the loop. One that took so long was not ours: others want this CPU. */
const HELD_UP_MS = 0.5;
/** A look in vain takes back what so many good ones gave. */
const MISS_COSTS = 2;
const MOST_CREDIT = 16;
/** A few looks in vain after each such while are all that calls cost which take long: a hundredth of a CPU. */
const REST_MS = 250;

/** Whether looking pays, from what came of it. Pure: time is an argument. */
export class LookingPays {
  #credit = MOST_CREDIT;
  #restUntil = Number.NEGATIVE_INFINITY;

  at(now: number): boolean {
    return now >= this.#restUntil;
  }

  came(): void {
    this.#credit = Math.min(MOST_CREDIT, this.#credit + 1);
  }

  missed(now: number): void {
    this.#credit -= MISS_COSTS;
    if (this.#credit > 0) return;
    this.#credit = MOST_CREDIT;
    this.#restUntil = now + REST_MS;
  }
}

export class BusyPoll {
  readonly #now: () => number;
  readonly #inNextTurn: (look: () => void) => void;
  readonly #answers = new LookingPays();
  readonly #requests = new LookingPays();
  /** undefined: the thread may sleep. */
  #lookingFor: 'answer' | 'request' | undefined;
  /** An answer has come; and where another is still awaited, it is not the last. */
  #hasCome = false;
  #isAwaiting = false;
  #isScheduled = false;
  #until = 0;
  #lookedAt = 0;

  /**
   * @param now monotonic milliseconds
   * @param inNextTurn runs it behind the next look at the sockets, which does not wait then
   */
  constructor(now: () => number, inNextTurn: (look: () => void) => void = setImmediate) {
    this.#now = now;
    this.#inNextTurn = inNextTurn;
  }

  /** A replica works on something. @param calls under way on its link */
  awaits(calls: number): void {
    if (calls === 0) return;
    if (calls > MOST_CALLS) {
      this.#lookingFor = undefined;
      return;
    }
    const now = this.#now();
    if (this.#lookingFor === 'request') this.#requests.came();
    this.#isAwaiting = this.#answers.at(now);
    if (this.#isAwaiting) this.#lookFor('answer', now);
    else this.#lookingFor = undefined;
  }

  /** A replica has said something. */
  heard(): void {
    this.#hasCome = true;
    this.#isAwaiting = false;
  }

  #lookFor(what: 'answer' | 'request', now: number): void {
    if (this.#lookingFor === undefined) this.#hasCome = false;
    this.#lookingFor = what;
    this.#until = now + LOOK_MS;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#lookedAt = now;
    this.#inNextTurn(this.#look);
  }

  readonly #look = (): void => {
    this.#isScheduled = false;
    if (this.#lookingFor === undefined) return;
    const now = this.#now();
    const pays = this.#lookingFor === 'answer' ? this.#answers : this.#requests;
    const isHeldUp = now - this.#lookedAt > HELD_UP_MS;
    this.#lookedAt = now;
    if (this.#lookingFor === 'answer' && this.#hasCome) {
      this.#hasCome = false;
      if (isHeldUp) pays.missed(now);
      else pays.came();
      if (!this.#isAwaiting) return this.#requests.at(now) ? this.#lookFor('request', now) : this.#stop();
    } else if (isHeldUp || now > this.#until) {
      pays.missed(now);
      return this.#stop();
    }
    this.#isScheduled = true;
    this.#inNextTurn(this.#look);
  };

  #stop(): void {
    this.#lookingFor = undefined;
  }
}

/**
 * How often calls of one deployment may be tried again, over all requests: so many for each first try that a deployment whose calls all
 * fail is called a fifth more often, not as many times more as each of its callers may try. Pure.
 */

/** What a further try costs, in first tries. */
const COST = 5;
/** Saved up at most: what fails for a moment is tried again by all who were there. */
const MOST = 100 * COST;
/** There at the beginning, and again after a while: one further try in each second, where calls are few. */
const RESERVE = 10 * COST;
const RESERVE_PER_S = COST;

export class RetryBudget {
  #left = RESERVE;
  #since: number | undefined;

  /** A call is tried for the first time. @param now milliseconds */
  first(now: number): void {
    this.#refill(now);
    this.#left = Math.min(MOST, this.#left + 1);
  }

  /** @returns whether a further try is allowed; it is then taken */
  again(now: number): boolean {
    this.#refill(now);
    if (this.#left < COST) return false;
    this.#left -= COST;
    return true;
  }

  #refill(now: number): void {
    const given = ((now - (this.#since ?? now)) / 1000) * RESERVE_PER_S;
    this.#since = now;
    if (this.#left < RESERVE) this.#left = Math.min(RESERVE, this.#left + given);
  }
}

export class RetryBudgets {
  readonly #budgets = new Map<string, RetryBudget>();

  /** @param key of a deployment: `application/Deployment` */
  of(key: string): RetryBudget {
    let budget = this.#budgets.get(key);
    if (budget === undefined) {
      budget = new RetryBudget();
      this.#budgets.set(key, budget);
    }
    return budget;
  }

  /** Deployments that are no more are forgotten. */
  keep(keys: ReadonlySet<string>): void {
    for (const key of this.#budgets.keys()) if (!keys.has(key)) this.#budgets.delete(key);
  }
}

/** Requests over HTTP, by application and status. */
import { Histogram, type HttpMetrics, SECONDS } from '../domain/metrics.ts';

const FIRST_STATUS = 100;
const LAST_STATUS = 599;

class Counts {
  route = '';
  /** By status less `FIRST_STATUS`: a place is found faster than a key. */
  readonly statuses = new Array<number>(LAST_STATUS - FIRST_STATUS + 1).fill(0);
  readonly duration = new Histogram(SECONDS);
}

/** Requests that reached no application: unknown paths, and the daemon's own. */
const NONE = '';

export class HttpCounts {
  readonly #applications = new Map<string, Counts>([[NONE, new Counts()]]);

  /** @param routes by application; what is counted of those that are no more is forgotten */
  follow(routes: ReadonlyMap<string, string>): void {
    for (const name of this.#applications.keys()) if (name !== NONE && !routes.has(name)) this.#applications.delete(name);
    for (const [name, route] of routes) {
      const counts = this.#applications.get(name) ?? new Counts();
      counts.route = route;
      this.#applications.set(name, counts);
    }
  }

  /** @param application undefined: none */
  finished(application: string | undefined, status: number, ms: number): void {
    const counts = this.#applications.get(application ?? NONE);
    if (counts === undefined) return;
    counts.statuses[status - FIRST_STATUS] = (counts.statuses[status - FIRST_STATUS] ?? 0) + 1;
    counts.duration.observe(ms / 1000);
  }

  read(): readonly HttpMetrics[] {
    return [...this.#applications].map(([application, { route, statuses, duration }]) => ({
      application,
      route,
      statuses: Object.fromEntries(
        statuses.flatMap((count, index) => (count === 0 ? [] : [[index + FIRST_STATUS, count] as const])),
      ),
      duration: { ...duration },
    }));
  }
}

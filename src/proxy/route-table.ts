/** Longest route prefix at a path boundary: `/d` takes `/d` and `/d/x`, not `/dx`. Pure. */

export class RouteTable<T> {
  /** Longest first, so that the first match is the longest. */
  readonly #routes: readonly (readonly [string, T])[];

  /** @param routes prefix → target; prefixes are `/` or have no trailing slash */
  constructor(routes: Iterable<readonly [string, T]>) {
    this.#routes = [...routes].sort(([a], [b]) => b.length - a.length);
  }

  match(path: string): T | undefined {
    for (const [prefix, target] of this.#routes) {
      if (prefix === '/' || path === prefix || (path.startsWith(prefix) && path.charCodeAt(prefix.length) === 0x2f))
        return target;
    }
    return undefined;
  }
}

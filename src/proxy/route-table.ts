/** Longest route prefix at a path boundary: `/d` takes `/d` and `/d/x`, not `/dx`. Pure. */

const SLASH = 0x2f;

export class RouteTable<T> {
  readonly #routes: ReadonlyMap<string, T>;
  /** Of the prefixes but `/`, longest first: a folder of models has hundreds of prefixes, of which few differ in length. */
  readonly #lengths: readonly number[];

  /** @param routes prefix → target; prefixes are `/` or have no trailing slash */
  constructor(routes: Iterable<readonly [string, T]>) {
    this.#routes = new Map(routes);
    const lengths = new Set([...this.#routes.keys()].filter((prefix) => prefix !== '/').map((prefix) => prefix.length));
    this.#lengths = [...lengths].sort((a, b) => b - a);
  }

  match(path: string): T | undefined {
    for (const length of this.#lengths) {
      if (length > path.length || (length < path.length && path.charCodeAt(length) !== SLASH)) continue;
      const found = this.#routes.get(path.slice(0, length));
      if (found !== undefined) return found;
    }
    return this.#routes.get('/');
  }
}

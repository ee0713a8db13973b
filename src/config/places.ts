/** Where the keys and values of a parsed config stand in its text, and which of them no message may print. */
import { isMapping, type Mapping, type Path } from './finding.ts';

interface Place {
  readonly key: number;
  readonly value: number;
  /** The value came from the environment: what the file says in its place, to be printed instead. */
  written?: string;
}

export class Places {
  readonly #of = new Map<object, Map<string | number, Place>>();
  #root: { data: Mapping; offset: number } | undefined;

  root(data: Mapping, offset: number): void {
    this.#root = { data, offset };
  }

  set(holder: object, key: string | number, keyOffset: number, valueOffset: number): void {
    const places = this.#of.get(holder) ?? new Map<string | number, Place>();
    this.#of.set(holder, places);
    places.set(key, { key: keyOffset, value: valueOffset });
  }

  hide(holder: object, key: string | number, written: string): void {
    const place = this.#of.get(holder)?.get(key);
    if (place !== undefined) place.written = written;
  }

  copy(from: object, to: object, key: string): void {
    const place = this.#of.get(from)?.get(key);
    if (place === undefined) return;
    this.set(to, key, place.key, place.value);
    if (place.written !== undefined) this.hide(to, key, place.written);
  }

  /** The offset of what the path names or, where it is not in the file, of the innermost that is. */
  offset(path: Path, at: 'key' | 'value' = 'value'): number {
    return this.#find(path)?.[at] ?? this.#root?.offset ?? 0;
  }

  /** The path as far as the file goes. */
  reach(path: Path): Path {
    let reached = path;
    while (reached.length > 0 && this.#find(reached, true) === undefined) reached = reached.slice(0, -1);
    return reached;
  }

  /** What to print for a value that came from the environment; undefined for any other. */
  written(path: Path): string | undefined {
    return this.#find(path, true)?.written;
  }

  /** Whether anything at or under the value came from the environment, as `[written, value]`. */
  secrets(value: unknown): readonly (readonly [written: string, value: string])[] {
    if (!Array.isArray(value) && !isMapping(value)) return [];
    const found: (readonly [string, string])[] = [];
    for (const [key, place] of this.#of.get(value) ?? []) {
      const held = (value as Mapping)[key];
      if (place.written !== undefined) found.push([place.written, String(held)]);
      else found.push(...this.secrets(held));
    }
    return found;
  }

  #find(path: Path, exact = false): Place | undefined {
    let holder: unknown = this.#root?.data;
    let found: Place | undefined;
    for (const part of path) {
      const place = typeof holder === 'object' && holder !== null ? this.#of.get(holder)?.get(part) : undefined;
      if (place === undefined) return exact ? undefined : found;
      found = place;
      holder = (holder as Mapping)[part];
    }
    return found;
  }
}

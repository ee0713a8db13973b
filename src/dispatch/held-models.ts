/** Which models a replica holds, by what it says and by what it was given; what it says is checked. Pure but for its own memory. */
import { ProtocolError } from '../protocol/frame.ts';
import { MAX_MODEL_ID } from '../protocol/messages.ts';

/** Ids that the status shows for one replica; the rest are held all the same. */
const MAX_MODELS_TOLD = 1000;

export class HeldModels {
  /** What it may hold; 0: it was never asked. */
  #limit = 0;
  #highest = 0;
  readonly #told = new Set<string>();
  /** Id → requests that it was given and has not answered. */
  readonly #inWork = new Map<string, number>();
  /** Of those in work, how many it has not told of: it is about to load them. */
  #coming = 0;

  /** @returns whether the replica is to be told */
  allow(limit: number): boolean {
    if (limit === this.#limit) return false;
    this.#limit = limit;
    this.#highest = Math.max(this.#highest, limit);
    return true;
  }

  get isAsked(): boolean {
    return this.#highest > 0;
  }

  /** What it holds, loads, or is about to load. */
  get count(): number {
    return this.#told.size + this.#coming;
  }

  get ids(): readonly string[] {
    const ids: string[] = [];
    for (const id of this.#told) {
      if (ids.length === MAX_MODELS_TOLD) break;
      ids.push(id);
    }
    return ids.sort();
  }

  has(id: string): boolean {
    return this.#told.has(id) || this.#inWork.has(id);
  }

  /** Whether a request for the model could begin: none waits in a replica for a model that others are using to go. */
  hasPlaceFor(id: string, most: number): boolean {
    return this.#inWork.has(id) || this.#inWork.size < most;
  }

  given(id: string): void {
    const requests = this.#inWork.get(id);
    if (requests === undefined && !this.#told.has(id)) this.#coming += 1;
    this.#inWork.set(id, (requests ?? 0) + 1);
  }

  answered(id: string): void {
    const requests = this.#inWork.get(id) ?? 0;
    if (requests > 1) return void this.#inWork.set(id, requests - 1);
    if (this.#inWork.delete(id) && !this.#told.has(id)) this.#coming -= 1;
  }

  /**
   * @param meta of a MODELS frame
   * @throws ProtocolError when it says what no replica says that keeps to its limit
   */
  take(meta: Readonly<Record<string, unknown>>): void {
    if (!this.isAsked) throw new ProtocolError('a MODELS frame from a replica that was told no limit');
    // First what goes: so a replica at its limit may tell of an exchange in one frame.
    for (const id of idsOf(meta['removed'])) if (this.#told.delete(id) && this.#inWork.has(id)) this.#coming += 1;
    for (const id of idsOf(meta['added'])) {
      if (this.#told.has(id)) continue;
      this.#told.add(id);
      if (this.#inWork.has(id)) this.#coming -= 1;
      if (this.#told.size > this.#highest)
        throw new ProtocolError(`a replica that may hold ${this.#highest} models says that it holds more`);
    }
  }
}

const idsOf = (ids: unknown): readonly string[] => {
  if (ids === undefined) return [];
  if (!Array.isArray(ids) || ids.some((id) => typeof id !== 'string' || id === '' || id.length > MAX_MODEL_ID))
    throw new ProtocolError(`a MODELS frame whose ids are not texts of 1 to ${MAX_MODEL_ID} characters`);
  return ids as string[];
};

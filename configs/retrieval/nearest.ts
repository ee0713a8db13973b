/** Exact nearest neighbours: all vectors in one array, and the best of a query kept in a heap while it is gone through. */

export interface Neighbour {
  readonly id: string;
  /** The cosine, from -1 to 1, as vectors have the length 1. */
  readonly score: number;
}

const FIRST_ROOM = 64;

export class Nearest {
  readonly #width: number;
  /** Of a row: the width, filled up with zeros to a multiple of four. */
  readonly #stride: number;
  /** Row by row, without gaps; room for more behind them. */
  #vectors: Float32Array;
  /** Of each row. */
  readonly #ids: string[] = [];
  readonly #rows = new Map<string, number>();

  /** @param width numbers of each vector */
  constructor(width: number) {
    this.#width = width;
    this.#stride = 4 * Math.ceil(width / 4);
    this.#vectors = new Float32Array(FIRST_ROOM * this.#stride);
  }

  /** A copy. */
  get(id: string): Float32Array | undefined {
    const row = this.#rows.get(id);
    return row === undefined ? undefined : this.#vectors.slice(row * this.#stride, row * this.#stride + this.#width);
  }

  /** Adds a vector, or puts another in place of the one with this id. */
  set(id: string, vector: Float32Array): void {
    if (vector.length !== this.#width) throw new RangeError(`expected a vector of ${this.#width} numbers, got ${vector.length}`);
    const row = this.#rows.get(id) ?? this.#ids.length;
    if ((row + 1) * this.#stride > this.#vectors.length) {
      const larger = new Float32Array(this.#vectors.length * 2);
      larger.set(this.#vectors);
      this.#vectors = larger;
    }
    this.#vectors.set(vector, row * this.#stride);
    this.#ids[row] = id;
    this.#rows.set(id, row);
  }

  /** The last row takes the place of the one that goes. */
  delete(id: string): boolean {
    const row = this.#rows.get(id);
    if (row === undefined) return false;
    const last = this.#ids.length - 1;
    const moved = this.#ids[last] as string;
    this.#vectors.copyWithin(row * this.#stride, last * this.#stride, (last + 1) * this.#stride);
    this.#ids[row] = moved;
    this.#rows.set(moved, row);
    this.#ids.pop();
    this.#rows.delete(id);
    return true;
  }

  /**
   * Takes time in proportion to the number of vectors: some 20 ms for a hundred thousand of 256 numbers.
   * @returns the `top` nearest at most, best first; equals in the order in which they stand
   */
  search(query: Float32Array, top: number): readonly Neighbour[] {
    const best = new Best(top);
    const filled = new Float32Array(this.#stride);
    filled.set(query);
    for (let row = 0; row < this.#ids.length; row++) best.offer(row, this.#cosine(filled, row));
    return best.sorted().map(({ row, score }) => ({ id: this.#ids[row] as string, score }));
  }

  /** In four sums, which do not wait for each other. */
  #cosine(query: Float32Array, row: number): number {
    const vectors = this.#vectors;
    const from = row * this.#stride;
    let [a, b, c, d] = [0, 0, 0, 0];
    for (let at = 0; at < this.#stride; at += 4) {
      a += (query[at] as number) * (vectors[from + at] as number);
      b += (query[at + 1] as number) * (vectors[from + at + 1] as number);
      c += (query[at + 2] as number) * (vectors[from + at + 2] as number);
      d += (query[at + 3] as number) * (vectors[from + at + 3] as number);
    }
    return a + b + c + d;
  }
}

interface Scored {
  readonly row: number;
  readonly score: number;
}

/** The best few of many: a heap whose root is the worst of them, so that most that are offered cost one comparison. */
class Best {
  readonly #most: number;
  readonly #heap: Scored[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  offer(row: number, score: number): void {
    const heap = this.#heap;
    if (heap.length < this.#most) {
      heap.push({ row, score });
      this.#rise(heap.length - 1);
    } else if (this.#most > 0 && score > (heap[0] as Scored).score) {
      heap[0] = { row, score };
      this.#sink();
    }
  }

  sorted(): readonly Scored[] {
    return [...this.#heap].sort((a, b) => b.score - a.score || a.row - b.row);
  }

  #rise(at: number): void {
    for (let child = at; child > 0; ) {
      const parent = (child - 1) >> 1;
      if (!this.#swapIfWorse(child, parent)) return;
      child = parent;
    }
  }

  #sink(): void {
    for (let parent = 0; ; ) {
      const [left, right] = [2 * parent + 1, 2 * parent + 2];
      const worse = right < this.#heap.length && this.#isWorse(right, left) ? right : left;
      if (worse >= this.#heap.length || !this.#swapIfWorse(worse, parent)) return;
      parent = worse;
    }
  }

  #swapIfWorse(child: number, parent: number): boolean {
    if (!this.#isWorse(child, parent)) return false;
    const heap = this.#heap;
    [heap[child], heap[parent]] = [heap[parent] as Scored, heap[child] as Scored];
    return true;
  }

  /** Of equals the later row, so that the earlier stay. */
  #isWorse(a: number, b: number): boolean {
    const [one, other] = [this.#heap[a] as Scored, this.#heap[b] as Scored];
    return one.score < other.score || (one.score === other.score && one.row > other.row);
  }
}

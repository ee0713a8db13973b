/** Lets a producer run ahead of its consumer, so far and no farther. */

/**
 * @param count items that wait, or are worked on, beside the one that the consumer has
 * @throws what the source throws, when its turn comes
 */
export async function* ahead<T>(source: AsyncIterable<T>, count: number): AsyncGenerator<T> {
  const items = source[Symbol.asyncIterator]();
  const asked: Promise<IteratorResult<T>>[] = [];
  const ask = () => {
    const item = items.next();
    // It is told when its turn comes; until then nobody awaits it.
    item.catch(() => {});
    asked.push(item);
  };
  try {
    while (true) {
      while (asked.length <= count) ask();
      const item = await (asked.shift() as Promise<IteratorResult<T>>);
      if (item.done === true) return;
      yield item.value;
    }
  } finally {
    // Not awaited: it ends behind what it works on, for which nobody waits any more.
    items.return?.().catch(() => {});
  }
}

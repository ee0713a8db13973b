/** Puts names behind all that they point at, or names a cycle. */

export type Ordered = { readonly order: readonly string[] } | { readonly cycle: readonly string[] };

/**
 * Depth-first and without recursion, so that a long chain cannot overflow the stack; the given order is kept where it can be.
 * @param edges name → the names it points at (a step: what it needs); names that are no key are passed over
 * @returns `order`, in which each name stands behind all that it points at; or `cycle`, which ends with the name it begins with
 */
export const orderOf = (edges: ReadonlyMap<string, readonly string[]>): Ordered => {
  const order: string[] = [];
  const settled = new Set<string>();
  for (const root of edges.keys()) {
    if (settled.has(root)) continue;
    /** From the root to the name that is being looked at, each with how many of its edges were followed. */
    const trail = [{ name: root, followed: 0 }];
    const onTrail = new Set([root]);
    for (let here = trail.at(-1); here !== undefined; here = trail.at(-1)) {
      const next = edges.get(here.name)?.[here.followed++];
      if (next === undefined) {
        trail.pop();
        onTrail.delete(here.name);
        settled.add(here.name);
        order.push(here.name);
      } else if (onTrail.has(next)) {
        const names = trail.map((passed) => passed.name);
        return { cycle: [...names.slice(names.indexOf(next)), next] };
      } else if (!settled.has(next) && edges.has(next)) {
        trail.push({ name: next, followed: 0 });
        onTrail.add(next);
      }
    }
  }
  return { order };
};

/** A file with more is told of these, and of the rest when they are mended. */
const MAX_CYCLES = 20;

/** Every cycle that is left when one edge of each that was found before is taken away; so none hides another. */
export const cyclesOf = (edges: ReadonlyMap<string, readonly string[]>): readonly (readonly string[])[] => {
  const left = new Map(edges);
  const cycles: (readonly string[])[] = [];
  while (cycles.length < MAX_CYCLES) {
    const ordered = orderOf(left);
    if (!('cycle' in ordered)) break;
    cycles.push(ordered.cycle);
    const [from = '', to = ''] = ordered.cycle;
    left.set(
      from,
      (left.get(from) ?? []).filter((name) => name !== to),
    );
  }
  return cycles;
};

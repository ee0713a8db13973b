/** "Did you mean …": how a message names what was probably meant. */

/** How many edits (insert, delete, replace, swap of neighbours) lie between two names, letter case ignored. */
const distance = (left: string, right: string): number => {
  const a = left.toLowerCase();
  const b = right.toLowerCase();
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const next = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let edits = Math.min((last[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1, (last[column - 1] ?? 0) + (same ? 0 : 1));
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) edits = Math.min(edits, (before[column - 2] ?? 0) + 1);
      next.push(edits);
    }
    before = last;
    last = next;
  }
  return last[b.length] ?? 0;
};

/** Names longer than this are nobody's typing mistake, and would be slow to compare. */
const MAX_LENGTH = 100;
/** How many names a message lists when none is near. */
const MAX_LISTED = 8;

/** The known name nearest to `name`; undefined when none is near enough to be what was meant. */
export const nearest = (name: string, known: readonly string[]): string | undefined => {
  let best: string | undefined;
  let fewest = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    if (candidate.length > MAX_LENGTH || Math.abs(candidate.length - name.length) >= fewest) continue;
    const edits = distance(name, candidate);
    if (edits < fewest) {
      fewest = edits;
      best = candidate;
    }
  }
  return best;
};

/** The end of a message about an unknown name: ``; did you mean `x`?``, else what there is. `what` is a plural: `steps`. */
export const suggestion = (name: string, known: readonly string[], what: string): string => {
  const near = nearest(name, known);
  if (near !== undefined) return `; did you mean \`${near}\`?`;
  if (known.length === 0) return `; there are no ${what}`;
  return `; ${what}: ${listed(known)}`;
};

/** Names for a message, the first few of them. */
export const listed = (names: readonly string[]): string => {
  const shown = names.slice(0, MAX_LISTED).map((one) => `\`${one}\``);
  return `${shown.join(', ')}${names.length > MAX_LISTED ? `, … (${names.length})` : ''}`;
};

/** `split` of a step: compiles it, and chooses one of its targets. */
import type { CallTarget, Split } from '../domain/graph.ts';
import { compileExpression, type Names } from './expression.ts';
import type { KnownApplication, Path, Report, SplitSource } from './source.ts';
import { callTarget } from './target.ts';

export const compileSplit = (
  source: SplitSource,
  path: Path,
  names: Names,
  application: KnownApplication,
  all: readonly KnownApplication[],
  report: Report,
): Split | undefined => {
  const targets = source.targets.flatMap(({ call, weight }, index) => {
    const target = callTarget(call, [...path, 'targets', index, 'call'], application, all, report);
    return target === undefined ? [] : [{ target, weight }];
  });
  if (!source.targets.some(({ weight }) => weight > 0))
    report('SPLIT_EMPTY', [...path, 'targets'], 'expected at least one target with a weight above 0');
  const { sticky_by: stickyBy } = source;
  if (stickyBy !== undefined && !/^\$(?!\$)/.test(stickyBy))
    report(
      'BAD_REFERENCE',
      [...path, 'sticky_by'],
      `expected a reference, as in \`$request.headers.x-user\`, got \`${stickyBy}\``,
    );
  return {
    targets,
    stickyBy:
      stickyBy === undefined ? undefined : compileExpression(stickyBy, [...path, 'sticky_by'], { ...names, item: false }, report),
  };
};

/** @param point in [0, 1): the share of the weights, in the order of the file, that stands before the chosen target */
export const choose = ({ targets }: Split, point: number): CallTarget => {
  const total = targets.reduce((sum, { weight }) => sum + weight, 0);
  let left = point * total;
  const weighty = targets.filter(({ weight }) => weight > 0);
  const chosen = weighty.find(({ weight }) => {
    left -= weight;
    return left < 0;
  });
  // Rounding may leave a trace behind the last.
  const { target } = (chosen ?? weighty.at(-1)) as Split['targets'][number];
  return target;
};

/**
 * So far apart, in 2⁻³² of the circle, are points of requests that follow each other: the golden ratio, and for further splits of a graph
 * roots of primes. Points of such a walk are spread evenly however few they are, also every second or tenth of them; and since no stride is a
 * multiple of another, who is in the canary of one split is in that of another no more often than chance has it.
 */
const STRIDES: readonly number[] = [
  (Math.sqrt(5) - 1) / 2,
  ...[2, 3, 7, 11, 13, 17, 19].map((prime) => Math.sqrt(prime) % 1),
].map((stride) => Math.round(stride * 2 ** 32));

/** @param point where the last request fell, in 2⁻³² @param order which of the splits of its graph it is @returns where the next one falls */
export const nextPoint = (point: number, order: number): number => (point + (STRIDES[order % STRIDES.length] as number)) >>> 0;

/** Where a text falls in [0, 1): the same for ever, and evenly spread. FNV-1a with the finish of MurmurHash3. */
export const pointOf = (text: string): number => {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text, 'utf8')) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
};

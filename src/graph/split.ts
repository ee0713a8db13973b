/** `split` of a step: compiles it, and chooses one of its targets. */
import type { CallTarget, Split } from '../domain/graph.ts';
import { compileExpression, type Names } from './expression.ts';
import type { KnownApplication, Path, Report, StepSource } from './source.ts';
import { callTarget } from './target.ts';

export const compileSplit = (
  source: NonNullable<StepSource['split']>,
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

/** Where a text falls in [0, 1): the same for ever, and evenly spread. FNV-1a with the finish of MurmurHash3. */
export const pointOf = (text: string): number => {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text, 'utf8')) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
};

/** `verdict` of a split: compiles it, and says what can never come of it. */
import { type CallTarget, percentsOf, type Split, type VerdictBounds, type VerdictSpec } from '../domain/graph.ts';
import type { Path, Report, SplitSource, VerdictSource } from './source.ts';
import { isSameTarget } from './target.ts';

/** As in the schema. */
const STEPS: readonly number[] = [5, 25, 50, 100];
const WINDOW_S = 60;
const MIN_REQUESTS = 100;

/** Each bound by its name in the two sections, and what the file's number is in the domain. */
const BOUNDS = [
  ['errorRate', 'error_rate_below', 'error_rate_above', 1],
  ['p99Ms', 'p99_below_s', 'p99_above_s', 1000],
  ['p99Ratio', 'p99_ratio_below', 'p99_ratio_above', 1],
  ['difference', 'difference_below', 'difference_above', 1],
] as const;

/**
 * @param source what the file says of the split, and `split` what was made of it
 * @param shadow whom the shadow of the step calls; undefined: it has none
 * @returns undefined where the split is mistaken itself
 */
export const compileVerdict = (
  source: VerdictSource,
  { targets: said }: SplitSource,
  { targets, stickyBy }: Split,
  shadow: CallTarget | undefined,
  path: Path,
  report: Report,
): VerdictSpec | undefined => {
  const wrong = (at: Path, message: string) => report('BAD_VERDICT', [...path, ...at], message);
  if (said.length !== 2) {
    wrong([], `a verdict needs two targets, the stable one first and the canary behind it, got ${said.length}`);
    return undefined;
  }
  const [stable, canary] = targets;
  if (stable === undefined || canary === undefined) return undefined;
  if (isSameTarget(stable.target, canary.target))
    wrong([], 'the stable target and the canary are one and the same: nothing can be told of it');
  const spec: VerdictSpec = {
    steps: source.steps ?? STEPS,
    windowMs: (source.window_s ?? WINDOW_S) * 1000,
    minRequests: source.min_requests ?? MIN_REQUESTS,
    isSticky: stickyBy !== undefined,
    promoteWhen: boundsOf(source.promote_when, 1),
    abortWhen: boundsOf(source.abort_when, 2),
  };
  checkBounds(source, spec, wrong);
  checkSteps(source, spec, percentsOf(targets)[1] ?? 0, wrong);
  checkEvidence(spec, canary, shadow, wrong);
  return spec;
};

/** @param name where in a row of `BOUNDS` its name stands @returns undefined: none is given */
const boundsOf = (given: Readonly<Record<string, number>> | null | undefined, name: 1 | 2): VerdictBounds | undefined => {
  const found = BOUNDS.flatMap((row) => {
    const value = given?.[row[name]];
    return value === undefined || value === null ? [] : [[row[0], value * row[3]] as const];
  });
  return found.length === 0 ? undefined : Object.fromEntries(found);
};

type Wrong = (at: Path, message: string) => void;

const checkBounds = (source: VerdictSource, { promoteWhen, abortWhen }: VerdictSpec, wrong: Wrong): void => {
  for (const key of ['promote_when', 'abort_when'] as const) {
    const names = BOUNDS.map((row) => `\`${row[key === 'promote_when' ? 1 : 2]}\``).join(', ');
    if (source[key] && (key === 'promote_when' ? promoteWhen : abortWhen) === undefined)
      wrong([key], `expected at least one of ${names}, got none`);
  }
  if (!source.promote_when && !source.abort_when)
    wrong([], 'expected `promote_when`, `abort_when` or both, got neither: it would never decide anything');
  for (const [of, below, above, unit] of BOUNDS) {
    const [low, high] = [promoteWhen?.[of], abortWhen?.[of]];
    if (low !== undefined && high !== undefined && low > high)
      wrong(
        ['promote_when', below],
        `expected at most the ${high / unit} of \`${above}\`, got ${low / unit}: between them it would be aborted`,
      );
  }
};

const checkSteps = (source: VerdictSource, { steps, promoteWhen }: VerdictSpec, percent: number, wrong: Wrong): void => {
  const falls = steps.findIndex((step, index) => index > 0 && step <= (steps[index - 1] as number));
  if (falls > 0) return wrong(['steps', falls], `expected rising percents, got ${steps[falls]} behind ${steps[falls - 1]}`);
  if (source.steps !== undefined && promoteWhen === undefined && !source.promote_when)
    return wrong(['steps'], '`steps` are taken when `promote_when` holds, and there is none');
  if (promoteWhen !== undefined && percent >= (steps.at(-1) ?? 0))
    wrong(
      ['steps'],
      `expected a step above the ${Number(percent.toFixed(2))} % that the weights give the canary, got ${steps.join(', ') || 'none'}`,
    );
};

/** Whether what the bounds are about can be known at all. */
const checkEvidence = (
  { promoteWhen, abortWhen }: VerdictSpec,
  { target, weight }: Split['targets'][number],
  shadow: CallTarget | undefined,
  wrong: Wrong,
): void => {
  const isShadowed = shadow !== undefined && isSameTarget(shadow, target);
  const needs = 'needs a `shadow` of this step that calls the canary';
  if (!isShadowed && promoteWhen?.difference !== undefined)
    wrong(['promote_when', 'difference_below'], `\`difference_below\` ${needs}`);
  if (!isShadowed && abortWhen?.difference !== undefined)
    wrong(['abort_when', 'difference_above'], `\`difference_above\` ${needs}`);
  if (weight === 0 && promoteWhen !== undefined && promoteWhen.difference === undefined)
    wrong(
      [],
      `with a weight of 0 the canary gets no requests to be judged by: give it a weight, or say \`difference_below\`, which ${needs}`,
    );
};

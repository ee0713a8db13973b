/**
 * Decides whether the canary of a split gets the next step, nothing any more, or waits, and says why.
 *
 *   PROGRESSING → PROMOTED (it has the last step)
 *   PROGRESSING → ABORTED  (it gets nothing)
 *
 * Neither is left again but by an edit. The share only rises until one of them, so that figures that waver around a bound move nothing twice.
 */
import type { VerdictBounds, VerdictSpec } from '../domain/graph.ts';
import type { Figures } from './window.ts';

export interface Standing {
  readonly state: 'progressing' | 'promoted' | 'aborted';
  /** Percent of the requests that the canary gets. */
  readonly percent: number;
}

export type Decision =
  | { readonly type: 'hold'; readonly why: string }
  | { readonly type: 'promote'; readonly percent: number; readonly isLast: boolean; readonly why: string }
  | { readonly type: 'abort'; readonly why: string };

/** One figure of a verdict, or what there is too little of to tell it. */
type Told = { readonly value: number; readonly text: string } | { readonly lacks: string };

interface Measure {
  readonly of: keyof VerdictBounds;
  readonly read: (figures: Figures, min: number) => Told;
  readonly show: (bound: number) => string;
}

/** @param heldMs for how long the canary has had its share, without a break in what was counted */
export const decide = (spec: VerdictSpec, { state, percent }: Standing, figures: Figures, heldMs: number): Decision => {
  if (state !== 'progressing')
    return { type: 'hold', why: `it is ${state}: an edit of the split, or of its canary, begins anew` };
  const aborts = reasonsToAbort(spec, figures);
  if (aborts.length > 0) return { type: 'abort', why: aborts.join('; ') };
  const next = spec.steps.find((step) => step > percent);
  if (spec.promoteWhen === undefined || next === undefined)
    return { type: 'hold', why: 'nothing is wrong with it, and the file does not say when it gets more' };
  const { lacking, proofs } = proofsOf(spec, spec.promoteWhen, figures, percent);
  const missing = heldMs < spec.windowMs ? [`${seconds(heldMs)} of ${seconds(spec.windowMs)} s at ${percentText(percent)}`] : [];
  if (lacking.length + missing.length > 0) return { type: 'hold', why: [...lacking, ...missing].join('; ') };
  return { type: 'promote', percent: next, isLast: next === spec.steps.at(-1), why: proofs.join('; ') };
};

const reasonsToAbort = ({ abortWhen, minRequests }: VerdictSpec, figures: Figures): readonly string[] =>
  MEASURES.flatMap(({ of, read, show }) => {
    const bound = abortWhen?.[of];
    if (bound === undefined) return [];
    const told = read(figures, minRequests);
    return 'value' in told && told.value > bound ? [`${told.text} is above ${show(bound)}`] : [];
  });

/** What is still against the next step, and what speaks for it. */
const proofsOf = (
  { minRequests }: VerdictSpec,
  bounds: VerdictBounds,
  figures: Figures,
  percent: number,
): { readonly lacking: readonly string[]; readonly proofs: readonly string[] } => {
  const { requests } = figures.canary;
  const lacking: string[] = [];
  const proofs: string[] = [];
  // A canary that gets no requests is known by its shadow alone.
  const measures = percent > 0 ? MEASURES : MEASURES.filter(({ of }) => of === 'difference');
  if (percent === 0 && bounds.difference === undefined) lacking.push('it gets no requests, and nothing is said of its shadow');
  if (percent > 0 && requests < minRequests) lacking.push(fewOf(requests, minRequests, 'requests of the canary'));
  for (const { of, read, show } of measures) {
    const bound = bounds[of];
    if (bound === undefined) continue;
    const told = read(figures, minRequests);
    if ('lacks' in told) lacking.push(told.lacks);
    else if (told.value < bound) proofs.push(`${told.text} is below ${show(bound)}`);
    else lacking.push(`${told.text} is not below ${show(bound)}`);
  }
  return { lacking: [...new Set(lacking)], proofs };
};

export const percentText = (percent: number): string => `${Number(percent.toFixed(2))} %`;

const shareText = (share: number): string => percentText(share * 100);

const seconds = (ms: number): number => Math.floor(ms / 100) / 10;

const msText = (ms: number): string => `${Number(ms.toPrecision(3))} ms`;

const factorText = (factor: number): string => `${Number(factor.toPrecision(3))} times`;

const fewOf = (count: number, min: number, what: string): string => `${count} of ${min} ${what}`;

const MEASURES: readonly Measure[] = [
  {
    of: 'errorRate',
    read: ({ canary: { requests, errors } }, min) =>
      requests < min
        ? { lacks: fewOf(requests, min, 'requests of the canary') }
        : { value: errors / requests, text: `error rate ${shareText(errors / requests)} of ${requests} requests` },
    show: shareText,
  },
  {
    of: 'p99Ms',
    read: ({ canary: { answered, p99Ms = 0 } }, min) =>
      answered < min
        ? { lacks: fewOf(answered, min, 'answers of the canary') }
        : { value: p99Ms, text: `p99 ${msText(p99Ms)} of ${answered} answers` },
    show: msText,
  },
  {
    of: 'p99Ratio',
    read: ({ canary, stable }, min) => {
      if (canary.answered < min) return { lacks: fewOf(canary.answered, min, 'answers of the canary') };
      if (stable.answered < min) return { lacks: fewOf(stable.answered, min, 'answers of the stable target to compare with') };
      const [ours, theirs] = [canary.p99Ms ?? 0, stable.p99Ms ?? 0];
      const value = ours / theirs;
      return { value, text: `p99 ${msText(ours)}, ${factorText(value)} the ${msText(theirs)} of the stable target,` };
    },
    show: factorText,
  },
  {
    of: 'difference',
    read: ({ compared, differing }, min) =>
      compared < min
        ? { lacks: fewOf(compared, min, 'answers of the shadow') }
        : {
            value: differing / compared,
            text: `${shareText(differing / compared)} of ${compared} answers of the shadow differing`,
          },
    show: shareText,
  },
];

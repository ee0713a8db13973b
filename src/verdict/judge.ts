/**
 * Decides whether the canary of a split gets the next step, nothing any more, or waits, and says why.
 *
 *   PROGRESSING → PROMOTED (it has the last step)
 *   PROGRESSING → ABORTED  (it gets nothing)
 *
 * Neither is left again but by an edit. The share only rises until one of them, so that figures that waver around a bound move nothing twice.
 */
import type { VerdictBounds, VerdictSpec } from '../domain/graph.ts';
import type { Figures, TargetFigures } from './window.ts';

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

/** What of a verdict says from when on a figure is known. */
type Enough = Pick<VerdictSpec, 'minRequests' | 'isSticky'>;

interface Measure {
  readonly of: keyof VerdictBounds;
  readonly read: (figures: Figures, spec: Enough) => Told;
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

const reasonsToAbort = (spec: VerdictSpec, figures: Figures): readonly string[] =>
  MEASURES.flatMap(({ of, read, show }) => {
    const bound = spec.abortWhen?.[of];
    if (bound === undefined) return [];
    const told = read(figures, spec);
    return 'value' in told && told.value > bound ? [`${told.text} is above ${show(bound)}`] : [];
  });

/** What is still against the next step, and what speaks for it. */
const proofsOf = (
  spec: VerdictSpec,
  bounds: VerdictBounds,
  figures: Figures,
  percent: number,
): { readonly lacking: readonly string[]; readonly proofs: readonly string[] } => {
  const { minRequests } = spec;
  const { requests } = figures.canary;
  const lacking: string[] = [];
  const proofs: string[] = [];
  // A canary that gets no requests is known by its shadow alone.
  const measures = percent > 0 ? MEASURES : MEASURES.filter(({ of }) => of === 'difference');
  if (percent === 0 && bounds.difference === undefined) lacking.push('it gets no requests, and nothing is said of its shadow');
  if (percent > 0 && requests < minRequests) lacking.push(fewOf(requests, minRequests, 'requests of the canary'));
  if (percent > 0) lacking.push(...PARITIES.flatMap((parity) => disparity(parity, figures, minRequests)));
  for (const { of, read, show } of measures) {
    const bound = bounds[of];
    if (bound === undefined) continue;
    const told = read(figures, spec);
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

/** What a canary has as seldom as the stable target has it, or else it gets no more: nobody can say from one call whose fault it is. */
interface Parity {
  readonly what: string;
  readonly count: (figures: TargetFigures) => number;
}

const PARITIES: readonly Parity[] = [
  { what: 'refused with a 4xx', count: ({ clientErrors }) => clientErrors },
  { what: 'left before their end', count: ({ abandoned }) => abandoned },
];

/** So much more of all calls is no chance worth a thought. */
const MARGIN = 0.02;

const callsOf = ({ requests, clientErrors, abandoned }: TargetFigures): number => requests + clientErrors + abandoned;

/** @returns what is against the canary: nothing, or that it has clearly more of it than the stable target */
const disparity = ({ what, count }: Parity, { canary, stable }: Figures, min: number): readonly string[] => {
  const [ours, theirs] = [callsOf(canary), callsOf(stable)];
  const share = count(canary) / ours;
  if (ours < min || share <= MARGIN) return [];
  const told = `${shareText(share)} of ${ours} calls of the canary ${what}`;
  if (theirs < min) return [`${told}, and ${fewOf(theirs, min, 'calls of the stable target to compare with')}`];
  const usual = count(stable) / theirs;
  return share - usual > MARGIN ? [`${told}, and ${shareText(usual)} of ${theirs} of the stable target`] : [];
};

/**
 * Refusals of the canary that neither the share of the stable target nor chance explains: it refuses what is valid. Where callers stick to their side
 * they may be the mistakes of a few clients, and nothing is made of them.
 * @returns whole calls
 */
const surplusOf = ({ canary, stable }: Figures, { minRequests, isSticky }: Enough): number => {
  const [ours, theirs] = [canary, stable].map(({ requests, clientErrors }) => requests + clientErrors) as [number, number];
  if (isSticky || ours < minRequests || theirs < minRequests) return 0;
  const both = (canary.clientErrors + stable.clientErrors) / (ours + theirs);
  const chance = CHANCE * Math.sqrt(both * (1 - both) * (1 / ours + 1 / theirs));
  return Math.max(0, Math.floor(canary.clientErrors - (stable.clientErrors / theirs + chance) * ours));
};

/** Standard errors of the difference of two shares that are taken for chance: more come once in a thousand looks. */
const CHANCE = 3;

const MEASURES: readonly Measure[] = [
  {
    of: 'errorRate',
    read: (figures, spec) => {
      const { canary } = figures;
      const surplus = surplusOf(figures, spec);
      const requests = canary.requests + surplus;
      if (requests < spec.minRequests) return { lacks: fewOf(requests, spec.minRequests, 'requests of the canary') };
      const value = (canary.errors + surplus) / requests;
      const refused = surplus === 0 ? '' : `, ${surplus} of them refused where the stable target does not,`;
      return { value, text: `error rate ${shareText(value)} of ${requests} requests${refused}` };
    },
    show: shareText,
  },
  {
    of: 'p99Ms',
    read: ({ canary: { timed, p99Ms = 0 } }, { minRequests: min }) =>
      timed < min
        ? { lacks: fewOf(timed, min, 'answers of the canary') }
        : { value: p99Ms, text: `p99 ${msText(p99Ms)} of ${timed} calls` },
    show: msText,
  },
  {
    of: 'p99Ratio',
    read: ({ canary, stable }, { minRequests: min }) => {
      if (canary.timed < min) return { lacks: fewOf(canary.timed, min, 'answers of the canary') };
      if (stable.timed < min) return { lacks: fewOf(stable.timed, min, 'answers of the stable target to compare with') };
      const [ours, theirs] = [canary.p99Ms ?? 0, stable.p99Ms ?? 0];
      const value = ours / theirs;
      return { value, text: `p99 ${msText(ours)}, ${factorText(value)} the ${msText(theirs)} of the stable target,` };
    },
    show: factorText,
  },
  {
    of: 'difference',
    read: ({ compared, differing }, { minRequests: min }) =>
      compared < min
        ? { lacks: fewOf(compared, min, 'answers of the shadow') }
        : {
            value: differing / compared,
            text: `${shareText(differing / compared)} of ${compared} answers of the shadow differing`,
          },
    show: shareText,
  },
];

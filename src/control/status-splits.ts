/** What operators are shown of the splits and shadows of a graph: who gets how much, what came of it, and what the verdict says. Pure. */
import type { ApplicationSpec } from '../domain/desired.ts';
import { type CallTarget, type GraphStep, percentsOf, type Split } from '../domain/graph.ts';
import { latencyQuantile } from '../domain/latency.ts';
import type { DataPlaneLoad, ShadowCounts, TargetCounts } from '../domain/snapshot.ts';
import { comparisonOf, type TargetFigures } from '../verdict/window.ts';
import type { VerdictView } from './verdicts.ts';

export interface ShadowStatus extends ShadowCounts {
  /** Of the copies that could be compared: those that differ or failed. null: there was none. */
  readonly share_different: number | null;
}

export interface SplitTargetStatus {
  /** As a step calls it. */
  readonly call: string;
  /** Of the requests, now. */
  readonly percent: number;
  /** What the weights of the file come to. */
  readonly declared_percent: number;
  /** Since the split is served, counted where there is a verdict; null elsewhere. */
  readonly total: TargetTotals | null;
  /** In the window of the verdict. */
  readonly window: TargetWindow | null;
}

interface TargetTotals {
  /** Answered, or failed by the fault of the target. */
  readonly requests: number;
  readonly errors: number;
  readonly client_errors: number;
  readonly abandoned: number;
  readonly p99_s: number | null;
}

interface TargetWindow {
  readonly requests: number;
  readonly error_rate: number | null;
  readonly p99_s: number | null;
}

export interface SplitStatus {
  readonly targets: readonly SplitTargetStatus[];
  /** null: only the file moves the weights. */
  readonly verdict: VerdictStatus | null;
}

export interface VerdictStatus {
  readonly state: 'progressing' | 'promoted' | 'aborted';
  /** What it waits for; or why it ended. */
  readonly message: string;
  /** Of the last move, or of when it began. */
  readonly since: string;
  readonly next_percent: number | null;
  readonly steps: readonly number[];
  readonly window_s: number;
  readonly min_requests: number;
  /** In the window: of the answers of the shadow, those that differ. null: it compared nothing. */
  readonly difference: number | null;
}

export const shadowsOf = (application: string, { shadows }: DataPlaneLoad): Readonly<Record<string, ShadowStatus>> => {
  const begin = `${application}/`;
  const mine = Object.entries(shadows ?? {}).filter(([step]) => step.startsWith(begin));
  return Object.fromEntries(mine.map(([step, counts]) => [step.slice(begin.length), shadowOf(counts)]));
};

const shadowOf = (counts: ShadowCounts): ShadowStatus => {
  const { compared, differing } = comparisonOf(counts);
  return { ...counts, share_different: shareOf(differing, compared) };
};

/** By step. @param verdictOf undefined: the step has none */
export const splitsOf = (
  { name, ingress }: ApplicationSpec,
  verdictOf: (step: string) => VerdictView | undefined,
): Readonly<Record<string, SplitStatus>> => {
  const steps: readonly GraphStep[] = ingress.kind === 'graph' ? ingress.graph.steps : [];
  return Object.fromEntries(
    steps.flatMap(({ name: step, split }) => (split === undefined ? [] : [[step, splitOf(name, split, verdictOf(step))]])),
  );
};

const splitOf = (application: string, { targets }: Split, view: VerdictView | undefined): SplitStatus => {
  const declared = percentsOf(targets);
  const targetOf = (index: number, { target }: Split['targets'][number]): SplitTargetStatus => {
    const of = index === 0 ? 'stable' : 'canary';
    const percent = declared[index] ?? 0;
    return {
      call: nameOf(application, target),
      percent: view === undefined ? percent : index === 0 ? 100 - view.standing.percent : view.standing.percent,
      declared_percent: percent,
      total: view?.counts === undefined ? null : totalsOf(view.counts[of]),
      window: view === undefined ? null : windowOf(view.figures[of]),
    };
  };
  return {
    targets: targets.map((target, index) => targetOf(index, target)),
    verdict: view === undefined ? null : verdictStatusOf(view),
  };
};

const nameOf = (application: string, target: CallTarget): string => {
  const deployment = target.application === application ? target.deployment : `${target.application}/${target.deployment}`;
  return target.method === 'call' ? deployment : `${deployment}.${target.method}`;
};

const totalsOf = ({ requests, errors, clientErrors, abandoned, latency }: TargetCounts): TargetTotals => ({
  requests,
  errors,
  client_errors: clientErrors,
  abandoned,
  p99_s: secondsOf(latencyQuantile(latency, 0.99)),
});

const windowOf = ({ requests, errors, p99Ms }: TargetFigures): TargetWindow => ({
  requests,
  error_rate: shareOf(errors, requests),
  p99_s: secondsOf(p99Ms),
});

const verdictStatusOf = ({ standing, split: { spec }, figures, message, next }: VerdictView): VerdictStatus => ({
  state: standing.state,
  message,
  since: standing.at,
  next_percent: next ?? null,
  steps: spec.steps,
  window_s: spec.windowMs / 1000,
  min_requests: spec.minRequests,
  difference: shareOf(figures.differing, figures.compared),
});

const shareOf = (part: number, whole: number): number | null => (whole === 0 ? null : part / whole);

const secondsOf = (ms: number | undefined): number | null => (ms === undefined ? null : Number(ms.toPrecision(3)) / 1000);

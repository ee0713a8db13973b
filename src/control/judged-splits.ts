/** Which splits of what serves have a verdict, and the weights that it gives them in place of those of the file. Pure. */
import type { Ingress } from '../domain/desired.ts';
import { type GraphStep, percentsOf, type Split, type VerdictSpec } from '../domain/graph.ts';
import type { Serving } from './plan.ts';
import { hashOf } from './target.ts';

export interface JudgedSplit {
  readonly application: string;
  readonly step: string;
  /** What the file says of the split and what its canary runs: what was found of one is not so of another. undefined: the canary does not serve yet. */
  readonly identity: string | undefined;
  readonly spec: VerdictSpec;
  /** Percent that the file gives the canary. */
  readonly declared: number;
  /** Its deployment, for people. */
  readonly canary: string;
}

/** By `application/step`. */
export const judgedSplits = (serving: ReadonlyMap<string, Serving>): ReadonlyMap<string, JudgedSplit> => {
  const found = new Map<string, JudgedSplit>();
  for (const [application, { target }] of serving) {
    const { ingress } = target.spec;
    for (const step of ingress.kind === 'graph' ? ingress.graph.steps : []) {
      const judged = judgedSplit(application, step, serving);
      if (judged !== undefined) found.set(`${application}/${step.name}`, judged);
    }
  }
  return found;
};

const judgedSplit = (
  application: string,
  { name, split, shadow }: GraphStep,
  serving: ReadonlyMap<string, Serving>,
): JudgedSplit | undefined => {
  const canary = split?.targets[1]?.target;
  if (split?.verdict === undefined || canary === undefined) return undefined;
  const { verdict: spec } = split;
  const runs = serving
    .get(canary.application)
    ?.target.deployments.find((deployment) => deployment.spec.name === canary.deployment);
  const compares = spec.promoteWhen?.difference !== undefined || spec.abortWhen?.difference !== undefined;
  const identity = runs === undefined ? undefined : hashOf([split, compares ? shadow : null, runs.version, runs.userConfigHash]);
  const declared = percentsOf(split.targets)[1] ?? 0;
  return { application, step: name, identity, spec, declared, canary: canary.deployment };
};

/** What stands in place of the file. */
export interface Overlay {
  readonly judgedAs: string;
  /** undefined: as the file says. */
  readonly percent: number | undefined;
}

/** @param overlayOf undefined: nothing is known of that step */
export const weighed = (ingress: Ingress, overlayOf: (step: string) => Overlay | undefined): Ingress => {
  if (ingress.kind !== 'graph' || !ingress.graph.steps.some(({ split }) => split?.verdict !== undefined)) return ingress;
  const steps = ingress.graph.steps.map((step): GraphStep => {
    const overlay = step.split?.verdict === undefined ? undefined : overlayOf(step.name);
    return overlay === undefined ? step : { ...step, split: step.split && laidOver(step.split, overlay) };
  });
  return { ...ingress, graph: { ...ingress.graph, steps } };
};

const laidOver = (split: Split, { judgedAs, percent }: Overlay): Split => {
  if (percent === undefined) return { ...split, judgedAs };
  const targets = split.targets.map(({ target }, index) => ({ target, weight: index === 1 ? percent : 100 - percent }));
  return { ...split, targets, judgedAs };
};

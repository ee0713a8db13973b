/** Which splits of what serves have a verdict, and the weights that it gives them in place of those of the file. Pure. */
import type { Ingress } from '../domain/desired.ts';
import { type CallTarget, type GraphStep, percentsOf, type Split, type VerdictSpec } from '../domain/graph.ts';
import type { Serving } from './plan.ts';
import { restartKey } from './restart.ts';
import type { Steps } from './rollout.ts';
import { hashOf, type TargetApplication } from './target.ts';

export interface JudgedSplit {
  readonly application: string;
  readonly step: string;
  /** Of what the file says of it. */
  readonly hash: string;
  /** What the file says and what its canary runs: what was found of one is not so of another. undefined: it does not run one thing now. */
  readonly identity: string | undefined;
  readonly spec: VerdictSpec;
  /** Percent that the file gives the canary. */
  readonly declared: number;
  /** Its deployment, for people. */
  readonly canary: string;
}

/**
 * By `application/step`.
 * @param isMixed whether replicas of two versions of a deployment take its work, as in a rollout that goes in steps
 */
export const judgedSplits = (
  serving: ReadonlyMap<string, Serving>,
  isMixed: (target: CallTarget) => boolean,
): ReadonlyMap<string, JudgedSplit> => {
  const found = new Map<string, JudgedSplit>();
  for (const [application, { target }] of serving) {
    const { ingress } = target.spec;
    for (const step of ingress.kind === 'graph' ? ingress.graph.steps : []) {
      const judged = judgedSplit(application, step, serving, isMixed);
      if (judged !== undefined) found.set(`${application}/${step.name}`, judged);
    }
  }
  return found;
};

const judgedSplit = (
  application: string,
  { name, split, shadow }: GraphStep,
  serving: ReadonlyMap<string, Serving>,
  isMixed: (target: CallTarget) => boolean,
): JudgedSplit | undefined => {
  const canary = split?.targets[1]?.target;
  if (split?.verdict === undefined || canary === undefined) return undefined;
  const { verdict: spec } = split;
  const runs = serving
    .get(canary.application)
    ?.target.deployments.find((deployment) => deployment.spec.name === canary.deployment);
  const compares = spec.promoteWhen?.difference !== undefined || spec.abortWhen?.difference !== undefined;
  const hash = hashOf([split, compares ? shadow : null]);
  const identity = runs === undefined || isMixed(canary) ? undefined : `${hash}-${hashOf([runs.version, runs.userConfigHash])}`;
  const declared = percentsOf(split.targets)[1] ?? 0;
  return { application, step: name, hash, identity, spec, declared, canary: canary.deployment };
};

/** Which deployments a rollout exchanges step by step: both their versions take work, and nobody can tell whose an answer is. */
export const mixedIn =
  (targets: readonly TargetApplication[], { standsFor }: Pick<Steps, 'standsFor'>) =>
  ({ application, deployment }: CallTarget): boolean => {
    const deployments = targets.find(({ spec }) => spec.name === application)?.deployments;
    const next = deployments?.find(({ spec }) => spec.name === deployment);
    return next !== undefined && standsFor.has(restartKey(application, deployment, next.version));
  };

/** Whether what was found under an identity is about what the file says of the split now. */
export const isOfSplit = (identity: string, { hash }: JudgedSplit): boolean => identity.startsWith(`${hash}-`);

/** What stands in place of the file. */
export interface Overlay {
  /** undefined: nothing is counted now. */
  readonly judgedAs: string | undefined;
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
  const counted = judgedAs === undefined ? split : { ...split, judgedAs };
  if (percent === undefined) return counted;
  const targets = split.targets.map(({ target }, index) => ({ target, weight: index === 1 ? percent : 100 - percent }));
  return { ...counted, targets };
};

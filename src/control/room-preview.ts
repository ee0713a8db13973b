/** Whether a goal would have room, and whether replicas would be exchanged in steps for it: by the ledger and the rollout that then decide it. Pure. */
import { askOf } from '../quota/amounts.ts';
import { Ledger, reasonOf } from '../quota/ledger.ts';
import type { Offer } from '../quota/offer.ts';
import { type ActualState, countOf } from './plan.ts';
import { restartKey } from './restart.ts';
import { stepsOf } from './rollout.ts';
import type { TargetApplication } from './target.ts';

/** By `application/Deployment`. */
export interface Room {
  /** Replicas that would wait, and for what, when all else is there. */
  readonly pending: ReadonlyMap<string, { readonly count: number; readonly reason: string }>;
  /** Why both versions would take work for a while, or none. */
  readonly steps: ReadonlyMap<string, string>;
}

/** @param counts replicas by `application/Deployment`; @param offer what the goal's own `resources` come to */
export const roomFor = (
  targets: readonly TargetApplication[],
  counts: ActualState['counts'] | undefined,
  offer: Offer,
  actual: ActualState,
): Room => {
  const said = counts === undefined ? {} : { counts };
  const pending = new Map<string, { count: number; reason: string }>();
  const ledger = new Ledger(offer);
  for (const { spec: application, deployments } of targets) {
    for (const { spec } of deployments) {
      const ask = askOf(spec);
      const missing = countOf(application.name, spec, said) - ledger.takeUpTo(ask, countOf(application.name, spec, said));
      if (missing > 0) pending.set(`${application.name}/${spec.name}`, { count: missing, reason: reasonOf(ask, ledger, offer) });
    }
  }
  const steps = new Map<string, string>();
  const rollout = stepsOf(
    targets,
    { ...actual, ...said, offer },
    (application, spec) => countOf(application, spec, said),
    () => true,
  );
  for (const [application, { target }] of actual.serving) {
    for (const { spec, version } of target.deployments) {
      const key = restartKey(application, spec.name, version);
      const why = rollout.whys.get(key);
      if (rollout.closed.has(key))
        steps.set(`${application}/${spec.name}`, 'the old replicas go first, and requests are refused meanwhile');
      else if (why !== undefined) steps.set(`${application}/${spec.name}`, `in steps, in which both versions take work: ${why}`);
    }
  }
  return { pending, steps };
};

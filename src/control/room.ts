/** What becomes of the replicas of one version for which there is, or is no, room: their starts, their quotas, and why some wait. Pure. */
import { askOf, sameAmounts } from '../quota/amounts.ts';
import { type Ledger, type Reservation, reasonOf } from '../quota/ledger.ts';
import type { Offer } from '../quota/offer.ts';
import type { Action, ActualReplica } from './plan.ts';
import type { RestartMemory } from './restart.ts';
import type { TargetDeployment } from './target.ts';

/** One version of a deployment that is to run, and how often. */
export interface Wanted {
  readonly application: string;
  readonly deployment: TargetDeployment;
  readonly count: number;
}

/** What is changed in a replica that stays. */
export const changesOf = (
  replica: ActualReplica,
  deployment: TargetDeployment,
  ledger: Ledger,
  offer: Offer | undefined,
): readonly Action[] => {
  const actions: Action[] = [];
  if (
    replica.state === 'RUNNING' &&
    replica.userConfigHash !== deployment.userConfigHash &&
    replica.refusedConfigHash !== deployment.userConfigHash
  ) {
    actions.push({ type: 'reconfigure', replica: replica.id, deployment });
  }
  const held = replica.reserved;
  if (held === undefined) return actions;
  const ask = askOf(deployment.spec);
  if (sameAmounts(held.amounts, ask) && (replica.cpuLimit ?? null) === deployment.spec.cpuLimit) return actions;
  ledger.give(held);
  const reserved = ledger.take(ask);
  if (reserved === undefined) {
    const reason = offer === undefined ? '' : reasonOf(ask, ledger, offer);
    ledger.hold(held);
    return [...actions, { type: 'keepQuota', replica: replica.id, reason }];
  }
  // It sees the devices that it was started with; another number of them is another version.
  const kept = held.devices.length > 0 ? { amounts: ask, devices: held.devices } : reserved;
  ledger.give(reserved);
  ledger.hold(kept);
  return [...actions, { type: 'requota', replica: replica.id, deployment, reserved: kept }];
};

/**
 * @param replicas that live already
 * @param claims whether room is being made for them, so that what is free is theirs
 */
export const startsOf = (
  { application, deployment, count }: Wanted,
  replicas: readonly ActualReplica[],
  memory: RestartMemory,
  ledger: Ledger,
  offer: Offer | undefined,
  claims: boolean,
  now: number,
): readonly Action[] => {
  const { maxReplicasPerNode, name } = deployment.spec;
  const most = Math.min(count, maxReplicasPerNode ?? count);
  const ask = askOf(deployment.spec);
  const actions: Action[] = [];
  const missing = Math.max(0, most - replicas.length);
  const reserved: Reservation[] = [];
  while (reserved.length < missing) {
    const taken = ledger.take(ask);
    if (taken === undefined) break;
    reserved.push(taken);
  }
  // What waits for its next attempt keeps its room meanwhile: `reserved` is taken from the ledger, and not started.
  if (reserved.length > 0 && memory.notBefore > now) actions.push({ type: 'wakeAt', at: memory.notBefore });
  // After a failure one at a time: a constructor that throws is not run in every place at once.
  else if (reserved.length > 0 && !(memory.failures > 0 && replicas.some(({ state }) => state === 'STARTING'))) {
    const started = memory.failures > 0 ? reserved.slice(0, 1) : reserved;
    actions.push({ type: 'start', application, deployment, count: started.length, reserved: started });
  }
  if (reserved.length < missing && offer !== undefined) {
    actions.push({
      type: 'pending',
      application,
      deployment,
      count: missing - reserved.length,
      reason: reasonOf(ask, ledger, offer),
    });
  }
  if (reserved.length < missing && claims) ledger.close(ask);
  if (most < count) {
    const reason = `max_replicas_per_node of ${name} is ${most}, and there is one machine`;
    actions.push({ type: 'pending', application, deployment, count: count - Math.max(most, replicas.length), reason });
  }
  return actions;
};

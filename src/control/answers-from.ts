/** What the answers of a deployment follow from, as one text: the answers that a response cache keeps are good as long as it stays the same. Pure. */
import type { CallTarget } from '../domain/graph.ts';
import type { ActualReplica, ActualState } from './plan.ts';
import { hashOf, type TargetDeployment } from './target.ts';

/** Versions whose requests a replica takes: its own, and those that it stands in for; none, where it gets nothing new. */
export type VersionsTaken = (replica: ActualReplica) => readonly string[];

/**
 * Its version and `user_config`, which of its methods takes arrays, whom its handles lead to, and the same of every deployment that they do.
 * @returns null: requests for one of them may reach a replica that is not as the config says, or not yet
 */
export const answersFrom = (
  application: string,
  deployment: string,
  actual: Pick<ActualState, 'serving' | 'replicas'>,
  versionsTaken: VersionsTaken,
): string | null => {
  const parts: string[] = [];
  const seen = new Set<string>();
  const next: Pick<CallTarget, 'application' | 'deployment'>[] = [{ application, deployment }];
  for (let at = next.pop(); at !== undefined; at = next.pop()) {
    const key = `${at.application}/${at.deployment}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const { deployment: name } = at;
    const target = actual.serving.get(at.application)?.target;
    const found = target?.deployments.find(({ spec }) => spec.name === name);
    if (target !== undefined && found !== undefined && !isSettled(at.application, found, actual.replicas, versionsTaken))
      return null;
    const calls = target?.spec.calls[name] ?? {};
    // One that is not there is told too: calls of it fail, and will not when it has come.
    parts.push(hashOf([key, found?.version, found?.userConfigHash, found?.spec.batching?.method, calls]));
    next.push(...Object.values(calls));
  }
  return hashOf(parts.sort());
};

/** Whether every replica that takes requests of the version is of it, and has the `user_config`. */
const isSettled = (
  application: string,
  { spec, version, userConfigHash }: TargetDeployment,
  replicas: readonly ActualReplica[],
  versionsTaken: VersionsTaken,
): boolean =>
  replicas.every((replica) => {
    if (replica.application !== application || replica.deployment !== spec.name) return true;
    if (!versionsTaken(replica).includes(version)) return true;
    return replica.version === version && replica.state === 'RUNNING' && replica.userConfigHash === userConfigHash;
  });

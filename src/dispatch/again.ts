/** What becomes of requests that a replica gave back, failed or died with. Pure. */
import type { DeploymentRouting } from '../domain/snapshot.ts';
import type { PendingCall } from './pending.ts';

/** A request whose replica died twice while it was alone in work is not tried again: it would go on killing. */
const MAX_DEATHS_ALONE = 2;

/** What these policies read of a request. */
export type Attempt = Pick<PendingCall, 'begun' | 'attempts' | 'streaming' | 'deathsAlone' | 'maxCompany' | 'body' | 'step'>;

/** Nothing of its answer has gone out, and its body is still there. */
const isWhole = ({ streaming, body }: Attempt): boolean => !streaming && body?.consumed !== true;

/**
 * Whether it may go to another replica after its own has died. What no replica had begun costs no attempt. Of a sequence only its start goes
 * elsewhere, and only where nobody can have gone on with it: the state of any other died too.
 */
export const mayRunAfterDeath = (call: Attempt, { idempotent, maxAttempts }: DeploymentRouting['retry']): boolean => {
  if (!isWhole(call) || call.deathsAlone >= MAX_DEATHS_ALONE) return false;
  if (call.step !== undefined) return call.step.isStart && !call.begun;
  return !call.begun || (idempotent && call.attempts < maxAttempts);
};

/** Whether it was in a batch of so many, as its replica says, and can run again in one of half as many. */
export const mayHalve = (call: Attempt, size: number): boolean => call.maxCompany >= size && isWhole(call);

/** The most requests that those of a failed batch may be together with from now on. */
export const companyAfter = (size: number): number => Math.ceil(size / 2);

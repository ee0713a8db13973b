/** What the daemon and the process of an autoscaling policy say to each other, as messages of Node's IPC. */
import type { Json } from '../domain/json.ts';

/** What a policy decides by; the names are Ray Serve's. Numbers of requests are those of the look-back, as one. */
export interface AutoscalingContext {
  readonly appName: string;
  readonly deploymentName: string;
  /** Replicas that take work now. */
  readonly currentNumReplicas: number;
  /** Replicas that are wanted now. */
  readonly targetNumReplicas: number;
  readonly totalNumRequests: number;
  readonly totalQueuedRequests: number;
  readonly totalRunningRequests: number;
  /** How long the oldest request in the queue has waited, in seconds. */
  readonly queueDelayS: number;
  readonly capacityAdjustedMinReplicas: number;
  readonly capacityAdjustedMaxReplicas: number;
  /** Seconds since the epoch. */
  readonly currentTime: number;
  /** What the policy returned as its state the last time. */
  readonly policyState: Json;
}

/** What the process is told; the state is its own. */
export type AutoscalingQuestion = Omit<AutoscalingContext, 'policyState'>;

/** Daemon → process. The first names the code. An application's policy is asked for its deployments at once, by name. */
export type ToPolicy =
  | {
      readonly type: 'load';
      readonly entry: string;
      readonly export: string;
      readonly kwargs: Readonly<Record<string, Json>>;
    }
  | { readonly type: 'ask'; readonly context: AutoscalingQuestion }
  | { readonly type: 'ask-all'; readonly contexts: Readonly<Record<string, AutoscalingQuestion>> };

/** Process → daemon, one for each `ask`. `answer` is what the code returned: nothing about it is certain. */
export type FromPolicy =
  | { readonly type: 'answer'; readonly replicas: unknown }
  | { readonly type: 'error'; readonly error: string };

/** The one value in which control plane and data plane meet: what may be served, by whom, under which limits. Swapped whole. */
import type {
  BatchingSpec,
  Ingress,
  MultiplexingSpec,
  ProxySpec,
  ResponseCacheSpec,
  RouterSpec,
  SequenceLimits,
} from './desired.ts';
import type { CallTarget } from './graph.ts';
import type { HttpDriver } from './listener.ts';
import type { CacheCounts, DataPlaneMetrics } from './metrics.ts';
import type { ModelDescription } from './model.ts';

export interface RoutingSnapshot {
  readonly revision: number;
  readonly proxy: ProxySpec;
  /** Which config, or asking again, this follows from: a listener that could not be had is tried once for each. */
  readonly attempt: number;
  /** False until every application of the first config is ready or has failed: `/-/healthz` says 503. */
  readonly ready: boolean;
  readonly applications: readonly ApplicationRouting[];
  /** All replicas that may take work, each for its own version only. One that is left out finishes what it has. */
  readonly replicas: readonly ReplicaRouting[];
}

export interface ReplicaRouting {
  readonly id: string;
  /** `application/Deployment`. */
  readonly deployment: string;
  readonly version: string;
  /** Among the replicas of its version. Absent: 0. */
  readonly rank?: number;
  /** Other versions whose requests it takes too: it replaces a replica of them, in a rollout that goes in steps. */
  readonly also?: readonly string[];
}

export interface ApplicationRouting {
  readonly name: string;
  /** What one config says of this application; requests begun with it stay with it. 0: none serves yet. */
  readonly generation: number;
  readonly routePrefix: string | null;
  /** Why no version serves: the route answers 503 with it. Null: it serves. */
  readonly unavailable: string | null;
  readonly ingress: Ingress;
  readonly calls: Readonly<Record<string, Readonly<Record<string, CallTarget>>>>;
  readonly deployments: readonly DeploymentRouting[];
  /** Those that run a `model`, also while they do not serve. Absent: none. */
  readonly models?: readonly string[];
  /** The application whose folder of models it was found in. Absent: the config names it itself. */
  readonly repository?: string;
  /** Its requests are logged. */
  readonly accessLog: boolean;
  /** Lines of its requests are handed on apart from those of others, and written so (null: as those of others are). */
  readonly ownLog?: { readonly encoding: 'TEXT' | 'JSON' | null };
}

export interface DeploymentRouting {
  readonly name: string;
  readonly version: string;
  readonly kind: 'module' | 'model';
  readonly maxOngoingRequests: number;
  readonly maxQueuedRequests: number;
  readonly backpressure: { readonly statusCode: 503 | 429; readonly retryAfterS: number };
  readonly requestTimeoutMs: number | null;
  readonly retry: { readonly maxAttempts: number; readonly backoffMs: number; readonly idempotent: boolean };
  readonly batching: BatchingSpec | null;
  /** So many of its replicas take up all CPUs: more at work would only take them from each other. Absent: not known. */
  readonly mostAtWork?: number;
  readonly multiplexing: MultiplexingSpec | null;
  /** Its model keeps sequences. Absent: it does not. */
  readonly sequence?: SequenceLimits;
  readonly router: RouterSpec;
  readonly unresponsiveTimeoutMs: number;
  readonly gracefulShutdownTimeoutMs: number;
  /** Absent: each request is worked on. */
  readonly responseCache?: ResponseCacheRouting;
  /** Its code reads the bodies of HTTP requests as they come. Absent: it gets them whole. */
  readonly streams?: boolean;
  /** What its replicas tell of the model that they run; absent as long as none has, and of code. */
  readonly model?: ModelDescription;
  /** Its load is measured and reported. */
  readonly autoscales: boolean;
  /** Present: calls of it do not show in the lines of requests, and what called nothing else has none. */
  readonly silent?: true;
  /** Set when it has failed and nothing will come: requests are refused with this instead of held. */
  readonly refuse: string | null;
}

/** What the data plane is started with. */
export interface DataPlaneSettings {
  /** Path of the Unix socket that replicas connect to. */
  readonly socket: string;
  readonly key: string;
  readonly accessLog: 'TEXT' | 'JSON';
  /** What this process may use; fractions where a quota says so. */
  readonly cpus: number;
}

export interface ResponseCacheRouting extends ResponseCacheSpec {
  /**
   * What its answers follow from, in one text: what it runs with, and all that it calls. Another text: no answer from before is given
   * any more. null: its replicas, or those of what it calls, differ just now, so that nothing is kept and nobody waits for another's answer.
   */
  readonly from: string | null;
}

/** Main thread → data plane. */
export type ToDataPlane =
  | { readonly type: 'snapshot'; readonly snapshot: RoutingSnapshot }
  /** Not ready at once; stop accepting after `graceMs`; then `timeoutMs` to finish; what is left gets 503. */
  | { readonly type: 'drain'; readonly graceMs: number; readonly timeoutMs: number }
  /** Close everything and confirm with `closed`. */
  | { readonly type: 'close' }
  | { readonly type: 'report'; readonly id: number }
  | { readonly type: 'metrics'; readonly id: number }
  /** How lines of the access log are written from now on. */
  | { readonly type: 'access-log'; readonly encoding: 'TEXT' | 'JSON' };

/** Data plane → main thread. */
export type FromDataPlane =
  | { readonly type: 'started' }
  | {
      readonly type: 'listening';
      readonly host: string;
      /** 0: any that is free. */
      readonly askedPort: number;
      readonly port: number;
      readonly driver: HttpDriver;
      readonly secure: boolean;
    }
  /** What listened before goes on. */
  | { readonly type: 'listen-failed'; readonly code: string; readonly message: string }
  /** Nothing listens any more, as the config wants it. */
  | { readonly type: 'not-listening' }
  /** No request of this generation is alive; its replicas may go. */
  | { readonly type: 'generation-idle'; readonly application: string; readonly generation: number }
  /** A replica that may take no more work has none left. */
  | { readonly type: 'replica-idle'; readonly replica: string }
  | { readonly type: 'link-up' | 'link-down' | 'unresponsive' | 'stuck'; readonly replica: string; readonly reason?: string }
  /** Finished access-log lines, newline at each end. */
  | {
      readonly type: 'access';
      readonly lines: string;
      /** Whose they are, where these are handed on apart. */
      readonly application?: string;
    }
  | {
      readonly type: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    }
  | { readonly type: 'report'; readonly id: number; readonly load: DataPlaneLoad }
  | { readonly type: 'metrics'; readonly id: number; readonly metrics: DataPlaneMetrics }
  /** Of deployments that autoscale, by `application/Deployment`: in a period, and at once when one waits where there is no replica. */
  | { readonly type: 'load'; readonly deployments: Readonly<Record<string, LoadReport>> }
  /** What was counted of splits that are judged, by `judgedAs`; in a period, as long as there is one. */
  | { readonly type: 'splits'; readonly splits: Readonly<Record<string, SplitCounts>> }
  | { readonly type: 'drained' }
  | { readonly type: 'closed' };

/** How much is under way, for the status. */
export interface DataPlaneLoad {
  readonly ongoing: number;
  readonly deployments: Readonly<
    Record<
      string,
      { readonly queued: number; readonly ongoing: number; readonly websockets?: number; readonly cache?: CacheCounts }
    >
  >;
  readonly replicas: Readonly<Record<string, ReplicaLoad>>;
  /** By `application/step`. */
  readonly shadows?: Readonly<Record<string, ShadowCounts>>;
}

export interface ReplicaLoad {
  readonly ongoing: number;
  /** Ids of the models that it holds, the first thousand; absent where it is not multiplexed. */
  readonly models?: readonly string[];
  /** Open sequences whose state it has; absent where its model keeps none. */
  readonly sequences?: number;
}

/** What became of the copies that a step's shadow was to get. `skipped`: there was no idle slot, or an answer that cannot be compared. */
export interface ShadowCounts {
  readonly same: number;
  readonly different: number;
  readonly failed: number;
  readonly skipped: number;
}

/** What became of the calls of a split that is judged, counted up since it was first served. */
export interface SplitCounts {
  readonly stable: TargetCounts;
  readonly canary: TargetCounts;
  /** Of its step, since that has a shadow; nothing where it has none. */
  readonly shadow: ShadowCounts;
}

export interface TargetCounts {
  /** Answered, or failed by the fault of the target. */
  readonly requests: number;
  /** Of these: failed. */
  readonly errors: number;
  /** Besides these: refused with a 4xx. */
  readonly clientErrors: number;
  /** Besides these: who asked did not wait for the end of the answer. */
  readonly abandoned: number;
  /** How long answers took, as in `domain/latency`; of a stream that goes to the client, until its first item. */
  readonly latency: readonly number[];
  /** How long it was waited in vain for those that were abandoned: they would have taken longer. */
  readonly waited: readonly number[];
}

/** A quantity over one period: its mean over time, and its extremes. */
export interface Spread {
  readonly mean: number;
  readonly max: number;
  readonly min: number;
}

/** The load of one deployment in one period. */
export interface LoadReport {
  readonly durationMs: number;
  /** Queued and in work, over all callers. */
  readonly requests: Spread;
  /** In work. */
  readonly ongoing: Spread;
  /** How long the oldest request in the queue had waited, less what batching may hold it. */
  readonly queueDelayMs: Spread;
}

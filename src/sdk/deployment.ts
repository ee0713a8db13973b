/** Applications in code: `deployment(Class, options).bind(args)`, with bound deployments among the arguments. */
import type { CallContext, DeploymentContext, Handle, handleOf } from './index.ts';

/** What the config file says of a deployment, in camel case; what the file says of the same deployment wins. See `docs/config.md`. */
export interface DeploymentOptions {
  /** The name of the class or function, where none is given. */
  name?: string;
  numReplicas?: number | 'auto';
  autoscalingConfig?: Readonly<Record<string, unknown>>;
  maxOngoingRequests?: number;
  maxQueuedRequests?: number;
  backpressureConfig?: { statusCode?: 503 | 429; retryAfterS?: number };
  requestTimeoutS?: number | null;
  retry?: { maxAttempts?: number; backoffS?: number; idempotent?: boolean };
  batching?: { maxBatchSize?: number; batchWaitTimeoutS?: number; maxConcurrentBatches?: number; method?: string };
  multiplexing?: { maxNumModelsPerReplica?: number; targetReplicasPerModel?: number };
  responseCache?: { maxBytes?: number | string; ttlS?: number | null; vary?: readonly string[] | null };
  requestRouterConfig?: { policy?: 'least_loaded' | 'session' };
  /** Given to `reconfigure`; its keys stay as they are. */
  userConfig?: unknown;
  healthCheckPeriodS?: number;
  healthCheckTimeoutS?: number;
  healthCheckFailureThreshold?: number;
  unresponsiveTimeoutS?: number;
  startupTimeoutS?: number;
  maxConstructorRetryCount?: number;
  gracefulShutdownTimeoutS?: number;
  rollingUpdate?: { maxSurge?: number | string; maxUnavailable?: number | string };
  /** `ray_actor_options` of the file. */
  replicaOptions?: {
    numCpus?: number;
    numGpus?: number;
    memory?: number | string;
    /** Its keys stay as they are. */
    resources?: Readonly<Record<string, number>>;
    cpuLimit?: number;
  };
}

const BOUND = Symbol.for('serve-daemon.bound');

/** A deployment with its arguments, as `bind` gives it: an application, or an argument of another deployment. */
export interface Bound<T> {
  /** For types only. */
  readonly [boundOf]?: T;
}
/** For types only: what a bound deployment is known by. */
export declare const boundOf: unique symbol;

/** What a bound deployment is inside; not for user code. */
export interface BoundParts {
  readonly target: unknown;
  readonly options: DeploymentOptions;
  readonly args: Readonly<Record<string, unknown>>;
}

/** The parts of a bound deployment; undefined for anything else. Also for one made by another copy of this package. */
export const partsOf = (value: unknown): BoundParts | undefined =>
  typeof value === 'object' && value !== null ? (value as { [BOUND]?: BoundParts })[BOUND] : undefined;

/** What `bind` takes where the constructor takes a handle: the deployment behind it. */
type BindArgs<Args> = { [K in keyof Args]: BindArg<Args[K]> };
type BindArg<Arg> = typeof handleOf extends keyof NonNullable<Arg>
  ? NonNullable<Arg> extends { readonly [handleOf]?: infer T }
    ? Bound<T>
    : never
  : Arg extends readonly (infer Item)[]
    ? readonly BindArg<Item>[]
    : Arg;

/** A class or function with options, before it has its arguments. */
export interface Deployable<Args, T> {
  /** The same with other options beside; those given here win. */
  options(options: DeploymentOptions): Deployable<Args, T>;
  /** @param args as the constructor takes them, with bound deployments in place of handles */
  bind(...args: Record<never, never> extends Args ? [args?: BindArgs<Args>] : [args: BindArgs<Args>]): Bound<T>;
}

/**
 * A class, a function or an object with `fetch` as a deployment of an application that is built in code.
 * @throws TypeError when the target is nothing of the kind
 */
export function deployment<T, Args = Record<never, never>>(
  target: new (args: Args, context: DeploymentContext) => T,
  options?: DeploymentOptions,
): Deployable<Args, T>;
export function deployment<F extends (input: never, context: CallContext) => unknown>(
  target: F,
  options?: DeploymentOptions,
): Deployable<Record<never, never>, { call: F }>;
export function deployment<T extends { fetch(request: Request, ...rest: never[]): Response | Promise<Response> }>(
  target: T,
  options?: DeploymentOptions,
): Deployable<Record<never, never>, T>;
export function deployment(target: unknown, options: DeploymentOptions = {}): Deployable<never, never> {
  const isFetch = typeof target === 'object' && target !== null && typeof (target as { fetch?: unknown }).fetch === 'function';
  if (typeof target !== 'function' && !isFetch)
    throw new TypeError(
      `deployment() expects a class, a function or an object with \`fetch\`, got ${target === null ? 'null' : typeof target}`,
    );
  return {
    options: (more) => deployment(target as never, { ...options, ...more }) as unknown as Deployable<never, never>,
    bind: (args?: unknown) => {
      if (args !== undefined && (typeof args !== 'object' || args === null || Array.isArray(args)))
        throw new TypeError('bind() expects one object: what the constructor takes');
      return { [BOUND]: { target, options, args: (args ?? {}) as Record<string, unknown> } satisfies BoundParts } as Bound<never>;
    },
  };
}

/** `Handle<T>` of what was bound, for where only the bound deployment is at hand: `HandleOf<typeof translator>`. */
export type HandleOf<B> = B extends { readonly [boundOf]?: infer T } ? Handle<T> : never;

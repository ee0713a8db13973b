/** The desired state: what the config file asks for, every default filled in, every unit converted. Built by `config/resolve`. */
import type { CallTarget, Graph } from './graph.ts';
import type { Json } from './json.ts';

export interface DesiredState {
  readonly proxy: ProxySpec;
  readonly admin: AdminSpec;
  readonly logging: LoggingSpec;
  readonly shutdownTimeoutMs: number;
  /** `target_capacity`: per cent of every replica count; null: all. */
  readonly targetCapacity: number | null;
  readonly resources: ResourcesSpec;
  readonly applications: readonly ApplicationSpec[];
}

/** `proxy_location` and `http_options`. */
export interface ProxySpec {
  /** False with `proxy_location: Disabled`. */
  readonly enabled: boolean;
  readonly host: string;
  readonly port: number;
  readonly rootPath: string;
  readonly requestTimeoutMs: number | null;
  readonly keepAliveTimeoutMs: number;
  readonly maxRequestBodyBytes: number;
  /** Bound over all queues and streams; beyond it new requests get 503. */
  readonly maxBufferedBytes: number;
  readonly maxHeaderBytes: number;
  readonly maxWebSockets: number;
  readonly server: 'auto' | 'uws' | 'node';
  readonly drainGraceMs: number;
  /** null: plain HTTP. */
  readonly tls: TlsSpec | null;
}

/** `http_options.ssl_*`. Paths are absolute, the files PEM. */
export interface TlsSpec {
  readonly keyFile: string;
  /** The certificate, and behind it those that lead to its authority. */
  readonly certFile: string;
  readonly password: string | null;
  /** Authorities that clients must be signed by; null: clients need no certificate. */
  readonly caFile: string | null;
  /** Of what the files hold; empty until they have been read. Another one: the certificate was renewed. */
  readonly fingerprint: string;
}

/** `admin_options`. */
export interface AdminSpec {
  readonly host: string;
  readonly port: number;
  readonly token: string | null;
}

/** `logging_config`. `encoding: null` = text on a terminal, JSON elsewhere. */
export interface LoggingSpec {
  readonly encoding: 'TEXT' | 'JSON' | null;
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'fatal';
  /** `logs_dir`, absolute; null: to standard output alone. */
  readonly directory: string | null;
  readonly accessLog: boolean;
}

/** `logging_config` of an application or a deployment. null: as what is around it says. */
export type OwnLoggingSpec = { readonly [Key in keyof LoggingSpec]: LoggingSpec[Key] | null };

/** `resources`: what replicas may be given. null: as detected. */
export interface ResourcesSpec {
  readonly numCpus: number | null;
  readonly numGpus: number | null;
  readonly memoryBytes: number | null;
  readonly custom: Readonly<Record<string, number>>;
  readonly enforce: 'auto' | 'strict' | 'off';
}

/** Code that builds an application. */
export interface CodeSource {
  readonly file: string;
  readonly export: string;
  readonly args: Readonly<Record<string, Json>>;
  readonly env: Readonly<Record<string, string>>;
  /** Absolute; null: the folder of the config file. */
  readonly workingDir: string | null;
}

export interface ApplicationSpec {
  readonly name: string;
  /** null: not on HTTP. */
  readonly routePrefix: string | null;
  readonly deployments: readonly DeploymentSpec[];
  readonly ingress: Ingress;
  /** Who may call whom from code: caller deployment → handle name → callee (`method` is not used). */
  readonly calls: Readonly<Record<string, Readonly<Record<string, CallTarget>>>>;
  /** Code builds it, which has not told yet of what: it has no deployments. */
  readonly fromCode?: CodeSource;
  /** The application whose folder of models it was found in: it comes, fails, moves and goes apart from all others. */
  readonly repository?: string;
  readonly logging: OwnLoggingSpec;
  /** `external_scaler_enabled`: the admin API may set numbers of replicas. */
  readonly externalScaler: boolean;
}

/** What is known of the folders of models that a config names, by application: those that have one, and those that were found in one. */
export interface FoundModels {
  /** Files whose change may change what is found. */
  readonly follows: ReadonlyMap<string, readonly string[]>;
  /** Why a folder cannot be looked at. */
  readonly unseen: ReadonlyMap<string, string>;
  /** What is wrong with what stands beside a model, or with its name: it cannot be served so. */
  readonly refused: ReadonlyMap<string, string>;
}

export type Ingress =
  | { readonly kind: 'deployment'; readonly deployment: string }
  | { readonly kind: 'graph'; readonly graph: Graph }
  /** A folder of models: tells which there are. Each is an application of its own. */
  | { readonly kind: 'models' };

/** What a deployment runs. Paths are absolute. */
export type Runnable =
  /** `export` is the export's name, `default` when none was given. */
  | {
      readonly kind: 'module';
      readonly file: string;
      readonly export: string;
      /** The export is an application (or builds one, with these arguments), and this is the name of one of its deployments. */
      readonly bound?: { readonly deployment: string; readonly args: Readonly<Record<string, Json>> };
    }
  /**
   * A file, or a folder of numbered versions. `options` absent: the path alone is looked at. `within`: a folder that its files must not
   * lead out of.
   */
  | { readonly kind: 'model'; readonly path: string; readonly options?: ModelOptions; readonly within?: string };

export interface ModelOptions {
  readonly versions: VersionPolicy;
  /** The first that works. */
  readonly providers: readonly string[];
  readonly session: SessionSpec;
  readonly warmup: readonly WarmupSpec[];
}

export type VersionPolicy = 'all' | { readonly latest: number } | { readonly specific: readonly number[] };

/** `model.session`. */
export interface SessionSpec {
  /** null: by `num_cpus`. */
  readonly intraOpThreads: number | null;
  readonly interOpThreads: number;
  readonly executionMode: 'sequential' | 'parallel';
  readonly optimization: 'disabled' | 'basic' | 'extended' | 'layout' | 'all';
  readonly memoryArena: boolean;
  readonly memoryPattern: boolean;
  readonly entries: Readonly<Record<string, string>>;
}

/** One of `model.warmup`: `count` runs of a model before its replica is ready. */
export interface WarmupSpec {
  /** `shape: null`: the model's, with 1 for what is free. */
  readonly inputs: Readonly<Record<string, { readonly shape: readonly number[] | null; readonly fill: WarmupFill }>>;
  readonly count: number;
}

export type WarmupFill = 'zero' | 'one' | 'random';

export interface DeploymentSpec {
  readonly name: string;
  readonly runs: Runnable;
  readonly initArgs: Readonly<Record<string, Json>>;
  /** undefined: none given, `reconfigure` is not called. */
  readonly userConfig: Json | undefined;
  /** With autoscaling: at the start. */
  readonly numReplicas: number;
  /** null: as many as the file says. */
  readonly autoscaling: AutoscalingSpec | null;
  /** Per replica, requests (not batches). */
  readonly maxOngoingRequests: number;
  /** -1: no bound. */
  readonly maxQueuedRequests: number;
  readonly backpressure: { readonly statusCode: 503 | 429; readonly retryAfterS: number };
  readonly requestTimeoutMs: number | null;
  readonly retry: { readonly maxAttempts: number; readonly backoffMs: number; readonly idempotent: boolean };
  readonly batching: BatchingSpec | null;
  /** Code only, by the name of a batched function: what holds in place of what the code says of it. Absent: nothing. */
  readonly batchedFunctions?: Readonly<Record<string, BatchedFunctionSpec>>;
  /** null: its code is given no models by id. */
  readonly multiplexing: MultiplexingSpec | null;
  /** Absent: its model keeps nothing from request to request, or it is code. */
  readonly sequence?: SequenceSpec;
  readonly requestRouterConfig: RouterSpec;
  /** null: each request is worked on. */
  readonly responseCache: ResponseCacheSpec | null;
  readonly health: { readonly periodMs: number; readonly timeoutMs: number; readonly failureThreshold: number };
  readonly unresponsiveTimeoutMs: number;
  readonly startupTimeoutMs: number;
  readonly maxConstructorRetryCount: number;
  readonly gracefulShutdownTimeoutMs: number;
  /** `ray_actor_options.num_cpus`; null: not named, so neither reserved nor limited. Sizes thread pools (1 where null). */
  readonly numCpus: number | null;
  readonly numGpus: number | null;
  readonly memoryBytes: number | null;
  /** Custom resources, by name. */
  readonly resources: Readonly<Record<string, number>>;
  readonly acceleratorType: string | null;
  /** CPUs that a replica may use at most, from ready on. */
  readonly cpuLimit: number | null;
  readonly maxReplicasPerNode: number | null;
  readonly rollout: RolloutSpec;
  /** `runtime_env.env_vars`, those of the deployment over those of the application. */
  readonly env: Readonly<Record<string, string>>;
  /** `runtime_env.working_dir`, absolute; null: the folder of the config file. */
  readonly workingDir: string | null;
  readonly logging: OwnLoggingSpec;
}

/** How far a rollout may go beyond the number of replicas, and below it. Shares (0–1) of that number, or replicas. */
export interface RolloutSpec {
  readonly maxSurge: { readonly share: number } | { readonly replicas: number };
  readonly maxUnavailable: { readonly share: number } | { readonly replicas: number };
}

/** `multiplexing`: many models in one replica. */
export interface MultiplexingSpec {
  readonly maxNumModelsPerReplica: number;
  readonly targetReplicasPerModel: number;
}

/** `model.sequence`: a model that goes on from what it said last. */
export interface SequenceSpec extends SequenceLimits {
  readonly states: StateSpecs;
  /** Of the states of all sequences of a replica; where it has several versions of the model, of each. */
  readonly maxStateBytes: number;
}

export interface SequenceLimits {
  /** One that was not used for so long is forgotten. */
  readonly idleTimeoutMs: number;
  /** Open ones, per replica. */
  readonly maxSequences: number;
}

/** By the name of the input. */
export type StateSpecs = Readonly<Record<string, StateSpec>>;

export interface StateSpec {
  /** The output that is its next value. */
  readonly output: string;
  /** Of the zeros that a sequence begins with; null: the model's, a free extent being that of another input by the same name, else 1. */
  readonly shape: readonly number[] | null;
}

/** `request_router_config`: how a replica is chosen. */
export interface RouterSpec {
  readonly policy: 'least_loaded' | 'session';
}

/** `response_cache`: answers are kept and given again. */
export interface ResponseCacheSpec {
  readonly maxBytes: number;
  /** null: as long as there is room, and until what it runs changes. */
  readonly ttlMs: number | null;
  /** Code only: names of request headers, in lower case, that its answers depend on; null: all. */
  readonly vary: readonly string[] | null;
}

export interface BatchingSpec {
  /** Rows (size of axis 0) for a model, items for code. */
  readonly maxBatchSize: number;
  /** The longest that the OLDEST request may be held for company; 0 = never held. */
  readonly waitMs: number;
  /** The latency that a request may have, waiting and running: the size of batches follows from it. null: none is asked for. */
  readonly targetMs: number | null;
  /** Per replica. */
  readonly maxConcurrentBatches: number;
  /** Code only: the method that takes an array. */
  readonly method: string;
  /** Model only: name of an input → what ragged ones are filled up with; absent: none. */
  readonly pad?: Readonly<Record<string, number>>;
}

/** One of `batched_functions`. What is absent is as the code says. */
export interface BatchedFunctionSpec {
  readonly maxBatchSize?: number;
  /** The longest that the OLDEST item may be held for company; 0 = never held. */
  readonly waitMs?: number;
  readonly maxConcurrentBatches?: number;
}

/** `autoscaling_config`, and what `num_replicas: auto` means. */
export interface AutoscalingSpec {
  readonly minReplicas: number;
  /** null: none given; it begins with `minReplicas`. */
  readonly initialReplicas: number | null;
  readonly maxReplicas: number;
  /** Requests per replica, queued ones included; null: it scales on the queue delay alone. */
  readonly targetOngoingRequests: number | null;
  readonly targetQueueDelayMs: number | null;
  readonly lookBackMs: number;
  readonly aggregation: 'mean' | 'max' | 'min';
  readonly upscalingFactor: number;
  readonly downscalingFactor: number;
  readonly upscaleDelayMs: number;
  readonly downscaleDelayMs: number;
  /** From one replica to none. */
  readonly downscaleToZeroDelayMs: number;
  /** Code that says how many, in place of the targets; null: none. */
  readonly policy: ScalingPolicySpec | null;
}

export interface ScalingPolicySpec {
  readonly file: string;
  readonly export: string;
  readonly kwargs: Readonly<Record<string, Json>>;
  /** It is the application's, and asked for all of its deployments at once. */
  readonly isShared: boolean;
}

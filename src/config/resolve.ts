/** Turns a checked config into the desired state: every default filled in, every unit converted, every path absolute. */
import type {
  ApplicationSpec,
  BatchedFunctionSpec,
  BatchingSpec,
  DeploymentSpec,
  DesiredState,
  LoggingSpec,
  MultiplexingSpec,
  OwnLoggingSpec,
  ResourcesSpec,
  ResponseCacheSpec,
  RolloutSpec,
  RouterSpec,
  Runnable,
  ScalingPolicySpec,
  TlsSpec,
} from '../domain/desired.ts';
import type { Json } from '../domain/json.ts';
import type { Graphs } from './check-graph.ts';
import { type Mapping, mappingOf } from './finding.ts';
import { absolute, type Files, locateModule } from './locate.ts';
import { modelOptionsOf, sequenceOf } from './resolve-model.ts';
import { autoscalingOf, policyOf } from './resolve-scaling.ts';
import { nodeAt } from './schema.ts';
import { Section } from './section.ts';
import { millisOf } from './units.ts';

/**
 * @param data   passed every check, but for files that are missing
 * @param graphs what the check had compiled
 * @param pending applications whose code has not told yet what they consist of
 * @param onRead see `Section`
 */
export const resolve = (
  data: Mapping,
  graphs: Graphs,
  files: Files,
  pending: ReadonlySet<number> = new Set(),
  onRead?: (field: string) => void,
): DesiredState => {
  const file = new Section(data, onRead);
  const http = file.section('http_options');
  const admin = file.section('admin_options');
  const logging = file.section('logging_config');
  return {
    proxy: {
      enabled: file.text('proxy_location') !== 'Disabled',
      host: http.text('host'),
      port: http.number('port'),
      rootPath: http.text('root_path'),
      requestTimeoutMs: http.millisOrNull('request_timeout_s'),
      keepAliveTimeoutMs: http.millis('keep_alive_timeout_s'),
      maxRequestBodyBytes: http.bytes('max_request_body'),
      maxBufferedBytes: http.bytes('max_buffered_bytes'),
      maxHeaderBytes: http.bytes('max_header_size'),
      maxWebSockets: http.number('max_websockets'),
      server: http.text<'auto' | 'uws' | 'node'>('server'),
      drainGraceMs: http.millis('drain_grace_s'),
      tls: tlsOf(http, files),
    },
    admin: { host: admin.text('host'), port: admin.number('port'), token: admin.textOrNull('token') },
    logging: {
      encoding: logging.textOrNull<'TEXT' | 'JSON'>('encoding'),
      level: levelOf(logging) ?? 'info',
      directory: directoryOf(logging, files),
      accessLog: logging.flag('enable_access_log'),
    },
    shutdownTimeoutMs: file.millis('shutdown_timeout_s'),
    targetCapacity: file.numberOrNull('target_capacity'),
    resources: resourcesOf(file.section('resources')),
    applications: file
      .sections('applications')
      .map((section, index) =>
        pending.has(index) ? pendingOf(section, files) : applicationOf(section, graphs.get(index), files),
      ),
  };
};

const tlsOf = (http: Section, files: Files): TlsSpec | null => {
  const [key, cert, ca] = [http.textOrNull('ssl_keyfile'), http.textOrNull('ssl_certfile'), http.textOrNull('ssl_ca_certs')];
  const password = http.textOrNull('ssl_keyfile_password');
  if (key === null || cert === null) return null;
  return {
    keyFile: absolute(key, files),
    certFile: absolute(cert, files),
    password,
    caFile: ca === null ? null : absolute(ca, files),
    fingerprint: '',
  };
};

/** Ray Serve takes the names and numbers of Python's levels. */
const LEVELS: readonly { readonly says: readonly Json[]; readonly means: LoggingSpec['level'] }[] = [
  { says: ['NOTSET', 0, 'DEBUG', 10], means: 'debug' },
  { says: ['INFO', 20], means: 'info' },
  { says: ['WARN', 'WARNING', 30], means: 'warn' },
  { says: ['ERROR', 40], means: 'error' },
  { says: ['CRITICAL', 'FATAL', 50], means: 'fatal' },
];

const levelOf = (section: Section): LoggingSpec['level'] | null => {
  const said = section.json('log_level');
  const level = typeof said === 'string' ? said.toUpperCase() : said;
  return LEVELS.find(({ says }) => says.includes(level))?.means ?? null;
};

const directoryOf = (section: Section, files: Files): string | null => {
  const path = section.textOrNull('logs_dir');
  return path === null ? null : absolute(path, files);
};

const ownLoggingOf = (section: Section, files: Files): OwnLoggingSpec => ({
  encoding: section.textOrNull<'TEXT' | 'JSON'>('encoding'),
  level: levelOf(section),
  directory: directoryOf(section, files),
  accessLog: section.flagOrNull('enable_access_log'),
});

const applicationOf = (section: Section, wired: WiredOrNone, files: Files): ApplicationSpec => {
  if (section.has('models')) return repositoryOf(section, files);
  section.json('graph');
  if (wired === undefined) throw new Error('an application without an ingress is an error that the check reports');
  const policy = policyOf(section.section('autoscaling_policy'), true, files);
  return {
    name: section.text('name'),
    routePrefix: section.nullableText('route_prefix'),
    deployments: section.sections('deployments').map((deployment) => deploymentOf(deployment, section, policy, files)),
    ingress: wired.ingress,
    calls: wired.calls,
    logging: ownLoggingOf(section.section('logging_config'), files),
    externalScaler: section.flag('external_scaler_enabled'),
  };
};

/** A folder of models itself, without the models. */
const repositoryOf = (section: Section, files: Files): ApplicationSpec => ({
  name: section.text('name'),
  routePrefix: section.nullableText('route_prefix'),
  deployments: [],
  ingress: { kind: 'models' },
  calls: {},
  logging: ownLoggingOf(section.section('logging_config'), files),
  externalScaler: section.flag('external_scaler_enabled'),
});

/** One model of a folder. */
export interface ModelInFolder {
  /** The name of its application. */
  readonly application: string;
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  readonly within: string;
  /** Of its deployment, from wherever they come. */
  readonly fields: Mapping;
}

/** @param section the application that has the folder */
export const modelApplication = (
  section: Section,
  { application, name, path, within, fields }: ModelInFolder,
  files: Files,
): ApplicationSpec => {
  const own = repositoryOf(section, files);
  const data = Object.assign(Object.create(null) as Mapping, fields, { name, model: { ...mappingOf(fields.model), path } });
  const deployment = deploymentOf(
    new Section(data, undefined, DEPLOYMENT),
    section,
    policyOf(section.section('autoscaling_policy'), true, files),
    files,
  );
  return {
    ...own,
    name: application,
    repository: own.name,
    routePrefix: own.routePrefix === null ? null : `${own.routePrefix === '/' ? '' : own.routePrefix}/${name}`,
    ingress: { kind: 'deployment', deployment: name },
    deployments: [{ ...deployment, runs: { ...deployment.runs, within } as Runnable }],
  };
};

const DEPLOYMENT = nodeAt(['applications', 0, 'deployments', 0]);

/** What can be said of an application before its code has told the rest. */
const pendingOf = (section: Section, files: Files): ApplicationSpec => {
  const env = section.section('runtime_env');
  const workingDir = env.textOrNull('working_dir');
  const module = locateModule(section.text('import_path'), files);
  if (typeof module === 'string') throw new Error(`the check let an import path pass: ${module}`);
  return {
    name: section.text('name'),
    routePrefix: section.nullableText('route_prefix'),
    deployments: [],
    ingress: { kind: 'deployment', deployment: '' },
    calls: {},
    fromCode: {
      file: module.file,
      export: module.export,
      args: section.json('args') as Readonly<Record<string, Json>>,
      env: Object.assign(Object.create(null), env.json('env_vars')),
      workingDir: workingDir === null ? null : absolute(workingDir, files),
    },
    logging: ownLoggingOf(section.section('logging_config'), files),
    externalScaler: section.flag('external_scaler_enabled'),
  };
};

type WiredOrNone = ReturnType<Graphs['get']>;

const deploymentOf = (section: Section, application: Section, policy: ScalingPolicySpec | null, files: Files): DeploymentSpec => {
  const runs = runsOf(section, application, files);
  const applicationEnv = application.section('runtime_env');
  const batching = batchingOf(section, runs.kind === 'model');
  const autoscaling = autoscalingOf(section, policy, files);
  const options = section.section(section.has('replica_options') ? 'replica_options' : 'ray_actor_options');
  const env = options.section('runtime_env');
  const workingDir = env.textOrNull('working_dir') ?? applicationEnv.textOrNull('working_dir');
  const backpressure = section.section('backpressure_config');
  const sequence = sequenceOf(section.section('model'));
  return {
    name: section.text('name'),
    runs,
    initArgs: section.json('init_args') as Readonly<Record<string, Json>>,
    userConfig: section.json('user_config') ?? undefined,
    numReplicas: autoscaling === null ? section.number('num_replicas') : (autoscaling.initialReplicas ?? autoscaling.minReplicas),
    autoscaling,
    maxOngoingRequests: maxOngoingOf(section, batching),
    maxQueuedRequests: section.number('max_queued_requests'),
    backpressure: {
      statusCode: backpressure.number('status_code') as 503 | 429,
      retryAfterS: backpressure.number('retry_after_s'),
    },
    requestTimeoutMs: section.millisOrNull('request_timeout_s'),
    retry: retryOf(section.section('retry'), runs),
    batching,
    ...batchedFunctionsOf(section),
    multiplexing: multiplexingOf(section),
    ...(sequence === undefined ? {} : { sequence }),
    responseCache: responseCacheOf(section),
    requestRouterConfig: { policy: section.section('request_router_config').text<RouterSpec['policy']>('policy') },
    health: {
      periodMs: section.millis('health_check_period_s'),
      timeoutMs: section.millis('health_check_timeout_s'),
      failureThreshold: section.number('health_check_failure_threshold'),
    },
    unresponsiveTimeoutMs: section.millis('unresponsive_timeout_s'),
    startupTimeoutMs: section.millis('startup_timeout_s'),
    maxConstructorRetryCount: section.number('max_constructor_retry_count'),
    gracefulShutdownTimeoutMs: section.millis('graceful_shutdown_timeout_s'),
    numCpus: options.numberOrNull('num_cpus'),
    numGpus: options.numberOrNull('num_gpus'),
    memoryBytes: bytesOrNull(options, 'memory'),
    resources: amountsOf(options, 'resources'),
    acceleratorType: options.textOrNull('accelerator_type'),
    cpuLimit: options.numberOrNull('cpu_limit'),
    maxReplicasPerNode: section.numberOrNull('max_replicas_per_node'),
    rollout: rolloutOf(section),
    // Without a prototype, as names of variables are the user's.
    env: Object.assign(Object.create(null), applicationEnv.json('env_vars'), env.json('env_vars')),
    workingDir: workingDir === null ? null : absolute(workingDir, files),
    logging: ownLoggingOf(section.section('logging_config'), files),
  };
};

const resourcesOf = (section: Section): ResourcesSpec => ({
  numCpus: section.numberOrNull('num_cpus'),
  numGpus: section.numberOrNull('num_gpus'),
  memoryBytes: bytesOrNull(section, 'memory'),
  custom: amountsOf(section, 'custom'),
  enforce: section.text<ResourcesSpec['enforce']>('enforce'),
});

/** 0 is what Ray Serve writes for none. */
const bytesOrNull = (section: Section, key: string): number | null =>
  section.has(key) && section.json(key) !== 0 ? section.bytes(key) : null;

/** Without a prototype, as names of resources are the user's. */
const amountsOf = (section: Section, key: string): Readonly<Record<string, number>> =>
  Object.assign(Object.create(null), section.json(key));

/** Ray Serve's `rolling_update_percentage` of the old replicas go first; none come beside them. */
const rolloutOf = (section: Section): RolloutSpec => {
  const share = section.numberOrNull('rolling_update_percentage');
  const said = section.section('rolling_update');
  const [maxSurge, maxUnavailable] = [said.json('max_surge'), said.json('max_unavailable')].map((amount) =>
    typeof amount === 'number' ? { replicas: amount } : { share: Number.parseFloat(String(amount)) / 100 },
  ) as [RolloutSpec['maxSurge'], RolloutSpec['maxSurge']];
  return share === null ? { maxSurge, maxUnavailable } : { maxSurge: { replicas: 0 }, maxUnavailable: { share } };
};

const runsOf = (section: Section, application: Section, files: Files): Runnable => {
  if (section.has('model')) {
    const model = section.json('model');
    const path = typeof model === 'string' ? model : section.section('model').text('path');
    return { kind: 'model', path: absolute(path, files), options: modelOptionsOf(section.section('model')) };
  }
  const module = locateModule(section.text('import_path'), files);
  if (typeof module === 'string') throw new Error(`the check let an import path pass: ${module}`);
  const code = { kind: 'module', file: module.file, export: module.export } as const;
  // Filled in from what the code told of its deployments, each of which is run from the application itself.
  if (application.textOrNull('import_path') !== section.text('import_path')) return code;
  const args = application.json('args') as Readonly<Record<string, Json>>;
  return { ...code, bound: { deployment: section.text('name'), args } };
};

const batchingOf = (section: Section, ofModel: boolean): BatchingSpec | null => {
  if (!section.has('batching')) return null;
  const batching = section.section('batching');
  const pad = (batching.json('pad') ?? {}) as Readonly<Record<string, number>>;
  const learned = ofModel && !batching.has('max_batch_size');
  return {
    maxBatchSize: learned ? Number(batching.other('max_batch_size', 'x-default-model')) : batching.number('max_batch_size'),
    waitMs: batching.millis('batch_wait_timeout_s'),
    targetMs: batching.millisOrNull('latency_target_s'),
    maxConcurrentBatches: batching.number('max_concurrent_batches'),
    method: batching.text('method'),
    ...(Object.keys(pad).length === 0 ? {} : { pad }),
  };
};

const batchedFunctionsOf = (section: Section): Pick<DeploymentSpec, 'batchedFunctions'> => {
  const said = Object.entries(mappingOf(section.json('batched_functions')) ?? {});
  if (said.length === 0) return {};
  const specs = said.map(([name, each]): [string, BatchedFunctionSpec] => {
    const { max_batch_size: size, batch_wait_timeout_s: waitS, max_concurrent_batches: runs } = mappingOf(each) ?? {};
    return [
      name,
      {
        ...(typeof size === 'number' ? { maxBatchSize: size } : {}),
        ...(typeof waitS === 'number' ? { waitMs: millisOf(waitS) } : {}),
        ...(typeof runs === 'number' ? { maxConcurrentBatches: runs } : {}),
      },
    ];
  });
  // Without a prototype, as names of functions are the user's.
  return { batchedFunctions: Object.assign(Object.create(null), Object.fromEntries(specs)) };
};

const multiplexingOf = (section: Section): MultiplexingSpec | null => {
  if (!section.has('multiplexing')) return null;
  const multiplexing = section.section('multiplexing');
  return {
    maxNumModelsPerReplica: multiplexing.number('max_num_models_per_replica'),
    targetReplicasPerModel: multiplexing.number('target_replicas_per_model'),
  };
};

const responseCacheOf = (section: Section): ResponseCacheSpec | null => {
  if (!section.has('response_cache')) return null;
  const cache = section.section('response_cache');
  const vary = cache.json('vary') as readonly string[] | null;
  return {
    maxBytes: cache.bytes('max_bytes'),
    ttlMs: cache.millisOrNull('ttl_s'),
    vary: vary?.map((name) => name.toLowerCase()) ?? null,
  };
};

/** With batching, room for the next batch to gather while one is worked on. */
const maxOngoingOf = (section: Section, batching: BatchingSpec | null): number => {
  const factor = section.other('max_ongoing_requests', 'x-default-batching-factor');
  if (section.has('max_ongoing_requests') || batching === null) return section.number('max_ongoing_requests');
  return batching.maxBatchSize * Number(factor);
};

/** A model gives the same answer to the same input, so it may run again. */
const retryOf = (section: Section, runs: Runnable): DeploymentSpec['retry'] => {
  const ofModel = !section.has('idempotent') && runs.kind === 'model';
  const idempotent = ofModel ? section.other('idempotent', 'x-default-model') === true : section.flag('idempotent');
  const isDefault = !section.has('max_attempts') && idempotent;
  return {
    maxAttempts: isDefault ? Number(section.other('max_attempts', 'x-default-idempotent')) : section.number('max_attempts'),
    backoffMs: section.millis('backoff_s'),
    idempotent,
  };
};

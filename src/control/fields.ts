/** Which fields of the config differ between two parts of the desired state, by the names that the file has for them. Pure. */
import { hashOf } from './target.ts';

/** Names that do not follow from the key: `camelCase` → `snake_case`, `…Ms` → `…_s`. Where the file has one field for all within, it ends here. */
const NAMES: Readonly<Record<string, string>> = {
  'proxy.enabled': 'proxy_location',
  'proxy.maxRequestBodyBytes': 'http_options.max_request_body',
  'proxy.maxBufferedBytes': 'http_options.max_buffered_bytes',
  'proxy.maxHeaderBytes': 'http_options.max_header_size',
  'proxy.maxWebSockets': 'http_options.max_websockets',
  'proxy.tls': 'http_options.ssl_certfile',
  'proxy.tls.keyFile': 'http_options.ssl_keyfile',
  'proxy.tls.certFile': 'http_options.ssl_certfile',
  'proxy.tls.caFile': 'http_options.ssl_ca_certs',
  'proxy.tls.password': 'http_options.ssl_keyfile_password',
  'proxy.tls.fingerprint': 'the certificate',
  proxy: 'http_options',
  admin: 'admin_options',
  logging: 'logging_config',
  'logging.level': 'logging_config.log_level',
  'logging.accessLog': 'logging_config.enable_access_log',
  'logging.directory': 'logging_config.logs_dir',
  ingress: 'graph',
  calls: 'graph.calls',
  externalScaler: 'external_scaler_enabled',
  autoscaling: 'autoscaling_config',
  'autoscaling.lookBackMs': 'autoscaling_config.look_back_period_s',
  'autoscaling.aggregation': 'autoscaling_config.aggregation_function',
  backpressure: 'backpressure_config',
  'batching.waitMs': 'batching.batch_wait_timeout_s',
  'batching.targetMs': 'batching.latency_target_s',
  'health.periodMs': 'health_check_period_s',
  'health.timeoutMs': 'health_check_timeout_s',
  'health.failureThreshold': 'health_check_failure_threshold',
  // Of the machine; those of a replica have the same key.
  'resources.numCpus': 'resources.num_cpus',
  'resources.numGpus': 'resources.num_gpus',
  'resources.memoryBytes': 'resources.memory',
  'resources.custom': 'resources.custom',
  'resources.enforce': 'resources.enforce',
  resources: 'ray_actor_options.resources',
  numCpus: 'ray_actor_options.num_cpus',
  numGpus: 'ray_actor_options.num_gpus',
  memoryBytes: 'ray_actor_options.memory',
  cpuLimit: 'ray_actor_options.cpu_limit',
  acceleratorType: 'ray_actor_options.accelerator_type',
  rollout: 'rolling_update',
  sequence: 'model.sequence',
  'sequence.states': 'model.sequence.state',
  env: 'runtime_env.env_vars',
  workingDir: 'runtime_env.working_dir',
};

/** Values that are one field each, whatever is in them. */
const WHOLE: ReadonlySet<string> = new Set([
  'batchedFunctions',
  'pad',
  'states',
  'runs',
  'initArgs',
  'userConfig',
  'env',
  'ingress',
  'calls',
  'policy',
  'custom',
  'maxSurge',
  'maxUnavailable',
]);

/** @param within where the two stand in the desired state; '' for an application or a deployment */
export const changedFields = (before: object, after: object, within = ''): readonly string[] => {
  const changed = new Set<string>();
  const [old, new_] = [before as Record<string, unknown>, after as Record<string, unknown>];
  for (const key of new Set([...Object.keys(old), ...Object.keys(new_)])) {
    const [a, b] = [old[key], new_[key]];
    if (hashOf(a) === hashOf(b)) continue;
    const path = within === '' ? key : `${within}.${key}`;
    if (!WHOLE.has(key) && isMapping(a) && isMapping(b)) for (const field of changedFields(a, b, path)) changed.add(field);
    else changed.add(key === 'runs' ? runsField(b as { kind: string }) : fieldName(path));
  }
  return [...changed];
};

const isMapping = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value);

const runsField = ({ kind }: { readonly kind: string }): string => (kind === 'model' ? 'model' : 'import_path');

const fieldName = (path: string): string => {
  const known = NAMES[path];
  if (known !== undefined) return known;
  const cut = path.lastIndexOf('.');
  const own = path
    .slice(cut + 1)
    .replace(/Ms$/, 'S')
    .replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return cut < 0 ? own : `${fieldName(path.slice(0, cut))}.${own}`;
};

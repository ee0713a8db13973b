/** What is in force of a deployment, defaults included, by the names that the file has: `deployment_config` of the status. Pure. */
import type { AutoscalingSpec, DeploymentSpec } from '../domain/desired.ts';

/** Without `user_config`, `init_args` and variables: what comes from the environment is not shown. */
export const deploymentConfigOf = (spec: DeploymentSpec): object => ({
  name: spec.name,
  num_replicas: spec.autoscaling === null ? spec.numReplicas : 'auto',
  autoscaling_config: spec.autoscaling === null ? null : autoscalingOf(spec.autoscaling),
  max_ongoing_requests: spec.maxOngoingRequests,
  max_queued_requests: spec.maxQueuedRequests,
  response_cache:
    spec.responseCache === null
      ? null
      : {
          max_bytes: spec.responseCache.maxBytes,
          ttl_s: spec.responseCache.ttlMs === null ? null : spec.responseCache.ttlMs / 1000,
          vary: spec.responseCache.vary,
        },
  request_timeout_s: spec.requestTimeoutMs === null ? null : spec.requestTimeoutMs / 1000,
  health_check_period_s: spec.health.periodMs / 1000,
  health_check_timeout_s: spec.health.timeoutMs / 1000,
  graceful_shutdown_timeout_s: spec.gracefulShutdownTimeoutMs / 1000,
  max_constructor_retry_count: spec.maxConstructorRetryCount,
  max_replicas_per_node: spec.maxReplicasPerNode,
  ray_actor_options: {
    num_cpus: spec.numCpus,
    num_gpus: spec.numGpus,
    memory: spec.memoryBytes,
    resources: spec.resources,
    accelerator_type: spec.acceleratorType,
  },
});

const autoscalingOf = (spec: AutoscalingSpec): object => ({
  min_replicas: spec.minReplicas,
  initial_replicas: spec.initialReplicas ?? spec.minReplicas,
  max_replicas: spec.maxReplicas,
  target_ongoing_requests: spec.targetOngoingRequests,
  target_queue_delay_s: spec.targetQueueDelayMs === null ? null : spec.targetQueueDelayMs / 1000,
  look_back_period_s: spec.lookBackMs / 1000,
  upscaling_factor: spec.upscalingFactor,
  downscaling_factor: spec.downscalingFactor,
  upscale_delay_s: spec.upscaleDelayMs / 1000,
  downscale_delay_s: spec.downscaleDelayMs / 1000,
  downscale_to_zero_delay_s: spec.downscaleToZeroDelayMs / 1000,
  aggregation_function: spec.aggregation,
});

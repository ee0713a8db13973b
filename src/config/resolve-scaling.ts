/** What the file says of scaling: `autoscaling_config`, and what `num_replicas: auto` means. */
import type { AutoscalingSpec, ScalingPolicySpec } from '../domain/desired.ts';
import type { Json } from '../domain/json.ts';
import { type Files, locateModule } from './locate.ts';
import type { Section } from './section.ts';

/**
 * @param shared the application's policy
 * @returns null: as many replicas as the file says
 */
export const autoscalingOf = (deployment: Section, shared: ScalingPolicySpec | null, files: Files): AutoscalingSpec | null => {
  const isAuto = deployment.json('num_replicas') === 'auto';
  if (!isAuto && !deployment.has('autoscaling_config')) return null;
  const section = deployment.section('autoscaling_config');
  const delay = section.millisOrNull('target_queue_delay_s');
  const byDelayAlone = delay !== null && !section.has('target_ongoing_requests');
  const most = isAuto && !section.has('max_replicas') ? Number(section.other('max_replicas', 'x-default-auto')) : undefined;
  const downscaleDelayMs = section.millis('downscale_delay_s');
  return {
    minReplicas: section.number('min_replicas'),
    initialReplicas: section.numberOrNull('initial_replicas'),
    maxReplicas: most ?? section.number('max_replicas'),
    targetOngoingRequests: byDelayAlone ? null : section.number('target_ongoing_requests'),
    targetQueueDelayMs: delay,
    lookBackMs: section.millis('look_back_period_s'),
    aggregation: section.text<AutoscalingSpec['aggregation']>('aggregation_function'),
    upscalingFactor: section.numberOrNull('upscaling_factor') ?? 1,
    downscalingFactor: section.numberOrNull('downscaling_factor') ?? 1,
    upscaleDelayMs: section.millis('upscale_delay_s'),
    downscaleDelayMs,
    downscaleToZeroDelayMs: section.millisOrNull('downscale_to_zero_delay_s') ?? downscaleDelayMs,
    policy: policyOf(section.section('policy'), false, files) ?? shared,
  };
};

/** Ray Serve's names of what the targets do here. */
const BUILT_IN = /^ray\.serve\.autoscaling_policy:(default_autoscaling_policy|replica_queue_length_autoscaling_policy)$/;

export const isBuiltInPolicy = (name: string): boolean => BUILT_IN.test(name);

/** @param isShared it stands at the application */
export const policyOf = (section: Section, isShared: boolean, files: Files): ScalingPolicySpec | null => {
  const name = section.textOrNull('policy_function');
  if (name === null || isBuiltInPolicy(name)) return null;
  const module = locateModule(name, files);
  if (typeof module === 'string') throw new Error(`the check let a policy pass: ${module}`);
  const kwargs = section.json('policy_kwargs') as Readonly<Record<string, Json>>;
  return { file: module.file, export: module.export, kwargs, isShared };
};

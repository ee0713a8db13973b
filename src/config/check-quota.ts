/** Checks of what replicas are to be given: rollouts that could not move, GPUs that cannot be shared, and what this machine will never have. */
import type { DeploymentSpec, DesiredState } from '../domain/desired.ts';
import { askOf, PARTS } from '../quota/amounts.ts';
import { fitsAlone, Ledger, reasonOf } from '../quota/ledger.ts';
import { type Machine, type Offer, offerOf } from '../quota/offer.ts';
import type { Checking, SeenDeployment } from './checking.ts';
import { type Finding, mappingOf } from './finding.ts';

export const checkQuota = ({ data, path }: SeenDeployment, checking: Checking): void => {
  for (const section of ['ray_actor_options', 'replica_options']) {
    const gpus = mappingOf(data[section])?.num_gpus;
    if (typeof gpus !== 'number' || gpus <= 1 || Number.isInteger(gpus)) continue;
    const at = [...path, section, 'num_gpus'];
    checking.error('BAD_VALUE', at, `above 1 a number of GPUs is whole; got ${checking.show(at, gpus)}`);
  }
  const rolling = mappingOf(data.rolling_update);
  if (rolling === undefined || !checking.sound([...path, 'rolling_update'])) return;
  if (data.rolling_update_percentage !== undefined && data.rolling_update_percentage !== null) {
    const message = '`rolling_update_percentage` and `rolling_update` say the same thing; keep one';
    checking.error('EXCLUSIVE_KEYS', [...path, 'rolling_update_percentage'], message, 'key');
  }
  const isNone = (key: string) =>
    /^0+(\.0+)?%?$/.test(String(rolling[key] ?? checking.byDefault([...path, 'rolling_update', key])));
  if (isNone('max_surge') && isNone('max_unavailable')) {
    const message = 'with `max_surge` 0 and `max_unavailable` 0 no replica could ever be exchanged; raise one of them';
    checking.error('ROLLS_NOTHING', [...path, 'rolling_update'], message);
  }
};

/** What cannot fit this machine, whatever else runs, is told at load: its replicas would wait for ever. */
export const checkFits = (data: DesiredState, machine: Machine): readonly Finding[] => {
  const offer = offerOf(machine, data.resources);
  return data.applications.flatMap(({ deployments }, application) =>
    deployments.flatMap((spec, deployment): Finding[] => {
      const ask = askOf(spec);
      const message = fitsAlone(ask, offer)
        ? scalesBeyond(spec, offer)
        : `${reasonOf(ask, new Ledger(offer), offer)}: its replicas will be PENDING until it asks for less, or \`resources\` offers more`;
      const path = ['applications', application, 'deployments', deployment, 'name'];
      return message === undefined ? [] : [{ severity: 'warning', code: 'DOES_NOT_FIT', path, message }];
    }),
  );
};

/** Replicas that reserve nothing share what there is; beyond so many for each CPU they get in each other's way. */
const REPLICAS_A_CPU = 8;

/** `num_replicas: auto` means up to 100, as in Ray Serve, whatever machine this is. */
const scalesBeyond = (spec: DeploymentSpec, offer: Offer): string | undefined => {
  const max = Math.min(spec.autoscaling?.maxReplicas ?? 0, spec.maxReplicasPerNode ?? Number.POSITIVE_INFINITY);
  const ask = askOf(spec);
  const fit = ask.size === 0 ? max : new Ledger(offer).takeUpTo(ask, max);
  if (fit < max)
    return `it scales up to ${max} replicas, and ${fit} fit this machine: further ones will be PENDING; set \`autoscaling_config.max_replicas\``;
  const cpus = (offer.amounts.get('cpu') ?? 0) / PARTS;
  if (ask.has('cpu') || max <= Math.max(1, cpus) * REPLICAS_A_CPU) return undefined;
  return `it scales up to ${max} replicas, which reserve no CPU and share ${cpus}; set \`autoscaling_config.max_replicas\`, or \`num_cpus\``;
};

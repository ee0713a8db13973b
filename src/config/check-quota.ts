/** Checks of what replicas are to be given: rollouts that could not move, GPUs that cannot be shared, and what this machine will never have. */
import type { DesiredState } from '../domain/desired.ts';
import { askOf } from '../quota/amounts.ts';
import { fitsAlone, Ledger, reasonOf } from '../quota/ledger.ts';
import { type Machine, offerOf } from '../quota/offer.ts';
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
      if (fitsAlone(ask, offer)) return [];
      return [
        {
          severity: 'warning',
          code: 'DOES_NOT_FIT',
          path: ['applications', application, 'deployments', deployment, 'name'],
          message: `${reasonOf(ask, new Ledger(offer), offer)}: its replicas will be PENDING until it asks for less, or \`resources\` offers more`,
        },
      ];
    }),
  );
};

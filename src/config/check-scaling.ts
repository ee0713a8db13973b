/** Checks what a schema cannot say about scaling: who decides the number of replicas, and that its bounds are in order. */
import type { Checking, SeenApplication, SeenDeployment } from './checking.ts';
import { type Mapping, mappingOf, type Path, textOf } from './finding.ts';
import { isBuiltInPolicy } from './resolve-scaling.ts';
import { nodeAt } from './schema.ts';

type CheckCode = (code: string, path: Path, application: SeenApplication, checking: Checking) => void;

export const checkScaling = (
  deployment: SeenDeployment,
  application: SeenApplication,
  checking: Checking,
  checkCode: CheckCode,
): void => {
  const { data, path } = deployment;
  const scaling = mappingOf(data.autoscaling_config);
  const isAuto = data.num_replicas === 'auto';
  if (typeof data.num_replicas === 'number' && scaling !== undefined) {
    const message =
      '`num_replicas` is a number, so `autoscaling_config` has nothing to decide: write `num_replicas: auto`, or take one of the two away';
    checking.error('EXCLUSIVE_KEYS', [...path, 'num_replicas'], message, 'key');
  }
  if ((scaling !== undefined || isAuto) && application.data.external_scaler_enabled === true) {
    const message =
      'an external scaler sets the numbers of replicas of this application (`external_scaler_enabled`), so none may scale itself; keep one of the two';
    checking.error('EXCLUSIVE_KEYS', [...path, scaling === undefined ? 'num_replicas' : 'autoscaling_config'], message, 'key');
  }
  if (scaling === undefined) return;
  const at = [...path, 'autoscaling_config'];
  if (checking.sound(at)) checkBounds(scaling, isAuto, at, checking);
  checkPolicy(scaling, at, 'policy', application, checking, checkCode);
  if (policyIn(scaling, 'policy') !== undefined && policyIn(application.data, 'autoscaling_policy') !== undefined) {
    const message = 'the application has an `autoscaling_policy` that decides for this deployment too; keep one of the two';
    checking.error('EXCLUSIVE_KEYS', [...at, 'policy'], message, 'key');
  }
};

/** The policy of an application decides for those of its deployments that autoscale. */
export const checkSharedPolicy = (application: SeenApplication, checking: Checking, checkCode: CheckCode): void => {
  checkPolicy(application.data, application.path, 'autoscaling_policy', application, checking, checkCode);
  const models = mappingOf(application.data.models);
  const ofModels = [models?.defaults, ...Object.values(mappingOf(models?.overrides) ?? {})].map((each) => mappingOf(each) ?? {});
  const scales = [...application.deployments.map(({ data }) => data), ...ofModels].some(
    (data) => data.num_replicas === 'auto' || mappingOf(data.autoscaling_config) !== undefined,
  );
  if (scales || policyIn(application.data, 'autoscaling_policy') === undefined) return;
  const message = 'no deployment of this application autoscales, so this decides nothing; give one `num_replicas: auto`';
  checking.warning('NO_EFFECT', [...application.path, 'autoscaling_policy'], message);
};

const policyIn = (holder: Mapping, key: string): string | undefined => {
  const name = textOf(mappingOf(holder[key])?.policy_function);
  return name === undefined || isBuiltInPolicy(name) ? undefined : name;
};

const checkPolicy = (
  holder: Mapping,
  at: Path,
  key: string,
  application: SeenApplication,
  checking: Checking,
  checkCode: CheckCode,
): void => {
  const policy = policyIn(holder, key);
  const path = [...at, key, 'policy_function'];
  if (policy !== undefined && checking.sound(path)) checkCode(policy, path, application, checking);
};

/** min ≤ initial ≤ max, where each is given or has a default. */
const checkBounds = (scaling: Mapping, isAuto: boolean, path: Path, checking: Checking): void => {
  const given = (key: string): number | undefined => (typeof scaling[key] === 'number' ? (scaling[key] as number) : undefined);
  const known = (key: string): number => given(key) ?? Number(checking.byDefault([...path, key]));
  const min = known('min_replicas');
  const max =
    given('max_replicas') ?? (isAuto ? Number(nodeAt([...path, 'max_replicas'])?.['x-default-auto']) : known('max_replicas'));
  const initial = given('initial_replicas');
  const show = (key: string, value: number) => checking.show([...path, key], value);
  if (min > max) {
    const isDefault = given('max_replicas') === undefined ? ', its default' : '';
    const key = given('min_replicas') === undefined ? 'max_replicas' : 'min_replicas';
    const message = `expected \`min_replicas\` ≤ \`max_replicas\`, got ${show('min_replicas', min)} and ${show('max_replicas', max)}${isDefault}`;
    checking.error('OUT_OF_RANGE', [...path, key], message);
  } else if (initial !== undefined && (initial < min || initial > max)) {
    const message = `expected \`initial_replicas\` between \`min_replicas\` (${show('min_replicas', min)}) and \`max_replicas\` (${show('max_replicas', max)}), got ${show('initial_replicas', initial)}`;
    checking.error('OUT_OF_RANGE', [...path, 'initial_replicas'], message);
  }
};

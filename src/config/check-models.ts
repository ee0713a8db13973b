/** Checks what the file says of a folder of models, whatever is in the folder: `models` of an application. */
import { checkOptions } from './check-deployment.ts';
import { type Checking, checkingOf, type SeenApplication } from './checking.ts';
import { type Finding, listOf, type Mapping, mappingOf, type Path, quote, textOf } from './finding.ts';
import { pathMistake } from './locate.ts';
import { overlay } from './overlay.ts';

export const isRepository = ({ data }: Pick<SeenApplication, 'data'>): boolean =>
  data.models !== undefined && data.models !== null;

export const checkModels = (application: SeenApplication, checking: Checking): void => {
  const { data, path } = application;
  for (const key of ['import_path', 'deployments', 'graph']) {
    const isGiven = data[key] !== undefined && data[key] !== null && !(key === 'deployments' && listOf(data[key]).length === 0);
    if (!isGiven) continue;
    const message = `expected \`models\` (a folder) or \`${key}\`, got both; make two applications of it`;
    checking.error('EXCLUSIVE_KEYS', [...path, key], message, 'key');
  }
  const at = [...path, 'models'];
  const models = mappingOf(data.models);
  const folder = textOf(models?.path);
  const mistake = folder === undefined ? undefined : pathMistake(folder);
  if (folder !== undefined && mistake !== undefined && checking.sound([...at, 'path'])) {
    const got = checking.places.written([...at, 'path']) ?? quote(folder);
    checking.error('BAD_PATH', [...at, 'path'], `${mistake}, got ${got}`);
  }
  if (models === undefined || !checking.sound([...at, 'defaults']) || !checking.sound([...at, 'overrides'])) return;
  const defaults = mappingOf(models.defaults) ?? {};
  const ofDefaults = modelFindings(defaults, [...at, 'defaults'], application, checking);
  for (const finding of ofDefaults) checking.report(finding);
  for (const [name, override] of Object.entries(mappingOf(models.overrides) ?? {})) {
    const own = [...at, 'overrides', name];
    const findings = modelFindings(overlay(defaults, mappingOf(override) ?? {}), own, application, checking);
    for (const finding of findings) if (!isEcho(finding, own, ofDefaults)) checking.report(finding);
  }
};

/** @returns what is wrong with the fields of one model, as those of a deployment. @param path where they stand, as far as they do */
export const modelFindings = (
  fields: Mapping,
  path: Path,
  application: SeenApplication,
  { places, files }: Pick<Checking, 'places' | 'files'>,
): readonly Finding[] => {
  const findings: Finding[] = [];
  const data = Object.assign(Object.create(null) as Mapping, fields, { model: { ...mappingOf(fields.model), path: '.' } });
  checkOptions({ path, data, name: undefined }, application, checkingOf(places, files, [], findings));
  return findings;
};

/** What is wrong with the defaults is so with every model. */
const isEcho = ({ code, path, message }: Finding, own: Path, ofDefaults: readonly Finding[]): boolean =>
  ofDefaults.some(
    (other) =>
      other.code === code &&
      other.message === message &&
      path.length - own.length === other.path.length - (own.length - 1) &&
      path.slice(own.length).every((part, index) => part === other.path[own.length - 1 + index]),
  );

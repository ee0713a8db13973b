/** Checks what the file says of a folder of models, whatever is in the folder: `models` of an application. */
import { isDeepStrictEqual } from 'node:util';
import { checkOptions } from './check-deployment.ts';
import { type Checking, checkingOf, type NamedFile, type SeenApplication } from './checking.ts';
import { FILE_MISSING, type Finding, listOf, type Mapping, mappingOf, type Path, quote, textOf } from './finding.ts';
import { pathMistake } from './locate.ts';
import { overlay } from './overlay.ts';
import { Places } from './places.ts';

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
  const said = checkFields(defaults, [...at, 'defaults'], [], application, checking);
  checking.named.push(...said.named);
  for (const finding of said.findings) checking.report(finding);
  for (const [name, override] of Object.entries(mappingOf(models.overrides) ?? {})) {
    const own = [...at, 'overrides', name];
    const fields = overlay(defaults, mappingOf(override) ?? {});
    const { findings, named } = checkFields(fields, own, [[...at, 'defaults']], application, checking);
    for (const file of named) if (!said.named.some(({ runs }) => isDeepStrictEqual(runs, file.runs))) checking.named.push(file);
    for (const finding of findings) if (!isEcho(finding, own, said.findings)) checking.report(finding);
  }
};

/**
 * Mistakes of the fields of one model, as those of a deployment; the code that they name has been looked for where the file names it.
 * @param path where they stand, as far as they do
 * @param under where others of them do
 */
export const modelMistakes = (
  fields: Mapping,
  path: Path,
  under: readonly Path[],
  application: SeenApplication,
  checking: Pick<Checking, 'places' | 'files'>,
): readonly Finding[] =>
  checkFields(fields, path, under, application, checking).findings.filter(
    ({ severity, code }) => severity === 'error' && code !== FILE_MISSING,
  );

const checkFields = (
  fields: Mapping,
  path: Path,
  under: readonly Path[],
  application: SeenApplication,
  { places, files }: Pick<Checking, 'places' | 'files'>,
): { readonly findings: readonly Finding[]; readonly named: readonly NamedFile[] } => {
  const findings: Finding[] = [];
  const checking = checkingOf(new CombinedPlaces(places, path, under), files, [], findings);
  const data = Object.assign(Object.create(null) as Mapping, fields, { model: { ...mappingOf(fields.model), path: '.' } });
  checkOptions({ path, data, name: undefined }, application, checking);
  return { findings, named: checking.named };
};

/** Of fields that stand in several places and are put together: what came from the environment is not printed, wherever it was named. */
class CombinedPlaces extends Places {
  readonly #places: Places;
  readonly #at: Path;
  readonly #under: readonly Path[];

  constructor(places: Places, at: Path, under: readonly Path[]) {
    super();
    this.#places = places;
    this.#at = at;
    this.#under = under;
  }

  override written(path: Path): string | undefined {
    const field = path.slice(this.#at.length);
    const all = [path, ...this.#under.map((each) => [...each, ...field])];
    const said = all.find((each) => this.#places.reach(each).length === each.length);
    return said && this.#places.written(said);
  }
}

/** What is wrong with the defaults is so with every model. */
const isEcho = ({ code, path, message }: Finding, own: Path, ofDefaults: readonly Finding[]): boolean =>
  ofDefaults.some(
    (other) =>
      other.code === code &&
      other.message === message &&
      path.length - own.length === other.path.length - (own.length - 1) &&
      path.slice(own.length).every((part, index) => part === other.path[own.length - 1 + index]),
  );

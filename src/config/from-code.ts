/** An application that code builds, as the file would say it: what the code told, and over it what the file says of the same deployments. */
import type { Json } from '../domain/json.ts';
import { type Finding, isMapping, listOf, type Mapping, mappingOf, quote, textOf } from './finding.ts';

/** What the code told; see the replica protocol. */
export interface ToldApplication {
  readonly deployments: readonly {
    readonly name: string;
    /** As the config file has them. */
    readonly options: Readonly<Record<string, Json>>;
    readonly handles: Readonly<Record<string, string>>;
  }[];
  readonly ingress: string;
  /** Its one deployment is the export itself, and is run as a file without code would have it. */
  readonly bare?: true | undefined;
}

/** Two names of one section: the file's choice of name hides the code's value under the other. */
const ALIASES: Readonly<Record<string, string>> = {
  ray_actor_options: 'replica_options',
  replica_options: 'ray_actor_options',
};

/** The file speaks of a deployment that the code does not have: a mistake of that application alone. */
export const NOT_IN_CODE = 'NOT_IN_CODE';

/**
 * Fills the applications that code builds with what the code told.
 * @param told by the index of the application in the file
 * @returns those of which nothing is known (yet), and what the file says of deployments that their code does not have
 */
export const fillIn = (
  data: Mapping,
  told: ReadonlyMap<number, ToldApplication>,
): { readonly pending: ReadonlySet<number>; readonly strange: readonly Finding[] } => {
  const pending = new Set<number>();
  const strange: Finding[] = [];
  for (const [index, application] of listOf(data.applications).entries()) {
    if (!isMapping(application) || typeof application.import_path !== 'string') continue;
    const known = told.get(index);
    const found = known === undefined ? [] : strangersOf(application, index, known);
    strange.push(...found);
    if (known === undefined || found.length > 0) pending.add(index);
    else fill(application, known);
  }
  return { pending, strange };
};

const strangersOf = (application: Mapping, index: number, told: ToldApplication): readonly Finding[] => {
  const names = told.deployments.map(({ name }) => name);
  return listOf(application.deployments).flatMap((each, at): readonly Finding[] => {
    const name = isMapping(each) ? textOf(each.name) : undefined;
    if (name === undefined || names.includes(name)) return [];
    const message = `expected a deployment that the code has (${names.join(', ')}), got ${quote(name)}`;
    const path = ['applications', index, 'deployments', at, 'name'];
    return [{ severity: 'error', code: NOT_IN_CODE, path, message, application: textOf(application.name) ?? 'default' }];
  });
};

/**
 * The application as a file without code would have it. What the file says of a deployment is the very object that stands in the file,
 * filled up with what it does not say, so that positions stay true; those it does not speak of come behind.
 * @param application has an `import_path`; changed in place
 */
const fill = (application: Mapping, told: ToldApplication): void => {
  const given = listOf(application.deployments).filter(isMapping);
  const deployments = told.deployments.map(({ name, options }) => {
    const own: Mapping =
      given.find((each) => textOf(each.name) === name) ?? (Object.assign(Object.create(null), { name }) as Mapping);
    for (const [key, value] of Object.entries(options)) {
      const alias = ALIASES[key];
      if (own[key] === undefined && (alias === undefined || own[alias] === undefined)) own[key] = value;
    }
    own.import_path ??= application.import_path;
    return own;
  });
  const order = (each: Mapping): number => {
    const at = given.indexOf(each);
    return at < 0 ? given.length : at;
  };
  application.deployments = deployments.sort((a, b) => order(a) - order(b));
  const graph: Mapping = mappingOf(application.graph) ?? (Object.create(null) as Mapping);
  const calls: Mapping = mappingOf(graph.calls) ?? (Object.create(null) as Mapping);
  for (const { name, handles } of told.deployments) {
    if (Object.keys(handles).length > 0) calls[name] = { ...handles, ...mappingOf(calls[name]) };
  }
  graph.calls = calls;
  if (graph.steps === undefined) graph.ingress ??= told.ingress;
  application.graph = graph;
  if (told.bare === true) application.import_path = null;
};

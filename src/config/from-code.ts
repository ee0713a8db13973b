/** An application that code builds, as the file would say it: what the code told, and over it what the file says of the same deployments. */
import type { Json } from '../domain/json.ts';
import { isMapping, listOf, type Mapping, mappingOf, textOf } from './finding.ts';

/** What the code told; see the replica protocol. */
export interface ToldApplication {
  readonly deployments: readonly {
    readonly name: string;
    /** As the config file has them. */
    readonly options: Readonly<Record<string, Json>>;
    readonly handles: Readonly<Record<string, string>>;
  }[];
  readonly ingress: string;
}

/** Two names of one section: the file's choice of name hides the code's value under the other. */
const ALIASES: Readonly<Record<string, string>> = {
  ray_actor_options: 'replica_options',
  replica_options: 'ray_actor_options',
};

/** Names of deployments that the file speaks of and the code does not have. */
export const strangers = (application: Mapping, told: ToldApplication): readonly string[] => {
  const names = new Set(told.deployments.map(({ name }) => name));
  return listOf(application.deployments).flatMap((each) => {
    const name = isMapping(each) ? textOf(each.name) : undefined;
    return name === undefined || names.has(name) ? [] : [name];
  });
};

/**
 * The application as a file without code would have it. What the file says of a deployment is the very object that stands in the file,
 * filled up with what it does not say, so that positions stay true; those it does not speak of come behind.
 * @param application has an `import_path`; changed in place
 */
export const fill = (application: Mapping, told: ToldApplication): void => {
  const given = listOf(application.deployments).filter(isMapping);
  const deployments = told.deployments.map(({ name, options }) => {
    const own: Mapping = given.find((each) => textOf(each.name) === name) ?? (Object.assign(Object.create(null), { name }) as Mapping);
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
};

/** What the route of a folder of models tells: which models there are, and whether each serves. Pure. */
import { ServeError } from '../domain/errors.ts';
import type { Json } from '../domain/json.ts';
import type { ApplicationRouting, RoutingSnapshot } from '../domain/snapshot.ts';

/** By the application that has a folder: its models, by name. */
export const modelsByFolder = ({
  applications,
}: Pick<RoutingSnapshot, 'applications'>): ReadonlyMap<string, readonly ApplicationRouting[]> => {
  const folders = new Map<string, ApplicationRouting[]>();
  for (const application of applications) {
    if (application.repository === undefined) continue;
    const known = folders.get(application.repository);
    if (known === undefined) folders.set(application.repository, [application]);
    else known.push(application);
  }
  for (const models of folders.values()) models.sort((a, b) => (a.name < b.name ? -1 : 1));
  return folders;
};

/**
 * @param own the models of the folder
 * @param whyNot why a model takes no requests; undefined: it does
 * @param path that no model of it has taken, without the root path
 * @throws ServeError ROUTE_NOT_FOUND, METHOD_NOT_ALLOWED
 */
export const modelList = (
  { routePrefix }: ApplicationRouting,
  own: readonly ApplicationRouting[],
  whyNot: (application: ApplicationRouting, model: string) => string | undefined,
  method: string,
  path: string,
): Json => {
  if (path !== routePrefix && path !== `${routePrefix}/`) {
    const names = own.slice(0, MAX_NAMES).flatMap(({ models }) => models ?? []);
    const more = own.length > names.length ? ` and ${own.length - names.length} more` : '';
    throw new ServeError('ROUTE_NOT_FOUND', `Path '${path}' is that of no model. There is ${names.join(', ') || 'none'}${more}.`);
  }
  if (method !== 'GET' && method !== 'HEAD')
    throw new ServeError('METHOD_NOT_ALLOWED', `expected GET for ${path}, got ${method}: each model has a path of its own`);
  return {
    models: own.flatMap((application) =>
      (application.models ?? []).map((name) => {
        const why = whyNot(application, name);
        const state = why === undefined ? 'READY' : 'UNAVAILABLE';
        return { name, route: application.routePrefix, state, reason: why ?? '' };
      }),
    ),
  };
};

const MAX_NAMES = 20;

/** What the route of a folder of models tells: which models there are, and whether each serves. Pure. */
import { ServeError } from '../domain/errors.ts';
import type { Json } from '../domain/json.ts';
import type { ApplicationRouting, RoutingSnapshot } from '../domain/snapshot.ts';

/**
 * @param path that no model of it has taken, without the root path
 * @throws ServeError ROUTE_NOT_FOUND, METHOD_NOT_ALLOWED
 */
export const modelList = (
  { name, routePrefix }: ApplicationRouting,
  { applications }: Pick<RoutingSnapshot, 'applications'>,
  method: string,
  path: string,
): Json => {
  const own = applications.filter(({ repository }) => repository === name).sort((a, b) => (a.name < b.name ? -1 : 1));
  if (path !== routePrefix && path !== `${routePrefix}/`) {
    const names = own.slice(0, MAX_NAMES).flatMap(({ models }) => models ?? []);
    const more = own.length > names.length ? ` and ${own.length - names.length} more` : '';
    throw new ServeError('ROUTE_NOT_FOUND', `Path '${path}' is that of no model. There is ${names.join(', ') || 'none'}${more}.`);
  }
  if (method !== 'GET' && method !== 'HEAD')
    throw new ServeError('METHOD_NOT_ALLOWED', `expected GET for ${path}, got ${method}: each model has a path of its own`);
  return {
    models: own.flatMap(({ models = [], routePrefix: route, unavailable }) =>
      models.map((model) => ({
        name: model,
        route,
        state: unavailable === null ? 'READY' : 'UNAVAILABLE',
        reason: unavailable ?? '',
      })),
    ),
  };
};

const MAX_NAMES = 20;

/** What a request under `/v2` asks for, by its method and path: the endpoints of the Open Inference Protocol. Pure. */
import { ServeError } from '../domain/errors.ts';
import { type ModelPath, modelPathOf, segmentsOf } from '../protocol/inference-path.ts';

export type InferenceAsk =
  | { readonly kind: 'live' | 'ready' | 'server' | 'statistics' | 'index' }
  | { readonly kind: 'model'; readonly of: ModelPath }
  | { readonly kind: 'load' | 'unload'; readonly model: string };

const FIXED: Readonly<
  Record<string, { readonly kind: 'live' | 'ready' | 'server' | 'statistics' | 'index'; readonly method: string }>
> = {
  '/v2': { kind: 'server', method: 'GET' },
  '/v2/': { kind: 'server', method: 'GET' },
  '/v2/health/live': { kind: 'live', method: 'GET' },
  '/v2/health/ready': { kind: 'ready', method: 'GET' },
  '/v2/models/stats': { kind: 'statistics', method: 'GET' },
  '/v2/repository/index': { kind: 'index', method: 'POST' },
};

/** @throws ServeError ROUTE_NOT_FOUND, METHOD_NOT_ALLOWED, or INVALID_INPUT for a path that cannot be decoded */
export const inferenceAsk = (method: string, path: string): InferenceAsk => {
  const fixed = Object.hasOwn(FIXED, path) ? FIXED[path] : undefined;
  if (fixed !== undefined) {
    expectMethod(method, fixed.method, path);
    return { kind: fixed.kind };
  }
  const of = modelPathOf(path);
  if (of !== undefined) {
    expectMethod(method, of.action === 'infer' ? 'POST' : 'GET', path);
    return { kind: 'model', of };
  }
  const moved = path.startsWith('/v2/repository/') ? repositoryAsk(path) : undefined;
  if (moved !== undefined) {
    expectMethod(method, 'POST', path);
    return moved;
  }
  throw new ServeError('ROUTE_NOT_FOUND', `Path '${path}' is none of the Open Inference Protocol that is served here.`);
};

/** `/v2/repository[/{repository}]/models/{model}/load`. */
const repositoryAsk = (path: string): InferenceAsk | undefined => {
  const parts = segmentsOf(path).slice(2);
  const kind = parts.pop();
  if (parts[0] !== 'models') parts.shift();
  const model = parts.slice(1).join('/');
  return (kind === 'load' || kind === 'unload') && parts[0] === 'models' && model !== '' ? { kind, model } : undefined;
};

const expectMethod = (method: string, wanted: string, path: string): void => {
  if (method === wanted || (method === 'HEAD' && wanted === 'GET')) return;
  throw new ServeError('METHOD_NOT_ALLOWED', `expected ${wanted} for ${path}, got ${method}`);
};

/** Paths of the Open Inference Protocol under `/v2/models`: which model and version they name, and what is asked of it. Pure. */
import { ServeError } from '../domain/errors.ts';

export interface ModelPath {
  /** `Deployment` or `application/Deployment`. */
  readonly model: string;
  /** undefined: the newest. */
  readonly version: string | undefined;
  readonly action: ModelAction | 'metadata';
}

const ACTIONS = ['ready', 'config', 'stats', 'infer'] as const;
type ModelAction = (typeof ACTIONS)[number];

/** Of extensions that are not served: no part of a model's name. */
const OTHERS: readonly (string | undefined)[] = ['generate', 'generate_stream', 'infer_stream', 'trace', 'explain'];

const isAction = (text: string | undefined): text is ModelAction => (ACTIONS as readonly (string | undefined)[]).includes(text);

/**
 * @param path as sent, percent-encoding kept, without the root path
 * @returns undefined: it is no path of a model
 * @throws ServeError INVALID_INPUT when its percent-encoding is broken
 */
export const modelPathOf = (path: string): ModelPath | undefined => {
  if (!path.startsWith('/v2/models/')) return undefined;
  const parts = segmentsOf(path).slice(2);
  if (parts.length > 1 && OTHERS.includes(parts.at(-1))) return undefined;
  const action = parts.length > 1 && isAction(parts.at(-1)) ? (parts.pop() as ModelAction) : 'metadata';
  const version = parts.length > 2 && parts.at(-2) === 'versions' ? parts.splice(-2)[1] : undefined;
  // A client that does not encode the slash of `application/Deployment` is understood all the same.
  if (parts.length < 1 || parts.length > 2 || parts.includes('') || version === '') return undefined;
  return { model: parts.join('/'), version, action };
};

/** Between slashes, decoded once. @throws ServeError INVALID_INPUT */
export const segmentsOf = (path: string): string[] => {
  try {
    return path.slice(1).split('/').map(decodeURIComponent);
  } catch {
    throw new ServeError('INVALID_INPUT', 'expected a path whose percent-encoding is UTF-8');
  }
};

/**
 * What two requests must have in common to get one answer, as one key; and which requests are answered for themselves. The key has all that
 * decides the answer: what is left out of it is what nothing that is run can see, or what says only how the answer is waited for. Pure.
 */
import { createHash } from 'node:crypto';
import type { DeploymentRouting } from '../domain/snapshot.ts';
import { headerOf } from '../protocol/http-value.ts';
import type { HttpHead } from '../protocol/messages.ts';
import type { WireValue } from '../protocol/value.ts';

/** What of a call is looked at. */
export interface AskedCall {
  readonly target: { readonly method: string };
  readonly value: WireValue;
  readonly spread?: boolean;
  readonly http?: HttpHead;
  /** Present: it comes in pieces, and is never held whole. */
  readonly body?: unknown;
  readonly socketSink?: unknown;
  readonly modelId?: string | undefined;
  readonly sessionId?: string | undefined;
}

/** All that a model reads of a head beside its method and path. */
const READ_BY_MODELS: ReadonlySet<string> = new Set(['content-type', 'inference-header-content-length']);

/** What decides how code is given the rest: no `vary` leaves it out. */
const ALWAYS_READ: ReadonlySet<string> = new Set([
  'host',
  'content-type',
  'content-encoding',
  'serve_multiplexed_model_id',
  'serve-multiplexed-model-id',
  'x-session-id',
]);

/** They say which request this is, and how its answer is waited for or carried; not what is asked. */
const NOT_ASKED: ReadonlySet<string> = new Set([
  'x-request-id',
  'x-request-timeout-seconds',
  'x-request-disconnect-disabled',
  'x-priority',
  'traceparent',
  'tracestate',
  'b3',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-flags',
  'x-amzn-trace-id',
  'x-cloud-trace-context',
  'uber-trace-id',
  'sentry-trace',
  'x-datadog-trace-id',
  'x-datadog-parent-id',
  'x-datadog-sampling-priority',
  'connection',
  'keep-alive',
  'content-length',
  'transfer-encoding',
  'expect',
]);

/** Who asks. Code may look up whether that is still allowed, so an answer from memory is none. */
const CREDENTIALS: readonly string[] = [
  'authorization',
  'proxy-authorization',
  'cookie',
  'x-api-key',
  'api-key',
  'x-auth-token',
  'x-access-token',
];

/** Others are asked to change something. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST']);

/** @returns undefined: it is answered for itself, and its answer is not kept */
export const keyOf = (asked: AskedCall, { kind, responseCache }: DeploymentRouting): string | undefined => {
  const { http } = asked;
  if (responseCache?.from == null || asked.body !== undefined || asked.socketSink !== undefined) return undefined;
  if (http === undefined) return hashed(responseCache.from, callParts(asked), asked.value);
  if (!METHODS.has(http.method) || asksAnew(http.headers)) return undefined;
  const { vary } = responseCache;
  const isInKey = kind === 'model' ? readByModels : vary === null ? isAsked : varies(vary);
  if (kind !== 'model' && CREDENTIALS.some((name) => vary?.includes(name) !== true && hasHeader(http.headers, name)))
    return undefined;
  return hashed(responseCache.from, [vary, ...httpParts(asked, http, isInKey)], asked.value);
};

/** Whether a request header is part of what is asked of code. */
export const isInKeyOfCode = (name: string, vary: readonly string[] | null): boolean =>
  vary === null ? isAsked(name) : varies(vary)(name);

const readByModels = (name: string): boolean => READ_BY_MODELS.has(name);
const isAsked = (name: string): boolean => !NOT_ASKED.has(name);
const varies =
  (vary: readonly string[]) =>
  (name: string): boolean =>
    vary.includes(name) || ALWAYS_READ.has(name);

/** Whether its client wants no answer from memory, or none that is left there (RFC 9111, 5.2.1). */
const asksAnew = (headers: readonly string[]): boolean => {
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const name = headers[index];
    if (name !== 'cache-control' && name !== 'pragma') continue;
    if (/(?:^|[\s,])(?:no-cache|no-store|max-age\s*=\s*"?0+"?)(?:$|[\s,;=])/i.test(headers[index + 1] as string)) return true;
  }
  return false;
};

const hasHeader = (headers: readonly string[], name: string): boolean => headerOf(headers, name) !== undefined;

const httpParts = (
  { target }: AskedCall,
  { method, path, query, headers, secure }: HttpHead,
  isInKey: (name: string) => boolean,
): readonly unknown[] => {
  const parts: unknown[] = ['http', target.method, method, path, query, secure === true];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const name = headers[index] as string;
    if (isInKey(name)) parts.push(name, headers[index + 1]);
  }
  return parts;
};

const callParts = ({ target, spread, modelId, sessionId }: AskedCall): readonly unknown[] => [
  'value',
  target.method,
  spread === true,
  modelId ?? null,
  sessionId ?? null,
];

/** The head is one JSON text, which tells where it ends, and has the length of each run of bytes behind it: no two questions look alike. */
const hashed = (from: string, parts: readonly unknown[], { skeleton, segments }: WireValue): string => {
  const table = segments.map(({ dtype, shape, bytes }) => [dtype, shape, bytes.byteLength]);
  const skeletonBytes = typeof skeleton === 'string' ? Buffer.byteLength(skeleton) : skeleton.byteLength;
  const hash = createHash('sha256').update(JSON.stringify([from, parts, skeletonBytes, table]));
  if (skeletonBytes > 0) hash.update(skeleton);
  for (const { bytes } of segments) hash.update(bytes);
  return hash.digest('base64');
};

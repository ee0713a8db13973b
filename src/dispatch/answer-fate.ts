/** What becomes of an answer: kept, given to all who asked the same meanwhile, or for him alone who asked first. Pure. */
import type { DeploymentRouting } from '../domain/snapshot.ts';
import type { HttpAnswerHead } from '../protocol/messages.ts';
import { isInKeyOfCode } from './answer-key.ts';

export type AnswerFate =
  /** `ttlMs`: how long it says itself that it is good; Infinity: it does not say. */
  | { readonly kind: 'keep'; readonly ttlMs: number }
  /** For one client. `lasting`: the next one to that question will be too. */
  | { readonly kind: 'own'; readonly lasting: boolean };

const KEEP: AnswerFate = { kind: 'keep', ttlMs: Number.POSITIVE_INFINITY };
const OWN: AnswerFate = { kind: 'own', lasting: true };
const OWN_ONCE: AnswerFate = { kind: 'own', lasting: false };

export const fateOf = (
  http: HttpAnswerHead | undefined,
  { kind, responseCache }: Pick<DeploymentRouting, 'kind' | 'responseCache'>,
): AnswerFate => {
  if (http === undefined) return KEEP;
  const { status, headers } = http;
  if (status !== 200) return OWN_ONCE;
  if (said(headers, 'set-cookie').length > 0) return OWN;
  const control = said(headers, 'cache-control');
  if (control.some((part) => /^(?:no-store|no-cache|private)\b/.test(part))) return OWN;
  if (kind !== 'model') {
    const isInKey = (name: string) => isInKeyOfCode(name, responseCache?.vary ?? null);
    if (!said(headers, 'vary').every((name) => name !== '*' && isInKey(name))) return OWN;
    if (said(headers, 'content-encoding').length > 0 && !isInKey('accept-encoding')) return OWN;
  }
  const seconds = secondsOf(control, 's-maxage') ?? secondsOf(control, 'max-age');
  if (seconds === undefined) return KEEP;
  return seconds > 0 ? { kind: 'keep', ttlMs: seconds * 1000 } : OWN;
};

/** Headers that are of one request only. */
const OF_ONE: ReadonlySet<string> = new Set(['x-request-id', 'x-serve-cache', 'traceparent', 'tracestate', 'server-timing']);

/** The head as others may have it. */
export const headForAll = (http: HttpAnswerHead | undefined): HttpAnswerHead | undefined => {
  if (http === undefined) return undefined;
  const { status, headers } = http;
  if (!headers.some((name, index) => index % 2 === 0 && OF_ONE.has(name.toLowerCase()))) return http;
  return { status, headers: headers.filter((_, index) => !OF_ONE.has((headers[index - (index % 2)] as string).toLowerCase())) };
};

/** The parts of a header that is a list, over all its lines, in lower case. A replica may write names as it likes. */
const said = (headers: readonly string[], name: string): readonly string[] => {
  const parts: string[] = [];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    if ((headers[index] as string).toLowerCase() !== name) continue;
    for (const part of (headers[index + 1] as string).toLowerCase().split(',')) if (part.trim() !== '') parts.push(part.trim());
  }
  return parts;
};

/** What cannot be read counts as 0: nothing is kept for longer than was said. */
const secondsOf = (control: readonly string[], name: string): number | undefined => {
  const part = control.find((each) => each.startsWith(`${name}=`));
  if (part === undefined) return undefined;
  const seconds = Number(part.slice(name.length + 1).replaceAll('"', ''));
  return Number.isFinite(seconds) ? Math.max(0, seconds) : 0;
};

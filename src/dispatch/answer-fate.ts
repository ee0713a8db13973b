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

/** @param wallMs the time of day, as `Date.now` has it: `expires` names one */
export const fateOf = (
  http: HttpAnswerHead | undefined,
  { kind, responseCache }: Pick<DeploymentRouting, 'kind' | 'responseCache'>,
  wallMs: number,
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
  if (control.length === 0 && said(headers, 'pragma').includes('no-cache')) return OWN;
  const ttlMs = timeLeft(headers, control, wallMs);
  if (ttlMs === undefined) return KEEP;
  return ttlMs > 0 ? { kind: 'keep', ttlMs } : OWN;
};

/** For how long it is good (RFC 9111, 4.2), in milliseconds; undefined: it does not say. What cannot be read leaves nothing. */
const timeLeft = (headers: readonly string[], control: readonly string[], wallMs: number): number | undefined => {
  const seconds = secondsOf(control, 's-maxage') ?? secondsOf(control, 'max-age');
  if (seconds !== undefined) return (seconds - ageOf(headers)) * 1000;
  const expires = linesOf(headers, 'expires');
  if (expires.length === 0) return undefined;
  const [date = ''] = expires;
  return expires.length === 1 && HTTP_DATE.test(date) ? (Date.parse(date) || 0) - wallMs : 0;
};

/** The one form in which dates are written (RFC 9110, 5.6.7). `Date.parse` reads nearly anything as some time. */
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/** Seconds that it was under way, or in another cache, before. */
const ageOf = (headers: readonly string[]): number => {
  const ages = linesOf(headers, 'age').map((text) => (/^\d+$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY));
  return Math.max(0, ...ages);
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

/** The parts of a header that is a list, over all its lines, in lower case. */
const said = (headers: readonly string[], name: string): readonly string[] => {
  const parts: string[] = [];
  for (const line of linesOf(headers, name))
    for (const part of line.toLowerCase().split(',')) if (part.trim() !== '') parts.push(part.trim());
  return parts;
};

/** A replica may write names as it likes. */
const linesOf = (headers: readonly string[], name: string): readonly string[] => {
  const lines: string[] = [];
  for (let index = 0; index + 1 < headers.length; index += 2)
    if ((headers[index] as string).toLowerCase() === name) lines.push((headers[index + 1] as string).trim());
  return lines;
};

/** What cannot be read counts as 0: nothing is kept for longer than was said. */
const secondsOf = (control: readonly string[], name: string): number | undefined => {
  const part = control.find((each) => each.startsWith(`${name}=`));
  if (part === undefined) return undefined;
  const seconds = Number(part.slice(name.length + 1).replaceAll('"', ''));
  return Number.isFinite(seconds) ? Math.max(0, seconds) : 0;
};

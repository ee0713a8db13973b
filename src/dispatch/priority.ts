/** In which order waiting requests are served: by arrival, an urgent one as if it had come earlier. Pure. */
import { priorityOfHeaders } from '../protocol/routing-headers.ts';

/** As the urgency of RFC 9218: 0 is served first, 7 last. */
export const MOST_URGENT = 0;
export const LEAST_URGENT = 7;
export const DEFAULT_PRIORITY = 3;

/** How much earlier one priority is than the next. So nobody is overtaken by what comes 7 such steps after it: no load starves anyone. */
const STEP_MS = 1000;

/** What ranks a request: the smallest is served first. It never changes while the request waits. */
export const rankOf = ({
  arrivedAt,
  priority = DEFAULT_PRIORITY,
}: {
  readonly arrivedAt: number;
  readonly priority?: number | undefined;
}): number => arrivedAt + priority * STEP_MS;

export const isPriority = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= MOST_URGENT && (value as number) <= LEAST_URGENT;

interface Prioritised {
  readonly priority: number | undefined;
  readonly http: { readonly headers: readonly string[] } | undefined;
  readonly parent: Prioritised | undefined;
}

/** What was said for it, else what its client says, else that of the call in whose work it was made. */
export const priorityOf = (call: Prioritised): number => {
  for (let at: Prioritised | undefined = call; at !== undefined; at = at.parent) {
    const priority = at.priority ?? (at.http === undefined ? undefined : priorityOfHeaders(at.http.headers));
    if (priority !== undefined) return priority;
  }
  return DEFAULT_PRIORITY;
};

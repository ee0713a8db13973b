/** What a route of the admin API is, and how a path finds one. Pure. */

export type Method = 'GET' | 'PUT' | 'POST' | 'DELETE';

export interface AdminRequest {
  /** What `:name` stands for in the route's path, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** Empty where there is none; bounded by the server. */
  readonly body: Uint8Array;
}

export type AdminAnswer =
  /** Sent as JSON; undefined: nothing. */
  | { readonly status: number; readonly body?: object; readonly headers?: Readonly<Record<string, string>> }
  | { readonly text: string; readonly type: string }
  /** Sent as it comes, until either side ends it. */
  | { readonly type: string; readonly follow: (out: Sink) => () => void };

/** Where a stream goes. What is written after its end, or to a reader that has fallen far behind, is dropped with the connection. */
export interface Sink {
  write(text: string): void;
  end(): void;
}

export interface Route {
  readonly method: Method;
  /** Segments, of which `:name` stands for any one; a trailing slash says nothing. */
  readonly path: string;
  /** Answered without the token: health only. */
  readonly open?: boolean;
  /** @throws AdminError */
  handle(request: AdminRequest): AdminAnswer | Promise<AdminAnswer>;
}

/** An answer that is no success, in the one shape that all errors have: `{error, ...details}`. */
export class AdminError extends Error {
  readonly status: number;
  readonly details: object;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, details: object = {}, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = 'AdminError';
    this.status = status;
    this.details = details;
    this.headers = headers;
  }
}

/**
 * @param path without the query
 * @throws AdminError 404 with what there is, 405 with what the path takes, 400 for a path that is no text
 */
export const findRoute = (
  routes: readonly Route[],
  method: string,
  path: string,
): { readonly route: Route; readonly params: Readonly<Record<string, string>> } => {
  const segments = segmentsOf(path);
  const here = routes.flatMap((route) => {
    const params = match(segmentsOf(route.path), segments);
    return params === undefined ? [] : [{ route, params }];
  });
  if (here.length === 0) {
    const known = [...new Set(routes.map((route) => route.path))];
    throw new AdminError(404, `there is no ${path}; there are ${known.join(', ')}`);
  }
  const wanted = method === 'HEAD' ? 'GET' : method;
  const found = here.find(({ route }) => route.method === wanted);
  if (found !== undefined) return found;
  const allow = here.map(({ route }) => route.method);
  throw new AdminError(405, `expected ${allow.join(' or ')}, got ${method}`, {}, { allow: allow.join(', ') });
};

const segmentsOf = (path: string): readonly string[] => path.split('/').filter((segment) => segment !== '');

const match = (pattern: readonly string[], segments: readonly string[]): Record<string, string> | undefined => {
  if (pattern.length !== segments.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, part] of pattern.entries()) {
    const given = segments[index] as string;
    if (!part.startsWith(':')) {
      if (part !== given) return undefined;
      continue;
    }
    try {
      params[part.slice(1)] = decodeURIComponent(given);
    } catch {
      throw new AdminError(400, `${given} is no path`);
    }
  }
  return params;
};

/** Everything that can be asked of the admin API: Ray Serve's paths and bodies where it has them. */
import type { StatusFeed } from '../control/events.ts';
import type { Revision } from '../control/history.ts';
import type { Preview, Submitted } from '../control/reloader.ts';
import type { VerdictMove } from '../control/verdict-record.ts';
import type { Diagnostic } from '../domain/diagnostic.ts';
import { VERSION } from '../version.ts';
import { eventsRoute } from './events.ts';
import { exposition } from './exposition.ts';
import { type LogSource, logsRoute } from './logs.ts';
import { familiesOf, type Measured } from './metrics.ts';
import { type AdminAnswer, AdminError, type Route } from './route.ts';
import { type Scale, scaleRoute } from './scale.ts';

/** What the admin API asks of the daemon. */
export interface AdminSources {
  /** @param apiType Ray Serve's filter: all that is here was declared */
  readonly status: (apiType?: 'declarative' | 'imperative') => Promise<object>;
  /** Everything that is counted. */
  readonly measure: () => Promise<Measured>;
  /** What saving this text would do; without one, what the file would do as it is. */
  readonly preview: (text?: Uint8Array) => Promise<Preview>;
  /** Takes a config over the API: the file stays as it is. */
  readonly deploy: (text: Uint8Array) => Promise<Submitted>;
  /** Nothing is served any more; the daemon lives on. */
  readonly clear: () => Promise<Submitted>;
  /** undefined: there is no such revision. @param revision absent: the one before what is served */
  readonly rollback: (revision?: number) => Promise<Submitted | undefined>;
  readonly history: () => readonly Revision[];
  /** How verdicts moved the weights of splits, oldest first. */
  readonly verdictMoves: () => readonly VerdictMove[];
  /** What is served, as it was written. */
  readonly config: () => object;
  /** As SIGHUP and SIGTERM do. */
  readonly reload: () => void;
  readonly shutdown: () => void;
  readonly logs: () => LogSource;
  readonly feed: () => StatusFeed;
  readonly scale: Scale;
  /** undefined: ready; else why not. */
  readonly notReady: () => string | undefined;
}

export const routesOf = (daemon: AdminSources): readonly Route[] => [
  { method: 'GET', path: '/healthz', open: true, handle: () => ({ status: 200, body: { status: 'alive' } }) },
  {
    method: 'GET',
    path: '/readyz',
    open: true,
    handle: () => {
      const reason = daemon.notReady();
      return reason === undefined
        ? { status: 200, body: { status: 'ready' } }
        : { status: 503, body: { status: 'not ready', reason } };
    },
  },
  { method: 'GET', path: '/metrics', handle: async () => exposition(familiesOf(await daemon.measure())) },
  { method: 'GET', path: '/api/serve/plan', handle: async () => planned(await daemon.preview()) },
  // With the text of a config, YAML or JSON: it has a body, so it is no GET.
  { method: 'POST', path: '/api/serve/plan', handle: async ({ body }) => planned(await daemon.preview(body)) },
  {
    method: 'GET',
    path: APPLICATIONS,
    handle: async ({ query }) => ({ status: 200, body: await daemon.status(apiTypeOf(query.get('api_type'))) }),
  },
  { method: 'PUT', path: APPLICATIONS, handle: async ({ body }) => accepted(await daemon.deploy(body)) },
  { method: 'DELETE', path: APPLICATIONS, handle: async () => accepted(await daemon.clear()) },
  scaleRoute(daemon.scale),
  { method: 'GET', path: '/api/serve/config', handle: () => ({ status: 200, body: daemon.config() }) },
  {
    method: 'GET',
    path: '/api/serve/history',
    handle: () => ({
      status: 200,
      body: { revisions: daemon.history().map(({ text: _, ...told }) => told), verdicts: daemon.verdictMoves() },
    }),
  },
  {
    method: 'GET',
    path: '/api/serve/history/:revision',
    handle: ({ params: { revision } }) => {
      const found = daemon.history().find((each) => String(each.revision) === revision);
      if (found === undefined) throw noRevision(revision ?? '', daemon.history());
      return { status: 200, body: found };
    },
  },
  {
    method: 'POST',
    path: '/api/serve/rollback',
    handle: async ({ body }) => {
      const to = rollbackTo(body);
      const submitted = await daemon.rollback(to);
      if (submitted === undefined) throw noRevision(to === undefined ? 'before this one' : String(to), daemon.history());
      return submitted.accepted ? { status: 200, body: { revision: submitted.revision } } : accepted(submitted);
    },
  },
  logsRoute(daemon.logs),
  eventsRoute(daemon.feed),
  { method: 'POST', path: '/api/serve/reload', handle: () => asked(daemon.reload) },
  { method: 'POST', path: '/api/serve/shutdown', handle: () => asked(daemon.shutdown) },
  {
    method: 'GET',
    path: '/api/ray/version',
    handle: () => ({
      status: 200,
      body: { version: '4', ray_version: RAY_VERSION, ray_commit: '', session_name: '', serve_daemon: VERSION },
    }),
  },
];

const APPLICATIONS = '/api/serve/applications/';
/** Whose API this is: tools ask before they speak it. */
const RAY_VERSION = '2.58.0';

const accepted = (submitted: Submitted): AdminAnswer => {
  if (!submitted.accepted) throw refused(submitted.diagnostics);
  return { status: 200 };
};

const asked = (act: () => void): AdminAnswer => {
  // The answer first.
  setTimeout(act, ANSWERED_MS);
  return { status: 202, body: {} };
};
const ANSWERED_MS = 20;

const apiTypeOf = (given: string | null): 'declarative' | 'imperative' | undefined => {
  if (given === null || given === 'unknown') return undefined;
  if (given === 'declarative' || given === 'imperative') return given;
  throw new AdminError(400, `expected api_type declarative or imperative, got ${given}`);
};

const rollbackTo = (body: Uint8Array): number | undefined => {
  if (body.length === 0) return undefined;
  try {
    const { revision } = JSON.parse(Buffer.from(body).toString()) as { revision?: unknown };
    if (revision === undefined || (Number.isSafeInteger(revision) && Number(revision) > 0)) return revision as number | undefined;
  } catch {
    // As below.
  }
  throw new AdminError(400, 'expected no body or {"revision": number}');
};

const noRevision = (wanted: string, history: readonly Revision[]): AdminError =>
  new AdminError(404, `there is no revision ${wanted}; there are ${history.map(({ revision }) => revision).join(', ')}`);

const planned = (preview: Preview): AdminAnswer => {
  if (!preview.valid) throw refused(preview.diagnostics);
  return { status: 200, body: { ...preview.difference, diagnostics: preview.diagnostics } };
};

/** A config with mistakes. */
const refused = (diagnostics: readonly Diagnostic[]): AdminError => {
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  const [first] = errors;
  const message = `the config has ${errors.length} error${errors.length === 1 ? '' : 's'}${first === undefined ? '' : `, the first: ${first.message}`}`;
  return new AdminError(400, message, { diagnostics });
};

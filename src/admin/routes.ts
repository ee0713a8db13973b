/** Everything that can be asked of the admin API: Ray Serve's paths and bodies where it has them. */
import type { Preview } from '../control/reloader.ts';
import type { Diagnostic } from '../domain/diagnostic.ts';
import { type AdminAnswer, AdminError, type Route } from './route.ts';
import { type Scale, scaleRoute } from './scale.ts';

/** What the admin API asks of the daemon. */
export interface AdminSources {
  readonly status: () => Promise<object>;
  readonly scale: Scale;
  /** What saving this text would do; without one, what the file would do as it is. */
  readonly preview: (text?: Uint8Array) => Promise<Preview>;
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
  { method: 'GET', path: '/api/serve/plan', handle: async () => planned(await daemon.preview()) },
  // With the text of a config, YAML or JSON: it has a body, so it is no GET.
  { method: 'POST', path: '/api/serve/plan', handle: async ({ body }) => planned(await daemon.preview(body)) },
  { method: 'GET', path: '/api/serve/applications/', handle: async () => ({ status: 200, body: await daemon.status() }) },
  scaleRoute(daemon.scale),
];

const planned = (preview: Preview): AdminAnswer => {
  if (!preview.valid) throw refused(preview.diagnostics);
  return { status: 200, body: { ...preview.difference, warnings: preview.warnings } };
};

/** A config with mistakes. */
const refused = (diagnostics: readonly Diagnostic[]): AdminError => {
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  const [first] = errors;
  const message = `the config has ${errors.length} error${errors.length === 1 ? '' : 's'}${first === undefined ? '' : `, the first: ${first.message}`}`;
  return new AdminError(400, message, { diagnostics });
};

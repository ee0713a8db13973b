/** Everything that can be asked of the admin API: Ray Serve's paths and bodies where it has them. */
import type { Route } from './route.ts';
import { type Scale, scaleRoute } from './scale.ts';

/** What the admin API asks of the daemon. */
export interface AdminSources {
  readonly status: () => Promise<object>;
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
  { method: 'GET', path: '/api/serve/applications/', handle: async () => ({ status: 200, body: await daemon.status() }) },
  scaleRoute(daemon.scale),
];

/** What operators may see and do: the admin API's questions, answered by the parts of the daemon. */
import type { AdminSources } from './admin/routes.ts';
import type { Controller } from './control/controller.ts';
import type { DataPlane } from './control/data-plane.ts';
import type { HttpListening } from './control/http-listening.ts';
import type { Reloader } from './control/reloader.ts';
import { buildStatus } from './control/status.ts';
import { VERSION } from './version.ts';

export interface Parts {
  /** The config file, absolute. */
  readonly path: string;
  readonly reloader: Reloader;
  readonly http: HttpListening;
  /** Running: the admin API is up after it. */
  readonly controller: () => Controller;
  readonly plane: () => DataPlane | undefined;
  readonly adminUrl: () => string;
  readonly stopping: () => boolean;
}

export const operationsOf = ({ path, reloader, http, controller, plane, adminUrl, stopping }: Parts): AdminSources => ({
  status: async () => {
    const { applied, errors, rejected } = reloader;
    const { targets, broken, actual, replicas } = controller();
    return buildStatus({
      targets,
      broken,
      actual,
      replicas,
      load: (await plane()?.load()) ?? { ongoing: 0, deployments: {}, replicas: {} },
      scaledTo: (application, deployment) => controller().scaledTo(application, deployment),
      policyProblem: (application, deployment) => controller().policyProblem(application, deployment),
      deathsOf: (application, deployment) => controller().deathsOf(application, deployment),
      config: { path, hash: applied.hash, applied_at: applied.at, errors },
      rejected,
      listeners: {
        http: http.url ?? null,
        admin: adminUrl(),
        http_driver: http.driver ?? null,
        http_error: http.error ?? null,
      },
      pid: process.pid,
      version: VERSION,
    });
  },
  scale: (application, deployment, replicas) => controller().scale(application, deployment, replicas),
  preview: (text) => reloader.preview(text),
  notReady: () => {
    if (stopping()) return 'the daemon is stopping';
    return controller().settled ? undefined : 'not every application is ready yet';
  },
});

/** What operators may see and do: the admin API's questions, answered by the parts of the daemon. */
import type { AdminSources } from './admin/routes.ts';
import { asWritten, withListenersOf, withoutApplications } from './config/compose.ts';
import type { Controller } from './control/controller.ts';
import type { DataPlane } from './control/data-plane.ts';
import { StatusFeed } from './control/events.ts';
import type { CompileConfig } from './control/goal.ts';
import type { History } from './control/history.ts';
import type { HttpListening } from './control/http-listening.ts';
import { type Reloader, type Submitted, textOf } from './control/reloader.ts';
import { buildStatus, type Status } from './control/status.ts';
import type { VerdictRecord } from './control/verdict-record.ts';
import type { Diagnostic } from './domain/diagnostic.ts';
import type { Json } from './domain/json.ts';
import { LoopWatch } from './loop-watch.ts';
import type { DaemonLog } from './telemetry/log.ts';
import { VERSION } from './version.ts';

export interface Parts {
  /** The config file, or the code that is run without one; absolute. */
  readonly path: string;
  readonly compile: CompileConfig;
  readonly history: History;
  readonly verdicts: VerdictRecord;
  readonly reloader: Reloader;
  readonly http: HttpListening;
  /** Running: the admin API is up after it. */
  readonly controller: () => Controller;
  readonly plane: () => DataPlane | undefined;
  readonly adminUrl: () => string;
  readonly stopping: () => boolean;
  readonly log: () => DaemonLog;
}

export interface Operations extends AdminSources {
  /** The status may be another. */
  changed(): void;
}

export const operationsOf = (parts: Parts): Operations => {
  const { path, compile, history, verdicts, reloader, controller, stopping } = parts;
  const loop = new LoopWatch();
  const feed = new StatusFeed(() => statusOf(parts, undefined));
  const served = () => Buffer.from(reloader.applied.config.text).toString();
  const submit = async (text: string, confined: boolean): Promise<Submitted> => {
    const submitted = await reloader.submit({ text: Buffer.from(text), confined }, 'api');
    return submitted.accepted ? submitted : { ...submitted, diagnostics: elsewhere(submitted.diagnostics, path) };
  };
  return {
    status: (apiType) => statusOf(parts, apiType),
    measure: async () => ({
      plane: await parts.plane()?.metrics(),
      status: await statusOf(parts, undefined),
      reloads: reloader.results,
      controlLoop: loop.delay,
      user: controller().userMetrics,
    }),
    preview: async (text) => {
      const preview = await reloader.preview(text);
      return preview.valid || text === undefined ? preview : { ...preview, diagnostics: elsewhere(preview.diagnostics, path) };
    },
    deploy: async (text) => {
      // Told by the places of the text that was sent, not of what it is completed to.
      const { desired, diagnostics } = compile({ text, confined: true });
      if (desired === undefined) return { accepted: false, diagnostics: elsewhere(diagnostics, path) };
      return submit(withListenersOf(Buffer.from(text).toString(), served()), true);
    },
    clear: () => submit(withoutApplications(served()), reloader.applied.config.confined),
    rollback: async (revision) => {
      const { revisions } = history;
      const to =
        revision === undefined
          ? revisions.findLast(({ hash }) => hash !== reloader.applied.hash)
          : revisions.find((each) => each.revision === revision);
      return to && reloader.submit(textOf(to), 'rollback');
    },
    history: () => history.revisions,
    verdictMoves: () => verdicts.moves,
    config: () => {
      const { hash, at, source, revision } = reloader.applied;
      return { path, text: served(), hash, applied_at: at, source, revision, drift: reloader.drift };
    },
    scale: (application, deployment, replicas) => controller().scale(application, deployment, replicas),
    logs: () => parts.log().recent,
    feed: () => feed,
    changed: () => feed.changed(),
    reload: () => reloader.reload(true),
    // The same way out as for everybody who asks it to end.
    shutdown: () => process.kill(process.pid, 'SIGTERM'),
    notReady: () => {
      if (stopping()) return 'the daemon is stopping';
      return controller().settled ? undefined : 'not every application is ready yet';
    },
  };
};

/** What was sent stands in no file; what stands beside a model does. */
const elsewhere = (diagnostics: readonly Diagnostic[], path: string): readonly Diagnostic[] =>
  diagnostics.map((diagnostic) => (diagnostic.file === path ? { ...diagnostic, file: 'the config that was sent' } : diagnostic));

const statusOf = async (
  { path, reloader, http, controller, plane, adminUrl }: Parts,
  apiType: 'declarative' | 'imperative' | undefined,
): Promise<Status> => {
  const { applied, errors, rejected, drift } = reloader;
  const { targets, broken, actual, replicas } = controller();
  const none = apiType === 'imperative';
  return buildStatus({
    targets: none ? [] : targets,
    broken: none ? [] : broken,
    actual,
    replicas: none ? [] : replicas,
    load: (await plane()?.load()) ?? { ongoing: 0, deployments: {}, replicas: {} },
    scaledTo: (application, deployment) => controller().scaledTo(application, deployment),
    policyProblem: (application, deployment) => controller().policyProblem(application, deployment),
    verdictOf: (application, step) => controller().verdictOf(application, step),
    waiting: controller().waiting,
    deathsOf: (application, deployment) => controller().deathsOf(application, deployment),
    config: {
      path,
      hash: applied.hash,
      applied_at: applied.at,
      source: applied.source,
      revision: applied.revision,
      drift,
      errors,
    },
    rejected,
    proxy: reloader.desired.proxy,
    written: writtenOf(reloader),
    deployed: reloader.deployed,
    now: performance.now(),
    listeners: {
      http: http.url ?? null,
      admin: adminUrl(),
      http_driver: http.at?.driver ?? null,
      http_error: http.error ?? null,
    },
    pid: process.pid,
    version: VERSION,
  });
};

/** Statuses are asked for much more often than configs change. */
const READ = new WeakMap<Uint8Array, { readonly applications?: Json }>();

/** By application; of the same places in the file, as a name may come from the environment. */
const writtenOf = ({ applied, desired }: Reloader): ReadonlyMap<string, Json> => {
  const { text } = applied.config;
  const { applications } = READ.get(text) ?? asWritten(Buffer.from(text).toString());
  if (!READ.has(text)) READ.set(text, { applications });
  const list = Array.isArray(applications) ? applications : [];
  const written = new Map<string, Json>();
  for (const [index, { name, repository }] of desired.applications.entries())
    written.set(name, (repository === undefined ? list[index] : written.get(repository)) ?? null);
  return written;
};

/** Composition root: builds every part, wires them, starts in order, stops in reverse. */
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { AdminListener } from './admin/listener.ts';
import { routesOf } from './admin/routes.ts';
import { cannotListen } from './cannot-listen.ts';
import { formatDiagnostics } from './config/format.ts';
import { FileWatcher, type Followed } from './config/watch.ts';
import { pruneCode } from './control/code-prune.ts';
import type { ConfigOrigin } from './control/config-file.ts';
import { Controller } from './control/controller.ts';
import { Folders } from './control/folders.ts';
import { Goal, type GoalOutcome } from './control/goal.ts';
import { History } from './control/history.ts';
import { HttpListening } from './control/http-listening.ts';
import { meansOf, THIS_PLATFORM } from './control/platform.ts';
import { type DeploymentProgress, progressOf } from './control/progress.ts';
import { Reloader } from './control/reloader.ts';
import { VerdictRecord } from './control/verdict-record.ts';
import { type DaemonOptions, type RunningDaemon, StartError } from './daemon.ts';
import type { DesiredState } from './domain/desired.ts';
import { LogRules } from './domain/logging.ts';
import { type Opened, open } from './open.ts';
import { type Operations, operationsOf } from './operations.ts';
import { detectMachine } from './quota/machine.ts';
import type { Machine } from './quota/offer.ts';
import { configureDaemon } from './settings.ts';
import { type DaemonLog, logReplicaLine } from './telemetry/log.ts';
import { describeFor, understandFor } from './understand.ts';

const REPLICA = fileURLToPath(new URL('./replica/main.js', import.meta.url));
const POLICY = fileURLToPath(new URL('./replica/policy-main.js', import.meta.url));

/** @throws StartError */
export const startDaemon = async (options: DaemonOptions): Promise<RunningDaemon> => {
  const folders = new Folders(stateKeyOf(options.config), options.stateDir, options.env);
  const daemon = new Daemon(options, folders);
  try {
    await daemon.start();
    return daemon;
  } catch (error) {
    await daemon.destroy();
    throw error;
  }
};

/** What a daemon keeps is kept for its config. */
const stateKeyOf = ({ path, folder, text }: ConfigOrigin): string => (text === undefined ? path : `${path} in ${folder}`);

class Daemon implements RunningDaemon {
  readonly #options: DaemonOptions;
  readonly #machine: Machine;
  readonly #folders: Folders;
  readonly #reloader: Reloader;
  readonly #verdicts: VerdictRecord;
  readonly #operations: Operations;
  readonly #admin: AdminListener;
  readonly #http = new HttpListening();
  readonly #key = randomBytes(32).toString('hex');
  #opened: Opened | undefined;
  #controller: Controller | undefined;
  #watcher: FileWatcher | undefined;
  #opening: Promise<Opened> | undefined;
  #stopping = false;
  #haveLog!: (log: DaemonLog) => void;
  /** What is wrong with the state folder is known before there is a log to tell it. */
  readonly #logged = new Promise<DaemonLog>((resolve) => {
    this.#haveLog = resolve;
  });
  #becameReady!: () => void;
  readonly ready = new Promise<void>((resolve) => {
    this.#becameReady = resolve;
  });

  constructor(options: DaemonOptions, folders: Folders) {
    this.#options = options;
    this.#folders = folders;
    const { config, env } = options;
    this.#machine = detectMachine(env);
    const understand = understandFor(config, env, this.#machine);
    const complain = (message: string) => void this.#logged.then((log) => log.logger.warn(message));
    const history = new History(folders.history, complain);
    this.#verdicts = new VerdictRecord(folders.verdicts, complain);
    this.#reloader = new Reloader({
      goal: new Goal(config, folders.code, understand, describeFor(config, env, folders.run)),
      history,
      log: () => this.log.logger,
      report: (diagnostics, verdict) => this.#opened?.report(diagnostics, verdict),
      changed: () => this.#operations.changed(),
      apply: (outcome, before, retry) => this.#apply(outcome, before, retry),
      serving: () => ({ ...(this.#controller as Controller).goal, http: this.#http.at }),
      roomIf: ({ targets, desired }) => (this.#controller as Controller).roomIf(targets, desired),
      follow: ({ code = [], certificate, models }, since) => {
        const own = [...(config.text === undefined ? [config.path] : []), ...certificate, ...(options.watchCode ? code : [])];
        // An application's name is never empty.
        // What was found half written is looked at once more in any case: nobody else would say that it is whole.
        const waited = [...models].filter(([, { unsettled }]) => options.watchCode || unsettled);
        const groups = new Map<string, Followed>(waited);
        this.#watcher?.follow(groups.set('', { files: own }), since);
      },
      onReload: options.onReload,
    });
    this.#operations = operationsOf({
      path: config.path,
      compile: understand,
      history,
      verdicts: this.#verdicts,
      reloader: this.#reloader,
      http: this.#http,
      controller: () => this.#controller as Controller,
      plane: () => this.#opened?.plane,
      adminUrl: () => this.adminUrl,
      stopping: () => this.#stopping,
      log: () => this.log,
    });
    this.#admin = new AdminListener(routesOf(this.#operations), ({ host, port }, code) =>
      cannotListen('admin_options', host, port, code),
    );
  }

  get url(): string | undefined {
    return this.#http.url;
  }

  get adminUrl(): string {
    return this.#admin.url;
  }

  get log(): DaemonLog {
    if (this.#opened === undefined) throw new Error('there is no log before the config was understood');
    return this.#opened.log;
  }

  async start(): Promise<void> {
    const { logLevel, terminal } = this.#options;
    // The data plane's thread comes up while code is compiled.
    const wrong = await this.#reloader.read(this.#options.lastGood, (desired) => {
      this.#opening = open(desired, {
        folders: this.#folders,
        env: this.#options.env,
        key: this.#key,
        cpus: this.#machine.cpus,
        logLevel,
        terminal,
        http: this.#http,
        controller: () => this.#controller,
        desired: () => this.#reloader.desired,
        onEnd: (log, error) => this.#planeEnded(log, error),
      });
      // Awaited below; until then a failure must not count as unhandled.
      this.#opening.catch(() => {});
    });
    if (wrong.length > 0) throw new StartError(formatDiagnostics(wrong), wrong);
    const opened = (await this.#opening) as Opened;
    this.#opened = opened;
    this.#haveLog(this.log);
    const { logger } = this.log;
    const { problem } = this.#folders;
    if (problem !== undefined) logger.warn({ error: problem }, 'the state folder cannot be used: nothing is kept between runs');
    const { proxy, admin } = this.#reloader.desired;
    this.#controller = new Controller({
      enforcer: opened.enforcer,
      machine: this.#machine,
      log: logger,
      replicaEntry: REPLICA,
      policyEntry: POLICY,
      controlSocket: this.#folders.controlSocket,
      dataSocket: this.#folders.dataSocket,
      key: this.#key,
      env: this.#options.env,
      configDir: () => this.#options.config.folder,
      logLevel,
      verdicts: this.#verdicts,
      publish: (snapshot) => this.#opened?.plane.publish(snapshot),
      concurrentStarts: Math.max(2, availableParallelism()),
      onReplicaLine: (replica, stream, line) => logReplicaLine(logger, replica.id, stream, line),
      onChange: () => {
        this.#operations.changed();
        if (this.#controller?.settled) this.#becameReady();
      },
    });
    this.log.knowReplicas(() => this.#controller?.replicas.map(({ id }) => id) ?? []);
    await this.#admin.start(admin).catch((error: Error) => {
      throw new StartError(error.message);
    });
    logger.info({ url: this.adminUrl }, 'admin API is up');
    for (const what of meansOf(THIS_PLATFORM).missing) logger.info({ platform: process.platform }, what);
    this.#watcher = new FileWatcher(
      () => this.reload(false),
      (error) => logger.error({ error: error.message }, 'watching files failed'),
    );
    await this.#reloader.begin();
    const failure = proxy.enabled ? await this.#http.first : undefined;
    if (failure !== undefined) throw new StartError(failure);
  }

  async #apply({ desired, targets, broken }: GoalOutcome, before: DesiredState, retry: boolean): Promise<void> {
    const specs = [...targets, ...broken].map(({ spec }) => spec);
    const logging = new LogRules(desired.logging, specs, this.#options.logLevel);
    const settings = { admin: this.#admin, opened: this.#opened as Opened, logging, http: this.#http };
    await configureDaemon(settings, before, desired);
    this.#controller?.want(targets, broken, desired, retry);
    // Before anything else is compiled: what that finds must not be taken away under it.
    await pruneCode(this.#folders.code, this.#controller?.code ?? new Set());
  }

  progress(): readonly DeploymentProgress[] {
    return this.#controller === undefined ? [] : progressOf(this.#controller);
  }

  async responds(withinMs: number): Promise<boolean> {
    return (await this.#opened?.plane.responds(withinMs)) === true;
  }

  /** Reads what has changed, or with `retry` (SIGHUP) everything anew. */
  reload(retry = true): void {
    this.#reloader.reload(retry);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    const { logger } = this.log;
    logger.info('stopping: finishing what was accepted');
    this.#reloader.close();
    await this.#watcher?.close();
    const { proxy, shutdownTimeoutMs } = this.#reloader.desired;
    await this.#opened?.plane.drain(proxy.drainGraceMs, shutdownTimeoutMs);
    await this.#controller?.stop();
    await this.#close();
    logger.info('stopped');
    await this.log.written();
    this.log.flush();
  }

  async destroy(): Promise<void> {
    this.#stopping = true;
    this.#reloader.close();
    this.#opened ??= await this.#opening?.catch(() => undefined);
    await this.#controller?.destroy();
    await this.#watcher?.close();
    await this.#close();
    await this.#opened?.log.written();
    this.#opened?.log.flush();
  }

  async #close(): Promise<void> {
    this.#admin.close();
    const confirmed = (await this.#opened?.close()) ?? true;
    this.#folders.remove();
    if (confirmed) return;
    void this.#controller?.destroy();
    process.kill(process.pid, 'SIGKILL');
  }

  /** Without a data plane nothing can be served: better to end, and be started again, than to stand there. */
  #planeEnded(log: DaemonLog, error: Error | undefined): void {
    if (this.#stopping) return;
    this.#stopping = true;
    log.logger.fatal({ err: error }, 'the data plane ended: stopping');
    void this.#controller?.destroy();
    this.#folders.remove();
    log.flush();
    process.exitCode = 1;
    setImmediate(() => process.exit(1));
  }
}

/** Composition root: builds every part, wires them, starts in order, stops in reverse. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AdminServer } from './admin/server.ts';
import { compile } from './config/compile.ts';
import { formatDiagnostics } from './config/format.ts';
import { FileWatcher } from './config/watch.ts';
import { Controller } from './control/controller.ts';
import { DataPlane } from './control/data-plane.ts';
import { Folders } from './control/folders.ts';
import { Goal } from './control/goal.ts';
import { meansOf, THIS_PLATFORM } from './control/platform.ts';
import { type DeploymentProgress, progressOf } from './control/progress.ts';
import { buildStatus } from './control/status.ts';
import type { DesiredState } from './domain/desired.ts';
import type { Diagnostic } from './domain/diagnostic.ts';
import { listenForReplicas } from './protocol/accept.ts';
import { CannotEnforce, Enforcer, runCommand } from './quota/enforcer.ts';
import { detectMachine } from './quota/machine.ts';
import type { Machine } from './quota/offer.ts';
import { listenText } from './telemetry/listen-text.ts';
import { type DaemonLog, logReplicaLine, openLog, type Terminal } from './telemetry/log.ts';
import { portHolder } from './telemetry/port-holder.ts';
import { VERSION } from './version.ts';

export interface DaemonOptions {
  /** Absolute. */
  readonly config: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stateDir: string | undefined;
  readonly terminal: Terminal | undefined;
  readonly watchCode: boolean;
  readonly logLevel: DesiredState['logging']['level'] | undefined;
  /** A config is read anew; it was applied or rejected. */
  readonly onReload?: (state: 'begins' | 'ends') => void;
}

/** The daemon could not start; the message says why and what to change. */
export class StartError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'StartError';
  }
}

export interface RunningDaemon {
  /** `http://host:port` of the data plane; undefined with `proxy_location: Disabled`. */
  readonly url: string | undefined;
  readonly adminUrl: string;
  readonly log: DaemonLog;
  /** Every application of the first config serves or has failed. */
  readonly ready: Promise<void>;
  /** How far each deployment is. */
  progress(): readonly DeploymentProgress[];
  /** Whether the thread that serves answers in time. */
  responds(withinMs: number): Promise<boolean>;
  /** Finishes what was accepted, then stops everything. */
  stop(): Promise<void>;
  /** Ends now: the replicas are killed, what is under way is lost. */
  destroy(): Promise<void>;
  reload(): void;
}

const REPLICA = fileURLToPath(new URL('./replica/main.js', import.meta.url));
const POLICY = fileURLToPath(new URL('./replica/policy-main.js', import.meta.url));
const DATA_PLANE = new URL('./proxy/worker.js', import.meta.url);

/** @throws StartError */
export const startDaemon = async (options: DaemonOptions): Promise<RunningDaemon> => {
  const folders = new Folders(options.config, options.stateDir, options.env);
  const daemon = new Daemon(options, folders);
  try {
    await daemon.start();
    return daemon;
  } catch (error) {
    await daemon.destroy();
    throw error;
  }
};

class Daemon implements RunningDaemon {
  readonly #options: DaemonOptions;
  readonly #folders: Folders;
  readonly #goal: Goal;
  readonly #machine: Machine;
  readonly #key = randomBytes(32).toString('hex');
  readonly #listening = {
    http: undefined as string | undefined,
    driver: undefined as string | undefined,
    error: undefined as string | undefined,
  };
  #log!: DaemonLog;
  #desired!: DesiredState;
  #controller: Controller | undefined;
  #enforcer: Enforcer | undefined;
  #plane: DataPlane | undefined;
  #admin: AdminServer | undefined;
  #control: Awaited<ReturnType<typeof listenForReplicas>> | undefined;
  #watcher: FileWatcher | undefined;
  #errors: readonly Diagnostic[] = [];
  #rejected: ReadonlyMap<string, string> = new Map();
  #applied = { hash: '', at: '' };
  #reloading: Promise<void> | undefined;
  #again: { retry: boolean } | undefined;
  #opening: Promise<void> | undefined;
  #stopping = false;
  #listened!: (failure: { code: string; message: string } | undefined) => void;
  /** How the first attempt to listen for HTTP ended. */
  readonly #firstListening = new Promise<{ code: string; message: string } | undefined>((resolve) => {
    this.#listened = resolve;
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
    const machine = this.#machine;
    this.#goal = new Goal(config, folders.code, (text) => compile(text, { file: config, env, exists: existsSync, machine }));
  }

  get url(): string | undefined {
    return this.#listening.http;
  }

  get adminUrl(): string {
    return `http://${this.#admin?.address ?? ''}`;
  }

  get log(): DaemonLog {
    return this.#log;
  }

  async start(): Promise<void> {
    const since = Date.now();
    // The data plane's thread comes up while code is compiled.
    const outcome = await this.#goal.read(true, (desired) => {
      this.#desired = desired;
      this.#opening = this.#open(desired);
      // Awaited below; until then a failure must not count as unhandled.
      this.#opening.catch(() => {});
    });
    if (outcome.type === 'rejected') throw new StartError(formatDiagnostics(outcome.diagnostics));
    await this.#opening;
    const { proxy, admin } = outcome.desired;
    const { logger } = this.#log;
    this.#errors = outcome.diagnostics;
    this.#tell(outcome.diagnostics);
    const enforcer = await this.#startEnforcer(outcome.desired.resources.enforce);
    this.#enforcer = enforcer;
    this.#controller = new Controller({
      enforcer,
      log: logger,
      replicaEntry: REPLICA,
      policyEntry: POLICY,
      controlSocket: this.#folders.controlSocket,
      dataSocket: this.#folders.dataSocket,
      key: this.#key,
      env: this.#options.env,
      machine: this.#machine,
      configDir: () => dirname(this.#options.config),
      logLevel: () => logger.level,
      publish: (snapshot) => this.#plane?.publish(snapshot),
      concurrentStarts: Math.max(2, availableParallelism()),
      onReplicaLine: (replica, stream, line) => logReplicaLine(logger, replica.id, stream, line),
      onChange: () => {
        if (this.#controller?.settled) this.#becameReady();
      },
    });
    this.#admin = await this.#startAdmin(admin);
    logger.info({ url: this.adminUrl }, 'admin API is up');
    for (const what of meansOf(THIS_PLATFORM).missing) logger.info({ platform: process.platform }, what);
    this.#apply(outcome, false);
    if (proxy.enabled) {
      const failure = await this.#firstListening;
      if (failure !== undefined) throw new StartError(httpListenText(proxy, failure));
    }
    this.#watcher = new FileWatcher(
      () => this.#reload(false),
      (error) => logger.error({ error: error.message }, 'watching files failed'),
    );
    this.#follow(since);
  }

  /** Everything that needs the config and no code: the log, the sockets of replicas, the thread of the data plane. */
  async #open({ logging, proxy }: DesiredState): Promise<void> {
    this.#log = await openLog({ ...logging, level: this.#options.logLevel ?? logging.level }, this.#options.terminal);
    const { logger } = this.#log;
    this.#control = await listenForReplicas(
      this.#folders.controlSocket,
      this.#key,
      (identity, socket, reader) => this.#controller?.attach(identity.replica, socket, reader),
      (reason) => logger.warn({ reason }, 'a connection to the control socket was refused'),
    );
    // The native HTTP server reads this once, from the environment, before its thread starts.
    process.env.UWS_HTTP_MAX_HEADERS_SIZE = String(proxy.maxHeaderBytes);
    this.#plane = await DataPlane.start(
      DATA_PLANE,
      { socket: this.#folders.dataSocket, key: this.#key, accessLog: this.#log.encoding },
      (message) => {
        switch (message.type) {
          case 'listening':
            this.#listening.http = `${message.secure ? 'https' : 'http'}://${message.host.includes(':') ? `[${message.host}]` : message.host}:${message.port}`;
            this.#listening.driver = message.driver;
            logger.info({ url: this.#listening.http, driver: message.driver }, 'listening for HTTP');
            this.#listening.error = undefined;
            return this.#listened(undefined);
          case 'listen-failed':
            this.#listening.error = httpListenText(this.#desired.proxy, message);
            if (this.#controller !== undefined)
              logger.error(
                { code: message.code, error: this.#listening.error },
                'cannot listen for HTTP: what listened before goes on',
              );
            return this.#listened(message);
          case 'not-listening':
            this.#listening.http = undefined;
            this.#listening.driver = undefined;
            this.#listening.error = undefined;
            return logger.info('not listening for HTTP any more');
          case 'access':
            // A line a request is news of level `info`.
            if (logger.isLevelEnabled('info')) this.#log.writeLines(message.lines);
            return;
          case 'log':
            return logger[message.level](message.fields, message.message);
          case 'closed':
            return this.#planeEnded(undefined);
          default:
            return this.#controller?.observe(message);
        }
      },
      (error) => this.#planeEnded(error),
    );
  }

  /** @throws StartError */
  async #startEnforcer(enforce: DesiredState['resources']['enforce']): Promise<Enforcer> {
    const { logger } = this.#log;
    try {
      const surroundings = { root: '/', env: this.#options.env, run: runCommand, pid: process.pid };
      const enforcer = await Enforcer.start(enforce, surroundings, (error) =>
        logger.error({ error }, 'a replica is not held to its quota'),
      );
      logger.info({ mechanism: enforcer.mechanism, passed: enforcer.tried }, 'quotas are enforced');
      return enforcer;
    } catch (error) {
      throw error instanceof CannotEnforce ? new StartError(error.message) : error;
    }
  }

  /** @throws StartError */
  #startAdmin(spec: DesiredState['admin']): Promise<AdminServer> {
    return AdminServer.start(spec, {
      status: () => this.status(),
      scale: (application, deployment, replicas) => this.#controller?.scale(application, deployment, replicas) ?? 'unknown',
      notReady: () =>
        this.#stopping ? 'the daemon is stopping' : this.#controller?.settled ? undefined : 'not every application is ready yet',
    }).catch((error: NodeJS.ErrnoException) => {
      throw new StartError(cannotListen('admin_options', spec.host, spec.port, error.code ?? error.message));
    });
  }

  /** The new listener is there before the old one goes, but for one port that two addresses share. A move that failed is tried again. */
  async #moveAdmin(wanted: DesiredState['admin']): Promise<void> {
    const { logger } = this.#log;
    const before = this.#admin;
    if (before === undefined || (before.spec.host === wanted.host && before.spec.port === wanted.port))
      return before?.configure(wanted);
    const isSamePort = wanted.port !== 0 && before.address.endsWith(`:${wanted.port}`);
    if (isSamePort) before.retire();
    try {
      this.#admin = await this.#startAdmin(wanted);
      if (!isSamePort) before.retire();
    } catch (error) {
      logger.error({ error: (error as Error).message }, 'the admin API stays where it was');
      if (isSamePort) this.#admin = await this.#startAdmin(before.spec);
      return;
    }
    logger.info({ url: this.adminUrl }, 'admin API is up');
  }

  /** What the config says of the daemon itself: the admin listener moves at once; what is fixed at start is told. */
  async #reconfigure(before: DesiredState, after: DesiredState): Promise<void> {
    const { logger } = this.#log;
    await this.#moveAdmin(after.admin);
    const level = this.#options.logLevel ?? after.logging.level;
    if (level !== logger.level) {
      logger.level = level;
      this.#controller?.tellSettings();
    }
    if (before.resources.enforce !== after.resources.enforce) {
      const why = this.#enforcer?.set(after.resources.enforce);
      if (why !== undefined) logger.warn({ enforce: after.resources.enforce }, why);
    }
    if (before.logging.encoding !== after.logging.encoding)
      logger.warn('logging_config.encoding is in force from the next start on');
    if (
      before.proxy.maxHeaderBytes !== after.proxy.maxHeaderBytes &&
      after.proxy.maxHeaderBytes > Number(process.env.UWS_HTTP_MAX_HEADERS_SIZE) &&
      this.#listening.driver === 'uWebSockets.js'
    ) {
      logger.warn('http_options.max_header_size can be raised from the next start on only: uWebSockets.js reads it once');
    }
  }

  progress(): readonly DeploymentProgress[] {
    const { targets = [], broken = [], actual, replicas = [] } = this.#controller ?? {};
    return actual === undefined ? [] : progressOf({ targets, broken, actual, replicas });
  }

  async responds(withinMs: number): Promise<boolean> {
    return (await this.#plane?.responds(withinMs)) === true;
  }

  async status(): Promise<object> {
    const controller = this.#controller as Controller;
    return buildStatus({
      targets: controller.targets,
      broken: controller.broken,
      actual: controller.actual,
      replicas: controller.replicas,
      load: (await this.#plane?.load()) ?? { ongoing: 0, deployments: {}, replicas: {} },
      scaledTo: (application, deployment) => controller.scaledTo(application, deployment),
      policyProblem: (application, deployment) => controller.policyProblem(application, deployment),
      waiting: controller.waiting,
      deathsOf: (application, deployment) => controller.deathsOf(application, deployment),
      config: { path: this.#options.config, hash: this.#applied.hash, applied_at: this.#applied.at, errors: this.#errors },
      rejected: this.#rejected,
      listeners: {
        http: this.#listening.http ?? null,
        admin: this.adminUrl,
        http_driver: this.#listening.driver ?? null,
        http_error: this.#listening.error ?? null,
      },
      pid: process.pid,
      version: VERSION,
    });
  }

  /** SIGHUP: reads everything anew, and tries again what had been given up. */
  reload(): void {
    this.#reload(true);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    const { logger } = this.#log;
    logger.info('stopping: finishing what was accepted');
    await this.#watcher?.close();
    await this.#plane?.drain(this.#desired.proxy.drainGraceMs, this.#desired.shutdownTimeoutMs);
    await this.#controller?.stop();
    await this.#close();
    logger.info('stopped');
    await this.#log.written();
    this.#log.flush();
  }

  async destroy(): Promise<void> {
    this.#stopping = true;
    await this.#opening?.catch(() => {});
    await this.#controller?.destroy();
    await this.#watcher?.close();
    await this.#close();
    await this.#log?.written();
    this.#log?.flush();
  }

  async #close(): Promise<void> {
    this.#admin?.close();
    const confirmed = (await this.#plane?.close()) ?? true;
    this.#control?.close();
    this.#enforcer?.close();
    this.#folders.remove();
    if (confirmed) return;
    void this.#controller?.destroy();
    this.#log.logger.fatal('the data plane did not close: ending the process');
    this.#log.flush();
    process.kill(process.pid, 'SIGKILL');
  }

  /** Without a data plane nothing can be served: better to end, and be started again, than to stand there. */
  #planeEnded(error: Error | undefined): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#log.logger.fatal({ err: error }, 'the data plane ended: stopping');
    void this.#controller?.destroy();
    this.#folders.remove();
    this.#log.flush();
    process.exitCode = 1;
    setImmediate(() => process.exit(1));
  }

  #reload(retry: boolean): void {
    if (this.#stopping) return;
    if (this.#reloading !== undefined) {
      this.#again = { retry: retry || this.#again?.retry === true };
      return;
    }
    this.#options.onReload?.('begins');
    this.#reloading = this.#readAgain(retry)
      .catch((error: Error) => this.#log.logger.error({ err: error }, 'reload failed'))
      .finally(() => {
        this.#reloading = undefined;
        const again = this.#again;
        this.#again = undefined;
        if (again === undefined) this.#options.onReload?.('ends');
        else this.#reload(again.retry);
      });
  }

  async #readAgain(retry: boolean): Promise<void> {
    const { logger } = this.#log;
    const since = Date.now();
    const outcome = await this.#goal.read(false);
    if (this.#stopping) return;
    this.#follow(since);
    if (outcome.type === 'rejected') {
      const text = formatDiagnostics(outcome.diagnostics);
      const told = formatDiagnostics(this.#errors);
      this.#errors = outcome.diagnostics;
      this.#rejected = outcome.problems;
      if (text === told && !retry) return;
      this.#tell(outcome.diagnostics, 'the config was rejected: what served before goes on serving');
      return;
    }
    const mended = hasErrors(this.#errors) && !hasErrors(outcome.diagnostics);
    this.#errors = outcome.diagnostics;
    this.#rejected = new Map();
    if (!outcome.changed && !retry) {
      if (mended) logger.info('the config is good again; it says what is already served');
      return;
    }
    this.#tell(outcome.diagnostics);
    await this.#reconfigure(this.#desired, outcome.desired);
    this.#desired = outcome.desired;
    this.#apply(outcome, retry);
  }

  /** Warnings a line each. Errors on lines of their own where people read, as one field elsewhere. */
  #tell(diagnostics: readonly Diagnostic[], verdict = 'files that the config names are missing or broken'): void {
    const { logger, encoding } = this.#log;
    const errors = diagnostics.filter(({ severity }) => severity === 'error');
    for (const { severity, code, path, line, message } of diagnostics)
      if (severity === 'warning') logger.warn({ code, path, line }, message);
    if (errors.length === 0) return;
    if (encoding === 'TEXT') this.#log.writeLines(`${formatDiagnostics(errors)}\n`);
    logger.error(encoding === 'TEXT' ? {} : { diagnostics: errors }, verdict);
  }

  #apply(outcome: Extract<Awaited<ReturnType<Goal['read']>>, { type: 'goal' }>, retry: boolean): void {
    for (const { spec, problem } of outcome.broken)
      this.#log.logger.error({ application: spec.name }, `application cannot be deployed: ${problem}`);
    this.#applied = { hash: outcome.hash, at: new Date().toISOString() };
    this.#log.logger.info(
      { applications: outcome.targets.length + outcome.broken.length, hash: outcome.hash.slice(0, 12) },
      'config applied',
    );
    this.#controller?.want(outcome.targets, outcome.broken, outcome.desired, retry);
  }

  /** @param since when reading them began */
  #follow(since: number): void {
    const { config, code, certificate } = this.#goal.files;
    this.#watcher?.follow([config, ...certificate, ...(this.#options.watchCode ? code : [])], since);
  }
}

/** @param failure without a code of the system it is not the address that is wrong */
const httpListenText = ({ host, port }: DesiredState['proxy'], failure: { code: string; message: string }): string =>
  failure.code === 'UNKNOWN' ? failure.message : cannotListen('http_options', host, port, failure.code);

const hasErrors = (diagnostics: readonly Diagnostic[]): boolean => diagnostics.some(({ severity }) => severity === 'error');

const cannotListen = (section: string, host: string, port: number, code: string): string =>
  listenText({ section, host, port, code, holder: () => portHolder(host, port), platform: process.platform });

/** Everything of the daemon that needs the config and no code: the log, the sockets of replicas, the thread of the data plane. */
import { cannotListenForHttp } from './cannot-listen.ts';
import { formatDiagnostics } from './config/format.ts';
import type { Controller } from './control/controller.ts';
import { DataPlane } from './control/data-plane.ts';
import type { Folders } from './control/folders.ts';
import type { HttpListening } from './control/http-listening.ts';
import { StartError } from './daemon.ts';
import type { DesiredState } from './domain/desired.ts';
import type { Diagnostic } from './domain/diagnostic.ts';
import { LogRules } from './domain/logging.ts';
import type { FromDataPlane } from './domain/snapshot.ts';
import { listenForReplicas } from './protocol/accept.ts';
import { CannotEnforce, Enforcer, runCommand } from './quota/enforcer.ts';
import { type DaemonLog, openLog, type Terminal } from './telemetry/log.ts';

export interface OpenOptions {
  readonly folders: Folders;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Replicas prove with it who they are. */
  readonly key: string;
  /** What this process may use; fractions where a quota says so. */
  readonly cpus: number;
  readonly logLevel: DesiredState['logging']['level'] | undefined;
  readonly terminal: Terminal | undefined;
  readonly http: HttpListening;
  readonly controller: () => Controller | undefined;
  /** What is wanted now. */
  readonly desired: () => DesiredState;
  /** The data plane ended without having been asked. */
  readonly onEnd: (log: DaemonLog, error: Error | undefined) => void;
}

export interface Opened {
  readonly log: DaemonLog;
  readonly plane: DataPlane;
  readonly enforcer: Enforcer;
  /** Warnings a line each. Errors on lines of their own where people read, as one field elsewhere, with what becomes of the config. */
  report(diagnostics: readonly Diagnostic[], verdict?: string): void;
  /** @returns false: the data plane did not close, and the process must end by SIGKILL, as any other end would abort it */
  close(): Promise<boolean>;
}

const DATA_PLANE = new URL('./proxy/worker.js', import.meta.url);

/** @throws StartError */
export const open = async ({ logging, proxy, resources, applications }: DesiredState, options: OpenOptions): Promise<Opened> => {
  const { folders, key, http, controller } = options;
  const log = await openLog(new LogRules(logging, applications, options.logLevel), options.terminal);
  const { logger } = log;
  const enforcer = await startEnforcer(resources.enforce, options.env, log);
  const control = await listenForReplicas(
    folders.controlSocket,
    key,
    (identity, socket, reader) => controller()?.attach(identity.replica, socket, reader),
    (reason) => logger.warn({ reason }, 'a connection to the control socket was refused'),
  );
  // The native HTTP server reads this once, from the environment, before its thread starts.
  process.env.UWS_HTTP_MAX_HEADERS_SIZE = String(proxy.maxHeaderBytes);
  const observe = (message: FromDataPlane): void => {
    switch (message.type) {
      case 'listening':
        http.moved(message);
        return logger.info({ url: http.url, driver: message.driver }, 'listening for HTTP');
      case 'not-listening':
        http.moved(undefined);
        return logger.info('not listening for HTTP any more');
      case 'listen-failed': {
        const error = cannotListenForHttp(options.desired().proxy, message);
        http.failed(error);
        return logger.error({ code: message.code, error }, 'cannot listen for HTTP: what listened before goes on');
      }
      case 'access':
        return log.writeRequests(message.lines, message.application);
      case 'log':
        return logger[message.level](message.fields, message.message);
      case 'closed':
        return options.onEnd(log, undefined);
      default:
        return controller()?.observe(message);
    }
  };
  const settings = { socket: folders.dataSocket, key, accessLog: log.encoding, cpus: options.cpus };
  const plane = await DataPlane.start(DATA_PLANE, settings, observe, (error) => options.onEnd(log, error)).catch((error) => {
    control.close();
    enforcer.close();
    throw error;
  });
  return {
    log,
    plane,
    enforcer,
    report: (diagnostics, verdict = 'files that the config names are missing or broken') => {
      const errors = diagnostics.filter(({ severity }) => severity === 'error');
      for (const { severity, code, path, file, line, application, message } of diagnostics)
        if (severity === 'warning')
          logger.warn({ code, path, ...(application === undefined ? {} : { application, file }), line }, message);
      if (errors.length === 0) return;
      if (log.encoding === 'TEXT') log.writeLines(`${formatDiagnostics(errors)}\n`);
      logger.error(log.encoding === 'TEXT' ? {} : { diagnostics: errors }, verdict);
    },
    close: async () => {
      const confirmed = await plane.close();
      control.close();
      enforcer.close();
      if (confirmed) return true;
      logger.fatal('the data plane did not close: ending the process');
      log.flush();
      return false;
    },
  };
};

/** @throws StartError */
const startEnforcer = async (
  enforce: DesiredState['resources']['enforce'],
  env: Readonly<Record<string, string | undefined>>,
  { logger }: DaemonLog,
): Promise<Enforcer> => {
  try {
    const surroundings = { root: '/', env, run: runCommand, pid: process.pid };
    const enforcer = await Enforcer.start(enforce, surroundings, (error) =>
      logger.error({ error }, 'a replica is not held to its quota'),
    );
    logger.info({ mechanism: enforcer.mechanism, passed: enforcer.tried }, 'quotas are enforced');
    return enforcer;
  } catch (error) {
    throw error instanceof CannotEnforce ? new StartError(error.message) : error;
  }
};

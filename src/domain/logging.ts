/** What is logged of an application or a deployment, how, and where to: what it says itself, else what is around it. Pure. */
import type { ApplicationSpec, LoggingSpec, OwnLoggingSpec } from './desired.ts';

export type LogLevel = LoggingSpec['level'];

const SEVERITY: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'fatal'];

/** As the JSON lines of the log have it. */
export const numberOf = (level: LogLevel): number => 20 + 10 * SEVERITY.indexOf(level);

/** The word of a config, with what the command line says in its place. */
export class LogRules {
  readonly daemon: LoggingSpec;
  /** The least severe that is logged of anything. */
  readonly lowest: LogLevel;
  /** By application and by `application/Deployment`: those that say anything themselves. */
  readonly #own = new Map<string, LoggingSpec>();

  /** @param override a level in place of every one that the config names */
  constructor(
    daemon: LoggingSpec,
    applications: readonly Pick<ApplicationSpec, 'name' | 'logging' | 'deployments'>[],
    override?: LogLevel,
  ) {
    const leveled = (spec: LoggingSpec) => (override === undefined ? spec : { ...spec, level: override });
    this.daemon = leveled(daemon);
    for (const { name, logging, deployments } of applications) {
      const ofApplication = within(this.daemon, logging);
      if (ofApplication !== this.daemon) this.#own.set(name, leveled(ofApplication));
      for (const deployment of deployments) {
        const ofDeployment = within(ofApplication, deployment.logging);
        if (ofDeployment !== ofApplication) this.#own.set(`${name}/${deployment.name}`, leveled(ofDeployment));
      }
    }
    this.lowest = [this.daemon, ...this.#own.values()]
      .map(({ level }) => level)
      .reduce((a, b) => (numberOf(b) < numberOf(a) ? b : a));
  }

  /** What is not in the config is logged as the daemon is. */
  of(application: string, deployment?: string): LoggingSpec {
    const own = deployment === undefined ? undefined : this.#own.get(`${application}/${deployment}`);
    return own ?? this.#own.get(application) ?? this.daemon;
  }

  /** Any line is written for people. @param other what an encoding of null is */
  usesText(other: 'TEXT' | 'JSON'): boolean {
    return [this.daemon, ...this.#own.values()].some(({ encoding }) => (encoding ?? other) === 'TEXT');
  }

  /** Whom a line is about makes no difference. */
  get isUniform(): boolean {
    return this.#own.size === 0 && this.daemon.directory === null;
  }

  /** Lines for requests are wanted, and their level is. */
  logsRequests(application: string, deployment?: string): boolean {
    const { accessLog, level } = this.of(application, deployment);
    return accessLog && numberOf(level) <= numberOf('info');
  }
}

/** The same object where nothing is said. */
const within = (around: LoggingSpec, { encoding, level, directory, accessLog }: OwnLoggingSpec): LoggingSpec =>
  encoding === null && level === null && directory === null && accessLog === null
    ? around
    : {
        encoding: encoding ?? around.encoding,
        level: level ?? around.level,
        directory: directory ?? around.directory,
        accessLog: accessLog ?? around.accessLog,
      };

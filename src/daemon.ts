/** What a daemon is to who starts it: what it is told, and what can be asked of it while it runs. */
import type { ConfigOrigin } from './control/config-file.ts';
import type { DeploymentProgress } from './control/progress.ts';
import type { DesiredState } from './domain/desired.ts';
import type { Diagnostic } from './domain/diagnostic.ts';
import type { DaemonLog, Terminal } from './telemetry/log.ts';

export interface DaemonOptions {
  readonly config: ConfigOrigin;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stateDir: string | undefined;
  readonly terminal: Terminal | undefined;
  readonly watchCode: boolean;
  /** A config file with errors does not keep it from starting: what was applied last is served. */
  readonly lastGood: boolean;
  readonly logLevel: DesiredState['logging']['level'] | undefined;
  /** A config is read anew; it was applied or rejected. */
  readonly onReload?: (state: 'begins' | 'ends') => void;
}

/** The daemon could not start; the message says why and what to change. */
export class StartError extends Error {
  /** What is wrong with the config, where that is why. */
  readonly diagnostics: readonly Diagnostic[];

  constructor(message: string, diagnostics: readonly Diagnostic[] = []) {
    super(message);
    this.name = 'StartError';
    this.diagnostics = diagnostics;
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
